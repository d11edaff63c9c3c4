"""STORE: rows of the store and of the residual arrive in memory, and no byte beside them."""

import random
from collections import deque

import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from rtl.lib.port import Request, write_beat
from rtl.params import BURST_BEATS, ceil_div
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.operands.store import ActivationStore, store_copy, store_step, store_write
from rtl.sta.params import StaConfig
from rtl.sta.results.residual import Residual, ResidualWrite
from rtl.sta.results.store_unit import StoreUnit
from sim.bench.gaps import Gaps
from tests.nightly import but
from tests.rtl.simulate import drive, gaps, run, seeded

# Words of several groups and several beats; words of the residual of less than a beat, of several, of one.
CONFIGURATIONS = {
    "two groups": StaConfig(
        n=2, m=8, rows=3, cols=2, port_bytes=16, max_tokens=12, max_k=64, hidden=29, store_words=16
    ),
    "parts": StaConfig(n=3, m=16, rows=4, cols=8, port_bytes=4, max_tokens=9, max_k=80, hidden=37, store_words=15),
    "one row": StaConfig(
        n=2, m=2, rows=1, cols=12, drain=4, port_bytes=8, max_tokens=5, max_k=26, hidden=61, store_words=25
    ),
    "byte": StaConfig(n=1, m=4, rows=5, cols=4, port_bytes=1, max_tokens=20, max_k=16, hidden=9, store_words=16),
    "wide": StaConfig(n=4, m=4, rows=2, cols=1, port_bytes=64, max_tokens=7, max_k=300, hidden=100, store_words=21),
    "long rows": StaConfig(n=1, m=32, rows=2, cols=8, port_bytes=2, max_tokens=4, max_k=64, hidden=40, store_words=8),
}


class Stored(wiring.Component):
    """A store, a residual, and the unit that writes both to memory."""

    def __init__(self, config: StaConfig) -> None:
        self.config = config
        self.residual = Residual(config)
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "step": In(store_step(config)),
                "write": In(store_write(config)),
                "foreign": In(store_copy(config)),
                "residual_write": In(ResidualWrite(config)),
                "request": Out(stream.Signature(Request)),
                "data": Out(stream.Signature(write_beat(config.port_bytes))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = ActivationStore(self.config)
        m.submodules.residual = residual = self.residual
        m.submodules.store_unit = store_unit = StoreUnit(self.config)
        request = store.copy.request
        m.d.comb += [
            store_unit.start.eq(self.start),
            store_unit.instruction.eq(self.instruction),
            store.step.eq(self.step),
            store.write.eq(self.write),
            request.eq(store_unit.copy.request),
            store_unit.copy.valid.eq(store.copy.valid),
            store_unit.copy.data.eq(store.copy.data),
            self.finished.eq(store_unit.finished),
        ]
        with m.If(self.foreign.valid):
            m.d.comb += request.eq(self.foreign)
        wiring.connect(m, store_unit.residual, residual.read)
        wiring.connect(m, wiring.flipped(self.residual_write), residual.write)
        wiring.connect(m, store_unit.request, wiring.flipped(self.request))
        wiring.connect(m, store_unit.data, wiring.flipped(self.data))
        return m


class Memory:
    """Takes bursts as it likes, keeps what was written, and knows the rules of the port."""

    def __init__(self, config: StaConfig, requests: Gaps, beats: Gaps) -> None:
        self.config, self.requests, self.beats = config, requests, beats
        self.content: dict[int, int] = {}
        self.open: deque[int] = deque()  # addresses of the beats that were asked for
        self.offered: dict[str, int] = {}  # of a stream that was stalled: must stay

    async def cycle(self, ctx: SimulatorContext, dut: Stored) -> bool:
        """One cycle; returns whether the STORE finished in it."""
        c = self.config
        ready = {"request": not self.requests.stall(), "data": not self.beats.stall()}
        drive(ctx, dut, {f"{name}.ready": value for name, value in ready.items()})
        data = dut.data.payload
        _, _, asks, request, address, length, valid, payload, content, strobe, finished = await ctx.tick().sample(
            dut.request.valid, dut.request.payload.as_value(), dut.request.payload.address, dut.request.payload.length,
            dut.data.valid, data.as_value(), data.data, data.strobe, dut.finished,
        )  # fmt: skip
        for name, there, what in (("request", asks, request), ("data", valid, payload)):
            stalled = self.offered.pop(name, None)
            assert stalled is None or (there and what == stalled), f"{name} changed while stalled"
            if there and not ready[name]:
                self.offered[name] = what
        if valid and ready["data"]:
            assert self.open, "a beat before its request"
            at = self.open.popleft()
            for i, byte in enumerate(content.to_bytes(c.port_bytes, "little")):
                if strobe >> i & 1:
                    assert at + i not in self.content, f"byte {at + i} is written twice"
                    self.content[at + i] = byte
        if asks and ready["request"]:
            assert address % c.port_bytes == 0
            assert length < BURST_BEATS
            self.open.extend(address + i * c.port_bytes for i in range(length + 1))
            assert len(self.open) <= 2 * BURST_BEATS, "more than two bursts ahead"
        return bool(finished)


class Bench:
    def __init__(self, config: StaConfig, rng: random.Random, memory: Memory) -> None:
        self.config, self.rng, self.memory = config, rng, memory
        self.dut = Stored(config)
        c = config
        self.store = [[rng.randbytes(c.store_word_bytes) for _ in range(c.store_words)] for _ in range(c.rows)]
        words = c.max_tokens * c.residual_words
        self.residual = [[rng.randrange(-32768, 32768) for _ in range(c.drain_lanes)] for _ in range(words)]

    async def fill(self, ctx: SimulatorContext) -> None:
        c, dut = self.config, self.dut
        for bank, words in enumerate(self.store):
            for address, word in enumerate(words):
                write = {"enable": 1, "bank": bank, "address": address, "data": int.from_bytes(word, "little")}
                drive(ctx, dut, {"write": {**write, "strobe": (1 << c.store_word_bytes) - 1}})
                await ctx.tick()
        drive(ctx, dut, {"write": {"enable": 0}})
        for address, elements in enumerate(self.residual):
            write = {"enable": 1, "address": address, "word": elements}
            drive(ctx, dut, {f"residual_write.{name}": value for name, value in write.items()})
            await ctx.tick()
        drive(ctx, dut, {"residual_write.enable": 0})
        await ctx.tick()

    def instructions(self) -> list[dict[str, int]]:
        c, rng = self.config, self.rng
        result = []
        for i in range(8):
            whole = i < 2
            tokens = c.max_tokens if whole else rng.randint(1, c.max_tokens)
            instruction = {
                "opcode": Op.STORE,
                "which": i % 2,
                "tokens": tokens,
                "address": c.port_bytes * rng.randrange(1 << 20),
            }
            if i % 2:
                free = (c.max_tokens - tokens) // c.rows
                instruction["first_token"] = c.rows * rng.randint(0, free)
                instruction["channels"] = c.hidden if whole else rng.randint(1, c.hidden)
            else:
                tiles = ceil_div(tokens, c.rows)
                groups = c.max_groups if whole else rng.randint(1, c.max_groups)
                words = ceil_div(groups * c.m, c.store_word_bytes)
                assert words * tiles <= c.store_words
                instruction["groups"] = groups
                instruction["x_pitch"] = rng.randint(words, max(words, c.store_words // tiles))
                instruction["x_base"] = rng.randint(0, c.store_words - (tiles - 1) * instruction["x_pitch"] - words)
            result.append(instruction)
        return result

    def row(self, instruction: dict[str, int], token: int) -> bytes:
        c, i = self.config, instruction
        if i["which"]:
            at = (i["first_token"] + token) * c.residual_words
            words = self.residual[at : at + ceil_div(i["channels"], c.drain_lanes)]
            elements = [element for word in words for element in word][: i["channels"]]
            return b"".join(element.to_bytes(2, "little", signed=True) for element in elements)
        at = i["x_base"] + token // c.rows * i["x_pitch"]
        words_a_row = ceil_div(i["groups"] * c.m, c.store_word_bytes)
        return b"".join(self.store[token % c.rows][at : at + words_a_row])[: i["groups"] * c.m]

    async def store_rows(self, ctx: SimulatorContext, instruction: dict[str, int]) -> int:
        """Returns the cycles that it took."""
        c, rng, dut, memory = self.config, self.rng, self.dut, self.memory
        want = {}
        at = instruction["address"]
        for token in range(instruction["tokens"]):
            row = self.row(instruction, token)
            want.update({at + i: byte for i, byte in enumerate(row)})
            at += ceil_div(len(row), c.port_bytes) * c.port_bytes
        memory.content = {}
        for cycle in range(20000):
            step = {"word": rng.randrange(c.store_words)}  # no row reads meanwhile
            drive(ctx, dut, {"start": cycle == 0, "instruction": instruction, "step": step})
            if await memory.cycle(ctx, dut):
                assert not memory.open, "finished too early"
                assert memory.content == want, f"{instruction}"
                return cycle
        raise AssertionError(f"{instruction} is not done")

    async def others(self, ctx: SimulatorContext) -> None:
        """Copies for others, while an instruction that is not a STORE is executed."""
        for cycle in range(20):
            foreign = {"valid": int(cycle < 15), "bank": 0, "address": 0}
            drive(ctx, self.dut, {"start": cycle == 0, "instruction": {"opcode": Op.PRODUCT, "tokens": 3, "groups": 1}})
            drive(ctx, self.dut, {"foreign": foreign})
            assert not await self.memory.cycle(ctx, self.dut)
        assert not self.memory.open


@pytest.mark.parametrize("seed", but([None, 1, 2], [2]), ids=["free", "gaps1", "gaps2"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_store(name: str, seed: int | None) -> None:
    config = CONFIGURATIONS[name]
    memory = Memory(config, gaps(seed, "requests"), gaps(seed, "beats"))
    bench = Bench(config, seeded(name, seed), memory)

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.fill(ctx)
        for instruction in bench.instructions():
            await bench.store_rows(ctx, instruction)
            await bench.others(ctx)

    run(bench.dut, testbench, limit=30000)


@pytest.mark.parametrize("name", ["two groups", "wide", "long rows"])
def test_reset(name: str) -> None:
    """In the middle of a STORE; then everything begins anew."""
    config = CONFIGURATIONS[name]
    reset = Signal()
    memory = Memory(config, gaps(3, "requests"), gaps(3, "beats"))
    bench = Bench(config, seeded(name), memory)

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.fill(ctx)
        instructions = bench.instructions()
        for cycles, (broken, whole) in enumerate(zip(instructions, instructions[2:], strict=False), start=7):
            drive(ctx, bench.dut, {"start": 1, "instruction": broken})
            await memory.cycle(ctx, bench.dut)
            drive(ctx, bench.dut, {"start": 0})
            for _ in range(cycles):
                await memory.cycle(ctx, bench.dut)
            ctx.set(reset, 1)
            await memory.cycle(ctx, bench.dut)
            ctx.set(reset, 0)
            memory.open.clear()
            memory.offered.clear()
            await bench.store_rows(ctx, whole)

    run(ResetInserter(reset)(bench.dut), testbench, limit=20000)


def test_speed() -> None:
    """A beat a cycle where nothing is in the way, up to what the residual gives; little before the first."""
    config = StaConfig(max_tokens=32, hidden=384, store_words=128)
    memory = Memory(config, gaps(None, "requests"), gaps(None, "beats"))
    bench = Bench(config, seeded("speed"), memory)

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.fill(ctx)
        x = {"opcode": Op.STORE, "tokens": 32, "groups": 48, "x_pitch": 24}
        assert await bench.store_rows(ctx, {**x, "which": 0, "address": 0, "x_base": 0}) < 32 * 24 * 1.2 + 20
        y = {"opcode": Op.STORE, "tokens": 8, "channels": 384, "first_token": 0}
        assert await bench.store_rows(ctx, {**y, "which": 1, "address": 0}) < 8 * 96 * 1.2 + 20

    run(bench.dut, testbench, limit=10000)
