"""The bitmap decoder: every bitmap of small groups, random and extreme ones of large groups, every step."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from rtl.array.selection import BitmapDecoder, BitmapRanks
from rtl.params import Config, ceil_div
from tests.rtl.simulate import seeded, trace

PATTERNS = [(1, 2), (2, 2), (1, 4), (3, 4), (4, 4), (1, 8), (2, 8), (3, 8), (8, 8), (3, 16), (16, 16), (1, 32), (5, 32)]


def bitmaps(m: int) -> list[int]:
    if m <= 8:
        return list(range(1 << m))
    full = (1 << m) - 1
    rng = seeded(m)
    some = [0, full, 1, 1 << (m - 1), full >> 1, full - 1, 0x5555_5555 & full, 0xAAAA_AAAA & full]
    for _ in range(60):
        some.append(sum(1 << position for position in rng.sample(range(m), rng.randint(0, m))))
    return some


class Ranked(wiring.Component):
    """The decoder behind the ranks of the bitmap that it gets."""

    def __init__(self, config: Config) -> None:
        self._ranks = BitmapRanks(config)
        self._decoder = BitmapDecoder(config)
        members = self._decoder.signature.members
        super().__init__({name: members[name] for name in ("bitmap", "step", "indices")})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = self._decoder
        m.d.comb += [decoder.bitmap.eq(self.bitmap), decoder.step.eq(self.step)]
        m.submodules.ranks = ranks = self._ranks
        m.d.comb += ranks.bitmap.eq(self.bitmap)
        m.d.comb += [given.eq(rank) for given, rank in zip(decoder.ranks, ranks.ranks, strict=True)]
        m.d.comb += [out.eq(index) for out, index in zip(self.indices, decoder.indices, strict=True)]
        return m


@pytest.mark.parametrize(("n", "m"), PATTERNS)
def test_indices(n: int, m: int) -> None:
    config = Config(n=n, m=m, rows=1, cols=1, max_k=m)
    given = [(bitmap, step) for bitmap in bitmaps(m) for step in range(ceil_div(m, n))]
    decoder = Ranked(config)
    record = trace(decoder, [{"bitmap": bitmap, "step": step} for bitmap, step in given], *decoder.indices)
    for (bitmap, step), indices in zip(given, record, strict=True):
        want = BitmapDecoder.compute(bitmap, step, n, m)
        assert list(indices) == want, f"bitmap {bitmap:0{m}b}, step {step}"


@pytest.mark.parametrize("m", [8, 16, 32])
def test_ranks_a_cycle_later(m: int) -> None:
    """Of a bitmap every cycle."""
    given = bitmaps(m)
    ranks = BitmapRanks(Config(n=1, m=m, rows=1, cols=1, max_k=m), pipelined=True)
    record = trace(ranks, [*({"bitmap": bitmap} for bitmap in given), {}], *ranks.ranks)
    for bitmap, found in zip(given, record[1:], strict=True):
        want = [(bitmap & ((1 << position) - 1)).bit_count() for position in range(m)]
        assert list(found) == want, f"bitmap {bitmap:0{m}b}"


@pytest.mark.parametrize(
    ("bitmap", "step", "n", "m", "want"),
    [
        (0b1010_0110, 0, 2, 8, [1, 2]),
        (0b1010_0110, 1, 2, 8, [5, 7]),
        (0b1010_0110, 2, 2, 8, [0, 0]),
        (0b1000_0000, 0, 3, 8, [7, 0, 0]),
        (0b0111, 1, 2, 4, [2, 0]),
        (0, 0, 1, 2, [0]),
        ((1 << 32) - 1, 31, 1, 32, [31]),
        ((1 << 16) - 1, 5, 3, 16, [15, 0, 0]),
    ],
)
def test_twin_by_hand(bitmap: int, step: int, n: int, m: int, want: list[int]) -> None:
    assert BitmapDecoder.compute(bitmap, step, n, m) == want
