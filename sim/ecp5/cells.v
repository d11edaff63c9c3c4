// Behavioural models of the ECP5's primitives, of those modes of them that nmgen's designs use, and yosys for them.
//
// Written after what is public: Lattice's ECP5 family data sheet (FPGA-DS-02012), sysDSP (FPGA-TN-02205) and memory
// (FPGA-TN-02204) usage guides, and what yosys' and nextpnr's sources say of ports and parameters. Whatever nmgen has no
// use for is not modelled: a parameter or a mode that is not known here ends the simulation with $fatal.
//
// Flip-flops begin as after configuration, memories with their INITVAL; the slice's registers begin with anything, so
// that nothing relies on them. For Verilator and Icarus (-g2012).

// verilator lint_off WIDTHEXPAND
// Names of modes have more letters, or fewer, than what they are compared with. Modules are inlined for speed: five
// times as fast, since clocks are then one clock.

// --- logic ----------------------------------------------------------------------------------------------------------

// An input that is not known makes the output unknown only where it makes a difference, hence no INIT[{D, C, B, A}].
module LUT4 (input A, B, C, D, output Z);
    /* verilator inline_module */
    parameter [15:0] INIT = 0;

    wire [7:0] by_d = D ? INIT[15:8] : INIT[7:0];
    wire [3:0] by_c = C ? by_d[7:4] : by_d[3:0];
    wire [1:0] by_b = B ? by_c[3:2] : by_c[1:0];
    assign Z = A ? by_b[1] : by_b[0];
endmodule

module PFUMX (input ALUT, BLUT, C0, output Z);
    /* verilator inline_module */
    assign Z = C0 ? ALUT : BLUT;
endmodule

module L6MUX21 (input D0, D1, SD, output Z);
    /* verilator inline_module */
    assign Z = SD ? D1 : D0;
endmodule

// Two bits of a carry chain. Each has a LUT of four inputs whose lowest quarter, of A and B alone, is the carry where
// the LUT does not propagate it.
module CCU2C (input CIN, A0, B0, C0, D0, A1, B1, C1, D1, output S0, S1, COUT);
    /* verilator inline_module */
    parameter [15:0] INIT0 = 0;
    parameter [15:0] INIT1 = 0;
    parameter INJECT1_0 = "YES";
    parameter INJECT1_1 = "YES";

    wire propagate_0, propagate_1, generate_0, generate_1;
    LUT4 #(.INIT(INIT0)) sum_0 (.A(A0), .B(B0), .C(C0), .D(D0), .Z(propagate_0));
    LUT4 #(.INIT(INIT1)) sum_1 (.A(A1), .B(B1), .C(C1), .D(D1), .Z(propagate_1));
    LUT4 #(.INIT(INIT0)) carry_0 (.A(A0), .B(B0), .C(1'b0), .D(1'b0), .Z(generate_0));
    LUT4 #(.INIT(INIT1)) carry_1 (.A(A1), .B(B1), .C(1'b0), .D(1'b0), .Z(generate_1));
    wire carry = propagate_0 ? CIN : generate_0;
    assign S0 = propagate_0 ^ CIN;
    assign S1 = propagate_1 ^ carry;
    assign COUT = propagate_1 ? carry : generate_1;

    initial begin
        if (INJECT1_0 != "NO") $fatal(1, "CCU2C: INJECT1_0 is %0s, not modelled", INJECT1_0);
        if (INJECT1_1 != "NO") $fatal(1, "CCU2C: INJECT1_1 is %0s, not modelled", INJECT1_1);
    end
endmodule

module TRELLIS_FF (input CLK, LSR, CE, DI, M, output reg Q);
    /* verilator inline_module */
    parameter GSR = "ENABLED"; // after configuration alone
    parameter CEMUX = "1";
    parameter CLKMUX = "CLK";
    parameter LSRMUX = "LSR";
    parameter LSRMODE = "LSR";
    parameter SRMODE = "LSR_OVER_CE";
    parameter REGSET = "RESET";

    localparam SET = REGSET == "SET";
    wire clock = CLKMUX == "INV" ? ~CLK : CLK;
    wire reset = LSRMUX == "INV" ? ~LSR : LSR;
    wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "INV" ? ~CE : CE;

    initial Q = SET;
    generate
        if (SRMODE == "ASYNC") begin : asynchronous
            always @(posedge clock or posedge reset)
                if (reset) Q <= SET;
                else if (enable) Q <= DI;
        end else begin : synchronous
            always @(posedge clock)
                if (reset) Q <= SET;
                else if (enable) Q <= DI;
        end
    endgenerate

    initial begin
        if (CEMUX != "1" && CEMUX != "INV" && CEMUX != "CE") $fatal(1, "TRELLIS_FF: CEMUX is %0s, not modelled", CEMUX);
        if (CLKMUX != "INV" && CLKMUX != "CLK") $fatal(1, "TRELLIS_FF: CLKMUX is %0s, not modelled", CLKMUX);
        if (LSRMUX != "INV" && LSRMUX != "LSR") $fatal(1, "TRELLIS_FF: LSRMUX is %0s, not modelled", LSRMUX);
        if (LSRMODE != "LSR") $fatal(1, "TRELLIS_FF: LSRMODE is %0s, not modelled", LSRMODE);
        if (SRMODE != "ASYNC" && SRMODE != "LSR_OVER_CE") $fatal(1, "TRELLIS_FF: SRMODE is %0s, not modelled", SRMODE);
        if (REGSET != "SET" && REGSET != "RESET") $fatal(1, "TRELLIS_FF: REGSET is %0s, not modelled", REGSET);
    end
endmodule

// --- memories -------------------------------------------------------------------------------------------------------

module TRELLIS_DPR16X4 (input [3:0] DI, WAD, RAD, input WRE, WCK, output [3:0] DO);
    /* verilator inline_module */
    parameter WCKMUX = "WCK";
    parameter WREMUX = "WRE";
    parameter [63:0] INITVAL = 0;

    reg [3:0] memory [0:15];
    assign DO = memory[RAD];
    always @(posedge WCK) if (WRE) memory[WAD] <= DI;

    integer i;
    initial begin
        for (i = 0; i < 16; i = i + 1) memory[i] = INITVAL[4 * i +: 4];
        if (WCKMUX != "WCK") $fatal(1, "TRELLIS_DPR16X4: WCKMUX is %0s, not modelled", WCKMUX);
        if (WREMUX != "WRE") $fatal(1, "TRELLIS_DPR16X4: WREMUX is %0s, not modelled", WREMUX);
    end
endmodule

// 512 words of 36 bits: four bytes of nine. A port of 36 bits takes a whole word, of which DOB, or DIB, is the upper
// half; port A then only writes, and port B only reads. A port of 1, 2 or 4 bits leaves the ninth bits alone. Bytes are
// enabled by the lowest bits of the address, where ports are 18 or 36 bits wide.
//
// Bits that are read at one port while the other writes them are unknown. Both ports have the same clock.
module DP16KD (
    input
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
        DIA0,
    input
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CLKA, CEA, OCEA, WEA, RSTA, CSA2, CSA1, CSA0,
    output
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
        DOA0,
    input
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
        DIB0,
    input
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB2, CSB1, CSB0,
    output
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
        DOB0
);
    /* verilator inline_module */
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG";
    parameter REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC";  // of resets, which stay low
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000";
    parameter CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL";
    parameter WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA";
    parameter CLKBMUX = "CLKB";
    parameter GSR = "ENABLED";
    parameter INIT_DATA = "STATIC";
    parameter [319:0] INITVAL_00 = 0;
    parameter [319:0] INITVAL_01 = 0;
    parameter [319:0] INITVAL_02 = 0;
    parameter [319:0] INITVAL_03 = 0;
    parameter [319:0] INITVAL_04 = 0;
    parameter [319:0] INITVAL_05 = 0;
    parameter [319:0] INITVAL_06 = 0;
    parameter [319:0] INITVAL_07 = 0;
    parameter [319:0] INITVAL_08 = 0;
    parameter [319:0] INITVAL_09 = 0;
    parameter [319:0] INITVAL_0A = 0;
    parameter [319:0] INITVAL_0B = 0;
    parameter [319:0] INITVAL_0C = 0;
    parameter [319:0] INITVAL_0D = 0;
    parameter [319:0] INITVAL_0E = 0;
    parameter [319:0] INITVAL_0F = 0;
    parameter [319:0] INITVAL_10 = 0;
    parameter [319:0] INITVAL_11 = 0;
    parameter [319:0] INITVAL_12 = 0;
    parameter [319:0] INITVAL_13 = 0;
    parameter [319:0] INITVAL_14 = 0;
    parameter [319:0] INITVAL_15 = 0;
    parameter [319:0] INITVAL_16 = 0;
    parameter [319:0] INITVAL_17 = 0;
    parameter [319:0] INITVAL_18 = 0;
    parameter [319:0] INITVAL_19 = 0;
    parameter [319:0] INITVAL_1A = 0;
    parameter [319:0] INITVAL_1B = 0;
    parameter [319:0] INITVAL_1C = 0;
    parameter [319:0] INITVAL_1D = 0;
    parameter [319:0] INITVAL_1E = 0;
    parameter [319:0] INITVAL_1F = 0;
    parameter [319:0] INITVAL_20 = 0;
    parameter [319:0] INITVAL_21 = 0;
    parameter [319:0] INITVAL_22 = 0;
    parameter [319:0] INITVAL_23 = 0;
    parameter [319:0] INITVAL_24 = 0;
    parameter [319:0] INITVAL_25 = 0;
    parameter [319:0] INITVAL_26 = 0;
    parameter [319:0] INITVAL_27 = 0;
    parameter [319:0] INITVAL_28 = 0;
    parameter [319:0] INITVAL_29 = 0;
    parameter [319:0] INITVAL_2A = 0;
    parameter [319:0] INITVAL_2B = 0;
    parameter [319:0] INITVAL_2C = 0;
    parameter [319:0] INITVAL_2D = 0;
    parameter [319:0] INITVAL_2E = 0;
    parameter [319:0] INITVAL_2F = 0;
    parameter [319:0] INITVAL_30 = 0;
    parameter [319:0] INITVAL_31 = 0;
    parameter [319:0] INITVAL_32 = 0;
    parameter [319:0] INITVAL_33 = 0;
    parameter [319:0] INITVAL_34 = 0;
    parameter [319:0] INITVAL_35 = 0;
    parameter [319:0] INITVAL_36 = 0;
    parameter [319:0] INITVAL_37 = 0;
    parameter [319:0] INITVAL_38 = 0;
    parameter [319:0] INITVAL_39 = 0;
    parameter [319:0] INITVAL_3A = 0;
    parameter [319:0] INITVAL_3B = 0;
    parameter [319:0] INITVAL_3C = 0;
    parameter [319:0] INITVAL_3D = 0;
    parameter [319:0] INITVAL_3E = 0;
    parameter [319:0] INITVAL_3F = 0;

    wire [13:0] address_a = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [13:0] address_b = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0
    };
    wire [35:0] written_a, written_b;
    assign written_a[17:0] = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
        DIA0
    };
    assign written_b[17:0] = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
        DIB0
    };
    assign written_a[35:18] = DATA_WIDTH_A == 36 ? written_b[17:0] : 18'd0;
    assign written_b[35:18] = 18'd0;

    // Of a port's bits in a word: how many there are below them, and which they are.
    function automatic [5:0] below(input integer width, input [4:0] address);
        below = width == 36 ? 6'd0 : (address[4] ? 6'd18 : 6'd0) + (width < 18 && address[3] ? 6'd9 : 6'd0) +
            (width == 4 ? {3'd0, address[2], 2'd0} : width == 2 ? {3'd0, address[2:1], 1'd0} :
             width == 1 ? {3'd0, address[2:0]} : 6'd0);
    endfunction
    function automatic [35:0] mask(input integer width, input [4:0] address);
        case (width)
            36: mask = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
            18: mask = {18'd0, {9{address[1]}}, {9{address[0]}}} << below(width, address);
            default: mask = ((36'd1 << width) - 36'd1) << below(width, address);
        endcase
    endfunction

    wire [35:0] mask_a = mask(DATA_WIDTH_A, address_a[4:0]);
    wire [35:0] mask_b = mask(DATA_WIDTH_B, address_b[4:0]);
    wire on_a = CEA & ~(CSA2 | CSA1 | CSA0);
    wire on_b = CEB & ~(CSB2 | CSB1 | CSB0);
    wire write_a = on_a & WEA;
    wire write_b = on_b & WEB;
    wire same = address_a[13:5] == address_b[13:5];

    reg [35:0] memory [0:511];
    reg [35:0] old_a, old_b;
    reg [35:0] read_a = 0, read_b = 0;
    wire clock = CLKA | CLKB;  // one of them does nothing where its port is not used
    always @(posedge clock) begin
        old_a = memory[address_a[13:5]];
        old_b = memory[address_b[13:5]];
        if (write_a)
            memory[address_a[13:5]] =
                (old_a & ~mask_a) | (written_a << below(DATA_WIDTH_A, address_a[4:0]) & mask_a);
        if (write_b)
            memory[address_b[13:5]] = (memory[address_b[13:5]] & ~mask_b) |
                (written_b << below(DATA_WIDTH_B, address_b[4:0]) & mask_b);
        if (write_b & same) old_a = (old_a & ~mask_b) | (36'bx & mask_b);
        if (write_a & same) old_b = (old_b & ~mask_a) | (36'bx & mask_a);
        if (on_a & (~WEA | WRITEMODE_A == "READBEFOREWRITE")) read_a <= old_a >> below(DATA_WIDTH_A, address_a[4:0]);
        if (on_b & (~WEB | WRITEMODE_B == "READBEFOREWRITE")) read_b <= old_b >> below(DATA_WIDTH_B, address_b[4:0]);
        if (write_a & WRITEMODE_A == "WRITETHROUGH")
            read_a <= memory[address_a[13:5]] >> below(DATA_WIDTH_A, address_a[4:0]);
        if (write_b & WRITEMODE_B == "WRITETHROUGH")
            read_b <= memory[address_b[13:5]] >> below(DATA_WIDTH_B, address_b[4:0]);

        if (on_a !== 1'b0 && CLKA !== 1'b1 || on_b !== 1'b0 && CLKB !== 1'b1)
            $fatal(1, "DP16KD: ports of different clocks, not modelled");
        if (RSTA === 1'b1 || RSTB === 1'b1) $fatal(1, "DP16KD: RSTA or RSTB is high, reset is not modelled");
        if (write_a & write_b & same && (mask_a & mask_b) != 0) $fatal(1, "DP16KD: both ports write the same bits");
        if ((DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36) && write_b) $fatal(1, "DP16KD: port B writes, not modelled");
        if (DATA_WIDTH_B == 36 && (REGMODE_A != REGMODE_B || REGMODE_B == "OUTREG" && (OCEA !== OCEB || !on_a || !on_b)))
            $fatal(1, "DP16KD: halves of 36 bits with registers of their own, not modelled");
    end

    wire [35:0] result_a, result_b;
    generate
        if (REGMODE_A == "OUTREG") begin : behind_a
            reg [35:0] register = 0;
            always @(posedge clock) if (OCEA) register <= read_a;
            assign result_a = register;
        end else assign result_a = read_a;
        if (REGMODE_B == "OUTREG") begin : behind_b
            reg [35:0] register = 0;
            always @(posedge clock) if (OCEB) register <= read_b;
            assign result_b = register;
        end else assign result_b = read_b;
    endgenerate
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
        DOA0
    } = DATA_WIDTH_B == 36 ? result_b[17:0] : result_a[17:0];
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
        DOB0
    } = DATA_WIDTH_B == 36 ? result_b[35:18] : result_b[17:0];

    // 16 halves of words, 20 bits apart.
    task fill(input [8:0] first, input [319:0] values);
        integer i;
        for (i = 0; i < 8; i = i + 1)
            memory[first + i[8:0]] = {values[40 * i + 20 +: 18], values[40 * i +: 18]};
    endtask
    initial begin
        fill(9'h000, INITVAL_00);
        fill(9'h008, INITVAL_01);
        fill(9'h010, INITVAL_02);
        fill(9'h018, INITVAL_03);
        fill(9'h020, INITVAL_04);
        fill(9'h028, INITVAL_05);
        fill(9'h030, INITVAL_06);
        fill(9'h038, INITVAL_07);
        fill(9'h040, INITVAL_08);
        fill(9'h048, INITVAL_09);
        fill(9'h050, INITVAL_0A);
        fill(9'h058, INITVAL_0B);
        fill(9'h060, INITVAL_0C);
        fill(9'h068, INITVAL_0D);
        fill(9'h070, INITVAL_0E);
        fill(9'h078, INITVAL_0F);
        fill(9'h080, INITVAL_10);
        fill(9'h088, INITVAL_11);
        fill(9'h090, INITVAL_12);
        fill(9'h098, INITVAL_13);
        fill(9'h0A0, INITVAL_14);
        fill(9'h0A8, INITVAL_15);
        fill(9'h0B0, INITVAL_16);
        fill(9'h0B8, INITVAL_17);
        fill(9'h0C0, INITVAL_18);
        fill(9'h0C8, INITVAL_19);
        fill(9'h0D0, INITVAL_1A);
        fill(9'h0D8, INITVAL_1B);
        fill(9'h0E0, INITVAL_1C);
        fill(9'h0E8, INITVAL_1D);
        fill(9'h0F0, INITVAL_1E);
        fill(9'h0F8, INITVAL_1F);
        fill(9'h100, INITVAL_20);
        fill(9'h108, INITVAL_21);
        fill(9'h110, INITVAL_22);
        fill(9'h118, INITVAL_23);
        fill(9'h120, INITVAL_24);
        fill(9'h128, INITVAL_25);
        fill(9'h130, INITVAL_26);
        fill(9'h138, INITVAL_27);
        fill(9'h140, INITVAL_28);
        fill(9'h148, INITVAL_29);
        fill(9'h150, INITVAL_2A);
        fill(9'h158, INITVAL_2B);
        fill(9'h160, INITVAL_2C);
        fill(9'h168, INITVAL_2D);
        fill(9'h170, INITVAL_2E);
        fill(9'h178, INITVAL_2F);
        fill(9'h180, INITVAL_30);
        fill(9'h188, INITVAL_31);
        fill(9'h190, INITVAL_32);
        fill(9'h198, INITVAL_33);
        fill(9'h1A0, INITVAL_34);
        fill(9'h1A8, INITVAL_35);
        fill(9'h1B0, INITVAL_36);
        fill(9'h1B8, INITVAL_37);
        fill(9'h1C0, INITVAL_38);
        fill(9'h1C8, INITVAL_39);
        fill(9'h1D0, INITVAL_3A);
        fill(9'h1D8, INITVAL_3B);
        fill(9'h1E0, INITVAL_3C);
        fill(9'h1E8, INITVAL_3D);
        fill(9'h1F0, INITVAL_3E);
        fill(9'h1F8, INITVAL_3F);
        if (DATA_WIDTH_A != 1 && DATA_WIDTH_A != 2 && DATA_WIDTH_A != 4 && DATA_WIDTH_A != 9 &&
            DATA_WIDTH_A != 18 && DATA_WIDTH_A != 36)
            $fatal(1, "DP16KD: DATA_WIDTH_A is %0d, not modelled", DATA_WIDTH_A);
        if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG")
            $fatal(1, "DP16KD: REGMODE_A is %0s, not modelled", REGMODE_A);
        if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "WRITETHROUGH" && WRITEMODE_A != "READBEFOREWRITE")
            $fatal(1, "DP16KD: WRITEMODE_A is %0s, not modelled", WRITEMODE_A);
        if (CSDECODE_A != "0b000") $fatal(1, "DP16KD: CSDECODE_A is %0s, not modelled", CSDECODE_A);
        if (CLKAMUX != "CLKA") $fatal(1, "DP16KD: CLKAMUX is %0s, not modelled", CLKAMUX);
        if (DATA_WIDTH_B != 1 && DATA_WIDTH_B != 2 && DATA_WIDTH_B != 4 && DATA_WIDTH_B != 9 &&
            DATA_WIDTH_B != 18 && DATA_WIDTH_B != 36)
            $fatal(1, "DP16KD: DATA_WIDTH_B is %0d, not modelled", DATA_WIDTH_B);
        if (REGMODE_B != "NOREG" && REGMODE_B != "OUTREG")
            $fatal(1, "DP16KD: REGMODE_B is %0s, not modelled", REGMODE_B);
        if (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "WRITETHROUGH" && WRITEMODE_B != "READBEFOREWRITE")
            $fatal(1, "DP16KD: WRITEMODE_B is %0s, not modelled", WRITEMODE_B);
        if (CSDECODE_B != "0b000") $fatal(1, "DP16KD: CSDECODE_B is %0s, not modelled", CSDECODE_B);
        if (CLKBMUX != "CLKB") $fatal(1, "DP16KD: CLKBMUX is %0s, not modelled", CLKBMUX);
        if (INIT_DATA != "STATIC") $fatal(1, "DP16KD: INIT_DATA is %0s, not modelled", INIT_DATA);
    end
endmodule

// --- DSP slice ------------------------------------------------------------------------------------------------------

// A product of 18 bits times 18. Registers of CLK0 and CE0 for the operands, for the product behind the multiplier's
// array, and for the result; where the operands have registers, they are signed. ROA and ROB are A and B as they enter
// the array, for an ALU54B, that finds them without a use for them here.
module MULT18X18D (
    input
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input
        C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output
        ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1,
        ROA0,
    output
        ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1,
        ROB0,
    output
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14,
        P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
    output SIGNEDP
);
    /* verilator inline_module */
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_INPUTC_CE = "CE0";
    parameter REG_INPUTC_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_PIPELINE_CE = "CE0";
    parameter REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED";
    parameter CLK1_DIV = "ENABLED";
    parameter CLK2_DIV = "ENABLED";
    parameter CLK3_DIV = "ENABLED";
    parameter HIGHSPEED_CLK = "NONE";
    parameter GSR = "ENABLED";
    parameter CAS_MATCH_REG = "FALSE";
    parameter SOURCEB_MODE = "B_SHIFT";
    parameter MULT_BYPASS = "DISABLED";
    parameter RESETMODE = "SYNC";

    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0
    };
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0
    };
    wire [17:0] array_a, array_b;
    wire [35:0] pipeline, result;
    generate
        if (REG_INPUTA_CLK == "CLK0") begin : input_a
            reg [17:0] register;
            always @(posedge CLK0) if (CE0) register <= a;
            assign array_a = register;
        end else assign array_a = a;
        if (REG_INPUTB_CLK == "CLK0") begin : input_b
            reg [17:0] register;
            always @(posedge CLK0) if (CE0) register <= b;
            assign array_b = register;
        end else assign array_b = b;
    endgenerate

    wire signed [18:0] extended_a = {SIGNEDA & array_a[17], array_a};
    wire signed [18:0] extended_b = {SIGNEDB & array_b[17], array_b};
    wire signed [37:0] product = extended_a * extended_b;
    generate
        if (REG_PIPELINE_CLK == "CLK0") begin : between
            reg [35:0] register;
            always @(posedge CLK0) if (CE0) register <= product[35:0];
            assign pipeline = register;
        end else assign pipeline = product[35:0];
        if (REG_OUTPUT_CLK == "CLK0") begin : behind
            reg [35:0] register;
            always @(posedge CLK0) if (CE0) register <= pipeline;
            assign result = register;
        end else assign result = pipeline;
    endgenerate
    assign {
        ROA17, ROA16, ROA15, ROA14, ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1,
        ROA0
    } = array_a;
    assign {
        ROB17, ROB16, ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1,
        ROB0
    } = array_b;
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14,
        P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = result;
    assign SIGNEDP = SIGNEDA | SIGNEDB;

    localparam CLOCKED = REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_PIPELINE_CLK != "NONE" ||
        REG_OUTPUT_CLK != "NONE";
    generate
        if (CLOCKED) begin : modes
            always @(posedge CLK0) begin
                if (SIGNEDA !== SIGNEDB) $fatal(1, "MULT18X18D: one operand unsigned in registers, not modelled");
                if (RST0 !== 1'b0) $fatal(1, "MULT18X18D: RST0 is not low, reset is not modelled");
                if (SOURCEA !== 1'b0 || SOURCEB !== 1'b0)
            $fatal(1, "MULT18X18D: operands of a neighbour, not modelled");
            end
        end else begin : sources
            always @* if (SOURCEA === 1'b1 || SOURCEB === 1'b1)
                $fatal(1, "MULT18X18D: operands of a neighbour, not modelled");
        end
    endgenerate
    initial begin
        if (REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0")
            $fatal(1, "MULT18X18D: REG_INPUTA_CLK is %0s, not modelled", REG_INPUTA_CLK);
        if (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0")
            $fatal(1, "MULT18X18D: REG_INPUTB_CLK is %0s, not modelled", REG_INPUTB_CLK);
        if (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0")
            $fatal(1, "MULT18X18D: REG_PIPELINE_CLK is %0s, not modelled", REG_PIPELINE_CLK);
        if (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0")
            $fatal(1, "MULT18X18D: REG_OUTPUT_CLK is %0s, not modelled", REG_OUTPUT_CLK);
        if (REG_INPUTC_CLK != "NONE") $fatal(1, "MULT18X18D: REG_INPUTC_CLK is %0s, not modelled", REG_INPUTC_CLK);
        if (REG_INPUTA_CE != "CE0") $fatal(1, "MULT18X18D: REG_INPUTA_CE is %0s, not modelled", REG_INPUTA_CE);
        if (REG_INPUTA_RST != "RST0") $fatal(1, "MULT18X18D: REG_INPUTA_RST is %0s, not modelled", REG_INPUTA_RST);
        if (REG_INPUTB_CE != "CE0") $fatal(1, "MULT18X18D: REG_INPUTB_CE is %0s, not modelled", REG_INPUTB_CE);
        if (REG_INPUTB_RST != "RST0") $fatal(1, "MULT18X18D: REG_INPUTB_RST is %0s, not modelled", REG_INPUTB_RST);
        if (REG_PIPELINE_CE != "CE0") $fatal(1, "MULT18X18D: REG_PIPELINE_CE is %0s, not modelled", REG_PIPELINE_CE);
        if (REG_PIPELINE_RST != "RST0")
            $fatal(1, "MULT18X18D: REG_PIPELINE_RST is %0s, not modelled", REG_PIPELINE_RST);
        if (REG_OUTPUT_CE != "CE0") $fatal(1, "MULT18X18D: REG_OUTPUT_CE is %0s, not modelled", REG_OUTPUT_CE);
        if (REG_OUTPUT_RST != "RST0") $fatal(1, "MULT18X18D: REG_OUTPUT_RST is %0s, not modelled", REG_OUTPUT_RST);
        if (CLK0_DIV != "ENABLED") $fatal(1, "MULT18X18D: CLK0_DIV is %0s, not modelled", CLK0_DIV);
        if (CLK1_DIV != "ENABLED") $fatal(1, "MULT18X18D: CLK1_DIV is %0s, not modelled", CLK1_DIV);
        if (CLK2_DIV != "ENABLED") $fatal(1, "MULT18X18D: CLK2_DIV is %0s, not modelled", CLK2_DIV);
        if (CLK3_DIV != "ENABLED") $fatal(1, "MULT18X18D: CLK3_DIV is %0s, not modelled", CLK3_DIV);
        if (HIGHSPEED_CLK != "NONE") $fatal(1, "MULT18X18D: HIGHSPEED_CLK is %0s, not modelled", HIGHSPEED_CLK);
        if (CAS_MATCH_REG != "FALSE") $fatal(1, "MULT18X18D: CAS_MATCH_REG is %0s, not modelled", CAS_MATCH_REG);
        if (SOURCEB_MODE != "B_SHIFT") $fatal(1, "MULT18X18D: SOURCEB_MODE is %0s, not modelled", SOURCEB_MODE);
        if (MULT_BYPASS != "DISABLED") $fatal(1, "MULT18X18D: MULT_BYPASS is %0s, not modelled", MULT_BYPASS);
        if (RESETMODE != "SYNC") $fatal(1, "MULT18X18D: RESETMODE is %0s, not modelled", RESETMODE);
    end
endmodule

// R = MA + MB + C, where C is nothing or the last R: the one operation that is modelled. The opcode, with registers of
// CLK0 and CE0 in step with those of the multipliers' operands (_0) and products (_1), is
//
//     10 .. 7   0100   A + B + C
//      6 .. 4   000    C is 0
//               101    C is R
//      3 .. 2   01     B is MB, sign-extended
//      1 .. 0   01     A is MA, sign-extended
module ALU54B (
    input
        A35, A34, A33, A32, A31, A30, A29, A28, A27, A26, A25, A24, A23, A22, A21, A20, A19, A18, A17, A16, A15, A14,
        A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input
        B35, B34, B33, B32, B31, B30, B29, B28, B27, B26, B25, B24, B23, B22, B21, B20, B19, B18, B17, B16, B15, B14,
        B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input
        MA35, MA34, MA33, MA32, MA31, MA30, MA29, MA28, MA27, MA26, MA25, MA24, MA23, MA22, MA21, MA20, MA19, MA18,
        MA17, MA16, MA15, MA14, MA13, MA12, MA11, MA10, MA9, MA8, MA7, MA6, MA5, MA4, MA3, MA2, MA1, MA0,
    input
        MB35, MB34, MB33, MB32, MB31, MB30, MB29, MB28, MB27, MB26, MB25, MB24, MB23, MB22, MB21, MB20, MB19, MB18,
        MB17, MB16, MB15, MB14, MB13, MB12, MB11, MB10, MB9, MB8, MB7, MB6, MB5, MB4, MB3, MB2, MB1, MB0,
    input
        OP10, OP9, OP8, OP7, OP6, OP5, OP4, OP3, OP2, OP1, OP0,
    input SIGNEDIA, SIGNEDIB, CLK0, CE0, RST0,
    output
        R53, R52, R51, R50, R49, R48, R47, R46, R45, R44, R43, R42, R41, R40, R39, R38, R37, R36, R35, R34, R33, R32,
        R31, R30, R29, R28, R27, R26, R25, R24, R23, R22, R21, R20, R19, R18, R17, R16, R15, R14, R13, R12, R11, R10,
        R9, R8, R7, R6, R5, R4, R3, R2, R1, R0
);
    /* verilator inline_module */
    parameter REG_INPUTC0_CLK = "NONE";
    parameter REG_INPUTC0_CE = "CE0";
    parameter REG_INPUTC0_RST = "RST0";
    parameter REG_INPUTC1_CLK = "NONE";
    parameter REG_INPUTC1_CE = "CE0";
    parameter REG_INPUTC1_RST = "RST0";
    parameter REG_OPCODEOP0_0_CLK = "NONE";
    parameter REG_OPCODEOP0_0_CE = "CE0";
    parameter REG_OPCODEOP0_0_RST = "RST0";
    parameter REG_OPCODEOP1_0_CLK = "NONE";
    parameter REG_OPCODEIN_0_CLK = "NONE";
    parameter REG_OPCODEIN_0_CE = "CE0";
    parameter REG_OPCODEIN_0_RST = "RST0";
    parameter REG_OPCODEOP0_1_CLK = "NONE";
    parameter REG_OPCODEOP0_1_CE = "CE0";
    parameter REG_OPCODEOP0_1_RST = "RST0";
    parameter REG_OPCODEOP1_1_CLK = "NONE";
    parameter REG_OPCODEIN_1_CLK = "NONE";
    parameter REG_OPCODEIN_1_CE = "CE0";
    parameter REG_OPCODEIN_1_RST = "RST0";
    parameter REG_OUTPUT0_CLK = "NONE";
    parameter REG_OUTPUT0_CE = "CE0";
    parameter REG_OUTPUT0_RST = "RST0";
    parameter REG_OUTPUT1_CLK = "NONE";
    parameter REG_OUTPUT1_CE = "CE0";
    parameter REG_OUTPUT1_RST = "RST0";
    parameter REG_FLAG_CLK = "NONE";
    parameter REG_FLAG_CE = "CE0";
    parameter REG_FLAG_RST = "RST0";
    parameter REG_INPUTCFB_CLK = "NONE";
    parameter REG_INPUTCFB_CE = "CE0";
    parameter REG_INPUTCFB_RST = "RST0";
    parameter CLK0_DIV = "ENABLED";
    parameter CLK1_DIV = "ENABLED";
    parameter CLK2_DIV = "ENABLED";
    parameter CLK3_DIV = "ENABLED";
    parameter MULT9_MODE = "DISABLED";
    parameter FORCE_ZERO_BARREL_SHIFT = "DISABLED";
    parameter LEGACY = "DISABLED";
    parameter RESETMODE = "SYNC";
    parameter GSR = "ENABLED";

    wire [35:0] ma = {
        MA35, MA34, MA33, MA32, MA31, MA30, MA29, MA28, MA27, MA26, MA25, MA24, MA23, MA22, MA21, MA20, MA19, MA18,
        MA17, MA16, MA15, MA14, MA13, MA12, MA11, MA10, MA9, MA8, MA7, MA6, MA5, MA4, MA3, MA2, MA1, MA0
    };
    wire [35:0] mb = {
        MB35, MB34, MB33, MB32, MB31, MB30, MB29, MB28, MB27, MB26, MB25, MB24, MB23, MB22, MB21, MB20, MB19, MB18,
        MB17, MB16, MB15, MB14, MB13, MB12, MB11, MB10, MB9, MB8, MB7, MB6, MB5, MB4, MB3, MB2, MB1, MB0
    };
    wire [10:0] opcode = {
        OP10, OP9, OP8, OP7, OP6, OP5, OP4, OP3, OP2, OP1, OP0
    };

    // Of the opcode only the choice of C varies.
    wire keep;
    generate
        if (REG_OPCODEIN_0_CLK == "CLK0" && REG_OPCODEIN_1_CLK == "CLK0") begin : two
            reg first, second;
            always @(posedge CLK0) if (CE0) {second, first} <= {first, opcode[6]};
            assign keep = second;
        end else if (REG_OPCODEIN_0_CLK == "CLK0" || REG_OPCODEIN_1_CLK == "CLK0") begin : one
            reg register;
            always @(posedge CLK0) if (CE0) register <= opcode[6];
            assign keep = register;
        end else assign keep = opcode[6];
    endgenerate

    reg [53:0] result;
    always @(posedge CLK0)
        if (CE0) result <= {{18{ma[35]}}, ma} + {{18{mb[35]}}, mb} + (keep ? result : 54'd0);
    assign {
        R53, R52, R51, R50, R49, R48, R47, R46, R45, R44, R43, R42, R41, R40, R39, R38, R37, R36, R35, R34, R33, R32,
        R31, R30, R29, R28, R27, R26, R25, R24, R23, R22, R21, R20, R19, R18, R17, R16, R15, R14, R13, R12, R11, R10,
        R9, R8, R7, R6, R5, R4, R3, R2, R1, R0
    } = result;

    always @(posedge CLK0) begin
        if ({opcode[10:7], opcode[5], opcode[3:0]} !== 9'b0100_0_01_01 || opcode[6] !== opcode[4])
            $fatal(1, "ALU54B: opcode %b is not modelled", opcode);
        if (SIGNEDIA !== 1'b1 || SIGNEDIB !== 1'b1) $fatal(1, "ALU54B: unsigned products are not modelled");
        if (RST0 !== 1'b0) $fatal(1, "ALU54B: RST0 is not low, reset is not modelled");
    end
    initial begin
        if (REG_INPUTC0_CLK != "NONE") $fatal(1, "ALU54B: REG_INPUTC0_CLK is %0s, not modelled", REG_INPUTC0_CLK);
        if (REG_INPUTC1_CLK != "NONE") $fatal(1, "ALU54B: REG_INPUTC1_CLK is %0s, not modelled", REG_INPUTC1_CLK);
        if (REG_OPCODEOP0_0_CLK != REG_OPCODEIN_0_CLK)
            $fatal(1, "ALU54B: REG_OPCODEOP0_0_CLK is %0s, unlike REG_OPCODEIN_0_CLK", REG_OPCODEOP0_0_CLK);
        if (REG_OPCODEOP0_0_CE != "CE0")
            $fatal(1, "ALU54B: REG_OPCODEOP0_0_CE is %0s, not modelled", REG_OPCODEOP0_0_CE);
        if (REG_OPCODEOP0_0_RST != "RST0")
            $fatal(1, "ALU54B: REG_OPCODEOP0_0_RST is %0s, not modelled", REG_OPCODEOP0_0_RST);
        if (REG_OPCODEOP1_0_CLK != REG_OPCODEIN_0_CLK)
            $fatal(1, "ALU54B: REG_OPCODEOP1_0_CLK is %0s, unlike REG_OPCODEIN_0_CLK", REG_OPCODEOP1_0_CLK);
        if (REG_OPCODEIN_0_CLK != "NONE" && REG_OPCODEIN_0_CLK != "CLK0")
            $fatal(1, "ALU54B: REG_OPCODEIN_0_CLK is %0s, not modelled", REG_OPCODEIN_0_CLK);
        if (REG_OPCODEIN_0_CE != "CE0") $fatal(1, "ALU54B: REG_OPCODEIN_0_CE is %0s, not modelled", REG_OPCODEIN_0_CE);
        if (REG_OPCODEIN_0_RST != "RST0")
            $fatal(1, "ALU54B: REG_OPCODEIN_0_RST is %0s, not modelled", REG_OPCODEIN_0_RST);
        if (REG_OPCODEOP0_1_CLK != REG_OPCODEIN_1_CLK)
            $fatal(1, "ALU54B: REG_OPCODEOP0_1_CLK is %0s, unlike REG_OPCODEIN_1_CLK", REG_OPCODEOP0_1_CLK);
        if (REG_OPCODEOP0_1_CE != "CE0")
            $fatal(1, "ALU54B: REG_OPCODEOP0_1_CE is %0s, not modelled", REG_OPCODEOP0_1_CE);
        if (REG_OPCODEOP0_1_RST != "RST0")
            $fatal(1, "ALU54B: REG_OPCODEOP0_1_RST is %0s, not modelled", REG_OPCODEOP0_1_RST);
        if (REG_OPCODEOP1_1_CLK != REG_OPCODEIN_1_CLK)
            $fatal(1, "ALU54B: REG_OPCODEOP1_1_CLK is %0s, unlike REG_OPCODEIN_1_CLK", REG_OPCODEOP1_1_CLK);
        if (REG_OPCODEIN_1_CLK != "NONE" && REG_OPCODEIN_1_CLK != "CLK0")
            $fatal(1, "ALU54B: REG_OPCODEIN_1_CLK is %0s, not modelled", REG_OPCODEIN_1_CLK);
        if (REG_OPCODEIN_1_CE != "CE0") $fatal(1, "ALU54B: REG_OPCODEIN_1_CE is %0s, not modelled", REG_OPCODEIN_1_CE);
        if (REG_OPCODEIN_1_RST != "RST0")
            $fatal(1, "ALU54B: REG_OPCODEIN_1_RST is %0s, not modelled", REG_OPCODEIN_1_RST);
        if (REG_OUTPUT0_CLK != "CLK0") $fatal(1, "ALU54B: REG_OUTPUT0_CLK is %0s, not modelled", REG_OUTPUT0_CLK);
        if (REG_OUTPUT0_CE != "CE0") $fatal(1, "ALU54B: REG_OUTPUT0_CE is %0s, not modelled", REG_OUTPUT0_CE);
        if (REG_OUTPUT0_RST != "RST0") $fatal(1, "ALU54B: REG_OUTPUT0_RST is %0s, not modelled", REG_OUTPUT0_RST);
        if (REG_OUTPUT1_CLK != "CLK0") $fatal(1, "ALU54B: REG_OUTPUT1_CLK is %0s, not modelled", REG_OUTPUT1_CLK);
        if (REG_OUTPUT1_CE != "CE0") $fatal(1, "ALU54B: REG_OUTPUT1_CE is %0s, not modelled", REG_OUTPUT1_CE);
        if (REG_OUTPUT1_RST != "RST0") $fatal(1, "ALU54B: REG_OUTPUT1_RST is %0s, not modelled", REG_OUTPUT1_RST);
        if (REG_FLAG_CLK != "NONE") $fatal(1, "ALU54B: REG_FLAG_CLK is %0s, not modelled", REG_FLAG_CLK);
        if (REG_INPUTCFB_CLK != "NONE") $fatal(1, "ALU54B: REG_INPUTCFB_CLK is %0s, not modelled", REG_INPUTCFB_CLK);
        if (CLK0_DIV != "ENABLED") $fatal(1, "ALU54B: CLK0_DIV is %0s, not modelled", CLK0_DIV);
        if (CLK1_DIV != "ENABLED") $fatal(1, "ALU54B: CLK1_DIV is %0s, not modelled", CLK1_DIV);
        if (CLK2_DIV != "ENABLED") $fatal(1, "ALU54B: CLK2_DIV is %0s, not modelled", CLK2_DIV);
        if (CLK3_DIV != "ENABLED") $fatal(1, "ALU54B: CLK3_DIV is %0s, not modelled", CLK3_DIV);
        if (MULT9_MODE != "DISABLED") $fatal(1, "ALU54B: MULT9_MODE is %0s, not modelled", MULT9_MODE);
        if (FORCE_ZERO_BARREL_SHIFT != "DISABLED")
            $fatal(1, "ALU54B: FORCE_ZERO_BARREL_SHIFT is %0s, not modelled", FORCE_ZERO_BARREL_SHIFT);
        if (LEGACY != "DISABLED") $fatal(1, "ALU54B: LEGACY is %0s, not modelled", LEGACY);
        if (RESETMODE != "SYNC") $fatal(1, "ALU54B: RESETMODE is %0s, not modelled", RESETMODE);
    end
endmodule

// verilator lint_on WIDTHEXPAND
