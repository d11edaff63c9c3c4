// Models of the ECP5's cells around an image's design: PLL, and pads with their registers. The harness makes the clocks.
`timescale 1ps / 1ps

// The outputs are the clocks of `board`, whatever the dividers are: tests/boards/test_encoder_image.py looks at those. A falling
// edge of PHASESTEP is counted in `board.steps`, by which the harness moves the third one.
module EHXPLLL #(
    parameter CLKI_DIV = 1, parameter CLKFB_DIV = 1, parameter CLKOP_DIV = 1, parameter CLKOS_DIV = 1,
    parameter CLKOS2_DIV = 1, parameter CLKOP_CPHASE = 0, parameter CLKOS_CPHASE = 0, parameter CLKOS2_CPHASE = 0,
    parameter CLKOP_FPHASE = 0, parameter CLKOS_FPHASE = 0, parameter CLKOS2_FPHASE = 0,
    parameter CLKOP_ENABLE = "", parameter CLKOS_ENABLE = "", parameter CLKOS2_ENABLE = "",
    parameter DPHASE_SOURCE = "", parameter FEEDBK_PATH = "", parameter OUTDIVIDER_MUXA = ""
) (
    input CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG, PLLWAKESYNC,
    input ENCLKOP, ENCLKOS, ENCLKOS2,
    output CLKOP, CLKOS, CLKOS2, LOCK
);
    assign CLKOP = board.clk;
    assign CLKOS = board.sdram_clk;
    assign CLKOS2 = board.chip_clk;
    assign LOCK = !board.rst;
    always @(negedge PHASESTEP)
        if (DPHASE_SOURCE != "ENABLED" || {PHASESEL1, PHASESEL0} != 2'b01 || PHASEDIR || board.rst) begin
            $display("board: a step of the PLL that moves no clock of the memory");
            $finish;
        end else board.steps = board.steps + 1;
endmodule

// A clock that begins, and ends, with a whole period.
module DCCA (input CLKI, CE, output CLKO);
    reg enabled = 1'b0;
    always @(negedge CLKI) enabled <= CE;
    assign CLKO = CLKI & enabled;
endmodule

module IB (input I, output O);
    assign O = I;
endmodule

module OBZ (input I, T, output O);
    assign O = T ? 1'bz : I;
endmodule

module BB (input I, T, output O, inout B);
    assign B = T ? 1'bz : I;
    assign O = B;
endmodule

module OFS1P3DX (input D, SP, CD, SCLK, output reg Q);
    initial Q = 1'b0;
    always @(posedge SCLK) Q <= D;
endmodule

module IFS1P3DX (input D, SP, CD, SCLK, output reg Q);
    initial Q = 1'b0;
    always @(posedge SCLK) Q <= D;
endmodule

// Both halves are constants, of a clock at a pin.
module ODDRX1F (input SCLK, RST, D0, D1, output Q);
    assign Q = SCLK ? D0 : D1;
endmodule

module FD1S3AX (input D, CK, output reg Q);
    initial Q = 1'b0;
    always @(posedge CK) Q <= D;
endmodule

// The clock of the flash, at a pin that an image has no other way to.
module USRMCLK (input USRMCLKI, USRMCLKTS);
    always @(USRMCLKI, USRMCLKTS) board.flash_clk = USRMCLKTS ? 1'b1 : USRMCLKI;
endmodule
