"""Comparisons: all numbers of few bits, many of more, the largest and the least among them."""

import pytest

from rtl.lib.compare import Beyond, Greater
from tests.rtl.simulate import seeded, trace


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 13])
def test_of_two_numbers(bits: int) -> None:
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    rng = seeded(bits)
    some = range(least, most + 1) if bits <= 5 else sorted({least, least + 1, -1, 0, 1, most - 1, most})
    given = [(one, other) for one in some for other in some]
    given += [(rng.randint(least, most), rng.randint(least, most)) for _ in range(200)]
    given += [(one, max(least, min(most, one + rng.choice((-1, 0, 1))))) for one, _ in given[-200:]]
    dut = Greater(bits)
    record = trace(dut, [{"one": one, "other": other} for one, other in given], dut.more)
    for (one, other), (more,) in zip(given, record, strict=True):
        assert more == (one > other), f"{one} > {other}"


@pytest.mark.parametrize(("value_bits", "limit_bits"), [(2, 2), (4, 3), (5, 4), (33, 32), (40, 20)])
def test_of_a_value_and_a_limit(value_bits: int, limit_bits: int) -> None:
    rng = seeded(value_bits)
    half = 1 << (limit_bits // 2)
    limits = [0, 1, half - 1, half, half + 1, (1 << limit_bits) - 1, *(rng.getrandbits(limit_bits) for _ in range(40))]
    given = [
        (max(0, min((1 << value_bits) - 1, limit + more)), limit)
        for limit in limits
        for more in (-half, -1, 0, 1, half, 1 << limit_bits)
    ]
    given += [(rng.getrandbits(value_bits), limit) for limit in limits]
    dut = Beyond(value_bits, limit_bits)
    record = trace(dut, [{"value": value, "limit": limit} for value, limit in [*given, (0, 0)]], dut.beyond)
    for (place, limit), (beyond,) in zip(given, record[1:], strict=True):
        assert beyond == (place > limit), f"{place} > {limit}"
