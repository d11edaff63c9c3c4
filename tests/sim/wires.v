// Nothing but wires from a testbench's streams to the memory port that the memory model looks at, four bytes a beat.
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
    output host__write_data__ready,
    output [39:0] memory__read_request__payload,
    output memory__read_request__valid,
    input memory__read_request__ready,
    input [31:0] memory__read_data__payload,
    input memory__read_data__valid,
    output memory__read_data__ready,
    output [39:0] memory__write_request__payload,
    output memory__write_request__valid,
    input memory__write_request__ready,
    output [35:0] memory__write_data__payload,
    output memory__write_data__valid,
    input memory__write_data__ready
);
    assign memory__read_request__payload = host__read_request__payload;
    assign memory__read_request__valid = host__read_request__valid;
    assign host__read_request__ready = memory__read_request__ready;
    assign host__read_data__payload = memory__read_data__payload;
    assign host__read_data__valid = memory__read_data__valid;
    assign memory__read_data__ready = host__read_data__ready;
    assign memory__write_request__payload = host__write_request__payload;
    assign memory__write_request__valid = host__write_request__valid;
    assign host__write_request__ready = memory__write_request__ready;
    assign memory__write_data__payload = host__write_data__payload;
    assign memory__write_data__valid = host__write_data__valid;
    assign host__write_data__ready = memory__write_data__ready;
endmodule
