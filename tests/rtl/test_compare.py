"""Comparisons by gates: all numbers of few bits, many of more, the largest and the least among them."""

import pytest

from rtl.compare import Greater
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
