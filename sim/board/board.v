// A board without its FPGA's own cells: the image's design, registers as in its I/O cells, and the SDRAM. The memory's clock
// at the chip is that of its controller.
`timescale 1ps / 1ps

module board (
    input clk,
    input sdram_clk,
    input rst,
    input rx,
    output tx,
    output busy
);
    wire [2:0] command;
    wire [1:0] bank, mask;
    wire [12:0] address;
    wire [15:0] dq_o, dq_i;
    wire dq_enable, driven, ready;
    reg [2:0] pin_command = 3'b111;
    reg [1:0] pin_bank = 0, pin_mask = 0;
    reg [12:0] pin_address = 0;
    reg [15:0] pin_dq_o = 0, pin_dq_i = 0;
    reg pin_dq_enable = 0;

    always @(posedge sdram_clk) begin
        pin_command <= command;
        pin_bank <= bank;
        pin_mask <= mask;
        pin_address <= address;
        pin_dq_o <= dq_o;
        pin_dq_enable <= dq_enable;
        pin_dq_i <= dq_i;
    end

    nmgen_encoder image (
        .clk(clk), .rst(rst), .sdram_clk(sdram_clk), .sdram_rst(rst), .rx(rx), .tx(tx), .busy(busy), .ready(ready),
        .pins__command(command), .pins__bank(bank), .pins__address(address), .pins__mask(mask),
        .pins__dq_o(dq_o), .pins__dq_enable(dq_enable), .pins__dq_i(pin_dq_i)
    );
    sdram_chip #(`CHIP) chip (
        .clk(sdram_clk), .command(pin_command), .bank(pin_bank), .address(pin_address), .mask(pin_mask),
        .data_in(pin_dq_o), .data_in_driven(pin_dq_enable), .data_out(dq_i), .data_out_driven(driven)
    );
endmodule
