"""What yosys makes of a design for an ECP5, as Verilog of primitives."""

import json
from pathlib import Path

from nmgen.fpga.register_packing import pack_registers
from nmgen.fpga.tools import find_tool, run_tool

TOP = "nmgen_top"


def synthesised(text: str, folder: Path, top: str = TOP, *, packed: bool = False) -> Path:
    """The netlist of a design, as it is made for boards, or with registers in multipliers: a file in the folder."""
    (folder / "design.v").write_text(text)
    _yosys(folder, "read_verilog design.v", f"synth_ecp5 -noabc9 -top {top}", "write_json netlist.json")
    if packed:
        design = json.loads((folder / "netlist.json").read_text())
        assert pack_registers(design["modules"][top])
        (folder / "netlist.json").write_text(json.dumps(design))
    _yosys(folder, "read_json netlist.json", "write_verilog -noattr netlist.v")
    return folder / "netlist.v"


def _yosys(folder: Path, *commands: str) -> None:
    (folder / "synth.ys").write_text("\n".join([*commands, ""]))
    run_tool([find_tool("yosys"), "-q", "-s", "synth.ys"], folder, "synthesis")
