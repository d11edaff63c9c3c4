"""The feeder of STA: every step of every tile, in the first cycle in which it may be issued, and not before."""

import random
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import SimulatorContext

from rtl.array.latencies import READER_SAMPLE
from rtl.array.walk import TileWalk
from rtl.params import ceil_div
from rtl.sta.isa import Columns, Op
from rtl.sta.latencies import (
    COLUMN_LATENCY,
    RECIPROCAL_CYCLES,
    ROW_CYCLES,
    SOFTMAX_LATENCY,
    drain_start,
    drain_window,
    row_latency,
)
from rtl.sta.legality import most_weight_groups
from rtl.sta.operands.feeder import Feeder
from rtl.sta.operands.softmax import RowSoftmax
from rtl.sta.params import StaConfig
from sim.bench.gaps import Gaps
from tests.nightly import but
from tests.rtl.simulate import Slow, drive, gaps, run, seeded

CONFIGURATIONS = {
    "3:16 3x5": StaConfig(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=32, max_tokens=24, max_k=80),
    "2:4 4x6, slow drain": StaConfig(n=2, m=4, rows=4, cols=6, drain=1, port_bytes=16, max_tokens=17, max_k=44),
    "4:4 2x2": StaConfig(n=4, m=4, rows=2, cols=2, drain=2, port_bytes=2, max_tokens=9, max_k=24, store_words=77),
    "1:32 1x1": StaConfig(n=1, m=32, rows=1, cols=1, drain=1, port_bytes=8, max_tokens=5, max_k=64),
    "1:2 32x8, slow drain": StaConfig(n=1, m=2, rows=32, cols=8, drain=1, port_bytes=1, max_tokens=33, max_k=10),
    "2:8 8x8": StaConfig(n=2, m=8, max_tokens=64, max_k=64, store_words=513),
}
LARGEST = "1:2 32x8, slow drain"
STEP = ("first", "last", "read", "word", "group", "sub", "softmax", "tile", "position")


def products(config: StaConfig, rng: random.Random) -> list[dict[str, int]]:
    """Tiles of one step and long ones; one tile and many; keys and values of several heads; weights in planes, whole
    ones and not; one follows a product of a single token at once.
    """
    c = config
    dense, tokens, most = c.m, c.max_tokens, most_weight_groups(c)
    shapes = [
        (tokens, 1, 3 * c.cols, 1, Columns.MEMORY, 0),
        (tokens, c.max_groups, 2 * c.cols + 1, dense, Columns.KEYS, 0),
        (tokens, 1, 3 * c.cols + 1, dense, Columns.VALUES, 0),
        (min(tokens, c.rows + 1), c.max_groups - 1 or 1, 5 * c.cols, min(c.n, c.m), Columns.MEMORY, 0),
        (min(tokens, c.rows + 1), c.max_groups, 2 * c.cols, c.n, Columns.MEMORY, most),
        (tokens, c.max_groups - 1 or 1, c.cols, 1, Columns.MEMORY, rng.randint(1, most)),
        (tokens, 1, 3 * c.cols, c.n, Columns.MEMORY, c.steps_a_group),
        (tokens, 1, 4 * c.cols, min(c.m, c.n + 1), Columns.MEMORY, 0),
        (1, 2, 1, dense, Columns.VALUES, 0),
        (1, 1, 1, dense, Columns.MEMORY, 0),
        (1, 1, 3 * c.cols, dense, Columns.VALUES, 0),
    ]
    instructions = []
    for count, groups, channels, pattern_n, columns, weight_groups in shapes:
        words = ceil_div(groups * c.m, c.store_word_bytes)
        pitch = words + rng.randrange(3)
        tiles = ceil_div(count, c.rows)
        heads = 1
        if columns != Columns.MEMORY:
            heads = rng.randint(1, min(5, c.maxima_tiles // tiles, (c.store_words - pitch * tiles) // words))
        instructions.append(
            {
                "opcode": Op.PRODUCT,
                "columns": columns,
                "pattern_n": pattern_n,
                "tokens": count,
                "groups": groups,
                "channels": channels,
                "weight_groups": weight_groups,
                "first_token": c.rows * rng.randrange(c.max_tiles - tiles + 1),
                "x_pitch": pitch,
                "x_base": rng.randrange(max(1, c.store_words - pitch * tiles - (heads - 1) * words)),
                "more_heads": heads - 1,
            }
        )
    return instructions


@dataclass
class Tile:
    """The steps of one tile as the feeder must issue them."""

    config: StaConfig
    instruction: dict[str, int]
    head: int
    column: int
    token: int

    @property
    def token_tiles(self) -> int:
        return ceil_div(self.instruction["tokens"], self.config.rows)

    @property
    def steps_a_group(self) -> int:
        return ceil_div(self.instruction["pattern_n"], self.config.n)

    @property
    def steps(self) -> int:
        return (self.instruction["weight_groups"] or self.instruction["groups"]) * self.steps_a_group

    def step(self, step: int) -> tuple[int, ...]:
        """In the order of STEP."""
        c, i = self.config, self.instruction
        weight_group, sub = divmod(step, self.steps_a_group)
        group = weight_group % i["groups"]
        a_word = c.store_word_bytes // c.m
        return (
            step == 0,
            step == self.steps - 1,
            group % a_word == 0 and sub == 0,
            i["x_base"] + self.head * ceil_div(i["groups"], a_word) + self.token * i["x_pitch"] + group // a_word,
            group % a_word,
            sub,
            i["columns"] == Columns.VALUES,
            self.head * self.token_tiles + self.token,
            weight_group % (1 << min((ceil_div(c.max_tokens, c.m) - 1).bit_length(), c.max_groups.bit_length())),
        )

    def columns(self, step: int, half: int) -> tuple[int, ...]:
        """Half, word, sub, column done."""
        word, sub = divmod(step, self.config.steps_a_group)
        return half, word, sub, step == self.steps - 1 and self.token == self.token_tiles - 1


class Bench:
    """A feeder behind a column buffer as slow as its gaps, in front of a drain that does as `timing` says."""

    def __init__(self, config: StaConfig, columns: Gaps) -> None:
        self.config = config
        self.dut = Feeder(config)
        self.gaps = columns
        self.held = 0  # cycles in which only the drain was waited for
        self.cycle = 0
        self.half = 0
        self.ahead = 0  # column tiles in the buffer
        self.columns_due: dict[int, tuple[int, ...]] = {}

    async def product(self, ctx: SimulatorContext, instruction: dict[str, int], following: int) -> None:
        """`following` column tiles of the product after this one may be loaded while this one is worked on."""
        c, dut = self.config, self.dut
        softmax = instruction["columns"] == Columns.VALUES
        columns, token_tiles = ceil_div(instruction["channels"], c.cols), ceil_div(instruction["tokens"], c.rows)
        heads = instruction["more_heads"] + 1
        every = product(range(heads), range(columns), range(token_tiles))
        tiles = [Tile(c, instruction, *where) for where in every]
        column_tiles = heads * columns
        slots = c.rows * c.slots_a_row
        at, step = 0, 0  # the next step to be issued: its tile, and its number there
        to_load = column_tiles + following - self.ahead
        begin = self.cycle
        hold = drain_free = 0  # cycles: the next last step may be issued, the drain is free
        issued: tuple[int, ...] | None = None  # the outputs due in this cycle
        while True:
            cycle = self.cycle
            loads = to_load > 0 and self.ahead < 2 and not self.gaps.stall()
            drive(ctx, dut, {"start": cycle == begin, "instruction": instruction, "columns.loaded": loads})
            values = [dut.step[name] for name in STEP]
            address = dut.columns.address
            sampled = await ctx.tick().sample(
                dut.step.valid, dut.tile_end, dut.running, dut.no_columns, dut.no_drain,
                address.half, address.word, address.sub, dut.columns.tile_done, *values,
            )  # fmt: skip
            valid, tile_end, running, no_columns, no_drain, half, word, sub, tile_done, *outputs = sampled[2:]
            where = f"cycle {cycle}, before step {step} of tile {at} of {instruction}"
            assert valid == (issued is not None), f"{where}: a step"
            assert tile_end == (issued is not None and issued[1]), f"{where}: tile end"
            assert issued is None or tuple(outputs) == issued, where
            due = self.columns_due.pop(cycle, None)
            assert due is None or (half, word, sub, tile_done) == due, f"{where}: columns"
            assert due is not None or not tile_done, f"{where}: column done"

            issued = None
            walks = cycle >= begin + TileWalk.LATENCY
            assert running == (at < len(tiles) and walks), f"{where}: running"
            wait_columns = wait_drain = False
            if at < len(tiles) and walks:
                tile = tiles[at]
                wait_columns = step == 0 and self.ahead == 0
                wait_drain = step == tile.steps - 1 and cycle < hold
                self.held += wait_drain and not wait_columns
                if not wait_columns and not wait_drain:
                    issued = tile.step(step)
                    self.columns_due[cycle + ROW_CYCLES - COLUMN_LATENCY] = tile.columns(step, self.half)
                    step += 1
                if step == tile.steps:
                    begins = max(cycle + drain_start(c, softmax), drain_free)
                    assert not softmax or begins == cycle + drain_start(c, True), f"{where}: the drain queues"
                    drain_free = begins + slots
                    hold = begins + drain_window(c, softmax)
                    if tile.token == token_tiles - 1:
                        self.ahead -= 1
                        self.half ^= 1
                    at, step = at + 1, 0
            assert no_columns == (wait_columns and not wait_drain), f"{where}: no columns"
            assert no_drain == (wait_drain and not wait_columns), f"{where}: no drain"
            self.ahead += loads
            to_load -= loads
            self.cycle += 1
            assert self.cycle - begin < 12000, f"not done: {at} of {len(tiles)} tiles"
            if at == len(tiles) and issued is None and to_load == 0 and self.cycle >= drain_free:
                return

    async def other(self, ctx: SimulatorContext) -> None:
        """An instruction of which nothing is the feeder's."""
        assert not self.columns_due
        for start in (1, 0, 0, 0):
            drive(
                ctx, self.dut, {"start": start, "columns.loaded": 0, "instruction": {"opcode": Op.NORM, "channels": 9}}
            )
            _, _, valid, running = await ctx.tick().sample(self.dut.step.valid, self.dut.running)
            assert (valid, running) == (0, 0)
            self.cycle += 1


def exercise(bench: Bench, instructions: list[dict[str, int]]) -> None:
    async def testbench(ctx: SimulatorContext) -> None:
        for i, instruction in enumerate(instructions):
            more = instructions[i + 1 :]
            following = min(i % 3, ceil_div(more[0]["channels"], bench.config.cols)) if more else 0
            await bench.product(ctx, instruction, following)
            if i % 2:
                await bench.other(ctx)

    run(bench.dut, testbench, limit=60000)


@pytest.mark.parametrize(
    ("name", "seed"), but(product(CONFIGURATIONS, [None, 1, 2]), [*product(CONFIGURATIONS, [2]), (LARGEST, None)])
)
def test_steps(name: str, seed: int | None) -> None:
    """Products one after another, columns at full speed or with random gaps, some of them before the start."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, gaps(seed, "columns"))
    exercise(bench, products(config, seeded(name, seed)))
    assert bench.held or config.rows == 1, "the drain is waited for at times"


@pytest.mark.parametrize("name", ["3:16 3x5", "4:4 2x2"])
def test_slow_columns(name: str) -> None:
    config = CONFIGURATIONS[name]
    exercise(Bench(config, Slow(70)), products(config, seeded(name))[:4])


@pytest.mark.parametrize("name", ["3:16 3x5", "2:8 8x8"])
def test_reset(name: str) -> None:
    """In the middle of a product; then everything begins anew, in the first half of the columns."""
    config = CONFIGURATIONS[name]
    bench, reset = Bench(config, gaps(None, "columns")), Signal()
    instructions = products(config, seeded(name))[1:4]

    async def testbench(ctx: SimulatorContext) -> None:
        for cycles, instruction in enumerate(instructions, start=3):
            drive(ctx, bench.dut, {"start": 1, "instruction": instructions[0], "columns.loaded": 1})
            await ctx.tick()
            drive(ctx, bench.dut, {"start": 0, "columns.loaded": 0})
            for _ in range(cycles):
                await ctx.tick()
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            bench.half = 0
            await bench.product(ctx, instruction, 0)

    run(ResetInserter(reset)(bench.dut), testbench, limit=20000)


def random_config(rng: random.Random) -> StaConfig:
    fields: dict[str, Any] = {
        "m": rng.choice([2, 4, 8, 16, 32]),
        "rows": rng.randint(1, 32),
        "cols": rng.randint(1, 32),
        "drain": rng.choice([1, 2, 4, 8]),
        "port_bytes": rng.choice([1, 2, 4, 8, 16, 32, 64]),
    }
    return StaConfig(n=rng.randint(1, fields["m"]), **fields)


def safe(c: StaConfig, softmax: bool, begins: int, decision: int) -> bool:
    """Whether every result and every reciprocal of a tile is looked at in its lifetime.

    begins : cycles from the decision for its last step to the read of its first slot
    decision : the same to the decision for the last step of the tile behind it
    """
    slots = c.slots_a_row
    for row in range(c.rows):
        for column in range(c.cols):
            there = ROW_CYCLES + row + column + c.pe_latency
            read = begins + row * slots + column // c.drain_lanes + READER_SAMPLE + column
            if not there <= read < there + decision:
                return False
        used = begins + row * slots + row_latency(c)  # by the row's first slot
        there = ROW_CYCLES + row + RECIPROCAL_CYCLES
        if softmax and not there < used <= used + slots - 1 < there + decision:
            return False
    return not softmax or decision >= max(RECIPROCAL_CYCLES, c.rows * slots)


@pytest.mark.parametrize("softmax", [False, True])
def test_nothing_is_read_too_early_or_too_late(softmax: bool) -> None:
    """Of two tiles one after another as close as they may be; a cycle less between any two would be too little."""
    rng = seeded("timing", softmax)
    for _ in range(200):
        c = random_config(rng)
        begins = drain_start(c, softmax)  # the first tile's decision is in cycle 0
        decision = begins + drain_window(c, softmax)  # the second tile's
        assert safe(c, softmax, begins, max(1, decision)), c
        assert not safe(c, softmax, begins - 1, max(1, decision)), c
        assert decision < 1 or not safe(c, softmax, begins, decision - 1), c


def test_reciprocal() -> None:
    """The timing rests on it, to the cycle."""
    assert RowSoftmax.RECIPROCAL_LATENCY == RECIPROCAL_CYCLES
    assert RowSoftmax.LATENCY == SOFTMAX_LATENCY
