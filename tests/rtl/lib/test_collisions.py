"""Nothing depends on what a block RAM gives where a word is read in the cycle in which it is written.

FPGAs differ there, and logic that makes them agree is large; `nmgen build` tells the synthesis to leave it out. Here
every memory gives the inverted word in such a cycle, and all results and cycles stay right.
"""

from typing import Any

import pytest
from amaranth.hdl import Cat, Fragment, MemoryInstance, Module, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator, SimulatorContext

from rtl.params import Config
from rtl.product import Product
from tests.nightly import but
from tests.rtl.engine import product_bench
from tests.sim.operands import random_job


class Inverting:
    """A platform whose memories invert a word that is read while it is written."""

    def get_memory(self, memory: Memory) -> Module:
        m = Module()
        m.submodules.cells = cells = MemoryInstance(data=memory.data, attrs=memory.attrs)
        for write in memory.write_ports:
            cells.write_port(domain=write.domain, addr=write.addr, data=write.data, en=write.en)
        for read in memory.read_ports:
            word = Signal(Shape.cast(memory.shape))
            cells.read_port(domain=read.domain, addr=read.addr, data=word, en=read.en, transparent_for=())
            collided = Signal()
            if read.domain != "comb":  # of LUTs and flip-flops, which all agree
                with m.If(read.en):
                    collisions = (write.en.any() & (write.addr == read.addr) for write in memory.write_ports)
                    m.d.sync += collided.eq(Cat(*collisions).any())
            m.d.comb += Value.cast(read.data).eq(word ^ collided.replicate(len(word)))
        return m


CONFIGURATIONS = {
    "2:4 2x3": Config(n=2, m=4, rows=2, cols=3, drain=2, port_bytes=4, max_tokens=8, max_k=32),
    "3:8 2x2": Config(n=3, m=8, rows=2, cols=2, drain=1, port_bytes=16, max_tokens=8, max_k=48),
    "3:4 2x3, narrow": Config(n=3, m=4, rows=2, cols=3, drain=4, port_bytes=2, max_tokens=16, max_k=32),
}


@pytest.mark.parametrize("seed", but([None, 5, 6], [6]), ids=["free", "stalls", "other stalls"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_products(name: str, seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_bench, "Simulator", lambda top: Simulator(Fragment.get(top, Inverting())))
    c = CONFIGURATIONS[name]
    shapes: list[dict[str, Any]] = [
        {"tokens": c.rows + 1, "k": c.max_k - 1, "channels": 2 * c.cols + 1, "pattern_n": 1},
        {"tokens": c.max_tokens, "k": c.m, "channels": c.cols, "pattern_n": c.m},
        {"tokens": c.rows, "k": 2 * c.m + 1, "channels": 3 * c.cols, "pattern_n": 2, "out_bits": 16, "per_row": True},
    ]
    jobs = [random_job(Product(config=c, **shape), number) for number, shape in enumerate(shapes)]
    product_bench.Bench(c, seed=seed).run(jobs)


class Both(wiring.Component):
    """A memory that is written and read at one address."""

    def __init__(self) -> None:
        super().__init__({"address": In(2), "write": In(1), "data": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=4, init=[1, 2, 3, 4])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.address),
            write.en.eq(self.write),
            write.data.eq(0x55),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        return m


def test_the_memory_of_these_tests_inverts() -> None:
    dut = Both()

    async def run(ctx: SimulatorContext) -> None:
        ctx.set(dut.address, 2)
        for write, want in ((0, 3), (1, 0xFF ^ 3), (0, 0x55)):
            ctx.set(dut.write, write)
            await ctx.tick()
            assert ctx.get(dut.data) == want

    simulator = Simulator(Fragment.get(dut, Inverting()))
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
