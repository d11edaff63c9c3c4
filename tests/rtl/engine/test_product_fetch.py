"""The fetch: what is asked for, when, in bursts of which length; which consumer gets each beat, and when."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import FIFO_CYCLES
from rtl.engine.product_fetch import Fetch
from rtl.params import BURST_BEATS, FIFO_BEATS, Config
from sim.bench.gaps import Gaps
from tests.rtl.simulate import Slow, drive, gaps, run, seeded

CONSUMERS = ("row_parameters", "weights", "activations")
ADDRESSES = {"r_address": 0x1000_0000, "w_address": 0x2000_0000, "x_address": 0x3000_0000}
LIMIT = 6000


@dataclass(frozen=True)
class Shape:
    """Beats of the row parameters, of one column tile, of all column tiles, of the activations."""

    row: int
    tile: int
    weights: int
    activations: int

    def product(self) -> dict[str, int]:
        beats = {"r_beats": self.row, "w_tile_beats": self.tile, "w_beats": self.weights, "x_beats": self.activations}
        return {**ADDRESSES, **beats}

    def segments(self, size: int) -> list[tuple[str, int, int]]:
        """(consumer, first address, beats) of everything that is read, in order."""
        return [
            ("row_parameters", ADDRESSES["r_address"], self.row),
            ("weights", ADDRESSES["w_address"], self.tile),
            ("activations", ADDRESSES["x_address"], self.activations),
            ("weights", ADDRESSES["w_address"] + self.tile * size, self.weights - self.tile),
        ]


SHAPES = [
    Shape(0, 1, 1, 1),
    Shape(3, 20, 60, 33),
    Shape(0, 16, 16, 16),
    Shape(17, 15, 30, 64),
    Shape(1, 2, 6, 1),
    Shape(0, 100, 300, 5),
    Shape(2, 7, 7, 130),
]


class Requests:
    """What must be asked for in each cycle: a cycle to enter each segment, then a burst a cycle while there is room."""

    def __init__(self, segments: Sequence[tuple[str, int, int]], size: int) -> None:
        self._size = size
        self._segments = deque((address, beats) for _, address, beats in segments)
        self._address = self._beats = 0
        self._room = FIFO_BEATS

    def offer(self) -> tuple[int, int] | None:
        """(address, beats) of this cycle's request."""
        burst = min(self._beats, BURST_BEATS)
        return (self._address, burst) if 0 < burst <= self._room else None

    def step(self, *, asked: int, used: bool) -> None:
        """Ends a cycle in which so many beats were asked for, and a beat left for its consumer."""
        if self._beats == 0 and self._segments:
            self._address, self._beats = self._segments.popleft()
        else:
            self._address += asked * self._size
            self._beats -= asked
        self._room += used - asked

    @property
    def done(self) -> bool:
        return not self._segments and not self._beats


class Deliveries:
    """Whose beat is next, and from which cycle on it may have it."""

    def __init__(self, segments: Sequence[tuple[str, int, int]], size: int) -> None:
        self._segments = deque((name, deque(range(at, at + n * size, size))) for name, at, n in segments)
        self._size = size
        self._enter = 2
        self._skip_empty()

    def _skip_empty(self) -> None:
        while self._segments and not self._segments[0][1]:
            self._segments.popleft()
            self._enter += 1

    def next(self, cycle: int) -> tuple[str, int] | None:
        """(consumer, beat) that is due in this cycle, if it has come."""
        if not self._segments or cycle < self._enter:
            return None
        name, addresses = self._segments[0]
        return name, content(addresses[0], self._size)

    def used(self, cycle: int) -> None:
        addresses = self._segments[0][1]
        addresses.popleft()
        if not addresses:
            self._segments.popleft()
            self._enter = cycle + 2
            self._skip_empty()

    @property
    def done(self) -> bool:
        return not self._segments


def content(address: int, size: int) -> int:
    return seeded(address).getrandbits(8 * size)


class Bench:
    """A fetch with a memory before it and consumers behind it; every cycle is checked."""

    def __init__(self, port_bytes: int, latency: int, seed: int | None) -> None:
        self.dut = Fetch(Config(port_bytes=port_bytes))
        self.size = port_bytes
        self.latency = latency
        self.accept = gaps(seed, "request")
        self.give = gaps(seed, "data")
        self.take: dict[str, Gaps] = {name: gaps(seed, name) for name in CONSUMERS}
        self.in_flight = 0  # beats asked for and not yet used
        self.most_in_flight = 0

    def run(self, shapes: Sequence[Shape]) -> None:
        async def testbench(ctx: SimulatorContext) -> None:
            for shape in shapes:
                await self.product(ctx, shape)
                for _ in range(5):
                    await self.cycle(ctx, offered=None, due=None)

        run(self.dut, testbench, limit=LIMIT * len(shapes))

    async def product(self, ctx: SimulatorContext, shape: Shape) -> None:
        drive(ctx, self.dut, {"product": shape.product(), "start": 1})
        await self.cycle(ctx, offered=None, due=None)
        drive(ctx, self.dut, {"start": 0})
        requests = Requests(shape.segments(self.size), self.size)
        deliveries = Deliveries(shape.segments(self.size), self.size)
        coming: deque[tuple[int, int]] = deque()  # of each beat asked for: first cycle in which it may come, content
        inside: deque[int] = deque()  # of each beat in the FIFO: the cycle in which it came
        offering = False
        for cycle in range(1, LIMIT):
            offering = offering or bool(coming and coming[0][0] <= cycle and not self.give.stall())
            drive(ctx, self.dut, {"data.valid": offering, "data.payload": coming[0][1] if offering else 0})
            offered = requests.offer()
            here = bool(inside) and inside[0] + FIFO_CYCLES <= cycle
            asked, used = await self.cycle(ctx, offered=offered, due=deliveries.next(cycle) if here else None)
            if offered and asked:
                address, beats = offered
                due = cycle + self.latency
                coming.extend((due, content(address + i * self.size, self.size)) for i in range(beats))
            if offering:
                inside.append(cycle)
                coming.popleft()
                offering = False
            if used:
                inside.popleft()
                deliveries.used(cycle)
            requests.step(asked=asked, used=used)
            if deliveries.done and requests.done:
                assert not coming
                assert not inside
                return
        raise AssertionError(f"not done after {LIMIT} cycles")

    async def cycle(
        self, ctx: SimulatorContext, *, offered: tuple[int, int] | None, due: tuple[str, int] | None
    ) -> tuple[int, bool]:
        """A cycle in which this request is offered, and this beat to its consumer. (beats asked for, beat is used)"""
        dut = self.dut
        ready = not self.accept.stall()
        takes = {name: not self.take[name].stall() for name in CONSUMERS}
        drive(ctx, dut, {"request.ready": ready, **{f"{name}.ready": take for name, take in takes.items()}})
        consumers = [getattr(dut, name) for name in CONSUMERS]
        _, _, asks, request, data_valid, data_ready, *sampled = await ctx.tick().sample(
            dut.request.valid,
            dut.request.payload,
            dut.data.valid,
            dut.data.ready,
            *(consumer.valid for consumer in consumers),
            *(consumer.payload for consumer in consumers),
        )
        got = (request.address, request.length + 1) if asks else None
        assert got == offered, "request"
        assert data_ready or not data_valid, "no room for a beat that was asked for"
        for i, name in enumerate(CONSUMERS):
            assert sampled[i] == (due is not None and due[0] == name), f"beat for {name}"
            if sampled[i] and due is not None:
                assert sampled[i + len(CONSUMERS)] == due[1], f"beat for {name}"
        asked = offered[1] if offered and ready else 0
        used = due is not None and takes[due[0]]
        self.in_flight += asked - used
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        assert self.in_flight <= FIFO_BEATS
        return asked, used


@pytest.mark.parametrize(("port_bytes", "latency"), [(1, 30), (16, 1), (16, 90), (64, 45)])
@pytest.mark.parametrize("seed", [None, 5], ids=["free", "gaps"])
def test_products(port_bytes: int, latency: int, seed: int | None) -> None:
    """Of all shapes, one after another."""
    Bench(port_bytes, latency, seed).run(SHAPES)


class Closed(Gaps):
    """Holds back until it is opened."""

    open = False

    def stall(self) -> bool:
        return not self.open


def test_what_is_asked_for_has_room() -> None:
    """With the consumers closed exactly as many beats are asked for as the FIFO holds, and all of them fit in."""
    bench = Bench(4, 3, None)
    closed = Closed()
    bench.take = dict.fromkeys(CONSUMERS, closed)
    opened: list[int] = []

    async def product(ctx: SimulatorContext) -> None:
        await bench.product(ctx, Shape(0, 40, 400, 30))

    async def open_later(ctx: SimulatorContext) -> None:
        await ctx.tick().repeat(200)
        opened.append(bench.in_flight)
        closed.open = True

    run(bench.dut, product, open_later, limit=LIMIT)
    assert opened == [FIFO_BEATS - 6 - 2], "bursts of 16, 16, 8 and 16 are out; one of 14 does not fit"
    assert bench.most_in_flight == FIFO_BEATS


def test_a_slow_consumer_gets_bursts_as_room_comes_up() -> None:
    bench = Bench(2, 10, None)
    bench.take = {name: Slow(3) for name in CONSUMERS}
    bench.run([Shape(0, 64, 200, 16)])
    assert bench.most_in_flight == FIFO_BEATS
