"""LutFifo: first in, first out; no block RAM comes of it, even where a register behind it would invite one."""

from collections import deque
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from nmgen.verilog import emit_modules
from rtl.lut_ram import LutFifo
from tests.nmgen.test_generate import yosys
from tests.rtl.simulate import drive, run, seeded


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


@pytest.mark.parametrize("depth", [2, 4, 8, 64])
@pytest.mark.parametrize("busy", [(0.9, 0.3), (0.3, 0.9), (1, 1), (0.6, 0.6)], ids=str)
def test_words_come_out_as_they_went_in(depth: int, busy: tuple[float, float]) -> None:
    """However much faster one side is than the other, after a reset in the middle, too."""
    rng = seeded(depth, busy)
    fifo = LutFifo(width=8, depth=depth)
    kept: deque[int] = deque()

    async def testbench(ctx: SimulatorContext) -> None:
        moved = full = 0
        for _ in range(600):
            valid, word, ready = rng.random() < busy[0], rng.getrandbits(8), rng.random() < busy[1]
            drive(ctx, fifo, {"words_in.valid": valid, "words_in.payload": word, "words_out.ready": ready})
            _, _, room, some, out = await ctx.tick().sample(
                fifo.words_in.ready, fifo.words_out.valid, fifo.words_out.payload
            )
            assert room == (len(kept) != depth)
            assert some == bool(kept)
            full += not room
            if kept:
                assert out == kept[0]
                if ready:
                    kept.popleft()
                    moved += 1
            if valid and room:
                kept.append(word)
        assert moved > 100
        assert full or busy[0] <= busy[1]

    run(fifo, testbench, limit=600)
