"""The models of primitives: what yosys makes of plain Verilog behaves like it, and what is not modelled says so."""

import re
import subprocess
from pathlib import Path

import pytest

from nmgen.fpga.tools import find_tool, run_tool
from sim.bench.runner import SIMULATORS, SimulationError
from sim.ecp5 import CELLS, models, primitives
from tests.rtl.simulate import seeded
from tests.sim.bench.test_runner import plain, run

# Read and written at random, never the same word at once: what is read then is not said.
MEMORY = """\
module memory (input clk, input [{address}:0] ra, wa, input re, input [{bytes}:0] we, input [{data}:0] wd,
               output reg [{data}:0] rd);
    (* no_rw_check, ram_style = "block" *) reg [{data}:0] words [0:{last}];
    integer i;
    initial begin
        $readmemh("words.hex", words);
        rd = 0;
    end
    always @(posedge clk) begin
        if (re) rd <= words[ra];
        for (i = 0; i <= {bytes}; i = i + 1) if (we[i]) words[wa][{byte} * i +: {byte}] <= wd[{byte} * i +: {byte}];
    end
endmodule
"""
ONE_PORT = """\
module one_port (input clk, input [9:0] ra, wa, input re, input [0:0] we, input [17:0] wd, output reg [17:0] rd);
    (* ram_style = "block" *) reg [17:0] words [0:1023];
    initial begin
        $readmemh("words.hex", words);
        rd = 0;
    end
    always @(posedge clk) begin
        {statement}
    end
endmodule
"""
MODES = {
    "NORMAL": "if (we) words[ra] <= wd; else rd <= words[ra];",
    "WRITETHROUGH": "if (we) words[ra] <= wd; rd <= we ? wd : words[ra];",
    "READBEFOREWRITE": "if (we) words[ra] <= wd; rd <= words[ra];",
}
# Port A writes halves of words, port B reads bytes behind its register; in the end both are at one word.
TWO_PORTS = """\
module bench;
    reg clk = 0;
    reg [13:0] a, b;
    reg [17:0] d;
    wire [17:0] q;
    reg write = 1;
    DP16KD #(.DATA_WIDTH_A(18), .DATA_WIDTH_B(9), .REGMODE_B("OUTREG")) ram (
        .CLKA(clk), .CLKB(clk), .CEA(write), .WEA(1'b1), .CEB(1'b1), .WEB(1'b0), .OCEB(1'b1), .RSTA(1'b0), .RSTB(1'b0),
        .CSA0(1'b0), .CSA1(1'b0), .CSA2(1'b0), .CSB0(1'b0), .CSB1(1'b0), .CSB2(1'b0),
        {ports}
    );
    task tick; begin #1 clk = 1; #1 clk = 0; #1; end endtask
    initial begin
        b = 14'h3FF8;
        a = {{10'd5, 4'b0011}}; d = {{9'h1AB, 9'h0CD}}; tick;
        a = {{10'd5, 4'b0010}}; d = {{9'h055, 9'h0AA}}; tick;
        a = {{10'd6, 4'b0001}}; d = {{9'h077, 9'h011}}; tick;
        write = 0;
        b = {{10'd5, 4'b0000}}; tick;
        b = {{10'd5, 4'b1000}}; tick; $display("%h", q[8:0]);
        b = {{10'd6, 4'b0000}}; tick; $display("%h", q[8:0]);
        b = {{10'd6, 4'b1000}}; tick; $display("%h", q[8:0]);
        write = 1; a = {{10'd7, 4'b0001}}; b = {{10'd7, 4'b0000}}; tick; $display("%h", q[8:0]);
        write = 0; b = {{10'd7, 4'b1000}}; tick; $display("%h", q[8:0]);
        tick; $display("%h", q[8:0]);
        $finish;
    end
endmodule
"""
LOGIC = """\
module logic_ (input clk, input [{address}:0] ra, wa, input re, input [{bytes}:0] we, input [{data}:0] wd,
               output reg [{data}:0] rd);
    reg [15:0] up = 16'hFFF0, down = 5, kept, slow;
    reg [3:0] words [0:15];
    integer i;
    initial for (i = 0; i < 16; i = i + 1) words[i] = 15 - i;
    always @(posedge clk) begin
        up <= we ? 16'hA5C3 : up + wd[7:0];
        if (re) down <= down - wd;
        if (wd[0]) kept <= 0; else if (!re) kept <= ra * 3 - wa;
        if (we) words[wa] <= wd;
    end
    always @(negedge clk or posedge re) if (re) slow <= 16'h00FF; else slow <= slow ^ wd;
    always @* rd = up ^ down ^ {{kept[7:0], words[ra], 4'd0}} ^ (ra < wa ? slow : 16'd0) ^ {{wa[3:0] == ra[3:0], 8'd0}};
endmodule
"""
BENCH = """\
module bench;
    reg clk = 0, re;
    reg [{address}:0] ra, wa;
    reg [{bytes}:0] we;
    reg [{data}:0] wd;
    wire [{data}:0] want, found;
    integer i;
    {name} plain (clk, ra, wa, re, we, wd, want);
    netlist mapped (.clk(clk), .ra(ra), .wa(wa), .re(re), .we(we), .wd(wd), .rd(found));
    initial begin
        for (i = 0; i < 3000; i = i + 1) begin
            {{re, we}} = $random;
            if (i < 3) {{re, we}} = 1 << {bytes} + 1;
            wd = $random;
            ra = $random;
            wa = i % 2 ? $random : ra + 1;
            if (ra == wa) wa = ra + 2;
            #1 clk = 1;
            #1 clk = 0;
            #1 if (found !== want) $fatal(1, "cycle %0d: %h instead of %h", i, found, want);
        end
        $display("done");
        $finish;
    end
endmodule
"""


def same(plain: str, name: str, folder: Path, **sizes: int) -> str:
    """Synthesises a module and drives it beside itself; returns the netlist."""
    (folder / "plain.v").write_text(plain.format(**sizes))
    (folder / "bench.v").write_text(BENCH.format(name=name, **sizes))
    script = f"read_verilog plain.v; synth_ecp5 -noabc9 -top {name}; rename {name} netlist; write_verilog netlist.v"
    run_tool([find_tool("yosys"), "-q", "-p", script], folder, "synthesis")
    said = icarus(folder, "plain.v", "netlist.v", "bench.v")
    assert "done" in said, said
    return (folder / "netlist.v").read_text()


def icarus(folder: Path, *files: str) -> str:
    """What a bench says, or the simulator of it."""
    command = ["iverilog", "-g2012", "-s", "bench", "-o", "bench.vvp", *files, str(CELLS)]
    subprocess.run(command, cwd=folder, check=True, timeout=300)
    done = subprocess.run(["vvp", "-n", "bench.vvp"], cwd=folder, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "bits", "byte", "width"),
    [
        (16384, 1, 1, 1),
        (8192, 2, 2, 2),
        (4096, 4, 4, 4),
        (2048, 9, 9, 9),
        (1024, 18, 9, 18),
        (512, 36, 9, 36),
        (512, 32, 8, 36),
    ],
)
def test_block_ram_of_each_width(words: int, bits: int, byte: int, width: int, tmp_path: Path) -> None:
    rng = seeded(words)
    (tmp_path / "words.hex").write_text("".join(f"{rng.getrandbits(bits):x}\n" for _ in range(words)))
    sizes = {"address": (words - 1).bit_length() - 1, "bytes": bits // byte - 1, "data": bits - 1, "byte": byte}
    netlist = same(MEMORY, "memory", tmp_path, last=words - 1, **sizes)
    found = re.findall(r"\.DATA_WIDTH_[AB]\(32'(?:sd|d|h)(\w+)\)", netlist)
    assert netlist.count("DP16KD #(") == 1
    assert {int(number, 16 if "32'h" in netlist else 10) for number in found} == {width}, found


@pytest.mark.parametrize("mode", MODES)
def test_what_a_port_reads_as_it_writes(mode: str, tmp_path: Path) -> None:
    rng = seeded(mode)
    (tmp_path / "words.hex").write_text("".join(f"{rng.getrandbits(18):x}\n" for _ in range(1024)))
    netlist = same(ONE_PORT.replace("{statement}", MODES[mode]), "one_port", tmp_path, address=9, bytes=0, data=17)
    assert f'.WRITEMODE_A("{mode}")' in netlist


def test_ports_of_two_widths_and_a_register(tmp_path: Path) -> None:
    """A word that both are at is unknown where it is written."""
    ports = [
        f".{port}{i}({wire}[{i}])" for port, wire, bits in (("ADA", "a", 14), ("ADB", "b", 14)) for i in range(bits)
    ]
    ports += [f".DIA{i}(d[{i}]), .DOB{i}(q[{i}])" for i in range(18)]
    (tmp_path / "bench.v").write_text(TWO_PORTS.format(ports=", ".join(ports)))
    said = icarus(tmp_path, "bench.v").split()[:6]
    assert said == ["0cd", "055", "011", "000", "xxx", "000"]


def test_logic_carries_registers_and_lut_ram(tmp_path: Path) -> None:
    netlist = same(LOGIC, "logic_", tmp_path, address=3, bytes=0, data=15)
    used = set(re.findall(r"^  ([A-Z]\w+) ", netlist, re.MULTILINE))
    assert {"LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "PFUMX"} <= used <= primitives()
    assert {"SET", "RESET"} == set(re.findall(r'\.REGSET\("(\w+)"\)', netlist))
    assert {"ASYNC", "LSR_OVER_CE"} == set(re.findall(r'\.SRMODE\("(\w+)"\)', netlist))
    assert {"CLK", "INV"} == set(re.findall(r'\.CLKMUX\("(\w+)"\)', netlist))


MULTIPLIER = (
    "MULT18X18D #({0}) cell_ (.A0(clk), .B0(clk), .SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0),"
    " .CLK0(clk), .CE0(1'b1), .RST0({1}));"
)
ALU = (
    "wire [10:0] op = {1}; ALU54B #({0}) cell_ (.SIGNEDIA(1'b1), .SIGNEDIB(1'b1), .CLK0(clk), .CE0(1'b1), .RST0(1'b0),"
    " .OP10(op[10]), .OP9(op[9]), .OP8(op[8]), .OP7(op[7]), .OP6(op[6]), .OP5(op[5]), .OP4(op[4]), .OP3(op[3]),"
    " .OP2(op[2]), .OP1(op[1]), .OP0(op[0]));"
)
OUTPUTS = '.REG_OUTPUT0_CLK("CLK0"), .REG_OUTPUT1_CLK("CLK0")'
ADD = "11'b0100_101_01_01"
UNKNOWN = [
    ("CCU2C #() cell_ ();", "CCU2C: INJECT1_0 is YES, not modelled"),
    ('TRELLIS_FF #(.CEMUX("0")) cell_ ();', "TRELLIS_FF: CEMUX is 0, not modelled"),
    ('TRELLIS_FF #(.LSRMODE("PRLD")) cell_ ();', "TRELLIS_FF: LSRMODE is PRLD, not modelled"),
    ('TRELLIS_DPR16X4 #(.WCKMUX("INV")) cell_ ();', "TRELLIS_DPR16X4: WCKMUX is INV, not modelled"),
    ("DP16KD #(.DATA_WIDTH_A(8)) cell_ ();", "DP16KD: DATA_WIDTH_A is 8, not modelled"),
    ('DP16KD #(.REGMODE_B("BOTH")) cell_ ();', "DP16KD: REGMODE_B is BOTH, not modelled"),
    ('DP16KD #(.WRITEMODE_A("OTHER")) cell_ ();', "DP16KD: WRITEMODE_A is OTHER, not modelled"),
    ("DP16KD cell_ (.CLKA(clk), .CEA(1'b0), .CEB(1'b0), .RSTA(1'b1));", "DP16KD: RSTA or RSTB is high"),
    (
        "DP16KD cell_ (.CLKA(clk), .CLKB(1'b0), .CEA(1'b0), .CEB(1'b1), .CSB2(1'b0), .CSB1(1'b0), .CSB0(1'b0));",
        "DP16KD: ports of different clocks, not modelled",
    ),
    (MULTIPLIER.format('.REG_INPUTA_CLK("CLK1")', "1'b0"), "MULT18X18D: REG_INPUTA_CLK is CLK1, not modelled"),
    (MULTIPLIER.format('.RESETMODE("ASYNC")', "1'b0"), "MULT18X18D: RESETMODE is ASYNC, not modelled"),
    (MULTIPLIER.format('.REG_INPUTA_CLK("CLK0")', "1'b1"), "MULT18X18D: RST0 is not low, reset is not modelled"),
    (MULTIPLIER.format('.REG_INPUTA_CE("CE2")', "1'b0"), "MULT18X18D: REG_INPUTA_CE is CE2, not modelled"),
    (ALU.format(OUTPUTS, "11'b0101_101_01_01"), "ALU54B: opcode 01011010101 is not modelled"),
    (ALU.format(OUTPUTS, "11'b0100_001_01_01"), "ALU54B: opcode 01000010101 is not modelled"),
    (ALU.format('.REG_OUTPUT0_CLK("CLK0")', ADD), "ALU54B: REG_OUTPUT1_CLK is NONE, not modelled"),
    (
        ALU.format(f'{OUTPUTS}, .REG_OPCODEOP0_0_CLK("CLK0")', ADD),
        "ALU54B: REG_OPCODEOP0_0_CLK is CLK0, unlike REG_OPCODEIN_0_CLK",
    ),
    (ALU.format(f'{OUTPUTS}, .MULT9_MODE("ENABLED")', ADD), "ALU54B: MULT9_MODE is ENABLED, not modelled"),
]


@pytest.mark.parametrize(("cell", "message"), UNKNOWN, ids=[message for _, message in UNKNOWN])
def test_what_is_not_modelled_ends_the_simulation(cell: str, message: str, tmp_path: Path) -> None:
    bench = (
        f"module bench; reg clk = 0; {cell} initial begin #1 clk = 1; #1 clk = 0; $display(1); $finish; end endmodule"
    )
    (tmp_path / "bench.v").write_text(bench)
    said = icarus(tmp_path, "bench.v")
    assert re.search(rf"^FATAL: .*: {re.escape(message)}", said, re.MULTILINE), said


def test_models_go_where_they_are_needed(tmp_path: Path) -> None:
    for name, text, want in (
        ("plain", "module top; endmodule", []),
        ("other", "module top; MY_LUT4 lut (); endmodule", []),
        ("lut", "module top;\n  LUT4 #(.INIT(1)) lut ();\nendmodule", [CELLS]),
        ("own", "module top;\n  LUT4 lut ();\nendmodule\nmodule LUT4;\nendmodule", []),
    ):
        (tmp_path / f"{name}.v").write_text(text)
        assert models([tmp_path / f"{name}.v"]) == want, name


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_runner_says_what_is_not_modelled(simulator: str, tmp_path: Path) -> None:
    source = plain(tmp_path, endmodule="CCU2C cell_ ();\nendmodule")
    with pytest.raises(SimulationError, match="CCU2C: INJECT1_0 is YES, not modelled"):
        run(source, simulator=simulator)
