"""The result buffer: each result in its bytes of memory, and no other byte; requests and beats in their cycles."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.walk import TileWalk
from rtl.engine.results import ResultBuffer
from rtl.params import RESULT_TILES, Config, ceil_div
from rtl.product import Product
from sim.bench.gaps import Gaps
from tests.rtl.simulate import Slow, described, drive, gaps, run, seeded

# Pieces of a fraction of a beat, of one, of several; some with a gap at their end.
CONFIGURATIONS = {
    "3x5, 16 bytes": Config(rows=3, cols=5, drain=4, port_bytes=16, max_tokens=11),
    "2x5, 64 bytes": Config(rows=2, cols=5, drain=2, port_bytes=64, max_tokens=5),
    "4x4, 1 byte": Config(rows=4, cols=4, drain=1, port_bytes=1, max_tokens=9),
    "1x9, 4 bytes": Config(rows=1, cols=9, drain=8, port_bytes=4, max_tokens=6),
    "3x1, 2 bytes": Config(rows=3, cols=1, drain=8, port_bytes=2, max_tokens=7),
    "1x1, 1 byte": Config(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=6, max_k=2),
    "2x8, 8 bytes": Config(rows=2, cols=8, drain=8, port_bytes=8, max_tokens=5),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)


def products(config: Config) -> list[Product]:
    shapes = [
        (config.max_tokens, 2 * config.cols + 1, 8),
        (config.max_tokens - 1, 3 * config.cols, 16),
        (1, 1, 16),
        (config.rows + 1, 5 * config.cols - 1, 8),
        (config.max_tokens, 7 * config.cols, 16),
    ]
    return [
        Product(config=config, tokens=max(1, t), k=1, channels=ch, pattern_n=1, out_bits=bits) for t, ch, bits in shapes
    ]


@dataclass
class Piece:
    """What one row of a tile writes: the address of its first beat, and of each beat the bytes by their place."""

    address: int
    beats: list[dict[int, int]]


class Bench:
    """A result buffer filled as fast as there is room, and emptied as slowly as a test wants."""

    def __init__(self, config: Config, fill: Gaps, request: Gaps, data: Gaps, *key: object) -> None:
        self.config = config
        self.dut = ResultBuffer(config)
        self.fill, self.request, self.data = fill, request, data
        self.rng = seeded(*key)
        self.most_tiles = 0

    def pieces(self, product: Product, y: list[list[int]], address: int) -> Iterator[list[Piece]]:
        """Of each tile, its pieces, from the places that each result's bytes have in memory."""
        c, size = self.config, product.out_bits // 8
        pitch = c.pitch(size)
        for column in range(0, product.channels, c.cols):
            for token in range(0, product.tokens, c.rows):
                tile = []
                for t in range(token, min(token + c.rows, product.tokens)):
                    start = address + t * product.y_stride + column // c.cols * pitch
                    first = start // c.port_bytes * c.port_bytes
                    beats: list[dict[int, int]] = [{} for _ in range(max(1, pitch // c.port_bytes))]
                    for i in range(min(c.cols, product.channels - column)):
                        for byte in range(size):
                            at = start + i * size + byte - first
                            value = y[t][column + i] >> 8 * byte & 0xFF
                            beats[at // c.port_bytes][at % c.port_bytes] = value
                    tile.append(Piece(first, beats))
                yield tile

    async def product(self, ctx: SimulatorContext, product: Product, address: int) -> None:
        c, dut, rng = self.config, self.dut, self.rng
        slots, lanes = ceil_div(c.cols, c.drain_lanes), c.drain_lanes
        low, high = -(1 << (product.out_bits - 1)), (1 << (product.out_bits - 1)) - 1
        y = [
            [rng.choice([low, high, -1, rng.randint(low, high)]) for _ in range(product.channels)]
            for _ in range(product.tokens)
        ]
        tiles = list(self.pieces(product, y, address))
        fills = [
            (tile, r, slot) for tile, pieces in enumerate(tiles) for r in range(len(pieces)) for slot in range(slots)
        ]
        filling = filled = 0  # the next of fills; tiles that are complete
        at = requested = row = beat = 0  # the tile that leaves, its rows requested and gone, beats of the row gone
        for cycle in range(20000):
            inputs: dict[str, object] = {
                "start": cycle == 0,
                "product": described(product, y_address=address),
                "inputs.valid": 0,
            }
            inputs |= {"inputs.values": [rng.randint(low, high) for _ in range(lanes)]}
            tile_filled = False
            walks = cycle >= TileWalk.LATENCY  # results come long after
            if walks and filling < len(fills) and fills[filling][0] - at < RESULT_TILES and not self.fill.stall():
                tile, r, slot = fills[filling]
                filling += 1
                tile_filled = (r, slot) == (len(tiles[tile]) - 1, slots - 1)
                token = tile % product.token_tiles * c.rows + r
                channels = [tile // product.token_tiles * c.cols + slot * lanes + lane for lane in range(lanes)]
                # What lies beyond the columns and channels is anything.
                values = [
                    y[token][ch] if ch < product.channels and slot * lanes + lane < c.cols else rng.randint(low, high)
                    for lane, ch in enumerate(channels)
                ]
                destination = {"row": r, "slot": slot, "last": tile_filled}
                inputs |= {"inputs.valid": 1, "inputs.values": values, "inputs.destination": destination}
            accept, take = not self.request.stall(), not self.data.stall()
            drive(ctx, dut, {**inputs, "request.ready": accept, "data.ready": take})
            _, _, asks, request, offers, data, written, finished = await ctx.tick().sample(
                dut.request.valid,
                dut.request.payload,
                dut.data.valid,
                dut.data.payload,
                dut.written,
                dut.finished,
            )
            where = f"cycle {cycle}, tile {at}, row {row}, beat {beat} of {product}"
            pieces = tiles[at] if at < filled else []
            assert asks == (requested < len(pieces)), f"{where}: request"
            if asks:
                piece = pieces[requested]
                assert (request.address, request.length + 1) == (piece.address, len(piece.beats)), where
            assert offers == (row < requested), f"{where}: write beat"
            if offers:
                want = pieces[row].beats[beat]
                assert data.strobe == sum(1 << place for place in want), f"{where}: strobe"
                assert {place: data.data >> 8 * place & 0xFF for place in want} == want, f"{where}: data"
            requested += asks and accept
            tile_written = False
            if offers and take:
                beat += 1
                if beat == len(pieces[row].beats):
                    row, beat = row + 1, 0
                    tile_written = row == len(pieces)
            assert written == tile_written, f"{where}: written"
            assert finished == (tile_written and at == len(tiles) - 1), f"{where}: finished"
            filled += tile_filled
            self.most_tiles = max(self.most_tiles, filled - at)
            if tile_written:
                at, requested, row = at + 1, 0, 0
            if at == len(tiles):
                assert filling == len(fills)
                return
        raise AssertionError(f"not done: {at} of {len(tiles)} tiles")

    def run(self, products: list[Product], addresses: list[int]) -> None:
        async def testbench(ctx: SimulatorContext) -> None:
            for product, address in zip(products, addresses, strict=True):
                await self.product(ctx, product, address)

        run(self.dut, testbench, limit=40000)


def addresses(config: Config) -> list[int]:
    """Of the results: low and high, at a beat's begin and, where pieces are shorter than beats, within one."""
    within = max(config.port_bytes, config.pitch(2))
    return [within, 0xFFFF_0000, 0x1234_0000 + config.pitch(2), within + config.pitch(1), 0x8000_0000]


@EVERY
@pytest.mark.parametrize("seed", [None, 3], ids=["free", "gaps"])
def test_products(name: str, seed: int | None) -> None:
    """One after another on the same instance."""
    config = CONFIGURATIONS[name]
    bench = Bench(config, *(gaps(seed, one) for one in ("fill", "request", "data")), name, seed)
    bench.run(products(config), addresses(config))


@pytest.mark.parametrize("name", ["3x5, 16 bytes", "1x9, 4 bytes", "1x1, 1 byte"])
@pytest.mark.parametrize("slow", ["request", "data"])
def test_full_buffer(name: str, slow: str) -> None:
    """Memory is slow: four tiles wait, whole, while the oldest leaves."""
    config = CONFIGURATIONS[name]
    slower = {one: Slow(13) if one == slow else gaps(None, one) for one in ("request", "data")}
    bench = Bench(config, gaps(None, "fill"), slower["request"], slower["data"], name, slow)
    bench.run(products(config)[:2], addresses(config)[:2])
    assert bench.most_tiles == RESULT_TILES
