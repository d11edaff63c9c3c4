"""The fetch: each consumer gets its segments' beats in order and nothing else is read; bad segments; stops."""

import os
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate

import pytest
from amaranth.sim import SimulatorContext

from nmgen.estimate.fetch import FetchTimes
from rtl.params import BURST_BEATS, FIFO_BEATS
from rtl.sta.control.fetch import BeatBuffer, Consumer, FetchUnit
from rtl.sta.latencies import IN_FLIGHT
from rtl.sta.params import StaConfig
from sim.bench.gaps import NO_GAPS, Gaps
from tests.nightly import but
from tests.rtl.simulate import Slow, drive, gaps, run, seeded
from tests.rtl.sta.memory import ReadMemory

LIMIT = 1 << 20
CONSUMERS = {consumer: consumer.name.lower() for consumer in Consumer}
STOPPED_WITHIN = 2 * FIFO_BEATS + 20  # cycles, beside what the memory takes

Testbench = Callable[["Bench", SimulatorContext], Awaitable[None]]


@dataclass
class Asked:
    """A segment, and through which port it is asked for."""

    address: int
    beats: int
    consumer: Consumer
    gather: bool = False


@dataclass
class Bench:
    """A fetch between a memory and consumers, which note what they get and when."""

    port_bytes: int
    latency: int
    seed: int | None
    limit: int = LIMIT
    accept: Gaps | None = None  # of requests, else by the seed
    got: dict[Consumer, list[int]] = field(default_factory=lambda: {consumer: [] for consumer in Consumer})
    delivered: list[int] = field(default_factory=list)  # the cycle of each beat
    closed: bool = False  # no consumer takes anything
    over: bool = False

    def __post_init__(self) -> None:
        self.dut = FetchUnit(StaConfig(port_bytes=self.port_bytes))
        give, accept = gaps(self.seed, "data"), self.accept or gaps(self.seed, "request")
        self.memory = ReadMemory(self.port_bytes, self.limit, self.latency, accept, give)
        self.take: dict[Consumer, Gaps] = {one: gaps(self.seed, one.name) for one in Consumer}

    def wanted(self, segments: list[Asked]) -> dict[Consumer, list[int]]:
        beats: dict[Consumer, list[int]] = {consumer: [] for consumer in Consumer}
        for one in segments:
            at = range(one.address, one.address + one.beats * self.port_bytes, self.port_bytes)
            beats[one.consumer] += [self.memory.beat(address) for address in at]
        return beats

    async def consumers(self, ctx: SimulatorContext) -> None:
        pushes = {consumer: getattr(self.dut, name) for consumer, name in CONSUMERS.items()}
        level = dict.fromkeys(pushes, 0)  # of the consumer's buffer
        cycle = 0
        while not self.over:
            for one, push in pushes.items():
                ctx.set(push.room, level[one] <= BeatBuffer.DEPTH - IN_FLIGHT)
            signals = [signal for push in pushes.values() for signal in (push.valid, push.payload)]
            _, _, *sampled = await ctx.tick().sample(*signals)
            assert sum(sampled[::2]) <= 1
            for one, valid, payload in zip(pushes, sampled[::2], sampled[1::2], strict=True):
                takes = level[one] and not self.closed and not self.take[one].stall()
                level[one] += valid - takes
                assert level[one] <= BeatBuffer.DEPTH
                if valid:
                    self.got[one].append(payload)
                    self.delivered.append(cycle)
            cycle += 1

    async def ask(self, ctx: SimulatorContext, one: Asked) -> int:
        """Offers the segment until it is taken, from the second cycle on not idle; returns the cycle."""
        name = "gather_segment" if one.gather else "segment"
        payload = {"address": one.address, "beats": one.beats, "consumer": one.consumer}
        drive(ctx, self.dut, {f"{name}.payload": payload, f"{name}.valid": 1})
        idle = taken = False
        while not taken:
            assert not idle
            _, _, taken = await ctx.tick().sample(getattr(self.dut, name).ready)
            idle = not taken and bool(ctx.get(self.dut.idle))
        drive(ctx, self.dut, {f"{name}.valid": 0})
        return self.memory.cycle - 1

    async def idle(self, ctx: SimulatorContext, within: int) -> None:
        for _ in range(within):
            if ctx.get(self.dut.idle):
                return
            await ctx.tick()
        raise AssertionError(f"not idle after {within} cycles")

    def run(self, testbench: Testbench, limit: int) -> None:
        async def memory(ctx: SimulatorContext) -> None:
            await self.memory.run(ctx, self.dut.request, self.dut.data, lambda: self.over)

        async def main(ctx: SimulatorContext) -> None:
            ctx.set(self.dut.limit, self.limit)
            await testbench(self, ctx)
            self.over = True

        run(self.dut, memory, self.consumers, main, limit=limit)


def some(rng: random.Random, count: int, size: int) -> list[Asked]:
    segments = []
    for _ in range(count):
        beats = rng.choice([1, 1, 2, 15, 16, 17, rng.randint(1, 100)])
        most = LIMIT // size - beats
        address = size * rng.choice([0, most, rng.randint(0, most)])
        segments.append(Asked(address, beats, rng.choice(list(Consumer)), rng.random() < 0.3))
    return segments


@pytest.mark.parametrize(("port_bytes", "latency"), [(1, 30), (16, 1), (64, 90)])
@pytest.mark.parametrize("seed", but([None, 5, 6], [6]), ids=["free", "gaps", "others"])
def test_segments(port_bytes: int, latency: int, seed: int | None) -> None:
    """Through both ports, for all consumers; idle behind them, not before; bursts are whole but for the last."""
    bench = Bench(port_bytes, latency, seed)
    segments = some(seeded("segments", port_bytes, latency, seed), 60, port_bytes)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        assert ctx.get(bench.dut.idle)
        for one in segments:
            await bench.ask(ctx, one)
            assert not ctx.get(bench.dut.idle)
        behind = 0  # cycles
        while not ctx.get(bench.dut.idle):
            behind += sum(map(len, bench.got.values())) == sum(one.beats for one in segments)
            assert behind <= 1
            await ctx.tick()
        assert bench.got == bench.wanted(segments)

    bench.run(testbench, limit=60_000)
    bursts = []
    for one in segments:
        bursts += [
            (one.address + i * port_bytes, min(BURST_BEATS, one.beats - i)) for i in range(0, one.beats, BURST_BEATS)
        ]
    assert [(address, beats) for _, address, beats in bench.memory.requests] == bursts


def test_cycles() -> None:
    """A segment is taken four cycles after its offer, then bursts every other cycle; four to the buffer."""
    bench = Bench(16, 30, None)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        begin = bench.memory.cycle
        assert await bench.ask(ctx, Asked(0, 40, Consumer.WEIGHTS)) == begin + 4
        assert await bench.ask(ctx, Asked(4096, 20, Consumer.ROWS)) == begin + 4 + 8, "checked while others are asked"
        assert [cycle - begin for cycle, _, _ in bench.memory.requests] == [6, 8, 10]
        await bench.idle(ctx, 200)

    bench.run(testbench, limit=300)
    between = 2  # segments
    waits = [got - came for got, came in zip(bench.delivered, bench.memory.arrivals, strict=True)]
    assert waits == [4] * 40 + [4 + between] * 20


@pytest.mark.parametrize("latency", [1, 30, 43, 44, 45, 46, 60, 200])
def test_throughput(latency: int) -> None:
    """A beat a cycle up to a latency of 44, beyond it the whole FIFO in each round trip: no burst is late."""
    bursts = 40
    bench = Bench(8, latency, None)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.ask(ctx, Asked(0, bursts * BURST_BEATS, Consumer.WEIGHTS))
        await bench.idle(ctx, bursts * (latency + FIFO_BEATS))

    bench.run(testbench, limit=bursts * (latency + FIFO_BEATS))
    first = bench.memory.requests[0][0]
    at_once = FIFO_BEATS // BURST_BEATS
    # From a request to the one in its burst's place: its last beat, two cycles to leave the FIFO, three to be room.
    trip = max(FIFO_BEATS, latency + BURST_BEATS - 1 + 2 + 3)
    begins = [first + latency + trip * (i // at_once) for i in range(bursts)]
    for i, (begin, came) in enumerate(zip(begins, bench.memory.arrivals[::BURST_BEATS], strict=True)):
        assert came == begin + BURST_BEATS * (i % at_once), f"burst {i}"
    assert bench.got == bench.wanted([Asked(0, bursts * BURST_BEATS, Consumer.WEIGHTS)])


@pytest.mark.parametrize("port_bytes", [1, 16])
@pytest.mark.parametrize(
    "latency", [1, 30, 60, 200, *(pytest.param(cycles, marks=pytest.mark.nightly) for cycles in range(3, 200, 7))]
)
def test_the_estimate(latency: int, port_bytes: int) -> None:
    """`nmgen.estimate.fetch` says of random segments when each is taken, and when its last beat is."""
    seed = f"{os.environ.get('NMGEN_SEED', '0')} {latency} {port_bytes}"
    print(f"seed {seed!r}")
    rng = seeded("estimate", seed)
    bench, times = Bench(port_bytes, latency, None), FetchTimes(latency)
    most = rng.choice([1, 3, 20, 100])
    segments = [replace(one, beats=min(one.beats, rng.randint(1, most))) for one in some(rng, 60, port_bytes)]
    found: list[tuple[int, int]] = []

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await ctx.tick().repeat(2)  # nothing is offered in the cycle of a start
        for one in segments:
            for _ in range(rng.choice([0, 0, 0, 1, 5, 40])):
                await ctx.tick()
            found.append((bench.memory.cycle, await bench.ask(ctx, one)))
        await bench.idle(ctx, len(segments) * (latency + 100))

    bench.run(testbench, limit=len(segments) * (latency + 200))
    ends = []
    for number, (one, (offered, taken)) in enumerate(zip(segments, found, strict=True)):
        assert times.open(offered, one.beats) == taken, f"segment {number}"
        ends.append(times.take(one.consumer.name.lower(), 0, range(one.beats)))
    counts = accumulate(one.beats for one in segments)
    in_buffer = 2  # cycles
    assert [bench.delivered[count - 1] + in_buffer for count in counts] == ends


BAD = [
    Asked(0x1004, 1, Consumer.ROWS),
    Asked(LIMIT, 1, Consumer.WEIGHTS),
    Asked(LIMIT - 16, 2, Consumer.TABLE),
    Asked(0, LIMIT // 16 + 1, Consumer.WEIGHTS),
    Asked(0, (1 << 32) - 1, Consumer.ROWS),
    Asked((1 << 32) - 16, 1, Consumer.IDS),
    Asked((1 << 32) - 16, 1 << 28, Consumer.ROWS, gather=True),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.address:x}+{bad.beats:x}")
def test_bad(bad: Asked) -> None:
    """Is not taken; what came before is delivered; a stop ends it, and the fetch works again.

    While the one before is being requested, and when there is none.
    """
    bench = Bench(16, 10, None)
    after = [Asked(LIMIT - 16 * 20, 20, Consumer.ROWS)]

    async def refused(bench: Bench, ctx: SimulatorContext, before: list[Asked]) -> None:
        bench.got = {consumer: [] for consumer in Consumer}
        for one in before:
            await bench.ask(ctx, one)
        name = "gather_segment" if bad.gather else "segment"
        payload = {"address": bad.address, "beats": bad.beats, "consumer": bad.consumer}
        drive(ctx, bench.dut, {f"{name}.payload": payload, f"{name}.valid": 1})
        for _ in range(100):
            await ctx.tick()
            assert not ctx.get(getattr(bench.dut, name).ready)
        assert ctx.get(bench.dut.bad)
        assert ctx.get(bench.dut.bad_address) == bad.address
        assert not ctx.get(bench.dut.idle)
        assert bench.got == bench.wanted(before)
        drive(ctx, bench.dut, {"stop": 1, f"{name}.valid": 0})
        await ctx.tick()
        assert not ctx.get(bench.dut.bad)
        await bench.idle(ctx, STOPPED_WITHIN)
        drive(ctx, bench.dut, {"stop": 0})
        for one in after:
            await bench.ask(ctx, one)
        await bench.idle(ctx, 200)
        assert bench.got == bench.wanted([*before, *after])

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await refused(bench, ctx, [Asked(0x100, 30, Consumer.WEIGHTS)])
        await refused(bench, ctx, [])

    bench.run(testbench, limit=1200)


@pytest.mark.parametrize("latency", [1, 40])
@pytest.mark.parametrize("seed", but(range(6), range(3, 6)))
def test_stop(latency: int, seed: int) -> None:
    """At any time, with consumers that take nothing more: idle as soon as the memory allows; then all is as new."""
    bench = Bench(8, latency, seed)
    rng = seeded("stop", latency, seed)
    rounds = [some(rng, 8, 8) for _ in range(4)]

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        for segments in rounds:
            stop_after = rng.randint(0, 8)
            for one in segments[:stop_after]:
                await bench.ask(ctx, one)
            await ctx.tick().repeat(rng.randint(1, 80))
            if stop_after < 8:
                one = segments[stop_after]
                payload = {"address": one.address, "beats": one.beats, "consumer": one.consumer}
                drive(ctx, bench.dut, {"segment.payload": payload, "segment.valid": 1})
                await ctx.tick().repeat(rng.randint(1, 4))
                drive(ctx, bench.dut, {"segment.valid": 0})
            bench.closed = rng.random() < 0.5
            drive(ctx, bench.dut, {"stop": 1})
            await ctx.tick()
            held = {one: len(beats) for one, beats in bench.got.items()}
            await bench.idle(ctx, 20 * STOPPED_WITHIN + latency)
            await ctx.tick().repeat(3)
            assert not bench.memory.coming, "idle while beats are to come"
            assert {one: len(beats) for one, beats in bench.got.items()} == held, "delivered while stopped"
            drive(ctx, bench.dut, {"stop": 0})
            bench.closed = False
            bench.got = {consumer: [] for consumer in Consumer}
            for one in segments:
                await bench.ask(ctx, one)
            await bench.idle(ctx, 10_000)
            assert bench.got == bench.wanted(segments)
            bench.got = {consumer: [] for consumer in Consumer}

    bench.run(testbench, limit=60_000)


@pytest.mark.parametrize("one_in", [1, 4])
def test_stop_among_requests(one_in: int) -> None:
    """In any cycle of them: one that is offered stays until it is taken, another one does not come."""
    bench = Bench(8, 3, None, accept=Slow(one_in))
    one = Asked(0x400, 100, Consumer.TABLE)

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        for after in range(1, 7 * max(one_in, 2)):
            await bench.ask(ctx, one)
            await ctx.tick().repeat(after)
            drive(ctx, bench.dut, {"stop": 1})
            await ctx.tick()
            asked = len(bench.memory.requests)
            await bench.idle(ctx, STOPPED_WITHIN)
            assert not bench.memory.coming
            assert len(bench.memory.requests) <= asked + 1
            drive(ctx, bench.dut, {"stop": 0})
            bench.got = {consumer: [] for consumer in Consumer}
            await bench.ask(ctx, one)
            await bench.idle(ctx, 300)
            assert bench.got == bench.wanted([one])

    bench.run(testbench, limit=10_000)


def test_a_closed_consumer() -> None:
    """As many beats are asked for as the FIFO and the consumer's buffer hold, none more."""
    bench = Bench(4, 3, None)
    bench.closed = True

    async def testbench(bench: Bench, ctx: SimulatorContext) -> None:
        await bench.ask(ctx, Asked(0, 1000, Consumer.IDS))
        await ctx.tick().repeat(200)
        assert len(bench.got[Consumer.IDS]) == BeatBuffer.DEPTH
        assert sum(beats for _, _, beats in bench.memory.requests) == FIFO_BEATS, "no room for a whole burst more"
        bench.closed = False
        bench.take = dict.fromkeys(Consumer, NO_GAPS)
        await bench.idle(ctx, 2000)
        assert bench.got == bench.wanted([Asked(0, 1000, Consumer.IDS)])

    bench.run(testbench, limit=3000)


@pytest.mark.parametrize("busy", [(0.9, 0.3), (0.3, 0.9), (1, 1), (0.6, 0.6)], ids=str)
def test_buffer(busy: tuple[float, float]) -> None:
    """First in, first out, and room for all that may still come when it says that there is none."""
    rng = seeded(busy)
    buffer = BeatBuffer(StaConfig(port_bytes=1))
    kept: deque[int] = deque()
    coming: deque[int] = deque(maxlen=1)

    async def testbench(ctx: SimulatorContext) -> None:
        moved = full = 0
        known = [True] * (IN_FLIGHT - 1)  # whether there was room, the oldest first
        for _ in range(600):
            valid, word, ready = known[0] and rng.random() < busy[0], rng.getrandbits(8), rng.random() < busy[1]
            drive(ctx, buffer, {"words_in.valid": valid, "words_in.payload": word, "words_out.ready": ready})
            _, _, room, some, out = await ctx.tick().sample(
                buffer.words_in.room, buffer.words_out.valid, buffer.words_out.payload
            )
            assert some == bool(kept)
            assert len(kept) <= BeatBuffer.DEPTH
            assert room == (len(kept) <= BeatBuffer.ROOM)
            full += len(kept) == BeatBuffer.DEPTH
            known = [*known[1:], bool(room)]
            if kept:
                assert out == kept[0]
                if ready:
                    kept.popleft()
                    moved += 1
            kept.extend(coming)
            coming.clear()
            if valid:
                coming.append(word)
        assert moved > 100
        assert full or busy[0] <= busy[1]

    run(buffer, testbench, limit=600)
