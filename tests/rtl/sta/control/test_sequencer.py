"""Sequencer and fetch with models of the engines: programs run to their end or to the first thing that is wrong."""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import product

import pytest
from amaranth.hdl import Module, ResetInserter, Shape
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from rtl.lib.port import Request
from rtl.lib.timing import align, relay
from rtl.params import ADDRESS_BITS, ceil_div
from rtl.sta.control.fetch import BeatBuffer, FetchUnit, Segment
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.control.sequencer import Sequencer
from rtl.sta.isa import BYTES, FIELDS, Columns, Op, decode, encode
from rtl.sta.latencies import reset_cycles
from rtl.sta.legality import CAUSE_BITS, Cause, TileBeats, ids_beats, parameter_beats, segments, violation
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.rtl.simulate import drive, gaps, run, seeded
from tests.rtl.sta.instructions import KINDS, Random
from tests.rtl.sta.memory import ReadMemory

LIMIT = 1 << 14
CONFIGURATIONS = {
    "narrow": StaConfig(n=2, m=4, rows=4, cols=4, port_bytes=4, max_tokens=8, max_k=16, hidden=12, store_words=64),
    "wide": StaConfig(n=1, m=8, rows=2, cols=8, port_bytes=64, max_tokens=9, max_k=64, hidden=72, store_words=40),
}
BASE = StaConfig(max_tokens=16, max_k=64)
LATENCY = 30

Testbench = Callable[["Bench", SimulatorContext], Awaitable[None]]


def as_engines_see(config: StaConfig, fields: dict[str, int]) -> dict[str, int]:
    """Nobody looks at the groups of a STORE of the residual: they may be more than the engines' field holds."""
    if fields["opcode"] != Op.STORE:
        return fields
    width = Shape.cast(instruction_layout(config)["groups"].shape).width
    return {**fields, "groups": fields["groups"] & ((1 << width) - 1)}


class Front(wiring.Component):
    """The sequencer with its fetch."""

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        beats = stream.Signature(8 * config.port_bytes)
        instruction = instruction_layout(config)
        inputs = ["start", "clear", "fault", "loader_idle", "finished"]
        outputs = ["prepare", "begins", "execute", "fill", "abort", "busy", "done", "error"]
        super().__init__(
            {
                **{name: In(1) for name in inputs},
                **{name: In(ADDRESS_BITS) for name in ("program", "limit", "fault_address")},
                **{name: Out(1) for name in outputs},
                **{name: Out(ADDRESS_BITS) for name in ("cause_address", "pc")},
                "upcoming": Out(instruction),
                **{name: Out(beats) for name in ("weights", "table", "rows", "ids")},
                "cause": Out(CAUSE_BITS),
                "gather_segment": In(stream.Signature(Segment)),
                "request": Out(stream.Signature(Request)),
                "data": In(beats),
            }
        )
        self.ports = [*inputs, "program", "limit", "fault_address"]
        self.results = [*outputs, "cause_address", "pc", "upcoming", "cause"]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self._config)
        m.submodules.fetch = fetch = FetchUnit(self._config)
        stop = relay(m, sequencer.stop, name="stop", reset=True)
        dropped = align(m, stop, 1, name="dropped", reset=True)
        for name in self.ports:
            m.d.comb += getattr(sequencer, name).eq(getattr(self, name))
        for name in self.results:
            of = sequencer.status if hasattr(sequencer.status, name) and name != "execute" else sequencer
            m.d.comb += getattr(self, name).eq(getattr(of, name))
        wiring.connect(m, fetch.request, wiring.flipped(self.request))
        for name in ("instruction", "weights", "table", "rows", "ids"):
            m.submodules[f"{name}_buffer"] = buffer = ResetInserter(dropped)(BeatBuffer(self._config))
            wiring.connect(m, getattr(fetch, name), buffer.words_in)
            if name == "instruction":
                wiring.connect(m, buffer.words_out, sequencer.instruction_beats)
            else:
                wiring.connect(m, buffer.words_out, wiring.flipped(getattr(self, name)))
        for name in ("gather_segment", "data"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(fetch, name))
        wiring.connect(m, sequencer.segment, fetch.segment)
        m.d.comb += [
            fetch.limit.eq(self.limit),
            fetch.stop.eq(stop),
            sequencer.fetch_idle.eq(fetch.idle),
            sequencer.bad.eq(fetch.bad),
            sequencer.bad_address.eq(fetch.bad_address),
        ]
        return m


def packed(f: dict[str, int]) -> bool:
    return f["opcode"] == Op.NORM or (f["opcode"] == Op.PRODUCT and f["columns"] == Columns.MEMORY)


@dataclass
class Job:
    """An instruction that executes, or is loaded for."""

    f: dict[str, int]
    got: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in ("weights", "table", "rows", "ids")}
    )
    executes: bool = False
    asked: int = 0  # rows, of a GATHER
    cycles: int = 0  # after the data is there
    copying: int = 0


@dataclass
class Outcome:
    executed: list[dict[str, int]]  # to their end
    cause: Cause
    address: int
    pc: int


def row_beats(f: dict[str, int]) -> int:
    """That a LOAD or a GATHER takes."""
    return f["beats"] * (f["tokens"] if f["opcode"] == Op.GATHER else 1)


class Bench:
    """Memory, column loader and engines: models that take what the instruction says, as fast as their gaps let them."""

    def __init__(self, config: StaConfig, latency: int, seed: int | None, limit: int = LIMIT) -> None:
        self.config = config
        self.dut = Front(config)
        self.limit = limit
        self.memory = ReadMemory(config.port_bytes, limit, latency, gaps(seed, "request"), gaps(seed, "data"))
        self.takes = {name: gaps(seed, name) for name in ("weights", "table", "rows", "ids", "gather")}
        self.rng = seeded("engines", seed)
        self.delay: Callable[[dict[str, int]], int] = lambda f: self.rng.randint(0, 4)
        self.over = False
        self.executed: list[dict[str, int]] = []
        self.executes: list[int] = []  # cycles
        self.finishes: list[int] = []
        self.prepares: list[int] = []
        self.aborts = 0
        self.resetting: list[bool] = []  # `abort` in each cycle since it rose, until the sequencer is idle again
        self.beginning: dict[str, int] | None = None  # began in the cycle before
        self.cycle = 0
        self.started = 0
        self.faults: dict[int, int] = {}  # address, by cycle
        self.loader: Job | None = None
        self.loaded: deque[Job] = deque()  # prepared, not yet executed
        self.job: Job | None = None

    # --- what is expected ----------------------------------------------------------------------
    def wanted(self, f: dict[str, int]) -> tuple[dict[str, list[int]], int | None]:
        """The beats that each consumer gets of an instruction; the first address that is out of bounds."""
        size = self.config.port_bytes
        got: dict[str, list[int]] = {name: [] for name in ("weights", "table", "rows", "ids")}
        consumers = {Op.LOAD: "rows", Op.TABLE: "table", Op.GATHER: "ids"}
        found = [(consumers.get(f["opcode"], "weights"), *one) for one in segments(self.config, f)]
        while found:
            name, address, beats = found.pop(0)
            if address % size or address + beats * size > self.limit:
                return got, address
            got[name] += [self.memory.beat(address + i * size) for i in range(beats)]
            if name == "ids":
                found = [("rows", row, f["beats"]) for row in self.rows(f, got["ids"])]
        return got, None

    def rows(self, f: dict[str, int], ids: list[int]) -> list[int]:
        size = self.config.port_bytes
        content = b"".join(beat.to_bytes(size, "little") for beat in ids)
        numbers = [int.from_bytes(content[4 * i : 4 * i + 4], "little") for i in range(f["tokens"])]
        return [(f["address"] + number * f["beats"] * size) % (1 << 32) for number in numbers]

    def outcome(self, program: int) -> Outcome:
        executed: list[dict[str, int]] = []
        for pc in range(program, 1 << 33, BYTES):
            if pc + BYTES > self.limit or pc % self.config.port_bytes:
                return Outcome(executed, Cause.ADDRESS, pc, pc)
            size = self.config.port_bytes
            code = b"".join(self.memory.beat(pc + i).to_bytes(size, "little") for i in range(0, BYTES, size))
            cause = violation(self.config, code, self.limit)
            f = decode(code)
            if cause != Cause.NONE:
                return Outcome(executed, cause, f["address"] if cause == Cause.ADDRESS else pc, pc)
            if f["opcode"] == Op.END:
                return Outcome(executed, Cause.NONE, 0, pc)
            bad = self.wanted(f)[1]
            if bad is not None:
                return Outcome(executed, Cause.ADDRESS, bad, pc)
            executed.append(as_engines_see(self.config, f))
        raise AssertionError("a program without an end")

    # --- the models ----------------------------------------------------------------------------
    def instruction(self, ctx: SimulatorContext, name: str) -> dict[str, int]:
        view = ctx.get(getattr(self.dut, name))
        return {one: int(view[one]) for one in FIELDS}

    def left(self, job: Job | None, name: str, beats: int) -> bool:
        return job is not None and len(job.got[name]) < beats

    async def engines(self, ctx: SimulatorContext) -> None:
        dut, c = self.dut, self.config
        while not self.over:
            if ctx.get(dut.fill):
                assert self.loader is None, "the column loader is not idle"
                f = self.instruction(ctx, "upcoming")
                assert packed(f) == bool(ctx.get(dut.prepare))
                job = Job(f)
                if packed(f):
                    self.prepares.append(self.cycle)
                else:
                    job.copying = self.rng.randint(1, 30)
                self.loaded.append(job)
                loader: Job | None = job
            else:
                loader = self.loader
            if ctx.get(dut.execute):
                assert self.job is None, "one instruction at a time"
                f = self.instruction(ctx, "upcoming")
                assert f == self.beginning, "it did not begin in the cycle before"
                loads = packed(f) or f["opcode"] == Op.PRODUCT
                assert self.loaded or not loads, "it executes before the column loader has begun with it"
                self.job = self.loaded.popleft() if loads else Job(f)
                assert self.job.f == f
                self.job.executes = True
                self.job.cycles = self.delay(f)
                self.executes.append(self.cycle)
            job_now = self.job
            op = job_now.f["opcode"] if job_now else None
            assert ctx.get(dut.execute) == (self.beginning is not None)
            self.beginning = self.instruction(ctx, "upcoming") if ctx.get(dut.begins) else None

            # The column loader holds two tiles of an instruction that does not yet execute.
            busy = self.loader
            room = busy is not None and (busy.executes or len(busy.got["weights"]) < 2 * busy.f["tile_beats"])
            takes = {
                "weights": busy is not None and packed(busy.f) and room and self.left(busy, "weights", busy.f["beats"]),
                "table": op == Op.TABLE and self.left(job_now, "table", job_now.f["beats"]),
                "ids": op == Op.GATHER and self.left(job_now, "ids", ids_beats(c, job_now.f["tokens"])),
                # The rows of a LOAD behind this one may be there before this one has finished.
                "rows": op in (Op.LOAD, Op.GATHER) and self.left(job_now, "rows", row_beats(job_now.f)),
            }
            takes = {name: takes[name] and not self.takes[name].stall() for name in takes}
            asks = False
            if op == Op.GATHER and len(job_now.got["ids"]) == ids_beats(c, job_now.f["tokens"]):
                asks = job_now.asked < job_now.f["tokens"] and not self.takes["gather"].stall()
                rows = self.rows(job_now.f, job_now.got["ids"])
                if asks:
                    payload = {"address": rows[job_now.asked], "beats": job_now.f["beats"], "consumer": 3}
                    drive(ctx, dut, {"gather_segment.payload": payload})
            finished = job_now is not None and self.complete(job_now) and job_now.cycles == 0
            if job_now is not None and self.complete(job_now):
                job_now.cycles -= 1
            drive(ctx, dut, {f"{name}.ready": take for name, take in takes.items()})
            fault = self.faults.get(self.cycle)
            drive(ctx, dut, {"fault": fault is not None, "fault_address": fault or 0})
            drive(ctx, dut, {"gather_segment.valid": asks, "finished": finished, "loader_idle": self.loader is None})
            abort = bool(ctx.get(dut.abort))
            self.note_reset(abort, idle=not ctx.get(dut.busy))
            signals = [one for name in takes for one in (getattr(dut, name).valid, getattr(dut, name).payload)]
            _, _, asked, *sampled = await ctx.tick().sample(dut.gather_segment.ready, *signals)
            for name, valid, payload in zip(takes, sampled[::2], sampled[1::2], strict=True):
                if valid and takes[name]:
                    (busy if name == "weights" else job_now).got[name].append(payload)
            if asks and asked:
                job_now.asked += 1
            elif asks:
                # Stays offered, whatever the gaps say.
                self.takes["gather"] = gaps(None, "gather")
            if finished:
                assert job_now.got == self.wanted(job_now.f)[0]
                self.executed.append(job_now.f)
                self.finishes.append(self.cycle)
                self.job = None
            self.loader = loader
            if loader is not None:
                loader.copying -= loader.copying > 0
                done = not self.left(loader, "weights", loader.f["beats"]) if packed(loader.f) else not loader.copying
                self.loader = None if done else loader
            if abort:
                assert op != Op.STORE, "a STORE has to end"
                self.job = self.loader = None
                self.loaded.clear()
            self.cycle += 1

    def note_reset(self, abort: bool, *, idle: bool) -> None:
        """All units are in reset at once, and then none: each takes as many cycles as they stand one after another."""
        self.aborts += abort and not self.resetting
        if abort or self.resetting:
            self.resetting.append(abort)
        if idle and self.resetting:
            cycles = reset_cycles(self.config)
            assert self.resetting == [True] * cycles + [False] * (cycles + 1)
            self.resetting = []

    def complete(self, job: Job) -> bool:
        """All of its data is there."""
        f, op = job.f, job.f["opcode"]
        if packed(f):
            return len(job.got["weights"]) == f["beats"]
        if op == Op.PRODUCT:
            return job.copying == 0
        if op == Op.TABLE:
            return len(job.got["table"]) == f["beats"]
        if op == Op.LOAD:
            return len(job.got["rows"]) == f["beats"]
        if op == Op.GATHER:
            return len(job.got["rows"]) == f["beats"] * f["tokens"]
        return True

    # --- runs ----------------------------------------------------------------------------------
    async def start(self, ctx: SimulatorContext, program: int) -> None:
        self.executed.clear()
        drive(ctx, self.dut, {"program": program, "limit": self.limit, "start": 1})
        self.started = self.cycle
        await ctx.tick()
        drive(ctx, self.dut, {"start": 0})
        assert ctx.get(self.dut.busy)

    async def clear(self, ctx: SimulatorContext) -> None:
        drive(ctx, self.dut, {"clear": 1})
        await ctx.tick()
        drive(ctx, self.dut, {"clear": 0})

    async def idle(self, ctx: SimulatorContext, within: int) -> int:
        """Cycles until it is idle."""
        for cycle in range(within):
            if not ctx.get(self.dut.busy):
                return cycle
            await ctx.tick()
        raise AssertionError(f"busy after {within} cycles")

    def check(self, ctx: SimulatorContext, program: int) -> Outcome:
        want = self.outcome(program)
        assert self.executed == want.executed
        assert Cause(ctx.get(self.dut.cause)) == want.cause
        assert ctx.get(self.dut.done) == (want.cause == Cause.NONE)
        assert ctx.get(self.dut.error) == (want.cause != Cause.NONE)
        assert ctx.get(self.dut.pc) == want.pc
        if want.cause != Cause.NONE:
            assert ctx.get(self.dut.cause_address) == want.address
        assert not self.memory.coming
        return want

    def run(self, testbench: Testbench, limit: int) -> None:
        async def memory(ctx: SimulatorContext) -> None:
            await self.memory.run(ctx, self.dut.request, self.dut.data, lambda: self.over)

        async def main(ctx: SimulatorContext) -> None:
            await testbench(self, ctx)
            self.over = True

        run(self.dut, memory, self.engines, main, limit=limit)


def within(bench: Bench, program: int) -> int:
    """Cycles in which a program of these models has to end, with the gaps of the tests."""
    beats = 0
    executed = bench.outcome(program).executed
    for f in executed:
        beats += sum(len(got) for got in bench.wanted(f)[0].values())
    beats_an_instruction = BYTES // bench.config.port_bytes
    return 600 + 12 * beats + (len(executed) + 1) * (12 * beats_an_instruction + 4 * bench.memory.latency + 300)


def legal_program(bench: Bench, rng: random.Random, count: int, program: int) -> None:
    """Random legal instructions and an END; the ids of GATHER are of rows that are there."""
    random_one = Random(bench.config, rng, bench.limit)
    instructions = [random_one.legal(rng.choice(KINDS)) for _ in range(count)]
    for f in instructions:
        if f["opcode"] == Op.GATHER:
            # Behind the program, so that they stay what they are.
            f["ids_address"] = program + BYTES * (count + 1)
            for i in range(ids_beats(bench.config, f["tokens"])):
                ids = [rng.randint(0, 7) for _ in range(ceil_div(bench.config.port_bytes, 4))]
                content = b"".join(one.to_bytes(4, "little") for one in ids)
                bench.memory.write(f["ids_address"] + i * bench.config.port_bytes, content)
    for i, f in enumerate([*instructions, {"opcode": Op.END}]):
        bench.memory.write(program + i * BYTES, encode(f))


@pytest.mark.parametrize(
    ("seed", "name"), but(product([None, 1, 2], CONFIGURATIONS), [(1, "wide"), (2, "narrow"), (1, "narrow")])
)
def test_legal_programs(name: str, seed: int | None) -> None:
    """Each instruction once, in order, with its own data; done; and the next program."""
    bench = Bench(CONFIGURATIONS[name], LATENCY, seed)
    rng = seeded("programs", name, seed)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        for _ in range(3):
            program = 64 * rng.randint(0, 20)
            legal_program(bench, rng, 12, program)
            await bench.start(ctx, program)
            await bench.idle(ctx, within(bench, program))
            assert bench.check(ctx, program).cause == Cause.NONE

    bench.run(testbench, limit=200_000)
    assert bench.aborts == 0


def any_words(name: str, seed: int, programs: int = 16) -> None:
    """Legal instructions, then anything: done or error within a bound, as the twin says; clear, start, again."""
    bench = Bench(CONFIGURATIONS[name], 5, seed)
    rng = seeded("words", name, seed)
    random_one = Random(bench.config, rng, LIMIT)
    causes: set[Cause] = set()

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        for _ in range(programs):
            program = rng.choice([0, 64 * rng.randint(0, LIMIT // 64 - 1), rng.randint(0, LIMIT)])
            code = [encode(random_one.legal(rng.choice(KINDS))) for _ in range(rng.randint(0, 2))]
            code += [random_one.changed() if rng.random() < 0.7 else random_one.words()]
            code += [encode({"opcode": Op.END})] * rng.randint(0, 1)
            if program % bench.config.port_bytes == 0:
                bench.memory.write(program, b"".join(code))
            await bench.start(ctx, program)
            await bench.idle(ctx, within(bench, program))
            causes.add(bench.check(ctx, program).cause)
            if ctx.get(bench.dut.error):
                drive(ctx, bench.dut, {"start": 1})
                await ctx.tick()
                drive(ctx, bench.dut, {"start": 0})
                assert not ctx.get(bench.dut.busy), "no start before the clear"
                await bench.clear(ctx)
                assert not ctx.get(bench.dut.error)
                assert ctx.get(bench.dut.cause) == Cause.NONE

    bench.run(testbench, limit=20_000 * programs)
    print(causes)
    assert Cause.ADDRESS in causes


@pytest.mark.parametrize(
    ("seed", "name"), but(product(range(3), CONFIGURATIONS), [(0, "narrow"), (1, "wide"), (2, "narrow")])
)
def test_any_words(name: str, seed: int) -> None:
    any_words(name, seed)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seed", range(3, 11))
def test_ten_thousand_words(name: str, seed: int) -> None:
    any_words(name, seed, programs=640)


@pytest.mark.parametrize("how", ["fault", "clear"])
@pytest.mark.parametrize(("seed", "name"), but(product(range(2), CONFIGURATIONS), [(0, "wide"), (1, "narrow")]))
def test_stops(how: str, name: str, seed: int) -> None:
    """A fault of the memory, or a clear, at any time: idle within a bound; the next start is as the first.

    The memory is slow: what was asked for comes when the engines' reset would be over.
    """
    bench = Bench(CONFIGURATIONS[name], 3 * LATENCY, seed)
    rng = seeded("stops", how, name, seed)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        for _ in range(3):
            program = 64 * rng.randint(0, 20)
            legal_program(bench, rng, 4, program)
            await bench.start(ctx, program)
            await ctx.tick().repeat(rng.choice([1, rng.randint(1, 100), rng.randint(100, 800)]))
            if how == "fault":
                bench.faults[bench.cycle + 1] = 0x1234
                await ctx.tick().repeat(2)
            else:
                await bench.clear(ctx)
            await bench.idle(ctx, 1500)
            assert not bench.memory.coming
            if how == "fault":
                assert ctx.get(bench.dut.error)
                assert ctx.get(bench.dut.cause) == Cause.BUS
                assert ctx.get(bench.dut.cause_address) == 0x1234
                await bench.clear(ctx)
            assert not ctx.get(bench.dut.error)
            assert not ctx.get(bench.dut.done)
            assert ctx.get(bench.dut.cause) == Cause.NONE
            await bench.start(ctx, program)
            await bench.idle(ctx, within(bench, program))
            bench.check(ctx, program)

    bench.run(testbench, limit=300_000)


def products(bench: Bench, count: int, program: int) -> None:
    """Equal products of two column tiles, and an END."""
    tile_beats = parameter_beats(BASE) + TileBeats.of(BASE, 2).beats(8)
    f = {"opcode": Op.PRODUCT, "to_store": 1, "pattern_n": 2, "tokens": 8, "groups": 8, "channels": 16}
    f |= {"address": 0x1000, "tile_beats": tile_beats, "beats": 2 * tile_beats}
    for i in range(count):
        bench.memory.write(program + i * BYTES, encode(f))
    bench.memory.write(program + count * BYTES, encode({"opcode": Op.END}))


def test_short_instructions() -> None:
    """That end at once: fewer than 80 cycles each, at a memory latency of 30."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 0
    for i in range(10):
        bench.memory.write(i * BYTES, encode({"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}))
    bench.memory.write(10 * BYTES, encode({"opcode": Op.END}))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        assert await bench.idle(ctx, 1000) < 11 * 80

    bench.run(testbench, limit=1200)
    assert len(bench.executes) == 10
    gaps_between = [late - early for early, late in zip(bench.executes, bench.executes[1:], strict=False)]
    print(gaps_between)
    assert max(gaps_between) < 80


def test_overlap() -> None:
    """While an instruction executes, the next one comes, its weights are taken, and it follows a cycle after."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 400
    products(bench, 5, 0)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 4000)
        bench.check(ctx, 0)

    bench.run(testbench, limit=5000)
    assert [late - early for early, late in zip(bench.finishes, bench.executes[1:], strict=False)] == [2] * 4
    assert all(at < end for at, end in zip(bench.prepares[1:], bench.finishes, strict=False)), "weights come before"


def test_weights_wait_for_a_gather() -> None:
    """Between the ids and the last row of a GATHER nothing else is asked for."""
    bench = Bench(BASE, LATENCY, None)
    gather = {"opcode": Op.GATHER, "tokens": 4, "channels": 24, "beats": 3, "address": 0x2000, "ids_address": 0x3000}
    products(bench, 2, BYTES)
    bench.memory.write(0, encode(gather))
    bench.memory.write(0x3000, b"".join(number.to_bytes(4, "little") for number in (3, 0, 7, 3)))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 2000)
        bench.check(ctx, 0)

    bench.run(testbench, limit=3000)
    addresses = [address for _, address, _ in bench.memory.requests]
    assert addresses[:7] == [0, BYTES, 0x3000, 0x2000 + 3 * 48, 0x2000, 0x2000 + 7 * 48, 0x2000 + 3 * 48]
    assert addresses[7] == 2 * BYTES
    later = [cycle for cycle, _, _ in bench.memory.requests[7:]]
    assert later[0] > bench.finishes[0]


def test_rows_wait_for_a_store() -> None:
    """What a STORE writes may be read by the LOAD behind it; weights do not wait."""
    for kind, waits in (("load", True), ("memory", False)):
        bench = Bench(BASE, LATENCY, None)
        bench.delay = lambda f: 500 if f["opcode"] == Op.STORE else 0
        bench.memory.write(0, encode(Random(BASE, seeded("store"), LIMIT).legal("store")))
        if kind == "load":
            load = {"opcode": Op.LOAD, "tokens": 1, "groups": 2, "beats": 1, "address": 0x1000}
            bench.memory.write(BYTES, encode(load))
            bench.memory.write(2 * BYTES, encode({"opcode": Op.END}))
        else:
            products(bench, 1, BYTES)

        async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
            await bench.start(ctx, 0)
            await bench.idle(ctx, 2000)
            bench.check(ctx, 0)

        bench.run(testbench, limit=3000)
        asked = next(cycle for cycle, address, _ in bench.memory.requests if address == 0x1000)
        assert (asked > bench.finishes[0]) == waits


def test_a_stop_waits_for_a_store() -> None:
    """A STORE is executed to its end behind a clear: no burst stays without its beats."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 500
    bench.memory.write(0, encode(Random(BASE, seeded("store"), LIMIT).legal("store")))
    bench.memory.write(BYTES, encode({"opcode": Op.END}))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        while not bench.executes:
            await ctx.tick()
        await ctx.tick().repeat(100)
        await bench.clear(ctx)
        assert await bench.idle(ctx, 600) > 350
        assert len(bench.executed) == 1

    bench.run(testbench, limit=1500)
    assert bench.aborts == 1


@pytest.mark.parametrize("when", ["waits for the store", "resets the units"])
def test_a_clear_behind_a_fault(when: str) -> None:
    """While it stops for a fault: no error is left, the next program runs."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 100
    bench.memory.write(0, encode(Random(BASE, seeded("clear"), LIMIT).legal("store")))
    bench.memory.write(BYTES, encode({"opcode": Op.END}))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        while not bench.executes:
            await ctx.tick()
        bench.faults[bench.cycle + 1] = 0x1234
        await ctx.tick().repeat(50)
        while when == "resets the units" and not ctx.get(bench.dut.abort):
            await ctx.tick()
        assert ctx.get(bench.dut.busy)
        await bench.clear(ctx)
        await bench.idle(ctx, 200)
        assert not ctx.get(bench.dut.error)
        assert not ctx.get(bench.dut.done)
        assert ctx.get(bench.dut.cause) == Cause.NONE
        await bench.start(ctx, 0)
        await bench.idle(ctx, within(bench, 0))
        bench.check(ctx, 0)

    bench.run(testbench, limit=3000)


def test_a_store_beyond_the_limit() -> None:
    """What is reported is where in memory it would write, not where the instruction is."""
    bench = Bench(BASE, LATENCY, None)
    store = {"opcode": Op.STORE, "which": 1, "tokens": 1, "channels": 9, "address": LIMIT - 16}
    bench.memory.write(0, encode(store))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 200)
        want = bench.check(ctx, 0)
        assert (want.cause, want.address) == (Cause.ADDRESS, LIMIT - 16)

    bench.run(testbench, limit=300)


@pytest.mark.parametrize("limit", [LIMIT, 1 << 16, (1 << 16) + 192])
def test_the_end_of_memory(limit: int) -> None:
    """A program without an END: what is behind memory is not asked for, the last instruction gets its data."""
    bench = Bench(BASE, LATENCY, None, limit)
    load = {"opcode": Op.LOAD, "tokens": 1, "groups": 2, "beats": 1, "address": 0x1000}
    program = limit - 2 * BYTES
    for i in range(2):
        bench.memory.write(program + i * BYTES, encode(load))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, program)
        await bench.idle(ctx, 500)
        want = bench.check(ctx, program)
        assert (want.cause, want.address) == (Cause.ADDRESS, limit)
        assert len(want.executed) == 2

    bench.run(testbench, limit=1000)


@pytest.mark.parametrize("off", [1, BASE.port_bytes // 2, BASE.port_bytes - 1])
def test_a_program_within_a_beat(off: int) -> None:
    """It is refused."""
    bench = Bench(BASE, LATENCY, None)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0x100 + off)
        await bench.idle(ctx, 200)
        assert ctx.get(bench.dut.error)
        assert (ctx.get(bench.dut.cause), ctx.get(bench.dut.cause_address)) == (Cause.ADDRESS, 0x100 + off)

    bench.run(testbench, limit=400)


def test_wrong_words_wait_for_their_turn() -> None:
    """An illegal instruction is known early, and reported when the one before it has finished."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 300
    bench.memory.write(0, encode({"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}))
    bench.memory.write(BYTES, b"\xff" * BYTES)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 600)
        want = bench.check(ctx, 0)
        assert want.executed
        assert ctx.get(bench.dut.cause_address) == BYTES

    bench.run(testbench, limit=1000)
    assert bench.aborts == 1


def test_a_bad_address_waits_for_its_turn() -> None:
    """Rows that lie outside of memory are asked for early; that is reported when the one before has finished."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 300
    bench.memory.write(0, encode({"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}))
    bench.memory.write(BYTES, encode({"opcode": Op.LOAD, "tokens": 1, "groups": 2, "beats": 1, "address": LIMIT}))
    bench.memory.write(2 * BYTES, encode({"opcode": Op.END}))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 600)
        want = bench.check(ctx, 0)
        assert (want.cause, want.address) == (Cause.ADDRESS, LIMIT)
        assert len(want.executed) == 1

    bench.run(testbench, limit=1000)


def in_planes(tiles: int, beyond: int) -> dict[str, int]:
    """A product of so many column tiles, of which those from `beyond` on lie outside of memory."""
    weights = TileBeats.of(BASE, 2).beats(16)
    tile_beats, pitch = parameter_beats(BASE) + weights, weights + 3
    f = {"opcode": Op.PRODUCT, "to_store": 1, "pattern_n": 2, "tokens": 8, "groups": 8, "channels": 8 * tiles}
    f |= {"address": 0x1000, "tile_beats": tile_beats, "beats": tiles * tile_beats, "weight_groups": 16}
    last = (beyond - 1) * pitch + weights  # beats up to the end of the last tile that is in memory
    return f | {"planes_address": LIMIT - last * BASE.port_bytes, "planes_pitch": pitch}


@pytest.mark.parametrize("beyond", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 1, 300])
def test_planes_outside_memory(before: int, beyond: int) -> None:
    """Are asked for as the product executes: then it is given up. If it waits for another one, that ends before."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: before
    code = [{"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}] * bool(before)
    code += [in_planes(3, beyond), {"opcode": Op.END}]
    for number, f in enumerate(code):
        bench.memory.write(number * BYTES, encode(f))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 1500)
        want = bench.check(ctx, 0)
        assert want.cause == (Cause.ADDRESS if beyond < 3 else Cause.NONE)
        assert len(want.executed) == bool(before) + (beyond == 3)

    bench.run(testbench, limit=2000)
    assert bench.aborts == (beyond < 3)


def test_instructions_are_asked_for_behind_planes() -> None:
    """Of so many column tiles that the instruction behind the next one would be asked for between them."""
    bench = Bench(BASE, LATENCY, None)
    pool = {"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}
    for number, f in enumerate([in_planes(20, 20), pool, pool, {"opcode": Op.END}]):
        bench.memory.write(number * BYTES, encode(f))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 4000)
        assert len(bench.check(ctx, 0).executed) == 3

    bench.run(testbench, limit=5000)


def test_a_bad_address_waits_for_a_product_from_planes() -> None:
    """All of its column tiles have been asked for: what is asked for next is of the instruction behind it."""
    bench = Bench(BASE, LATENCY, None)
    bench.delay = lambda f: 400
    load = {"opcode": Op.LOAD, "tokens": 1, "groups": 2, "beats": 1, "address": LIMIT}
    for number, f in enumerate([in_planes(3, 3), load, {"opcode": Op.END}]):
        bench.memory.write(number * BYTES, encode(f))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 2000)
        want = bench.check(ctx, 0)
        assert (want.cause, want.address, len(want.executed)) == (Cause.ADDRESS, LIMIT, 1)

    bench.run(testbench, limit=3000)


def test_a_late_fault() -> None:
    """Of the memory, behind the end: an error none the less, and the next program runs after a clear."""
    bench = Bench(BASE, LATENCY, None)
    bench.memory.write(0, encode({"opcode": Op.END}))

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        await bench.idle(ctx, 200)
        assert ctx.get(bench.dut.done)
        bench.faults[bench.cycle + 1] = 0x77
        await ctx.tick().repeat(2)
        assert not ctx.get(bench.dut.done)
        assert ctx.get(bench.dut.error)
        assert ctx.get(bench.dut.cause) == Cause.BUS
        assert ctx.get(bench.dut.cause_address) == 0x77
        await bench.clear(ctx)
        await bench.start(ctx, 0)
        await bench.idle(ctx, 200)
        bench.check(ctx, 0)

    bench.run(testbench, limit=500)


@pytest.mark.parametrize("how", ["fault", "clear"])
def test_stops_at_the_ends(how: str) -> None:
    """In the first cycles of a short program, and in its last and those around it: no done beside it."""
    bench = Bench(BASE, 3, None)
    bench.delay = lambda f: 3
    bench.memory.write(0, encode({"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}))
    bench.memory.write(BYTES, encode({"opcode": Op.END}))
    ends: set[tuple[int, int]] = set()

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.start(ctx, 0)
        cycles = 1 + await bench.idle(ctx, 200)
        for after in (*range(1, 8), *range(cycles - 8, cycles + 4)):
            await bench.start(ctx, 0)
            await ctx.tick().repeat(after)
            if how == "fault":
                bench.faults[bench.cycle + 1] = 0x40
                await ctx.tick().repeat(2)
            else:
                await bench.clear(ctx)
            await bench.idle(ctx, 100)
            ends.add((ctx.get(bench.dut.done), ctx.get(bench.dut.error)))
            await bench.clear(ctx)
            assert not ctx.get(bench.dut.done)
            assert not ctx.get(bench.dut.error)

    bench.run(testbench, limit=40_000)
    assert ends == ({(0, 1)} if how == "fault" else {(0, 0)})
