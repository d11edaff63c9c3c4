"""The AXI adapters against cocotbext-axi, an independent model of both protocols: the tests are those of axi_tb.py."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.sim import SimulatorContext

from nmgen.verilog.writer import emit
from rtl.lib.axi import Axi4, AxiLite, AxiLiteSlave, AxiMaster
from rtl.lib.port import MemoryPort
from rtl.params import ADDRESS_BITS
from sim.bench.runner import Build, SimulationError
from tests.rtl.cocotb_results import raise_failure
from tests.rtl.simulate import run

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
PORTS = ["clk", "rst", "port__*", "axi__*", "lite__*", "hold", "pending", "fault_*", "clear"]


class Harness(wiring.Component):
    """Both adapters: the master between `port` and `axi`, the slave between `lite` and 64 words of memory."""

    def __init__(self, port_bytes: int) -> None:
        self._port_bytes = port_bytes
        super().__init__(
            {
                "port": In(MemoryPort(port_bytes)),
                "axi": Out(Axi4(port_bytes)),
                "lite": Out(AxiLite()),
                "hold": In(1),
                "pending": Out(1),
                "clear": In(1),
                "fault_seen": Out(1),
                "fault_first": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.master = master = AxiMaster(self._port_bytes)
        m.submodules.slave = slave = AxiLiteSlave()
        m.submodules.words = words = Memory(shape=32, depth=64, init=[])
        connect(m, flipped(self.port), master.port)
        connect(m, flipped(self.axi), master.axi)
        connect(m, flipped(self.lite), slave.axi)
        write, read = words.write_port(), words.read_port()
        seen = Signal()
        m.d.comb += [
            slave.hold.eq(self.hold),
            write.addr.eq(slave.control.address[2:]),
            write.data.eq(slave.control.write_data),
            write.en.eq(slave.control.write),
            read.addr.eq(slave.control.address[2:]),
            slave.control.read_data.eq(read.data),
            self.pending.eq(master.pending),
            self.fault_seen.eq(seen),
        ]
        with m.If(self.clear):
            m.d.sync += seen.eq(0)
        with m.Elif(master.fault & ~seen):
            m.d.sync += [seen.eq(1), self.fault_first.eq(master.fault_address)]
        return m


@pytest.mark.parametrize("port_bytes", [1, 16])
def test_axi(port_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMGEN_PORT_BYTES", str(port_bytes))
    monkeypatch.setenv("NMGEN_SEED", "1")
    source = tmp_path / "axi_harness.v"
    source.write_text(emit(Harness(port_bytes), name="harness", prefix="axi"))
    build = Build([source], "axi_harness", "icarus", BUILDS, ports=PORTS)
    build.make()
    try:
        build.run(tmp_path, 0, "tests.rtl.lib.axi_tb")
    except SimulationError:
        raise_failure(tmp_path)
    results = ElementTree.parse(tmp_path / "results.xml")
    assert len(results.findall(".//testcase")) == 4
    assert not results.findall(".//failure") + results.findall(".//error") + results.findall(".//skipped")


def test_a_memory_that_answers_at_once() -> None:
    """In the cycle after the address, with errors: the address of each is right."""
    dut = AxiMaster(4)
    port, axi = dut.port, dut.axi
    asked = [64 * i for i in range(1, 30)]
    told = []

    async def memory(ctx: SimulatorContext) -> None:
        ctx.set(axi.arready, 1)
        ctx.set(axi.rresp, 2)
        ctx.set(axi.rlast, 1)
        waiting = 0
        while len(told) < len(asked):
            watched = dut.fault, dut.fault_address, axi.arvalid, axi.rvalid & axi.rready
            _, _, fault, address, taken, answered = await ctx.tick().sample(*watched)
            if fault:
                told.append(address)
            waiting += taken - answered
            ctx.set(axi.rvalid, waiting != 0)

    async def host(ctx: SimulatorContext) -> None:
        ctx.set(port.read_data.ready, 1)
        for i, address in enumerate(asked):
            ctx.set(port.read_request.payload, {"address": address, "length": 0})
            ctx.set(port.read_request.valid, 1)
            await ctx.tick().until(port.read_request.ready)
            ctx.set(port.read_request.valid, 0)
            await ctx.tick().repeat(i % 7 + 1)

    run(dut, host, memory, limit=500)
    assert told == asked
