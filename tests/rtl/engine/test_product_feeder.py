"""The feeder: every step of every tile, in the first cycle in which it may be issued, and not before."""

from dataclasses import dataclass

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import drain_start, drain_window
from rtl.array.walk import TileWalk
from rtl.engine.product_feeder import Feeder
from rtl.params import RESULT_TILES, Config, ceil_div
from rtl.product import Product
from sim.bench.gaps import Gaps
from tests.rtl.simulate import Slow, described, drive, gaps, run

CONFIGURATIONS = {
    "3:16 3x5": Config(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=32, max_tokens=11, max_k=80),
    "2:4 4x5, slow drain": Config(n=2, m=4, rows=4, cols=5, drain=1, port_bytes=16, max_tokens=17, max_k=44),
    "4:4 2x2": Config(n=4, m=4, rows=2, cols=2, drain=2, port_bytes=2, max_tokens=9, max_k=24),
    "1:32 1x1": Config(n=1, m=32, rows=1, cols=1, drain=1, port_bytes=8, max_tokens=5, max_k=64),
    "1:2 8x8, slow drain": Config(n=1, m=2, rows=8, cols=8, drain=1, port_bytes=1, max_tokens=33, max_k=10),
}


def products(config: Config) -> list[Product]:
    """Tiles of one step and long ones; one tile and many; the last one follows a product of a single token at once."""
    n, m, rows, cols = config.n, config.m, config.rows, config.cols
    shapes = [
        (config.max_tokens, 1, 3 * cols, 1),
        (config.max_tokens, config.max_k, 2 * cols + 1, m),
        (rows + 1, config.max_k - 1, 5 * cols, n),
        (config.max_tokens, m, 4 * cols, min(m, n + 1)),
        (1, m + 1, 1, m),
        (1, 1, 1, 1),
        (1, 1, 3 * cols, 1),
    ]
    return [Product(config=config, tokens=t, k=k, channels=ch, pattern_n=p) for t, k, ch, p in shapes]


@dataclass
class Tile:
    """The steps of one tile as the feeder must issue them."""

    column: int
    token: int
    product: Product

    def outputs(self, step: int) -> tuple[int, ...]:
        """first, last, word, group, column address, tile end, column done."""
        p, c = self.product, self.product.config
        group = step // p.pattern.steps
        a_word = c.store_word_bytes // c.m
        words = ceil_div(p.groups, a_word)
        last = step == p.steps - 1
        column_done = last and self.token == p.token_tiles - 1
        address = self.column % 2 * c.max_steps + step
        return step == 0, last, self.token * words + group // a_word, group % a_word, address, last, column_done


class Bench:
    """A feeder between a column buffer, an activation store and a result buffer that are as slow as their gaps."""

    def __init__(self, config: Config, columns: Gaps, tokens: Gaps, written: Gaps) -> None:
        self.config = config
        self.dut = Feeder(config)
        self.columns, self.tokens, self.written = columns, tokens, written
        self.most_in_flight = 0
        self.held = 0  # cycles in which only the drain was waited for

    async def product(self, ctx: SimulatorContext, product: Product) -> None:
        c, dut = self.config, self.dut
        tiles = [Tile(col, tok, product) for col in range(product.column_tiles) for tok in range(product.token_tiles)]
        drain_slots = c.rows * ceil_div(c.cols, c.drain_lanes)
        at, step = 0, 0  # the next step to be issued: its tile, and its number there
        loaded = columns_ready = tiles_loaded = written = 0
        hold = drain_free = 0  # cycles: the next last step may be issued, the drain is free
        issued: tuple[int, ...] | None = None  # the outputs due in this cycle
        for cycle in range(12000):
            column_done = at // product.token_tiles
            loads = (
                loaded < product.column_tiles and loaded - column_done < 2 and cycle > 0 and not self.columns.stall()
            )
            if cycle and tiles_loaded < product.token_tiles and not self.tokens.stall():
                tiles_loaded += 1
            writes = written < at and not self.written.stall()
            inputs = {"start": cycle == 0, "product": described(product)}
            drive(ctx, dut, {**inputs, "column_loaded": loads, "tiles_loaded": tiles_loaded, "written": writes})
            _, _, valid, *outputs = await ctx.tick().sample(
                dut.step.valid,
                dut.step.first,
                dut.step.last,
                dut.step.word,
                dut.step.group,
                dut.column_address,
                dut.tile_end,
                dut.column_done,
            )
            where = f"cycle {cycle}, before step {step} of tile {at} of {product}"
            assert valid == (issued is not None), f"{where}: a step"
            if issued is None:
                assert outputs[-2:] == [0, 0], f"{where}: tile end, column done"
                if at == len(tiles) and written == at:
                    return
            else:
                assert tuple(outputs) == issued, where

            issued = None
            if at < len(tiles) and cycle >= TileWalk.LATENCY:
                tile = tiles[at]
                goes = step > 0 or (columns_ready > tile.column and tiles_loaded > tile.token)
                if step == product.steps - 1 and goes:
                    goes = at - written < RESULT_TILES and cycle >= hold
                    self.held += at - written < RESULT_TILES and cycle < hold
                if goes:
                    issued = tile.outputs(step)
                    step += 1
                if step == product.steps:
                    begins = max(cycle + drain_start(c), drain_free)
                    drain_free = begins + drain_slots
                    hold = begins + drain_window(c)
                    at, step = at + 1, 0
            loaded += loads
            columns_ready = loaded  # from the cycle after
            written += writes
            self.most_in_flight = max(self.most_in_flight, at - written)
        raise AssertionError(f"not done: {at} of {len(tiles)} tiles")


def exercise(bench: Bench, products: list[Product]) -> None:
    async def testbench(ctx: SimulatorContext) -> None:
        for product in products:
            await bench.product(ctx, product)

    run(bench.dut, testbench, limit=40000)


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seed", [None, 1, 2], ids=["free", "gaps1", "gaps2"])
def test_steps(name: str, seed: int | None) -> None:
    """Products one after another; everything around the feeder at full speed, or with random gaps."""
    bench = Bench(CONFIGURATIONS[name], *(gaps(seed, one) for one in ("columns", "tokens", "written")))
    exercise(bench, products(bench.config))
    assert bench.held or bench.config.rows == 1, "the drain is waited for at times"


@pytest.mark.parametrize("slow", ["columns", "tokens", "written"])
@pytest.mark.parametrize("name", ["3:16 3x5", "4:4 2x2"])
def test_one_is_slow(name: str, slow: str) -> None:
    """Weights, activations, or the way out of the result buffer, which is filled up and never beyond."""
    slower = {one: Slow(70) if one == slow else gaps(None, one) for one in ("columns", "tokens", "written")}
    bench = Bench(CONFIGURATIONS[name], **slower)
    exercise(bench, products(bench.config)[2:4])
    assert bench.most_in_flight <= RESULT_TILES
    assert (slow == "written") <= (bench.most_in_flight == RESULT_TILES)
