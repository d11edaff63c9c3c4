"""A packer takes each structure of cells that is written by hand: simulation sees what they compute, not whether a chip
has them joined so."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from boards.parts.pll import Pll, dividers
from nmgen.fpga.array_harness import OperandMemory
from nmgen.fpga.place_and_route import CELLS, NETLIST, VERILOG
from nmgen.fpga.targets import ECP5
from nmgen.fpga.tools import find_tool, run_tool
from nmgen.verilog.writer import emit_modules
from rtl.array.ecp5.floorplan import Floorplan
from rtl.array.ecp5.pe import SliceProcessingElement
from rtl.array.ecp5.selector import Selector
from rtl.array.ecp5.soft import SoftProcessingElement
from rtl.lib.lut_ram import LutMemory
from rtl.params import Config

KINDS = ("LUT4", "PFUMX", "L6MUX21", "CCU2C", "MULT18X18D", "ALU54B", "DP16KD", "TRELLIS_DPR16X4", "EHXPLLL")
DEVICE = "LFE5U-25F"


def structures() -> dict[str, wiring.Component]:
    """Every Component that has cells of an ECP5 in it, or is mapped to some."""
    config = Config(n=2, m=8, rows=1, cols=1, pe="ecp5", device=DEVICE)
    return {
        **{f"selector_{number}": Selector(number, 2) for number in (2, 4, 8, 16, 32)},
        "slices": SliceProcessingElement(config, Floorplan(config).sites(0, 0)),
        "slice_anywhere": SliceProcessingElement(replace(config, n=1, device="")),
        "soft": SoftProcessingElement(config),
        "block": OperandMemory(20, "ecp5"),
        "memory": LutMemory(4, 64),
        "pll": Pll(dividers(25, 50)),
    }


class Everything(wiring.Component):
    """The structures beside one another, each between registers in a chain: a chip has few pins."""

    def __init__(self) -> None:
        super().__init__({"chain_in": In(1), "chain_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bit = self.chain_in
        for name, part in structures().items():
            m.submodules[name] = part
            for path, member, value in part.signature.flatten(part):
                bits = value.as_value() if hasattr(value, "as_value") else value
                register = Signal(len(bits), name="_".join((name, *map(str, path))))
                if member.flow == In:
                    m.d.sync += register.eq((register << 1) | bit)
                    m.d.comb += bits.eq(register)
                else:
                    m.d.sync += register.eq(((register << 1) | bit) ^ bits)
                bit = register[-1]
        m.d.comb += self.chain_out.eq(bit)
        return m


def test_nextpnr_packs_every_structure(tmp_path: Path) -> None:
    modules = emit_modules(Everything(), name="structures")
    (tmp_path / VERILOG).write_text("\n".join(modules.values()))
    synthesis = ECP5.synthesis.format(top=next(iter(modules)))
    script = f"read_verilog {VERILOG}; {synthesis}; tee -q -o {CELLS} stat -json; write_json {NETLIST}"
    run_tool([find_tool("yosys"), "-q", "-p", script], tmp_path, "synthesis")
    cells = json.loads((tmp_path / CELLS).read_text())["design"]["num_cells_by_type"]
    assert [kind for kind in KINDS if not cells.get(kind)] == []

    pack = f"--25k --package CABGA256 --json {NETLIST} --lpf-allow-unconstrained --pack-only --quiet"
    packed = subprocess.run(
        [find_tool("nextpnr-ecp5"), *pack.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert packed.returncode == 0, packed.stdout + packed.stderr
