"""Which registers a multiplier or a block RAM takes in; that it changes nothing is in sim/ecp5/test_netlist.py."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nmgen.fpga.register_packing import give_luts, pack_registers
from nmgen.fpga.tools import find_tool, run_tool

OUTPUTS = {"REG_PIPELINE_CLK", "REG_OUTPUT_CLK"}
ALL = OUTPUTS | {"REG_INPUTA_CLK", "REG_INPUTB_CLK"}
TOY = """
module toy(input clk, clk2, rst, enable, input signed [8:0] a, input signed [7:0] b,
           output reg signed [16:0] q, output [16:0] seen);
  reg signed [8:0] x;
  reg signed [7:0] y;
  reg signed [16:0] p;
  {registers}
  assign seen = {seen};
endmodule
"""
PLAIN = "always @(posedge clk) begin x <= a; y <= b; p <= x * y; q <= p; end"
CASES = {
    "all": (PLAIN, "0", ALL, 9 + 8 + 17 + 17),
    "the product is read": (
        PLAIN,
        "p",
        ALL - {"REG_PIPELINE_CLK"},
        9 + 8 + 17,
    ),
    # nextpnr times a multiplier with a register at one operand as if it had none: there are two, or none.
    "an operand is read": (PLAIN, "x", OUTPUTS, 17 + 17),
    "an enable": (
        "always @(posedge clk) begin if (enable) x <= a; y <= b; p <= x * y; q <= p; end",
        "0",
        OUTPUTS,
        17 + 17,
    ),
    "a reset": (
        "always @(posedge clk) begin x <= a; y <= b; p <= rst ? 0 : x * y; q <= p; end",
        "0",
        {"REG_INPUTA_CLK", "REG_INPUTB_CLK"},
        9 + 8,
    ),
    "an operand without a register": (
        "always @(posedge clk) begin y <= b; p <= a * y; q <= p; end",
        "0",
        OUTPUTS,
        17 + 17,
    ),
    "another clock": (
        "always @(posedge clk) begin x <= a; y <= b; end always @(posedge clk2) begin p <= x * y; q <= p; end",
        "0",
        {"REG_INPUTA_CLK", "REG_INPUTB_CLK"},
        9 + 8,
    ),
    # The first of two is read elsewhere: the multiplier's own reads what the second would.
    "a chain that others read": (
        "reg signed [8:0] w; always @(posedge clk) begin w <= a; x <= w; y <= b; p <= x * y; q <= p; end",
        "x",
        ALL,
        8 + 17 + 17,
    ),
    "unsigned": (
        "reg [8:0] u; reg [7:0] v; always @(posedge clk) begin u <= a; v <= b; p <= u * v; q <= p; end",
        "0",
        ALL,
        9 + 8 + 17 + 17,
    ),
    "no registers": ("always @* begin x = a; y = b; p = x * y; q = p; end", "0", set(), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_registers(name: str, tmp_path: Path) -> None:
    registers, seen, want, gone = CASES[name]
    module = synthesised(TOY.format(registers=registers, seen=seen), tmp_path)
    before = len(registers_of(module))
    assert pack_registers(module) == gone == before - len(registers_of(module))
    (multiplier,) = (cell for cell in module["cells"].values() if cell["type"] == "MULT18X18D")
    found = {key: value for key, value in multiplier["parameters"].items() if key.startswith("REG_")}
    assert found == dict.fromkeys(want, "CLK0")
    assert ("CLK0" in multiplier["connections"]) == bool(want)
    # Constants come from LUTs of its own.
    ties = {
        cell["connections"]["Z"][0]: cell["parameters"]["INIT"] for cell in module["cells"].values() if is_tie(cell)
    }
    sign = "0" * 16 if name == "unsigned" else "1" * 16
    wanted = {"SIGNEDA": sign, "SIGNEDB": sign, "SOURCEA": "0" * 16, "SOURCEB": "0" * 16}
    wanted |= {"CE0": "1" * 16, "RST0": "0" * 16} if want else {}
    assert {port: ties[multiplier["connections"][port][0]] for port in wanted} == wanted


RAM = """
module ram(input clk, clk2, enable, input [9:0] at, to, input [17:0] d, output reg [17:0] q, output [17:0] seen);
  (* no_rw_check *) reg [17:0] words [0:1023];
  reg [17:0] word;
  always @(posedge clk) begin
    words[to] <= d;
    {registers}
  end
  {more}
  assign seen = {seen};
endmodule
"""


@pytest.mark.parametrize(
    ("registers", "more", "seen", "gone"),
    [
        ("word <= words[at]; q <= word;", "", "0", 18),
        ("word <= words[at]; q <= word;", "", "word", 0),
        ("word <= words[at]; if (enable) q <= word;", "", "0", 0),
        ("if (enable) word <= words[at]; q <= word;", "", "0", 0),
        ("word <= words[at]; q <= ~word;", "", "0", 0),
        ("word <= words[at];", "always @(posedge clk2) q <= word;", "0", 0),
    ],
    ids=["register", "read elsewhere", "an enable", "the memory's enable", "logic", "another clock"],
)
def test_block_ram(registers: str, more: str, seen: str, gone: int, tmp_path: Path) -> None:
    module = synthesised(
        RAM.replace("{registers}", registers).replace("{more}", more).replace("{seen}", seen), tmp_path
    )
    assert pack_registers(module) == gone
    (memory,) = (cell for cell in module["cells"].values() if cell["type"] == "DP16KD")
    modes = {memory["parameters"].get(f"REGMODE_{side}", "NOREG") for side in "AB"}
    assert modes == ({"NOREG", "OUTREG"} if gone else {"NOREG"})


@pytest.mark.parametrize("write", ["1", "enable"])
def test_block_ram_of_36_bits(write: str, tmp_path: Path) -> None:
    """Its outputs are of both sides, which get the same registers and enables."""
    text = (
        RAM.replace("[17:0]", "[35:0]").replace("[0:1023]", "[0:511]").replace("words[to]", f"if ({write}) words[to]")
    )
    text = text.replace("{registers}", "word <= words[at]; q <= word;").replace("{more}", "").replace("{seen}", "0")
    module = synthesised(text, tmp_path)
    assert pack_registers(module) == 36
    (memory,) = (cell for cell in module["cells"].values() if cell["type"] == "DP16KD")
    assert {memory["parameters"][f"REGMODE_{side}"] for side in "AB"} == {"OUTREG"}
    assert [memory["connections"][f"{port}{side}"] for port in ("CE", "OCE") for side in "AB"] == [["1"]] * 4


def synthesised(text: str, folder: Path) -> dict[str, Any]:
    """The netlist of a module."""
    top = text.split("module ")[1].split("(")[0]
    (folder / "design.v").write_text(text)
    (folder / "synth.ys").write_text(f"read_verilog design.v\nsynth_ecp5 -top {top}\nwrite_json design.json\n")
    run_tool([find_tool("yosys"), "-q", "-s", "synth.ys"], folder, "synthesis")
    module: dict[str, Any] = json.loads((folder / "design.json").read_text())["modules"][top]
    return module


def registers_of(module: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in module["cells"].values() if cell["type"] == "TRELLIS_FF"]


def is_tie(cell: dict[str, Any]) -> bool:
    return cell["type"] == "LUT4" and set(cell["parameters"]["INIT"]) in ({"0"}, {"1"})


def test_a_second_time_nothing(tmp_path: Path) -> None:
    module = synthesised(TOY.format(registers=PLAIN, seen="0"), tmp_path)
    assert pack_registers(module)
    once = json.dumps(module)
    assert pack_registers(module) == 0
    assert json.dumps(module) == once


def test_luts_of_flip_flops(tmp_path: Path) -> None:
    """Those of the names, where a flip-flop, a multiplier or a port of the design is before: not where logic is."""
    text = """
        module toy(input clk, input [3:0] a, input [8:0] x, y, output reg [3:0] q, output reg [1:0] kept, other,
                   output reg [17:0] product);
          reg [3:0] near_first;
          always @(posedge clk) begin near_first <= a; q <= near_first; kept <= {near_first[0] ^ a[1], near_first[2]};
            other <= kept; product <= x * y; end
        endmodule"""
    module = synthesised(text, tmp_path)
    before = registers_of(module)
    assert give_luts(module, re.compile("near_first|kept|product")) == 4 + 1 + 18
    luts = {name: cell for name, cell in module["cells"].items() if name.endswith(".own_lut")}
    assert len({cell["connections"]["Z"][0] for cell in luts.values()}) == 23
    for name, lut in luts.items():
        register = module["cells"][name.removesuffix(".own_lut")]
        assert register["connections"]["DI"] == lut["connections"]["Z"]
        assert lut["parameters"]["INIT"] == "1010101010101010"
    assert registers_of(module) == before
    assert give_luts(module, re.compile("near_first|kept|product")) == 0, "a second time nothing"
