"""From 16 bits to the 8 of an operand: factors of 1 … 511, one a channel, and one shift.

y8 = saturate((y16 · factor + 2^(shift − 1)) >> shift), so the scale of the 8 bits is that of the 16 · 2^shift / factor.
"""

from dataclasses import dataclass

import numpy as np

RESCALE_MAX = 511
RESCALE_SHIFT_MAX = 31
SPREAD = 256  # of scales, at most: then the smallest factor is 1 or more, the largest 256 or more


@dataclass(frozen=True, eq=False)
class Rescale:
    """16 bits to 8: saturate((y · factors[channel] + 2^(shift − 1)) >> shift)."""

    factors: np.ndarray  # uint16 [channels], 1 … 511
    shift: int  # 1 … 31


def rescale(wide: float, narrow: np.ndarray) -> Rescale:
    """The nearest factors that bring a 16-bit value, of scale wide, to 8 bits of the scales narrow [channels].

    The shift is the largest that leaves every factor below 512: so they have as many digits as they may.
    """
    ratio = wide / narrow
    shift = RESCALE_SHIFT_MAX
    while shift > 1 and round(float(ratio.max()) * 2.0**shift) > RESCALE_MAX:
        shift -= 1
    return Rescale((ratio * 2.0**shift).round().clip(1, RESCALE_MAX).astype(np.uint16), shift)


def represented(wide: float, brought: Rescale) -> np.ndarray:
    """float64 [channels]: the scales of the 8-bit values that a rescale gives, exactly."""
    return wide * 2.0**brought.shift / brought.factors.astype(np.float64)


def representable(wide: float, narrow: np.ndarray) -> np.ndarray:
    """float64 [channels]: the next larger scales, for nothing more to saturate, that a rescale gives exactly.

    Scales that are too far apart become so much larger, too.
    """
    narrow = np.maximum(narrow, narrow.max() / SPREAD)
    shift = rescale(wide, narrow).shift
    factors = np.floor(wide / narrow * 2.0**shift * (1 + 1e-9))  # what is a factor already stays one
    return represented(wide, Rescale(factors.clip(1, RESCALE_MAX), shift))
