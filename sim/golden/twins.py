"""What STA computes, on whole arrays of plain integers: equal to the integer twins beside the units of rtl/sta/."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtl.sta.params import EXP_CARRIED_BITS, EXP_ONE, RADICAND_BITS, ROOT_BITS, StaConfig

Int = NDArray[np.int64]


def saturate(x: Int, bits: int) -> Int:
    half = 1 << (bits - 1)
    return np.clip(x, -half, half - 1)


def requantise(acc: Int, bias: ArrayLike, mult: ArrayLike, shift: ArrayLike, bits: int) -> Int:
    """saturate(((acc + bias)·mult + 2^(shift−1)) >> shift). A shift of 0 gives 0, as in the hardware: parameters of
    channels that are not there."""
    shift = np.asarray(shift, np.int64)
    # At most (2^39 + 2^31) · 2^16 in magnitude: nothing overflows.
    product = (acc + np.asarray(bias, np.int64)) * np.asarray(mult, np.int64)
    halves = product >> np.where(shift == 0, 63, shift - 1)
    return saturate((halves + 1) >> 1, bits)


def rescale(y16: Int, factor: ArrayLike, shift: int) -> Int:
    """From 16 to 8 bits: saturate((y16·factor + 2^(shift−1)) >> shift)."""
    return saturate((y16 * np.asarray(factor, np.int64) + (1 << shift >> 1)) >> shift, 8)


def emit(scores: Int, top: Int, table: Int, keys: int) -> Int:
    """The exponentials of rows of scores [rows, positions] as they multiply the values: 0 … 255, 0 beyond the keys.

    top : the largest score of each row, [rows]
    table : of the exponential, by the distance to the top; what 8 bits do not hold is carried along the row
    """
    exponentials = table[(top[:, np.newaxis] - scores) & 0xFF]
    exponentials[:, keys:] = 0
    carried = np.cumsum(exponentials, axis=1) + (1 << (EXP_CARRIED_BITS - 1))
    return np.diff(carried >> EXP_CARRIED_BITS, axis=1, prepend=0)


def bit_length(x: Int) -> Int:
    """Of numbers from 0 to 2^53."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def reciprocal(config: StaConfig, total: Int, mult: int, shift: int) -> tuple[Int, Int]:
    """(mult, shift) that divide by a row's total as well: mult · 2^−shift / total."""
    bits = bit_length(total)
    divisor = total << (config.sum_bits - bits)
    safe = np.maximum(divisor, 1)
    quotient = ((mult << (config.sum_bits - 1)) + (divisor >> 1)) // safe
    return np.where(total == 0, 0, np.minimum(quotient, 65535)), shift + bits - 1


@dataclass(frozen=True)
class Root:
    """What a token's elements are normalised with: (hidden·r − total) · root, shifted by 20 + exponent."""

    total: Int
    root: Int
    exponent: Int
    zero: NDArray[np.bool_]  # the variance is not positive: every element becomes zero


def root_of(total: Int, squares: Int, hidden: int, epsilon: int) -> Root:
    """Of tokens with these sums of `hidden` elements and of their squares, all [tokens]."""
    variance = np.maximum(hidden * squares - total * total + epsilon, 0)
    exponent = (bit_length(variance) - (RADICAND_BITS - 1)) >> 1
    scaled = np.where(exponent < 0, variance << np.maximum(-2 * exponent, 0), variance >> np.maximum(2 * exponent, 0))
    # Below 2^40 a float64 root is never rounded up to the next integer.
    deviation = np.maximum(np.sqrt(scaled.astype(np.float64)).astype(np.int64), 1)
    root = np.minimum((1 << ROOT_BITS) - 1, ((1 << 36) + (deviation >> 1)) // deviation)
    return Root(total, root, exponent, variance == 0)


def normalise(config: StaConfig, r: Int, hidden: int, root: Root) -> Int:
    """Elements [tokens, …] of the residual, minus the mean, over the deviation, Z_FRACTION bits behind the point."""
    centred = (hidden * r - root.total[:, np.newaxis]) * root.root[:, np.newaxis]
    shift = np.where(root.zero, 1, RADICAND_BITS // 2 + root.exponent)[:, np.newaxis]
    z = (centred + (np.int64(1) << (shift - 1))) >> shift
    return saturate(np.where(root.zero[:, np.newaxis], 0, z), config.z_bits)


def exponential_table(scale: float) -> NDArray[np.uint16]:
    """The entries of the exponential's table for scores in steps of `scale`."""
    return np.round(EXP_ONE * np.exp(-np.arange(256) * scale)).astype(np.uint16)
