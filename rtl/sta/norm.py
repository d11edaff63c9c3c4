"""Layer normalisation in integers: sums of a token as it is written, one reciprocal root, one product an element.

With S = Σ r and Q = Σ r² over H elements, H²·variance is V = H·Q − S² + epsilon, and an element becomes
(H·r − S) / √V with Z_FRACTION bits behind the point. R · 2^−(36+e) is 1 / √V.
"""

from collections.abc import Iterable
from math import isqrt

from ..params import signed_bits
from .params import ROOT_BITS, Z_FRACTION

RADICAND_BITS = 40  # of V once it is shifted: the root has 20 bits, more than its reciprocal
Z_TOP = (1 << (signed_bits(64 << Z_FRACTION) - 1)) - 1


def statistics(row: Iterable[int]) -> tuple[int, int]:
    """Sum and sum of squares of a token's elements."""
    elements = list(row)
    return sum(elements), sum(r * r for r in elements)


def finalise(S: int, Q: int, hidden: int, epsilon: int) -> tuple[int, int, int]:
    """(S, R, e) by which the token is normalised. R is 0 where the variance is not positive."""
    variance = hidden * Q - S * S + epsilon
    if variance <= 0:  # below 0 only where sums and `hidden` are of different rows
        return S, 0, 0
    e = (variance.bit_length() - RADICAND_BITS + 1) // 2  # rounded towards +∞: 39 or 40 bits are left
    root = isqrt(variance >> 2 * e if e > 0 else variance << -2 * e)
    return S, min((1 << ROOT_BITS) - 1, ((1 << 36) + (root >> 1)) // root), e


def normalise(r: int, S: int, R: int, e: int, hidden: int) -> int:
    """(H·r − S) / √V with Z_FRACTION bits behind the point, rounded to the nearest, half upwards."""
    z = ((hidden * r - S) * R + (1 << (19 + e))) >> (20 + e)
    return max(-Z_TOP - 1, min(Z_TOP, z))
