"""The softmax of a row of scores, taken on the way into the array.

A score becomes exp((score − maximum) · scale) in 8 bits unsigned; what rounding left over is carried to the next score
of the row. The array multiplies by what was emitted, and its sum divides the result, so weights sum to one exactly.
"""

from collections.abc import Sequence
from math import exp

from .params import EXP_ONE, TABLE_ENTRIES

CARRIED_BITS = 8  # of an exponential: the part that is not emitted but carried
HALF = 1 << (CARRIED_BITS - 1)


def exponential_table(scale: float) -> list[int]:
    """exp(−d · scale) for each distance d of a score from the row's maximum, 1 being EXP_ONE."""
    return [round(EXP_ONE * exp(-distance * scale)) for distance in range(TABLE_ENTRIES)]


def emit(scores: Sequence[int], keys: int, table: Sequence[int]) -> list[int]:
    """What the array gets for int8 scores: 0 … 255 each, 0 from position `keys` on, 1 ≤ keys ≤ len(scores)."""
    top = max(scores[:keys])
    emitted = []
    total = HALF
    for score in scores[:keys]:
        before = total >> CARRIED_BITS
        total += table[top - score]
        emitted.append((total >> CARRIED_BITS) - before)
    return emitted + [0] * (len(scores) - keys)


def reciprocal(total: int, mult: int, shift: int, sum_bits: int) -> tuple[int, int]:
    """(mult, shift) by which a row's results are requantised: mult / 2^shift ÷ total, total of `sum_bits` bits.

    mult has 16 bits and should use them all. A total of 0 gives (0, shift).
    """
    if total == 0:
        return 0, shift
    bits = total.bit_length()
    divisor = total << (sum_bits - bits)
    quotient = ((mult << (sum_bits - 1)) + (divisor >> 1)) // divisor
    return min(65535, quotient), shift + bits - 1
