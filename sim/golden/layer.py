"""The golden linear layer in plain integers, and the comparison that says where a result first differs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def linear(
    x: NDArray[np.int8],
    w: NDArray[np.int8],
    bias: NDArray[np.integer],
    mult: NDArray[np.integer],
    shift: NDArray[np.integer],
    out_bits: int,
    per_row: bool = False,
) -> NDArray[np.signedinteger]:
    """saturate(((x · wᵀ + bias) · mult + 2^(shift − 1)) >> shift), exactly.

    Parameters
    ----------
    x : int8 [tokens, k]
    w : int8 [channels, k]
    bias, mult, shift : int32, uint16 and 1 … 47, each [channels], or [tokens] where per_row
    out_bits : 8 or 16

    Returns
    -------
    int8 or int16 [tokens, channels]
    """
    axis = np.s_[:, np.newaxis] if per_row else np.s_[np.newaxis, :]
    bias, mult, shift = (np.asarray(array).astype(np.int64)[axis] for array in (bias, mult, shift))
    accumulator = product(x, w)
    # At most (2^30 + 2^31) · 2^16 + 2^46 in magnitude: nothing overflows.
    rounded = ((accumulator + bias) * mult + (np.int64(1) << (shift - 1))) >> shift
    limit = 1 << (out_bits - 1)
    return np.clip(rounded, -limit, limit - 1).astype(np.int8 if out_bits == 8 else np.int16)


def product(x: NDArray[np.int8], w: NDArray[np.int8]) -> NDArray[np.int64]:
    """x · wᵀ in int64. Products of two int8 and sums of 2^16 of them are exact in float64, which multiplies faster."""
    if x.shape[1] > 1 << 16:
        raise ValueError(f"k is {x.shape[1]}, must be at most {1 << 16}")
    return (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64)


@dataclass(frozen=True)
class Comparison:
    """How two results differ."""

    outputs: int
    mismatches: int
    first: tuple[int, int, int, int] | None  # token, channel, got, want

    def __str__(self) -> str:
        if self.first is None:
            return f"{self.outputs} outputs, 0 mismatches"
        token, channel, got, want = self.first
        return (
            f"{self.mismatches} of {self.outputs} outputs differ, "
            f"first at token {token}, channel {channel}: got {got}, want {want}"
        )


def compare(got: NDArray[np.integer], want: NDArray[np.integer]) -> Comparison:
    """Compare results [tokens, channels], token after token."""
    if got.shape != want.shape:
        raise ValueError(f"got shape {list(got.shape)}, want {list(want.shape)}")
    different = np.argwhere(got != want)
    first = None
    if len(different):
        token, channel = (int(i) for i in different[0])
        first = (token, channel, int(got[token, channel]), int(want[token, channel]))
    return Comparison(outputs=got.size, mismatches=len(different), first=first)
