"""The drain: each result of each tile, read while the array shows it, requantised with its own parameters."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import drain_latency, drain_start, drain_window, reader_latency
from rtl.array.requantise import requantise
from rtl.engine.latencies import PARAMETER_CYCLES
from rtl.engine.product_drain import Drain
from rtl.params import MULT_BITS, SHIFT_MAX, Config, ceil_div
from rtl.product import Product
from sim.bench.gaps import Gaps
from tests.rtl.simulate import described, drive, gaps, run, seeded

CONFIGURATIONS = {
    "3x5, 4 a cycle": Config(n=3, m=16, rows=3, cols=5, drain=4, max_tokens=11, max_k=64),
    "2x5, 2 a cycle": Config(n=2, m=4, rows=2, cols=5, drain=2, max_tokens=5, max_k=64),
    "4x4, 1 a cycle": Config(n=2, m=4, rows=4, cols=4, drain=1, max_tokens=9, max_k=64),
    "1x4, a row a cycle": Config(n=2, m=4, rows=1, cols=4, drain=8, max_tokens=3, max_k=64),
    "3x1": Config(n=2, m=4, rows=3, cols=1, drain=2, max_tokens=7, max_k=64),
    "1x9, 8 a cycle": Config(n=2, m=4, rows=1, cols=9, drain=8, max_tokens=2, max_k=64),
    "1x1": Config(n=1, m=2, rows=1, cols=1, drain=1, max_tokens=2, max_k=2),
}
PARAMETER_TILES = 4  # column tiles whose parameters are kept
OPERANDS = 3  # cycles from the decision to issue a step until it is at element (0, 0)
AHEAD = 8  # cycles from the address of parameters to a result: memory and its register, choice, requantiser
ELEMENT = 8  # cycles from a sum's last step at an element to its result

Parameter = tuple[int, int, int]  # bias, mult, shift


@dataclass
class Tile:
    """A tile: when its last step is issued, its sums, and when each slot of it is read."""

    rows: int
    token: int  # of its first row
    column: int
    last_tokens: bool
    issued: int
    begins: int
    sums: list[list[int]]


class Bench:
    """A drain behind an array whose elements change as early as they may, and before the tables of parameters."""

    def __init__(self, config: Config, idle: Gaps, *key: object) -> None:
        self.config = config
        self.dut = Drain(config)
        self.idle = idle
        self.rng = seeded(*key)

    def parameter(self) -> Parameter:
        rng = self.rng
        half = 1 << (self.config.accumulator_bits - 1)
        return rng.randint(-half, half - 1), rng.randrange(1 << MULT_BITS), rng.randint(14, SHIFT_MAX)

    def tiles(self, product: Product) -> Iterator[Tile]:
        """The tiles in order, each issued as soon as the results before it allow, or some cycles later."""
        c, rng = self.config, self.rng
        slots = ceil_div(c.cols, c.drain_lanes)
        half = 1 << (c.accumulator_bits - 1)
        issued = hold = drain_free = drain_next = 0
        for column in range(product.column_tiles):
            for token in range(0, product.tokens, c.rows):
                issued = max(issued + 1, hold)
                while self.idle.stall():
                    issued += 1
                # The feeder counts on full tiles; rows that are not in use are left out all the same.
                planned = max(issued + drain_start(c), drain_free)
                drain_free, hold = planned + c.rows * slots, planned + drain_window(c)
                rows = min(c.rows, product.tokens - token)
                begins = max(issued + drain_start(c), drain_next)
                drain_next = begins + rows * slots
                sums = [
                    [rng.choice([-half, half - 1, rng.randint(-half, half - 1)]) for _ in range(c.cols)]
                    for _ in range(c.rows)
                ]
                yield Tile(rows, token, column, token + c.rows >= product.tokens, issued, begins, sums)

    async def product(self, ctx: SimulatorContext, product: Product) -> None:
        c, dut = self.config, self.dut
        lanes = c.drain_lanes
        slots = ceil_div(c.cols, lanes)
        channels = [[[self.parameter() for _ in range(lanes)] for _ in range(slots)] for _ in range(PARAMETER_TILES)]
        tokens = [self.parameter() for _ in range(c.max_tokens)]
        tiles = list(self.tiles(product))
        tile_ends = {tile.issued + 1 for tile in tiles}
        changes: dict[int, list[tuple[int, int, int]]] = {}  # of the array's results, by cycle
        reads: dict[int, tuple[int, int]] = {}  # address of the parameters, token
        drained_in: set[int] = set()
        wants: dict[int, tuple[list[int], tuple[int, int, bool]]] = {}  # outputs and place
        for tile in tiles:
            for r in range(c.rows):
                for i in range(c.cols):
                    change = tile.issued + OPERANDS + r + i + ELEMENT
                    changes.setdefault(change, []).append((r, i, tile.sums[r][i]))
            for r in range(tile.rows):
                for slot in range(slots):
                    cycle = tile.begins + r * slots + slot
                    place = tile.column % PARAMETER_TILES
                    last = (r, slot) == (tile.rows - 1, slots - 1)
                    reads[cycle + drain_latency(c) - AHEAD] = place * slots + slot, tile.token + r
                    if last and tile.last_tokens:
                        drained_in.add(cycle + reader_latency(c))
                    columns = range(slot * lanes, min((slot + 1) * lanes, c.cols))
                    parameters = [tokens[tile.token + r]] * lanes if product.per_row else channels[place][slot]
                    results = [requantise(tile.sums[r][i], *parameters[i % lanes], product.out_bits) for i in columns]
                    wants[cycle + drain_latency(c)] = results, (r, slot, last)

        def fields(parameter: Parameter) -> dict[str, int]:
            return dict(zip(("bias", "mult", "shift"), parameter, strict=True))

        answer: dict[str, Any] = {}
        answers: deque[dict[str, Any]] = deque([{}] * (PARAMETER_CYCLES - 1))
        for cycle in range(1, max(wants) + 3):
            drive(
                ctx, dut, {"start": cycle == 1, "product": described(product), "tile_end": cycle in tile_ends, **answer}
            )
            for r, i, value in changes.get(cycle, []):
                ctx.set(dut.results[r][i], value)
            _, _, valid, place, address, token, drained, *outputs = await ctx.tick().sample(
                dut.outputs.valid,
                dut.outputs.destination,
                dut.parameter_address,
                dut.row_parameter_address,
                dut.drained,
                *dut.outputs.values,
            )
            read = reads.get(cycle)
            if read:
                assert address == read[0], f"cycle {cycle}: address of the parameters"
                assert token == read[1], f"cycle {cycle}: token"
            assert drained == (cycle in drained_in), f"cycle {cycle}: drained"
            assert valid == (cycle in wants), f"cycle {cycle}: results"
            if valid:
                results, want_place = wants[cycle]
                assert (place.row, place.slot, place.last) == want_place, f"cycle {cycle}"
                assert outputs[: len(results)] == results, f"cycle {cycle}: {want_place}"
            # The tables answer PARAMETER_CYCLES later; the one that must not be used answers anything.
            channel_parameters = channels[address // slots % PARAMETER_TILES][address % slots]
            row = tokens[token % c.max_tokens]
            if product.per_row:
                channel_parameters = [self.parameter() for _ in range(lanes)]
            else:
                row = self.parameter()
            answers.append({"parameters": [fields(one) for one in channel_parameters], "row_parameters": fields(row)})
            answer = answers.popleft()


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seed", [None, 9], ids=["free", "gaps"])
def test_results(name: str, seed: int | None) -> None:
    """Tiles as close to one another as they may come, and with gaps; 8 and 16 bits, per channel and per row."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, gaps(seed, "idle"), name, seed)
    products = [
        Product(config=config, tokens=t, k=1, channels=ch, pattern_n=1, out_bits=bits, per_row=per_row)
        for t, ch, bits, per_row in (
            (config.max_tokens, 6 * config.cols - 1, 8, False),
            (config.max_tokens - 1, 3 * config.cols, 16, True),
            (1, config.cols + 1, 16, False),
            (config.rows, 5 * config.cols, 8, True),
        )
    ]

    async def testbench(ctx: SimulatorContext) -> None:
        for product in products:
            await bench.product(ctx, product)

    run(bench.dut, testbench, limit=20000)
