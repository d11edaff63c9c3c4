"""The column buffer of STA: what memory and the store hold comes out as steps and parameters, whatever the order."""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Fragment
from amaranth.sim import Simulator, SimulatorContext

from rtl.array.walk import TileWalk
from rtl.params import ceil_div
from rtl.product import Product
from rtl.sta.groups import each_group
from rtl.sta.isa import FIELDS, Columns, Op
from rtl.sta.latencies import COLUMN_LATENCY
from rtl.sta.operands.columns import ChannelParameters, ColumnBuffer
from rtl.sta.params import CHANNEL_FIELDS, StaConfig
from sim.bench.gaps import NO_GAPS, Gaps
from sim.image import product as image
from tests.nightly import but
from tests.rtl import simulate
from tests.rtl.lib.test_collisions import Inverting
from tests.rtl.simulate import Slow, drive, gaps, run, seeded
from tests.rtl.weights import Weights

PARAMETER_TILES = 4  # column tiles whose parameters are kept
CONFIGURATIONS = {
    # Two groups a word of the store, a power of two of columns.
    "2:8 4x8": StaConfig(n=2, m=8, rows=4, cols=8, drain=4, port_bytes=16, max_tokens=24, max_k=48, store_words=64),
    # n does not divide m, and a tile of values lies across words.
    "3:8 2x5": StaConfig(n=3, m=8, rows=2, cols=5, drain=4, port_bytes=4, max_tokens=21, max_k=32, store_words=90),
    # Every lane in every step; four groups a word.
    "4:4 3x6": StaConfig(n=4, m=4, rows=3, cols=6, drain=4, port_bytes=16, max_tokens=20, max_k=44, store_words=50),
    "3:16 1x3": StaConfig(n=3, m=16, rows=1, cols=3, drain=1, port_bytes=8, max_tokens=40, max_k=64, store_words=200),
    # Columns abreast.
    "2:16 1x7": StaConfig(
        n=2, m=16, rows=1, cols=7, drain=1, port_bytes=8, max_tokens=20, max_k=48, store_words=99, pe="ecp5"
    ),
    # A tile of values takes many words.
    "1:2 2x12": StaConfig(n=1, m=2, rows=2, cols=12, drain=8, port_bytes=2, max_tokens=9, max_k=10, store_words=128),
    # Groups of rows: copies of two, and of four banks at a time, and all of a group of M positions.
    "2:8 4x6": StaConfig(
        n=2, m=8, rows=4, cols=6, drain=4, port_bytes=16, max_tokens=24, max_k=48, store_words=64, groups=2
    ),
    "3:8 8x4": StaConfig(
        n=3, m=8, rows=8, cols=4, drain=4, port_bytes=4, max_tokens=30, max_k=32, store_words=64, groups=4
    ),
    "2:4 4x8": StaConfig(
        n=2, m=4, rows=4, cols=8, drain=2, port_bytes=8, max_tokens=21, max_k=24, store_words=50, groups=4
    ),
    "5:32 5x2": StaConfig(n=5, m=32, rows=5, cols=2, drain=2, port_bytes=64, max_tokens=50, max_k=64, store_words=64),
}
LARGE = ("3:8 8x4", "5:32 5x2")
EVERY = pytest.mark.parametrize("name", but(CONFIGURATIONS, LARGE))


def each_way(first: Any, second: Any, nightly: dict[Any, tuple[str, ...]], way: str) -> pytest.MarkDecorator:
    """Every configuration in two ways; what takes long is nightly in one of them, and LARGE in both."""
    left = [(one, name) for one in (first, second) for name in (*nightly[one], *LARGE)]
    ids = {None: "free", 2: "gaps"}
    return pytest.mark.parametrize(
        (way, "name"),
        but(itertools.product([first, second], CONFIGURATIONS), left),
        ids=lambda one: ids.get(one, one),
    )


def test_channel_parameters_are_those_of_the_image() -> None:
    fields = {name: (field.offset, field.width) for name, field in ChannelParameters.as_shape()}
    assert fields == CHANNEL_FIELDS


# Of one column in one step, lane by lane: weight, and position; where None, whatever it is.
Operands = list[tuple[int | None, int | None]]


@dataclass
class Tile:
    """steps: [step][column], None where the tile has parameters alone. slots: parameters, None where undefined."""

    steps: list[list[Operands]] | None
    slots: list[list[int]] | None


@dataclass
class Work:
    """An instruction, what memory sends for it, and what the column buffer has to make of it."""

    instruction: dict[str, int]
    beats: list[int]
    tiles: list[Tile]
    reads: set[tuple[int, int]]  # of the store, bank and word: all that it may and has to read


class Store:
    """Random contents of the store, and what lies where."""

    def __init__(self, config: StaConfig, rng: Random) -> None:
        self.config = config
        self.word_bytes = max(config.m, config.port_bytes)
        self.banks = [[rng.randbytes(self.word_bytes) for _ in range(config.store_words)] for _ in range(config.rows)]

    def region(self, rng: Random, tokens: int, words: int) -> tuple[int, int]:
        """Base and pitch of a random region that fits."""
        tiles = ceil_div(tokens, self.config.rows)
        spare = self.config.store_words // tiles - words
        assert spare >= 0
        pitch = words + rng.randint(0, spare)
        return rng.randint(0, self.config.store_words - (tiles - 1) * pitch - words), pitch

    def place(self, base: int, pitch: int, token: int, element: int) -> tuple[int, int]:
        rows = self.config.rows
        return token % rows, base + token // rows * pitch + element // self.word_bytes

    def element(self, base: int, pitch: int, token: int, element: int) -> int:
        bank, word = self.place(base, pitch, token, element)
        byte = self.banks[bank][word][element % self.word_bytes]
        return byte - 256 if byte > 127 else byte


def parameters(config: StaConfig, rng: Random, channels: int) -> tuple[np.ndarray, list[list[list[int]]]]:
    """Random 64 bits a channel, as bytes, and as [tile][slot][lane]."""
    packed = np.array([list(rng.randbytes(8)) for _ in range(channels)], np.uint8)
    words = [int.from_bytes(row.tobytes(), "little") for row in packed]
    words += [0] * (-channels % config.cols)
    lanes = gcd(config.drain, config.cols, config.store_word_bytes)
    tiles = [words[at : at + config.cols] for at in range(0, len(words), config.cols)]
    return packed, [[tile[at : at + lanes] for at in range(0, config.cols, lanes)] for tile in tiles]


def anything(steps: list[list[list[tuple[int, int | None]]]]) -> list[list[Operands]]:
    """The same, of a wider type."""
    return [[list(column) for column in step] for step in steps]


def random_product(config: StaConfig, rng: Random, pattern_n: int) -> Product:
    channels = rng.choice([1, config.cols, rng.randint(1, 5 * config.cols)])
    k = rng.choice([1, config.max_k, rng.randint(1, config.max_k)])
    return Product(config=config, tokens=1, k=k, channels=channels, pattern_n=pattern_n)


def from_memory(config: StaConfig, rng: Random, product: Product) -> Work:
    weights = Weights(product, rng)
    packed, slots = parameters(config, rng, product.channels)
    w = np.array(weights.w, np.int8).reshape(product.channels, product.k)
    fields = {"opcode": Op.PRODUCT, "columns": Columns.MEMORY, "pattern_n": product.pattern_n, "groups": product.groups}
    tiles = [Tile(anything(weights.steps(i)), one) for i, one in enumerate(slots)]
    beats = beats_of(config, image.pack_weights(product, w, packed))
    return Work(fields | {"channels": product.channels}, beats, tiles, set())


def in_planes(config: StaConfig, rng: Random) -> Work:
    """A tile has more groups than a token, which is all that differs here."""
    product = random_product(config, rng, rng.randint(1, config.n))
    work = from_memory(config, rng, product)
    work.instruction |= {"weight_groups": product.groups, "groups": rng.randint(1, product.groups)}
    return work


def norm(config: StaConfig, rng: Random, channels: int) -> Work:
    """Of a product's column tiles, the parameters alone."""
    product = Product(config=config, tokens=1, k=1, channels=channels, pattern_n=1)
    packed, slots = parameters(config, rng, channels)
    beats = beats_of(config, image.pack_weights(product, np.zeros((channels, 1), np.int8), packed))
    ours = sum(kind == "parameters" for kind, _ in product.tile_plan())
    beats = [beat for i, beat in enumerate(beats) if i % product.w_tile_beats < ours]
    return Work({"opcode": Op.NORM, "channels": channels}, beats, [Tile(None, one) for one in slots], set())


def beats_of(config: StaConfig, packed: image.Bytes) -> list[int]:
    return [int.from_bytes(beat.tobytes(), "little") for beat in packed.reshape(-1, config.port_bytes)]


def dense_steps(config: StaConfig, groups: int, column: list[list[int | None]]) -> list[list[Operands]]:
    """[step][column] of whole columns, [column][position of the input dimension]."""
    steps = []
    for group in range(groups):
        for first in range(0, config.m, config.n):
            step = []
            for weights in column:
                operands: Operands = [(0, None)] * config.n
                for lane in range(min(config.n, config.m - first)):
                    operands[lane] = (weights[group * config.m + first + lane], first + lane)
                step.append(operands)
            steps.append(step)
    return steps


def keys(config: StaConfig, rng: Random, store: Store, count: int = 0) -> Work:
    """count : of the keys of a head; of some heads, and random, where not given"""
    one_head = bool(count)
    count = count or rng.choice([1, config.max_tokens, rng.randint(1, config.max_tokens)])
    tiles_of_tokens = ceil_div(count, config.rows)
    most = min(config.max_k // config.m, config.store_words // tiles_of_tokens * store.word_bytes // config.m)
    groups = rng.choice([1, most, rng.randint(1, most)])
    words = ceil_div(groups * config.m, store.word_bytes)
    heads = 1 if one_head else rng.randint(1, min(3, config.store_words // tiles_of_tokens // words))
    base, pitch = store.region(rng, count, heads * words)
    tiles = []
    reads = set()
    for begin in range(base, base + heads * words, words):
        for first in range(0, count, config.cols):
            columns: list[list[int | None]] = []
            for token in range(first, first + config.cols):
                row = range(groups * config.m)
                columns.append([store.element(begin, pitch, token, e) if token < count else 0 for e in row])
            tiles.append(Tile(dense_steps(config, groups, columns), None))
        reads |= {store.place(begin, pitch, token, e) for token in range(count) for e in range(groups * config.m)}
    fields = {"opcode": Op.PRODUCT, "columns": Columns.KEYS, "pattern_n": config.m, "groups": groups, "channels": count}
    return Work(fields | {"c_base": base, "c_pitch": pitch, "more_heads": heads - 1}, [], tiles, reads)


def values(config: StaConfig, rng: Random, store: Store, channels: int = 0) -> Work:
    """channels : of a head; of some heads, and random, where not given"""
    one_head = bool(channels)
    most = min(config.max_tokens, config.max_k)
    count = rng.choice([1, most, rng.randint(1, most)])
    tiles_of_tokens = ceil_div(count, config.rows)
    width = min(3 * config.cols + 2, config.store_words // tiles_of_tokens * store.word_bytes)
    channels = channels or rng.choice([1, width, rng.randint(1, width)])
    groups = ceil_div(count, config.m)
    words = ceil_div(channels, store.word_bytes)
    heads = 1 if one_head else rng.randint(1, min(3, config.store_words // tiles_of_tokens // words))
    base, pitch = store.region(rng, count, heads * words)
    tiles = []
    reads = set()
    for begin in range(base, base + heads * words, words):
        for first in range(0, channels, config.cols):
            columns: list[list[int | None]] = []
            for channel in range(first, first + config.cols):
                column: list[int | None] = [None] * (groups * config.m)
                for key in range(count):
                    column[key] = store.element(begin, pitch, key, channel) if channel < channels else 0
                columns.append(column)
            tiles.append(Tile(dense_steps(config, groups, columns), None))
        reads |= {store.place(begin, pitch, key, e) for key in range(count) for e in range(channels)}
    fields = {"opcode": Op.PRODUCT, "columns": Columns.VALUES, "pattern_n": config.m, "groups": groups, "keys": count}
    fields |= {"channels": channels, "more_heads": heads - 1}
    return Work(fields | {"c_base": base, "c_pitch": pitch}, [], tiles, reads)


def programme(config: StaConfig, rng: Random, store: Store) -> list[Work]:
    """Instructions of all kinds in a random order; patterns of every coding, of few steps and of all."""
    n, m = config.n, config.m
    patterns = sorted({1, n, min(n + 1, m), max(1, m // 4), m // 2 + 1, m - 1, m})
    works = [from_memory(config, rng, random_product(config, rng, pattern_n)) for pattern_n in patterns]
    works += [norm(config, rng, rng.randint(1, 6 * config.cols)) for _ in range(2)]
    works += [in_planes(config, rng) for _ in range(2)]
    works += [keys(config, rng, store) for _ in range(3)]
    works += [values(config, rng, store) for _ in range(3)]
    rng.shuffle(works)
    return works


def check(got: Any, want: Operands, where: str) -> None:
    """got: a sampled `column_step`."""
    for lane, (weight, position) in enumerate(want):
        if weight is not None:
            assert got.weights[lane] == weight, f"{where}: weight of lane {lane}"
            if position is not None:
                assert got.indices[lane] == position, f"{where}: index of lane {lane}"


class Bench:
    """Everything around the column buffer, each part as slow as a test wants: sequencer, memory, store, feeder, drain.

    The next instruction starts when the buffer is idle, whether or not the one before is read out.
    """

    def __init__(self, config: StaConfig, seed: object, **slow: Gaps) -> None:
        self.config = config
        self.dut = ColumnBuffer(config)
        self.rng = seeded(seed)
        self.store = Store(config, self.rng)
        self.gaps = {part: slow.get(part, NO_GAPS) for part in ("start", "beats", "copy", "read", "drain")}
        self.latency = self.rng.randint(1, 4)
        # With `drained`, of each group of rows: the first is never the last.
        self.behind = [0, *(self.rng.randint(1, 3) for _ in range(config.groups - 1))]
        self.starts: list[int] = []
        self.loaded: list[int] = []
        self.released: list[int] = []
        self.beats_taken: list[int] = []
        self.drained: list[int] = []

    def _feed(self, tiles: list[Tile]) -> Iterator[tuple[int, dict[str, int], bool, list[Operands]]]:
        """The reads of all tiles: how many must be loaded, address, whether it is the last, what comes out."""
        c = self.config
        half = number = 0
        for tile in tiles:
            if tile.steps is None:
                continue
            number += 1
            turns = self.rng.choice([1, 1, 2])
            for turn in range(turns):
                for i, step in enumerate(tile.steps):
                    word, sub = divmod(i, ceil_div(c.m, c.n))
                    last = turn == turns - 1 and i == len(tile.steps) - 1
                    yield number, {"half": half, "word": word, "sub": sub}, last, step
            half = 1 - half

    async def run(self, ctx: SimulatorContext, works: list[Work]) -> None:
        c, dut, rng = self.config, self.dut, self.rng
        slots = c.cols // gcd(c.drain, c.cols, self.store.word_bytes)
        tiles = [tile for work in works for tile in work.tiles]
        beats = deque(beat for work in works for beat in work.beats)
        waiting = deque(works)
        asked: list[set[tuple[int, int]]] = []  # what the instructions' copies have read
        feed = deque(self._feed(tiles))
        columns: dict[tuple[int, int], tuple[Any, str]] = {}  # what each column must show, by cycle
        answers: dict[int, int] = {}
        stored = places = ended = 0  # halves and places that were loaded, tiles that the drain may give back
        ends = [tile.steps is None for tile in tiles]  # the tile needs no more steps
        # Tile, slot and the parameters that must be there now, and in the next cycle.
        looks: list[tuple[int, int, list[int]] | None] = [None, None]
        offering = idle = start = False
        was_placed = [False] * 3
        next_cycle_busy = 0  # the rows that read in the next cycle
        for cycle in range(100_000):
            start = bool(idle and not start and waiting and not self.gaps["start"].stall())
            fields = {name: rng.getrandbits(field.bits) for name, field in FIELDS.items()}
            if start:
                work = waiting.popleft()
                # What the opcode does not use is zero.
                fields = dict.fromkeys(FIELDS, 0) | work.instruction
                self.starts.append(cycle)
                asked.append(set())
            offering = offering or bool(beats and not self.gaps["beats"].stall())
            reading, banks = next_cycle_busy, c.rows // c.copy_lanes
            next_cycle_busy = sum(self.gaps["copy"].stall() << r for r in range(banks))
            inputs: dict[str, Any] = {
                "start": start,
                "instruction": fields,
                "beats.valid": offering,
                "beats.payload": beats[0] if offering else rng.getrandbits(8),
                "copy.next_cycle_busy": next_cycle_busy,
                "copy.valid": cycle in answers,
                "copy.data": answers.pop(cycle, rng.getrandbits(8)),
                "reads.tile_done": 0,
            }
            if feed and feed[0][0] <= stored and not self.gaps["read"].stall():
                number, address, last, step = feed.popleft()
                inputs |= {"reads.address": address, "reads.tile_done": last}
                if last:
                    self.released.append(cycle)
                    ends[[i for i, tile in enumerate(tiles) if tile.steps is not None][number - 1]] = True
                for column, want in enumerate(step):
                    where = f"cycle {cycle}: tile of steps {number - 1}, {address}, column {column}"
                    columns[cycle + COLUMN_LATENCY + c.behind(column), column] = (want, where)
            look, channels = None, {"address": rng.randrange(PARAMETER_TILES * slots)}
            if ended < places:
                i, slot = rng.randrange(ended, places), rng.randrange(slots)
                channels["address"] = i % PARAMETER_TILES * slots + slot
                wanted = tiles[i].slots
                look = None if wanted is None else (i, slot, wanted[slot])
                if ends[ended] and not self.gaps["drain"].stall():
                    self.drained.append(cycle + max(self.behind))
                    ended += 1
            drive(ctx, dut, inputs)
            for behind, (_, port) in zip(self.behind, each_group(c, dut.channels), strict=True):
                drained = cycle + max(self.behind) - behind in self.drained
                drive(ctx, port, channels | {"drained": drained})
            _, _, idle, ready, copies, loaded, placed, shown, *steps = await ctx.tick().sample(
                dut.idle,
                dut.beats.ready,
                dut.copy.request,
                dut.reads.loaded,
                dut.parameters_loaded,
                Cat(port.parameters.as_value() for _, port in each_group(c, dut.channels)),
                *dut.columns,
            )
            if (now := looks.pop(0)) is not None:
                i, slot, words = now
                want_bits = sum(word << 64 * lane for lane, word in enumerate(words * c.groups))
                assert shown == want_bits, f"cycle {cycle}: parameters of tile {i}, slot {slot}"
            looks.append(look)
            for column in range(c.cols):
                if (cycle, column) in columns:
                    check(steps[column], *columns.pop((cycle, column)))
            if offering and ready:
                beats.popleft()
                self.beats_taken.append(cycle)
                offering = False
            read = (copies.bank, copies.address) if copies.valid else None
            if read is not None:
                bank, word = read
                assert not reading >> bank & 1, f"cycle {cycle}: the row reads"
                first, may = bank * c.copy_lanes, works[len(asked) - 1].reads
                assert (first, word) in may, f"cycle {cycle}: read of bank, word {read}"
                lanes = range(first, first + c.copy_lanes)  # the last ones may be of no key
                asked[-1] |= {(lane, word) for lane in lanes} & may
                found = b"".join(self.store.banks[lane][word] for lane in lanes)
                answers[cycle + self.latency] = int.from_bytes(found, "little")
            if loaded:
                assert was_placed[-4]
                self.loaded.append(cycle)
            was_placed.append(placed)
            stored += loaded
            places += placed
            if ended == len(tiles) and not columns:
                assert not beats
                assert stored == sum(tile.steps is not None for tile in tiles)
                for i, (work, read_words) in enumerate(zip(works, asked, strict=True)):
                    assert read_words == work.reads, f"instruction {i}: words that were not read"
                return
        raise AssertionError(f"{ended} of {len(tiles)} tiles are done, {stored} halves loaded")


@each_way(None, 2, {None: ("2:8 4x6", "2:4 4x8", "1:2 2x12"), 2: ("2:16 1x7", "3:8 2x5", "4:4 3x6")}, "seed")
def test_instructions_of_all_kinds(name: str, seed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another without a reset; in every order of memory, keys, values and parameters alone."""
    config = CONFIGURATIONS[name]
    parts = ("start", "beats", "copy", "read", "drain")
    bench = Bench(config, (name, seed), **{part: gaps(seed, part) for part in parts})
    works = programme(config, bench.rng, bench.store)
    print(f"copies answer after {bench.latency} cycles; {[work.instruction for work in works]}")
    if seed is not None:  # a word that is read while it is written comes inverted
        monkeypatch.setattr(simulate, "Simulator", lambda top: Simulator(Fragment.get(top, Inverting())))

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.run(ctx, works)

    run(bench.dut, testbench, limit=100_000)


@each_way(
    "read",
    "drain",
    {"read": ("2:8 4x6", "3:8 2x5", "4:4 3x6"), "drain": ("2:8 4x8", "2:16 1x7", "1:2 2x12", "2:4 4x8")},
    "slow",
)
def test_nothing_in_use_is_overwritten(name: str, slow: str) -> None:
    """Memory answers at once, the one who uses the tiles is slow: a tile comes in the cycle its place is free.

    A half is free when the last column, too, has read its last step; of the parameters, four tiles are kept.
    """
    config = CONFIGURATIONS[name]
    product = Product(config=config, tokens=1, k=config.m, channels=4 * config.cols, pattern_n=1)
    load = product.w_tile_beats + config.cols + 8  # longer than that of one tile
    tiles = {"read": 1, "drain": PARAMETER_TILES}[slow]  # that there is room for
    bench = Bench(config, (name, slow), **{slow: Slow(tiles * load)})
    works = [from_memory(config, bench.rng, product), from_memory(config, bench.rng, product)]

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.run(ctx, works)

    run(bench.dut, testbench, limit=100_000)
    first_beats = bench.beats_taken[:: product.w_tile_beats]
    assert len(first_beats) == 8
    for tile in range(2, 8):
        free = bench.released[tile - 2] + config.behind(config.cols - 1) + 1
        if tile >= PARAMETER_TILES:
            free = max(free, bench.drained[tile - PARAMETER_TILES])
        late = first_beats[tile] - free
        assert late == 2 if tile >= PARAMETER_TILES or slow == "read" else late >= 2, f"column tile {tile}"


@pytest.mark.parametrize("name", but(CONFIGURATIONS, {*LARGE, "2:16 1x7", "2:8 4x6", "3:8 2x5"}))
def test_next_instruction_loads_ahead(name: str) -> None:
    """While no step of the first product is read: both halves fill, the second with the next product's tile."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, (name, "ahead"), read=Slow(250))
    product = Product(config=config, tokens=1, k=config.m, channels=config.cols, pattern_n=1)
    first, second = (from_memory(config, bench.rng, product) for _ in range(2))
    works = [first, norm(config, bench.rng, 2 * config.cols), second]

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.run(ctx, works)

    run(bench.dut, testbench, limit=100_000)
    assert len(bench.starts) == 3
    assert bench.loaded[1] < bench.released[0]


@EVERY
def test_copies_take_a_word_a_cycle(name: str) -> None:
    """The store always ready. Keys: a group a cycle; values: a key a cycle for each word that a tile lies in."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, (name, "cycles"))
    works = [kind(config, bench.rng, bench.store, config.cols) for kind in (keys, values, keys)]

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.run(ctx, works)

    run(bench.dut, testbench, limit=100_000)
    word_bytes = bench.store.word_bytes
    halves_free = [0, 0, bench.released[0] + config.behind(config.cols - 1) + 1]
    for i, work in enumerate(works):
        fields = work.instruction
        words = ceil_div(fields["channels"], word_bytes)
        lanes = config.copy_lanes
        copied = config.cols // lanes * fields["groups"] if i != 1 else ceil_div(fields["keys"], lanes) * words
        begin = max(bench.starts[i] + TileWalk.LATENCY, halves_free[i] + 1)
        assert bench.loaded[i] == begin + 6 + copied + bench.latency, f"{fields}"


class Halves(Gaps):
    """Holds back in one cycle of two."""

    def __init__(self, seed: object) -> None:
        super().__init__(None)
        self._cycles = seeded(seed)

    def stall(self) -> bool:
        return self._cycles.random() < 0.5


@pytest.mark.parametrize("name", but(["3:8 2x5", "5:32 5x2"], {"5:32 5x2"}))
def test_copies_begin_at_bank_0(name: str) -> None:
    """Whatever bank the copy before ended at: values that begin in the cycle in which their job does."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, (name, "behind"), start=Slow(60), copy=Halves(name))
    works = [kind(config, bench.rng, bench.store, 1) for _ in range(12) for kind in (keys, values)]

    async def testbench(ctx: SimulatorContext) -> None:
        await bench.run(ctx, works)

    run(bench.dut, testbench, limit=100_000)
