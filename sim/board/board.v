// A board without its FPGA's own cells: the image's design, and the SDRAM behind registers as in its I/O cells. The memory's clock
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
    wire dq_enable, initialised;

    nmgen_encoder image (
        .clk(clk), .rst(rst), .sdram_clk(sdram_clk), .sdram_rst(rst), .rx(rx), .tx(tx), .busy(busy),
        .initialised(initialised),
        .pins__command(command), .pins__bank(bank), .pins__address(address), .pins__mask(mask),
        .pins__dq_o(dq_o), .pins__dq_enable(dq_enable), .pins__dq_i(dq_i)
    );
    sdram_behind_cells sdram (
        .clk(sdram_clk), .command(command), .bank(bank), .address(address), .mask(mask),
        .dq_o(dq_o), .dq_enable(dq_enable), .dq_i(dq_i)
    );
endmodule
