"""The core behind AXI, where a write is answered late: its program is not over before, and an error is still one."""

from collections import deque

import pytest
from amaranth.sim import SimulatorContext

from rtl.sta.axi_top import AxiSta
from rtl.sta.isa import BYTES, Op, assemble
from rtl.sta.legality import Cause
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS
from tests.rtl.simulate import drive, run

CONFIG = StaConfig(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=8, max_tokens=1, max_k=4, hidden=6, store_words=2)
TARGET = 256  # of the only burst that is written
LATE = 150  # cycles from its last beat to its answer
DONE, ERROR = 2, 4  # bits of the status
OKAY, SLAVE_ERROR, DECODE_ERROR = 0, 2, 3


class Host:
    def __init__(self, response: int) -> None:
        self.dut = AxiSta(CONFIG)
        self.response = response
        self.content = bytearray(b"\xff" * 512)
        store = {"opcode": Op.STORE, "which": 1, "tokens": 1, "channels": 6, "address": TARGET}
        self.content[: 2 * BYTES] = assemble([store, {"opcode": Op.END}])
        self.written = -1  # cycle of the last beat
        self.cycle = 0
        self.over = False

    async def memory(self, ctx: SimulatorContext) -> None:
        dut = self.dut
        drive(ctx, dut, {"m_axi_arready": 1, "m_axi_awready": 1, "m_axi_wready": 1, "m_axi_bresp": self.response})
        coming: deque[tuple[int, bool]] = deque()  # address, last of its burst
        target = 0
        while not self.over:
            if coming:
                beat = self.content[coming[0][0] : coming[0][0] + 8]
                drive(ctx, dut, {"m_axi_rdata": int.from_bytes(beat, "little"), "m_axi_rlast": coming[0][1]})
            answers = self.written >= 0 and self.cycle == self.written + LATE
            drive(ctx, dut, {"m_axi_rvalid": bool(coming), "m_axi_bvalid": answers})
            _, _, asks, address, length, takes, writes, to, sends, beat, strobe, last, hears = await ctx.tick().sample(
                dut.m_axi_arvalid, dut.m_axi_araddr, dut.m_axi_arlen, dut.m_axi_rready,
                dut.m_axi_awvalid, dut.m_axi_awaddr,
                dut.m_axi_wvalid, dut.m_axi_wdata, dut.m_axi_wstrb, dut.m_axi_wlast, dut.m_axi_bready,
            )  # fmt: skip
            if coming and takes:
                coming.popleft()
            if asks:
                coming.extend((address + 8 * i, i == length) for i in range(length + 1))
            if writes:
                target = to
            if sends:
                for i in range(8):
                    if strobe >> i & 1:
                        self.content[target + i] = beat >> 8 * i & 0xFF
                target += 8
                if last:
                    self.written = self.cycle
            assert hears or not answers
            self.cycle += 1

    async def write(self, ctx: SimulatorContext, name: str, value: int) -> None:
        at = REGISTERS[name].offset
        drive(ctx, self.dut, {"s_axi_awaddr": at, "s_axi_wdata": value, "s_axi_wstrb": 15, "s_axi_bready": 1})
        drive(ctx, self.dut, {"s_axi_awvalid": 1, "s_axi_wvalid": 1})
        await ctx.tick().until(self.dut.s_axi_awready)
        drive(ctx, self.dut, {"s_axi_awvalid": 0, "s_axi_wvalid": 0})
        await ctx.tick()

    async def read(self, ctx: SimulatorContext, name: str) -> int:
        drive(ctx, self.dut, {"s_axi_araddr": REGISTERS[name].offset, "s_axi_arvalid": 1, "s_axi_rready": 1})
        await ctx.tick().until(self.dut.s_axi_arready)
        ctx.set(self.dut.s_axi_arvalid, 0)
        (data,) = await ctx.tick().sample(self.dut.s_axi_rdata).until(self.dut.s_axi_rvalid)
        return int(data)


@pytest.mark.parametrize("response", [OKAY, SLAVE_ERROR, DECODE_ERROR])
def test_an_answer_that_comes_late(response: int) -> None:
    host = Host(response)

    async def testbench(ctx: SimulatorContext) -> None:
        dut = host.dut
        for name, value in (("limit", 512), ("interrupt", 1), ("control", 1)):
            await host.write(ctx, name, value)
        assert ctx.get(dut.busy)
        while host.written < 0:
            await ctx.tick()
        await ctx.tick().repeat(LATE - 10)  # the core itself is done long since
        drive(ctx, dut, {"s_axi_araddr": REGISTERS["status"].offset, "s_axi_arvalid": 1})
        while host.cycle < host.written + LATE:
            assert ctx.get(dut.busy)
            assert not ctx.get(dut.irq)
            assert not ctx.get(dut.s_axi_arready), "nobody sees a status that may still change"
            await ctx.tick()
        waited = 0
        while not ctx.get(dut.s_axi_arready):  # the access that waited is the first to see what the answer was
            assert ctx.get(dut.busy)
            assert not ctx.get(dut.irq)
            await ctx.tick()
            waited += 1
        assert waited == 1, "the core knows of a fault a cycle after the answer"
        for _ in range(4):
            assert ctx.get(dut.irq) == (response == OKAY)
            assert not ctx.get(dut.busy)
            await ctx.tick()
            ctx.set(dut.s_axi_arvalid, 0)
        assert ctx.get(dut.s_axi_rvalid)
        assert ctx.get(dut.s_axi_rdata) == (DONE if response == OKAY else ERROR)
        ctx.set(dut.s_axi_rready, 1)
        await ctx.tick()
        assert await host.read(ctx, "status") == (DONE if response == OKAY else ERROR)
        if response != OKAY:
            assert await host.read(ctx, "cause") == Cause.BUS
            assert await host.read(ctx, "cause_address") == TARGET
        host.over = True

    run(host.dut, testbench, host.memory, limit=1000)
    assert bytes(host.content[TARGET : TARGET + 13]) == bytes(12) + b"\xff"
