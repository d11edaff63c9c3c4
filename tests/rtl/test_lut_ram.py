"""LutFifo: no block RAM comes of it, even where a register behind it would invite one."""

from pathlib import Path

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nmgen.verilog import emit_modules
from rtl.lut_ram import LutFifo
from tests.nmgen.test_generate import yosys


class Behind(wiring.Component):
    """As in the fetch: words go on into a register."""

    def __init__(self) -> None:
        super().__init__({"data": In(36), "put": In(1), "take": In(1), "out": Out(36)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = LutFifo(width=36, depth=256)
        register = Signal(36)
        m.d.comb += [
            fifo.words_in.payload.eq(self.data),
            fifo.words_in.valid.eq(self.put),
            fifo.words_out.ready.eq(self.take),
            self.out.eq(register),
        ]
        with m.If(self.take):
            m.d.sync += register.eq(fifo.words_out.payload)
        return m


def test_no_block_ram(tmp_path: Path) -> None:
    for name, text in emit_modules(Behind(), name="behind", prefix="t").items():
        (tmp_path / f"{name}.v").write_text(text)
    script = "read_verilog *.v\nsynth_ecp5 -noabc9 -run begin:map_gates -top t_behind\n"
    yosys(script + "select -assert-none t:DP16KD t:PDPW16KD\nselect -assert-min 1 t:TRELLIS_DPR16X4", tmp_path)
