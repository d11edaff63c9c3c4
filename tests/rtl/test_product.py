"""A product as a configuration runs it, each number against a count made the slow way."""

from typing import Any

import pytest

from rtl.format import selection_coding
from rtl.params import (
    CHANNELS_MAX,
    Config,
    InputError,
)
from rtl.product import Pattern, Product
from tests.rtl.configurations import PRODUCTS, SIZES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens is 0, must be an integer from 1 to 128"),
        ({"tokens": 129}, "tokens is 129, must be an integer from 1 to 128"),
        ({"k": 1537}, "k is 1537, must be an integer from 1 to 1536"),
        ({"k": 0}, "k is 0, must be an integer from 1 to 1536"),
        ({"channels": 65536}, "channels is 65536, must be an integer from 1 to 65535"),
        ({"pattern_n": 9}, "pattern_n is 9, must be an integer from 1 to 8"),
        ({"pattern_n": 0}, "pattern_n is 0, must be an integer from 1 to 8"),
        ({"out_bits": 32}, "out_bits is 32, must be 8 or 16"),
    ],
)
def test_bounds_of_a_product(change: dict[str, Any], message: str) -> None:
    shape = {"tokens": 1, "k": 1, "channels": 1, "pattern_n": 1, **change}
    with pytest.raises(InputError, match=f"^{message}$"):
        Product(config=Config(), **shape)


def test_largest_product() -> None:
    Product(config=Config(max_k=1530), tokens=128, k=1536, channels=CHANNELS_MAX, pattern_n=8)


@pytest.mark.parametrize("m", SIZES)
def test_patterns(m: int) -> None:
    for n in range(1, m + 1):
        index, bitmap = n * (m.bit_length() - 1), m
        coding = selection_coding(n, m)
        assert coding == ("counted" if n == m else "index" if index <= bitmap else "bitmap")
        for lanes in range(1, m + 1):
            pattern = Pattern(config=Config(n=lanes, m=m), n=n)
            assert pattern.coding == coding
            assert pattern.dense == (n == m)
            assert pattern.lanes == (lanes if lanes < n else n)
            assert pattern.steps == len(range(0, n, lanes))


def test_patterns_of_eight() -> None:
    codings = [selection_coding(n, 8) for n in range(1, 9)]
    assert codings == ["index"] * 2 + ["bitmap"] * 5 + ["counted"]


EVERY_PRODUCT = pytest.mark.parametrize("product", PRODUCTS, ids=range(len(PRODUCTS)))


def beats_and_users(count: int, unit_bits: int, port_bits: int, users: int) -> list[int]:
    """Of each beat of a plane of `count` units, each for so many users: the first one that needs it."""
    first: list[int] = []
    used = port_bits  # bits of the last beat
    for unit in range(count):
        if unit_bits > port_bits:
            first += [unit * users] * len(range(0, unit_bits, port_bits))
        else:
            if used + unit_bits > port_bits:
                first.append(unit * users)
                used = 0
            used += unit_bits
    return first


@EVERY_PRODUCT
def test_tile_plan(product: Product) -> None:
    """Parameters, then every beat as late as can be, selection before values."""
    p, c = product, product.config
    port = 8 * c.port_bytes
    parameters = beats_and_users(c.slots_a_row, c.drain_lanes * 64, port, 1)
    due = [(step, 1, i) for i, step in enumerate(beats_and_users(p.steps, p.pattern.lanes * c.cols * 8, port, 1))]
    if p.pattern.coding == "index":
        users = beats_and_users(p.steps, p.pattern.lanes * c.cols * c.index_bits, port, 1)
    else:
        users = beats_and_users(p.groups, c.cols * c.m, port, p.pattern.steps) if p.pattern.coding == "bitmap" else []
    due += [(step, 0, i) for i, step in enumerate(users)]
    plan = [("parameters", i) for i in range(len(parameters))]
    plan += [(("selection", "values")[kind], i) for _, kind, i in sorted(due)]
    assert p.tile_plan() == plan
    assert p.w_tile_beats == len(plan)


@EVERY_PRODUCT
def test_product(product: Product) -> None:
    p, c = product, product.config
    padded = len(range(0, p.k, c.m)) * c.m
    assert p.groups == padded // c.m
    assert p.steps == p.groups * len(range(0, p.pattern_n, c.n))
    assert p.token_tiles == len(range(0, p.tokens, c.rows))
    assert p.column_tiles == len(range(0, p.channels, c.cols))
    assert p.x_row_beats == len(range(0, padded, c.port_bytes))
    r_beats = beats_and_users(p.tokens, 64, 8 * c.port_bytes, 1) if p.per_row else []
    assert p.r_beats == len(r_beats)

    needed = sum(min(p.pattern_n, p.k - first) for first in range(0, p.k, c.m))
    assert p.multiplies == p.tokens * p.channels * needed
    assert p.utilisation(1000) == pytest.approx(p.multiplies / 1000 / (c.rows * c.cols * c.n))

    row = p.column_tiles * c.pitch(p.out_bits // 8)
    assert p.y_stride == next(x for x in range(row, row + c.port_bytes) if x % c.port_bytes == 0)
    assert p.bytes_written == p.tokens * p.channels * (p.out_bits // 8)
    beats = p.tokens * p.x_row_beats + p.column_tiles * len(p.tile_plan()) + p.r_beats
    assert p.bytes_read == beats * c.port_bytes
