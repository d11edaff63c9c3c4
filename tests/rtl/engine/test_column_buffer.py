"""The column buffer: packed weights come in, operands and parameters come out, nothing in use is overwritten."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import READ_LATENCY
from rtl.array.walk import TileWalk
from rtl.engine.column_buffer import ColumnBank, ColumnBuffer, ColumnLoader
from rtl.engine.latencies import PARAMETER_CYCLES
from rtl.params import Config
from rtl.product import Product
from sim.bench.gaps import NO_GAPS, Gaps
from tests.rtl.simulate import Slow, described, drive, gaps, run, seeded, trace
from tests.rtl.weights import Weights, check_operands, load_times

PARAMETER_TILES = 4  # column tiles whose parameters are kept
CONFIGURATIONS = {
    "3:16 3x5": Config(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=16, max_tokens=8, max_k=64),
    "2:4 1x3": Config(n=2, m=4, rows=1, cols=3, drain=1, port_bytes=4, max_tokens=8, max_k=32),
    "2:8 1x8": Config(n=2, m=8, rows=1, cols=8, drain=4, port_bytes=64, max_tokens=8, max_k=40),
    "4:4 1x2": Config(n=4, m=4, rows=1, cols=2, drain=1, port_bytes=2, max_tokens=8, max_k=24),
    "1:32 1x1": Config(n=1, m=32, rows=1, cols=1, drain=8, port_bytes=8, max_tokens=8, max_k=64),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)
SEEDS = pytest.mark.parametrize("seed", [None, 8], ids=["free", "gaps"])


def products(config: Config) -> list[Product]:
    """Every kind of pattern, odd and even numbers of column tiles, the longest tiles and the shortest."""
    n, m, cols = config.n, config.m, config.cols
    patterns = sorted({1, n, min(n + 1, m), max(1, m // 4), m // 2 + 1, m - 1, m})
    ks = [config.max_k, 1, config.max_k - m // 2, m + 1]
    channels = [2 * cols + 1, 3 * cols, 1, 5 * cols, 4 * cols - 1]
    return [
        Product(config=config, tokens=1, k=ks[i % 4], channels=channels[i % 5], pattern_n=pattern_n)
        for i, pattern_n in enumerate(patterns)
    ]


# --- ColumnBank ----------------------------------------------------------------------------------


@EVERY
def test_bank(name: str) -> None:
    """Reads and writes of all entries in a random mixture."""
    config = CONFIGURATIONS[name]
    rng = seeded(name)
    bank = ColumnBank(config)
    depth = 2 * config.max_steps
    width = bank.column.shape().size
    entries = [0] * depth
    inputs: list[dict[str, Any]] = []
    want: list[int] = []
    for cycle in range(4 * depth + 200):
        read, write = rng.randrange(depth), cycle % depth if cycle < depth else rng.randrange(depth)
        enable = rng.random() < 0.6 and read != write
        data = rng.getrandbits(width)
        fields = bank.column.shape().from_bits(data)
        inputs.append({"write_address": write, "write_data": fields, "write_enable": enable, "address_in": read})
        want.append(entries[read])
        if enable:
            entries[write] = data
    record = trace(bank, inputs, bank.address_out, bank.column)
    assert READ_LATENCY == 2
    for cycle in range(2, len(record)):
        assert record[cycle] == (inputs[cycle - 1]["address_in"], want[cycle - 2]), f"cycle {cycle}"


# --- ColumnLoader --------------------------------------------------------------------------------


@dataclass
class Events:
    """What a loader did: the cycle of each event, in order, and what came with it."""

    begins: list[int]
    loaded: list[int]
    parameters: list[tuple[int, Any]]
    entries: list[tuple[int, Any]]


async def load(ctx: SimulatorContext, dut: ColumnLoader, weights: Weights, give: Gaps, room: Gaps) -> Events:
    """Loads a product's tiles. Cycles count from the start; the loader must begin as soon as there is room."""
    product = weights.product
    beats = deque(beat for tile in range(product.column_tiles) for beat in weights.beats(tile))
    events = Events([], [], [], [])
    offering = False
    limit = 200 + 20 * (len(beats) + product.column_tiles * (product.steps + 20))
    for cycle in range(limit):
        has_room = not room.stall()
        offering = offering or bool(beats and not give.stall())
        inputs = {"beats.valid": offering, "beats.payload": beats[0] if offering else weights.rng.getrandbits(8)}
        drive(ctx, dut, {"start": cycle == 0, "product": described(product), "room": has_room, **inputs})
        _, _, ready, begins, loaded, parameters, parameters_enable, entry, entry_enable = await ctx.tick().sample(
            dut.beats.ready,
            dut.begins,
            dut.loaded,
            dut.parameters,
            dut.parameters_enable,
            dut.entry,
            dut.entry_enable,
        )
        begun = len(events.begins)
        waiting = cycle >= TileWalk.LATENCY and begun < product.column_tiles and begun == len(events.loaded) + loaded
        assert begins == (waiting and has_room), f"cycle {cycle}: begins"
        if begins:
            events.begins.append(cycle)
        if loaded:
            assert entry_enable, f"cycle {cycle}: a tile is complete, but not with an entry"
            events.loaded.append(cycle)
        if parameters_enable:
            events.parameters.append((cycle, parameters))
        if entry_enable:
            events.entries.append((cycle, entry))
        if offering and ready:
            beats.popleft()
            offering = False
        if len(events.loaded) == product.column_tiles:
            assert not beats, f"{len(beats)} beats left"
            return events
    raise AssertionError(f"{len(events.loaded)} of {product.column_tiles} tiles loaded after {limit} cycles")


@EVERY
@SEEDS
def test_loader(name: str, seed: int | None) -> None:
    """Every entry and parameter of products one after another; without gaps each in its cycle."""
    config = CONFIGURATIONS[name]
    rng = seeded(name, seed)
    dut = ColumnLoader(config)
    give, room = gaps(seed, "beats"), gaps(seed, "room")

    async def testbench(ctx: SimulatorContext) -> None:
        for product in products(config):
            weights = Weights(product, rng)
            events = await load(ctx, dut, weights, give, room)
            assert len(events.parameters) == product.column_tiles * config.slots_a_row
            assert len(events.entries) == product.column_tiles * product.steps
            begin = TileWalk.LATENCY
            for tile in range(product.column_tiles):
                where = f"{product}, column tile {tile}"
                slots = events.parameters[tile * config.slots_a_row :][: config.slots_a_row]
                for (_, got), want in zip(slots, weights.slots(tile), strict=True):
                    lanes = [got[lane] for lane in range(config.drain_lanes)]
                    assert [(one.bias, one.mult, one.shift) for one in lanes] == want, where
                entries = events.entries[tile * product.steps :][: product.steps]
                for step, ((_, got), columns) in enumerate(zip(entries, weights.steps(tile), strict=True)):
                    for column, want_operands in enumerate(columns):
                        check_operands(got[column], want_operands, f"{where}, step {step}, column {column}")
                assert events.loaded[tile] == entries[-1][0], where
                if seed is None:
                    slot_times, step_times = load_times(product, begin)
                    assert events.begins[tile] == begin, where
                    assert [cycle for cycle, _ in slots] == slot_times, where
                    assert [cycle for cycle, _ in entries] == [time + 1 for time in step_times], where
                    begin = events.loaded[tile]

    run(dut, testbench, limit=30000)


# --- ColumnBuffer --------------------------------------------------------------------------------


class Reader:
    """A column buffer that is filled as fast as it takes, and read as slowly as a test wants."""

    def __init__(self, config: Config, *, give: Gaps, read: Gaps, drain: Gaps, seed: object) -> None:
        self.config = config
        self.dut = ColumnBuffer(config)
        self.rng = seeded(seed)
        self.give, self.read, self.drain = give, read, drain

    async def product(self, ctx: SimulatorContext, weights: Weights, token_tiles: int) -> None:
        """Feeds and checks one product. Each column tile is read for so many token tiles, then released."""
        p, c, dut, rng = weights.product, self.config, self.dut, self.rng
        beats = deque((tile, beat) for tile in range(p.column_tiles) for beat in weights.beats(tile))
        steps = [weights.steps(tile) for tile in range(p.column_tiles)]
        reads = deque(
            (tile, step, step == p.steps - 1 and turn == token_tiles - 1)
            for tile in range(p.column_tiles)
            for turn in range(token_tiles)
            for step in range(p.steps)
        )
        columns: dict[tuple[int, int], tuple[Any, str]] = {}  # what each column must show, by cycle
        self.first_beats: list[int] = []  # of each tile, the cycle in which it was taken
        self.released: list[int] = []
        self.drained: list[int] = []
        loaded = 0
        offering = False
        asked: deque[tuple[int, int] | None] = deque([None] * PARAMETER_CYCLES)  # tiles and slots of parameters
        for cycle in range(12000):
            offering = offering or bool(beats and not self.give.stall())
            inputs: dict[str, Any] = {"start": cycle == 0, "product": described(p), "column_done": 0, "drained": 0}
            inputs |= {"beats.valid": offering, "beats.payload": beats[0][1] if offering else 0}

            if reads and reads[0][0] < loaded and not self.read.stall():
                tile, step, last = reads.popleft()
                inputs |= {"address": tile % 2 * c.max_steps + step, "column_done": last}
                if last:
                    self.released.append(cycle)
                for column, want in enumerate(steps[tile][step]):
                    where = f"cycle {cycle}: column tile {tile}, step {step}, column {column}"
                    columns[cycle + READ_LATENCY + column, column] = (want, where)
            oldest = len(self.drained)
            ask = None
            if oldest < loaded:
                ask = rng.randrange(oldest, loaded), rng.randrange(c.slots_a_row)
                inputs["parameter_address"] = ask[0] % PARAMETER_TILES * c.slots_a_row + ask[1]
            if oldest < len(self.released) and not self.drain.stall():
                inputs["drained"] = 1
                self.drained.append(cycle)
            drive(ctx, dut, inputs)
            _, _, ready, tile_loaded, parameters, *shown = await ctx.tick().sample(
                dut.beats.ready, dut.loaded, dut.parameters, *dut.columns
            )
            now = asked.popleft()
            if now is not None:
                lanes = [parameters[lane] for lane in range(c.drain_lanes)]
                got = [(one.bias, one.mult, one.shift) for one in lanes]
                assert got == weights.slots(now[0])[now[1]], f"cycle {cycle}: parameters of tile, slot {now}"
            asked.append(ask)
            for column in range(c.cols):
                if (cycle, column) in columns:
                    check_operands(shown[column], *columns.pop((cycle, column)))
            if offering and ready:
                tile, _ = beats.popleft()
                if tile == len(self.first_beats):
                    self.first_beats.append(cycle)
                offering = False
            loaded += tile_loaded
            if len(self.drained) == p.column_tiles and not columns:
                drive(ctx, dut, {"column_done": 0, "drained": 0})
                assert loaded == p.column_tiles
                assert not beats
                return
        raise AssertionError(f"{len(self.released)} of {p.column_tiles} tiles read")


@EVERY
@SEEDS
def test_buffer(name: str, seed: int | None) -> None:
    """Products one after another, each in the halves and places that the one before left."""
    config = CONFIGURATIONS[name]
    bench = Reader(config, give=gaps(seed, "beats"), read=gaps(seed, "read"), drain=gaps(seed, "drain"), seed=name)

    async def testbench(ctx: SimulatorContext) -> None:
        for i, product in enumerate(products(config)):
            await bench.product(ctx, Weights(product, bench.rng), token_tiles=1 + i % 2)
            await ctx.tick().repeat(config.cols + 2)

    run(bench.dut, testbench, limit=40000)


@EVERY
@pytest.mark.parametrize("slow", ["reader", "drain"])
def test_nothing_in_use_is_overwritten(name: str, slow: str) -> None:
    """Weights are there at once, the one who uses them is slow: the next tile comes in the cycle its place is free.

    A half is free when the last column, too, has read its last step; of the parameters, four tiles are kept.
    """
    config = CONFIGURATIONS[name]
    product = Product(config=config, tokens=1, k=config.m, channels=7 * config.cols, pattern_n=config.n)
    slower = Slow(61)
    bench = Reader(
        config,
        give=NO_GAPS,
        read=slower if slow == "reader" else NO_GAPS,
        drain=slower if slow == "drain" else NO_GAPS,
        seed=(name, slow),
    )

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.product(ctx, Weights(product, bench.rng), token_tiles=1)

    run(bench.dut, testbench, limit=12000)
    for tile in range(2, product.column_tiles):
        free = bench.released[tile - 2] + config.cols
        if tile >= PARAMETER_TILES:
            free = max(free, bench.drained[tile - PARAMETER_TILES])
        late = bench.first_beats[tile] - free
        assert late == 2 if tile >= PARAMETER_TILES or slow == "reader" else late >= 2, f"column tile {tile}"


def test_first_step_may_be_read_in_the_cycle_after_loaded() -> None:
    """A tile of one step, read as early as can be, in both halves."""
    config = CONFIGURATIONS["4:4 1x2"]
    dut = ColumnBuffer(config)
    product = Product(config=config, tokens=1, k=4, channels=4, pattern_n=4)
    weights = Weights(product, seeded("early"))

    async def testbench(ctx: SimulatorContext) -> None:
        drive(ctx, dut, {"start": 1, "product": described(product)})
        await ctx.tick()
        drive(ctx, dut, {"start": 0})
        beats = deque(weights.beats(0) + weights.beats(1))
        for tile in (0, 1):
            for _ in range(200):
                drive(ctx, dut, {"beats.valid": bool(beats), "beats.payload": beats[0] if beats else 0})
                _, _, ready, loaded = await ctx.tick().sample(dut.beats.ready, dut.loaded)
                if ready and beats:
                    beats.popleft()
                if loaded:
                    break
            assert loaded
            drive(ctx, dut, {"beats.valid": 0, "address": tile * config.max_steps})
            await ctx.tick()
            drive(ctx, dut, {"address": 2 * config.max_steps - 1})
            await ctx.tick()
            check_operands(ctx.get(dut.columns[0]), weights.steps(tile)[0][0], f"tile {tile}, column 0")
            await ctx.tick()
            check_operands(ctx.get(dut.columns[1]), weights.steps(tile)[0][1], f"tile {tile}, column 1")

    run(dut, testbench, limit=500)
