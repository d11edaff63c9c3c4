// A top that computes products one byte at a time: the ports and registers of a generated accelerator, none of its
// parts. Configuration n = m = 2, one row, one column, drain 1, one byte a beat; dense, 8-bit results, per channel.
// FAULT turns one thing wrong, so that the tests of sim/ see how it is reported.
module plain_top #(parameter FAULT = 0, parameter [31:0] ID = 0) (
    input clk,
    input rst,
    input [7:0] control__address,
    input control__write,
    input [31:0] control__write_data,
    output reg [31:0] control__read_data,
    output [39:0] memory__read_request__payload,
    output memory__read_request__valid,
    input memory__read_request__ready,
    input [7:0] memory__read_data__payload,
    input memory__read_data__valid,
    output memory__read_data__ready,
    output [39:0] memory__write_request__payload,
    output memory__write_request__valid,
    input memory__write_request__ready,
    output [8:0] memory__write_data__payload,
    output memory__write_data__valid,
    input memory__write_data__ready,
    output busy
);
    localparam IDLE = 0, ASK = 1, TAKE = 2, ADD = 3, WRITE = 4, BEAT = 5;
    localparam PARAMETERS = 8;

    reg [31:0] tokens, groups, channels, x_address, w_address, w_tile_beats, y_address, y_stride;
    reg [31:0] token, channel, index, cycles;
    reg [2:0] state;
    reg done, second;  // second: the weight that belongs to the activation in x
    reg [63:0] parameters;
    reg signed [7:0] x;
    reg signed [63:0] sum;

    wire loading = index < PARAMETERS;
    wire [31:0] position = index - PARAMETERS;
    wire [31:0] w_first = w_address + channel * w_tile_beats;
    wire signed [63:0] biased = sum + {{32{parameters[31]}}, parameters[31:0]};
    wire signed [63:0] scaled = biased * $signed({48'b0, parameters[47:32]});
    wire signed [63:0] half = 64'sd1 <<< (parameters[55:48] - 8'd1);
    wire signed [63:0] rounded = (scaled + half) >>> parameters[55:48];
    wire signed [7:0] result = rounded > 127 ? 8'sd127 : rounded < -128 ? -8'sd128 : rounded[7:0];

    assign busy = state != IDLE;
    assign memory__read_request__valid = state == ASK;
    assign memory__read_request__payload[39:32] = 0;  // a burst of one beat
    assign memory__read_request__payload[31:0] =
        loading || second ? w_first + index + (FAULT == 1 ? 32'h1000_0000 : 0)
                          : x_address + token * 2 * groups + position;
    assign memory__read_data__ready = state == TAKE;
    assign memory__write_request__valid = state == WRITE;
    assign memory__write_request__payload[39:32] = 0;
    assign memory__write_request__payload[31:0] =
        y_address + token * y_stride + channel + (FAULT == 2 && token == 1 ? y_stride * tokens : 0);
    assign memory__write_data__valid = state == BEAT || FAULT == 3 && state == ASK;
    assign memory__write_data__payload[7:0] = result + {7'b0, FAULT == 4 && token == 1 && channel == 2};
    assign memory__write_data__payload[8] = FAULT != 5 || token != 1;

    always @(posedge clk) begin
        if (busy) cycles <= cycles + 1;
        case (state)
            ASK: if (memory__read_request__ready) state <= TAKE;
            TAKE: if (memory__read_data__valid) begin
                if (loading) begin
                    parameters <= {memory__read_data__payload, parameters[63:8]};
                    index <= index + 1;
                    state <= ASK;
                end else if (second) begin
                    sum <= sum + x * $signed(memory__read_data__payload);
                    second <= 0;
                    index <= index + 1;
                    state <= position + 1 == 2 * groups ? WRITE : ASK;
                end else begin
                    x <= memory__read_data__payload;
                    second <= 1;
                    state <= ASK;
                end
            end
            WRITE: if (memory__write_request__ready || FAULT == 6) state <= BEAT;
            BEAT: if (memory__write_data__ready) begin
                index <= 0;
                sum <= 0;
                state <= FAULT == 7 ? WRITE + 2 : ASK;
                token <= token + 1;
                if (token + 1 == tokens) begin
                    token <= 0;
                    channel <= channel + 1;
                    if (channel + 1 == channels) begin
                        state <= IDLE;
                        done <= 1;
                    end
                end
            end
            default: ;
        endcase
        if (control__write) case (control__address)
            8'h04: begin
                state <= ASK;
                done <= 0;
                cycles <= 1;
                {token, channel, index, sum, second} <= 0;
            end
            8'h10: tokens <= control__write_data;
            8'h14: groups <= control__write_data;
            8'h18: channels <= control__write_data;
            8'h20: x_address <= control__write_data;
                8'h28: w_address <= control__write_data;
            8'h2c: w_tile_beats <= control__write_data;
            8'h3c: y_address <= control__write_data;
            8'h40: y_stride <= control__write_data;
            default: ;
        endcase
        case (control__address)
            8'h00: control__read_data <= ID;
            8'h08: control__read_data <= {30'b0, done, busy};
            8'h0c: control__read_data <= cycles;
            default: control__read_data <= 0;
        endcase
        if (rst) begin
            state <= IDLE;
            done <= 0;
        end
    end
endmodule
