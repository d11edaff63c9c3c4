// The memory, and the streams of its port for a testbench that plays the accelerator, four bytes a beat.
module wires (
    input clk,
    input [39:0] host__read_request__payload,
    input host__read_request__valid,
    output host__read_request__ready,
    output [31:0] host__read_data__payload,
    output host__read_data__valid,
    input host__read_data__ready,
    input [39:0] host__write_request__payload,
    input host__write_request__valid,
    output host__write_request__ready,
    input [35:0] host__write_data__payload,
    input host__write_data__valid,
    output host__write_data__ready
);
    port_memory #(.BYTES(4)) memory (
        .clk(clk),
        .read_request__payload(host__read_request__payload),
        .read_request__valid(host__read_request__valid),
        .read_request__ready(host__read_request__ready),
        .read_data__payload(host__read_data__payload),
        .read_data__valid(host__read_data__valid),
        .read_data__ready(host__read_data__ready),
        .write_request__payload(host__write_request__payload),
        .write_request__valid(host__write_request__valid),
        .write_request__ready(host__write_request__ready),
        .write_data__payload(host__write_data__payload),
        .write_data__valid(host__write_data__valid),
        .write_data__ready(host__write_data__ready)
    );
endmodule
