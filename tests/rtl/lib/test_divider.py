"""Every quotient of small numbers, and random ones of large numbers, in as many steps as they have bits."""

import pytest

from rtl.lib.divider import Divider
from tests.rtl.simulate import seeded, trace


def pairs(divisor_bits: int, quotient_bits: int) -> list[tuple[int, int]]:
    """Dividends and divisors whose quotient fits."""
    if divisor_bits + quotient_bits <= 6:
        divisors = range(1, 1 << divisor_bits)
        return [(dividend, divisor) for divisor in divisors for dividend in range(divisor << quotient_bits)]
    rng = seeded(divisor_bits, quotient_bits)
    found = []
    for _ in range(60):
        divisor = rng.randrange(1, 1 << divisor_bits)
        found.append(
            (rng.choice([0, (divisor << quotient_bits) - 1, rng.randrange(divisor << quotient_bits)]), divisor)
        )
    return found


@pytest.mark.parametrize(("divisor_bits", "quotient_bits"), [(1, 1), (3, 3), (2, 4), (5, 1), (20, 19), (26, 16)])
@pytest.mark.parametrize("pause", [0, 3])
def test_quotients(divisor_bits: int, quotient_bits: int, pause: int) -> None:
    """A load counts, whatever `step` is; without both nothing changes."""
    unit = Divider(divisor_bits, quotient_bits)
    cycles, due = [], {}
    for i, (dividend, divisor) in enumerate(pairs(divisor_bits, quotient_bits)):
        cycles.append({"load": 1, "step": i % 2, "dividend": dividend, "divisor": divisor})
        cycles += [{"load": 0, "step": 1}] * (quotient_bits - 1)
        cycles += [{"step": 0}] * pause + [{"load": 0, "step": 1}, {"step": 0}]
        due[len(cycles) - 1] = dividend // divisor
    record = trace(unit, cycles, unit.quotient)
    assert {cycle: record[cycle][0] for cycle in due} == due
