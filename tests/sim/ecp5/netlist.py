"""What yosys makes of a design for an ECP5, as Verilog of primitives."""

from pathlib import Path

from nmgen.tools import find_tool, run_tool

TOP = "nmgen_top"


def synthesised(text: str, folder: Path, top: str = TOP) -> Path:
    """The netlist of a design, as it is made for boards: a file in the folder."""
    (folder / "design.v").write_text(text)
    commands = ["read_verilog design.v"]
    commands += [f"synth_ecp5 -noabc9 -top {top}", "write_verilog -noattr netlist.v"]
    (folder / "synth.ys").write_text("\n".join([*commands, ""]))
    run_tool([find_tool("yosys"), "-q", "-s", "synth.ys"], folder, "synthesis")
    return folder / "netlist.v"
