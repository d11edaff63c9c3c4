// The accelerator and its memory, as sim/bench/runner.py simulates them. TOP is the accelerator's module, PORT_BYTES are bytes
// of a beat; STA is defined where it runs programs. The testbench drives and reads the ports.
module bench (
    input clk,
    input rst,
    input [7:0] control__address,
    input control__write,
    input [31:0] control__write_data,
    output [31:0] control__read_data,
`ifdef STA
    input fault,
    input [31:0] fault_address,
    output irq,
    output execute,
    output finished,
`endif
    output busy,
    output done  // of the status register, while that is read
);
    assign done = control__read_data[1];

    wire [39:0] read_request__payload;
    wire read_request__valid;
    wire read_request__ready;
    wire [8*`PORT_BYTES-1:0] read_data__payload;
    wire read_data__valid;
    wire read_data__ready;
    wire [39:0] write_request__payload;
    wire write_request__valid;
    wire write_request__ready;
    wire [9*`PORT_BYTES-1:0] write_data__payload;
    wire write_data__valid;
    wire write_data__ready;

    `TOP dut (
        .clk(clk),
        .rst(rst),
        .control__address(control__address),
        .control__write(control__write),
        .control__write_data(control__write_data),
        .control__read_data(control__read_data),
`ifdef STA
        .fault(fault),
        .fault_address(fault_address),
        .irq(irq),
        .execute(execute),
        .finished(finished),
`endif
        .busy(busy),
        .memory__read_request__payload(read_request__payload),
        .memory__read_request__valid(read_request__valid),
        .memory__read_request__ready(read_request__ready),
        .memory__read_data__payload(read_data__payload),
        .memory__read_data__valid(read_data__valid),
        .memory__read_data__ready(read_data__ready),
        .memory__write_request__payload(write_request__payload),
        .memory__write_request__valid(write_request__valid),
        .memory__write_request__ready(write_request__ready),
        .memory__write_data__payload(write_data__payload),
        .memory__write_data__valid(write_data__valid),
        .memory__write_data__ready(write_data__ready)
    );

    port_memory #(.BYTES(`PORT_BYTES)) memory (
        .clk(clk),
        .read_request__payload(read_request__payload),
        .read_request__valid(read_request__valid),
        .read_request__ready(read_request__ready),
        .read_data__payload(read_data__payload),
        .read_data__valid(read_data__valid),
        .read_data__ready(read_data__ready),
        .write_request__payload(write_request__payload),
        .write_request__valid(write_request__valid),
        .write_request__ready(write_request__ready),
        .write_data__payload(write_data__payload),
        .write_data__valid(write_data__valid),
        .write_data__ready(write_data__ready)
    );
endmodule
