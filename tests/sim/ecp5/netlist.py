"""What yosys makes of a design for an ECP5, as Verilog of primitives."""

import json
from pathlib import Path

from nmgen.fpga.floorplan import cells_of
from nmgen.fpga.register_packing import give_luts, pack_registers
from nmgen.fpga.tools import find_tool, run_tool
from rtl.array.grid import ELEMENT

TOP = "nmgen_top"


def synthesised(text: str, folder: Path, top: str = TOP, *, packed: bool = False) -> Path:
    """The netlist of a design, a file in the folder.

    packed : with registers in multipliers, and LUTs of the elements' flip-flops, as the floorplan has them
    """
    (folder / "design.v").write_text(text)
    _yosys(folder, "read_verilog design.v", f"synth_ecp5 -noabc9 -top {top}", "write_json netlist.json")
    if packed:
        design = json.loads((folder / "netlist.json").read_text())
        module = design["modules"][top]
        assert pack_registers(module) + give_luts(module, cells_of(f"{ELEMENT}."))
        (folder / "netlist.json").write_text(json.dumps(design))
    _yosys(folder, "read_json netlist.json", "write_verilog -noattr netlist.v")
    return folder / "netlist.v"


def _yosys(folder: Path, *commands: str) -> None:
    (folder / "synth.ys").write_text("\n".join([*commands, ""]))
    run_tool([find_tool("yosys"), "-q", "-s", "synth.ys"], folder, "synthesis")
