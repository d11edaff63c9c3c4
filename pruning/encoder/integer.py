"""The blocks of the integer encoder: what the accelerator computes, instruction after instruction, bit for bit.

docs/numerics.md defines every number here. Integers are kept in floating point, which is exact and faster: no sum of a
matrix product reaches 2^24 in float32, whatever the order of its terms (`product`), and nothing behind it reaches 2^53
in float64. Where the hardware multiplies int8, linear layers are faster still with it (`multiplies_int8`). A factor
mult / 2^shift is a float64 of 16 digits, so that ((acc + bias) · mult + 2^(shift − 1)) >> shift is
floor((acc + bias) · factor + ½), every step of it exact.

Shapes are [tokens, …] of one sentence or picture, or [sentences, tokens, …] of several, of sentences with the mask of
true tokens. What padding computes is read by nobody: its keys weigh nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pruning.encoder.parameters import BlockParameters, Factor, Norm
from pruning.files.artefact import Layer
from pruning.integers.rescale import Rescale

EXACT = 1 << 24  # float32 holds every integer up to here
CARRY = 8  # bits of an exponential that are not emitted but carried along the row


@dataclass(frozen=True)
class Step:
    """What one instruction leaves behind: 8 bits in the store, 16 bits in the residual, or both.

    Tokens and channels of one sentence or picture: int8 and int16 [tokens, channels]. POOL and a head leave one token.
    """

    name: str
    store: Tensor | None = None
    residual: Tensor | None = None


Note = Callable[[str, Tensor | None, Tensor | None], None]  # name, store, residual


def no_note(_name: str, _store: Tensor | None, _residual: Tensor | None) -> None:
    """The Note of whoever wants no steps."""


def noted(steps: list[Step]) -> Note:
    """The Note that appends each step."""

    def note(name: str, store: Tensor | None, residual: Tensor | None) -> None:
        narrow = None if store is None else store.to(torch.int8)
        steps.append(Step(name, narrow, None if residual is None else residual.to(torch.int16)))

    return note


# --- the instructions ------------------------------------------------------------------------------------------------


class IntegerLinear:
    """x float32 [..., k] → float64 [..., channels] of out_bits."""

    def __init__(self, layer: Layer) -> None:
        self.name, self.bits = layer.name, layer.out_bits
        kind = np.int8 if multiplies_int8() else np.float32
        self._weights = torch.from_numpy(layer.weights.astype(kind)).T.contiguous()
        self._bias, self._factor = as_float(layer.bias), floats_of(layer.mult, layer.shift)

    def __call__(self, x: Tensor) -> Tensor:
        return requantise(self._sums(x), self._bias, self._factor, self.bits)

    def _sums(self, x: Tensor) -> Tensor:
        if self._weights.dtype == torch.int8:
            return torch._int_mm(x.to(torch.int8).reshape(-1, x.shape[-1]), self._weights).view(*x.shape[:-1], -1)
        return product(x, self._weights, 128 * 127)


class _Rescale:
    """y float64 of 16 bits → float32 of 8 bits."""

    def __init__(self, rescale: Rescale) -> None:
        self._factor = floats_of(rescale.factors, rescale.shift)

    def __call__(self, y: Tensor) -> Tensor:
        return requantise(y, 0, self._factor, 8).float()


class IntegerNorm:
    """r float64 [tokens, hidden] → what goes to the residual, float64, and to the store, float32 or None."""

    def __init__(self, norm: Norm) -> None:
        self._norm = norm
        self._sign = 1 - 2 * as_float(norm.negate)
        self._bias, self._factor = as_float(norm.bias), floats_of(norm.mult, norm.shift)
        self._rescale = _Rescale(norm.operand) if norm.operand else None

    def __call__(self, r: Tensor, note: Note) -> tuple[Tensor, Tensor | None]:
        z = normalised(r, self._norm.epsilon) if self._norm.normalise else r
        y = requantise(z * self._sign, self._bias, self._factor, 16)
        operand = self._rescale(y) if self._rescale else None
        note(self._norm.name, operand, y)
        return y, operand


class IntegerBlock:
    """residual float64 and operand float32 [tokens, hidden] → both behind the block, the operand None where nothing
    reads it."""

    def __init__(self, block: BlockParameters, heads: int) -> None:
        self._block, self._heads = block, heads
        self._query, self._key, self._value = (IntegerLinear(layer) for layer in (block.query, block.key, block.value))
        self._scores, self._context = float_of(block.scores), block.context
        self._exponential = torch.from_numpy(block.exponential.astype(np.int32))
        self._attention_output = IntegerLinear(block.attention_output)
        self._attention_norm = IntegerNorm(block.attention_norm)
        self._intermediate, self._table = IntegerLinear(block.intermediate), as_float(block.table)
        self._table_rescale = _Rescale(block.table_rescale)
        self._output, self._output_norm = IntegerLinear(block.output), IntegerNorm(block.output_norm)

    def __call__(
        self, residual: Tensor, operand: Tensor, mask: Tensor | None, note: Note
    ) -> tuple[Tensor, Tensor | None]:
        context = self._attention(operand, mask, note)
        residual, fed = self._added(self._attention_output, context, residual, self._attention_norm, note)
        assert fed is not None
        inner = self._table_rescale(self._table[self._intermediate(fed).to(torch.int64) & 255])
        note(self._intermediate.name, inner, None)
        return self._added(self._output, inner, residual, self._output_norm, note)

    def _attention(self, x: Tensor, mask: Tensor | None, note: Note) -> Tensor:
        parts = []
        for linear in (self._query, self._key, self._value):
            y = linear(x).float()
            note(linear.name, y, None)
            parts.append(y.unflatten(-1, (self._heads, -1)).transpose(-3, -2))  # [heads, tokens, head size]
        q, k, v = parts
        scores = requantise(product(q, k.transpose(-2, -1), 128 * 128), 0, self._scores, 8)
        emitted = softmax(scores, self._exponential, mask)
        context = divided(product(emitted.float(), v, 255 * 128), emitted.sum(dim=-1, keepdim=True), self._context)
        if note is not no_note:
            for head in range(self._heads):
                note(f"{self._block.name}.attention.self.scores.{head}", scores[..., head, :, :], None)
                note(f"{self._block.name}.attention.self.context.{head}", context[..., head, :, :], None)
        return context.transpose(-3, -2).flatten(-2).float()

    def _added(
        self, linear: IntegerLinear, x: Tensor, residual: Tensor, norm: IntegerNorm, note: Note
    ) -> tuple[Tensor, Tensor | None]:
        total = saturate(linear(x).add_(residual), 16)
        note(linear.name, None, total)
        return norm(total, note)


# --- arithmetic ------------------------------------------------------------------------------------------------------


@lru_cache
def multiplies_int8() -> bool:
    """Whether torch's product of int8 is made for this hardware, and exact here: without VNNI pairs would saturate."""
    if not getattr(torch.cpu, "_is_vnni_supported", bool)():  # torch has no public name for either
        return False
    x = torch.tensor([-128, 127], dtype=torch.int8).repeat_interleave(32)[:, None].repeat(1, 256)
    y = torch.tensor([-127, 127], dtype=torch.int8).repeat_interleave(32)[None].repeat(256, 1)
    return torch.equal(torch._int_mm(x, y), (x.double() @ y.double()).to(torch.int32))


def product(x: Tensor, y: Tensor, largest: int) -> Tensor:
    """x float32 [..., k] · y float32 [k, channels] → float64, exact.

    largest : what no product of two elements exceeds. As many terms are summed at once as stay within 2^24.
    """
    terms = EXACT // largest
    parts = [(x[..., at : at + terms] @ y[..., at : at + terms, :]).double() for at in range(0, x.shape[-1], terms)]
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def requantise(acc: Tensor, bias: Tensor | int, factor: Tensor | float, bits: int) -> Tensor:
    """saturate(((acc + bias) · mult + 2^(shift − 1)) >> shift), float64; factor: mult / 2^shift.

    acc or bias : float64
    """
    return saturate((acc + bias).mul_(factor).add_(0.5).floor_(), bits)


def saturate(y: Tensor, bits: int) -> Tensor:
    """In place."""
    half = 1 << (bits - 1)
    return y.clamp_(-half, half - 1)


def normalised(r: Tensor, epsilon: int) -> Tensor:
    """z of each element, 16 bits behind the point: r float64 [tokens, hidden] → float64."""
    hidden = r.shape[-1]
    total, squares = (part.sum(dim=-1, keepdim=True).to(torch.int64) for part in (r, r * r))
    variance = hidden * squares - total * total + epsilon
    e = (bit_length(variance) - 39) >> 1
    scaled = torch.where(e > 0, variance >> (2 * e).clamp(min=0), variance << (-2 * e).clamp(min=0))
    root = scaled.double().sqrt().floor().to(torch.int64)  # scaled < 2^40: the rounded root has the true one's floor
    reciprocal = (((1 << 36) + (root >> 1)) // root.clamp(min=1)).clamp(max=(1 << 17) - 1)
    z = ((hidden * r - total) * (reciprocal * power_of_two(-20 - e)) + 0.5).floor_()
    return torch.where(variance == 0, 0.0, z)


def softmax(scores: Tensor, table: Tensor, mask: Tensor | None) -> Tensor:
    """The emitted exponentials 0 … 255 of scores [..., heads, tokens, keys], int32; masked keys, the last ones, emit 0.

    table : int32 [256], by maximum − score
    """
    scores = scores.to(torch.int64)
    if mask is None:
        exponentials = table[scores.amax(dim=-1, keepdim=True) - scores]
    else:
        keys = mask[..., None, None, :]
        top = scores.masked_fill(~keys, -128).amax(dim=-1, keepdim=True)
        exponentials = table[(top - scores).clamp(min=0)] * keys
    carried = exponentials.cumsum(dim=-1, dtype=torch.int32) + (1 << (CARRY - 1)) >> CARRY
    return carried.diff(dim=-1, prepend=torch.zeros_like(carried[..., :1]))


def divided(acc: Tensor, total: Tensor, context: Factor) -> Tensor:
    """acc · mult / 2^shift / total to 8 bits, by the reciprocal's 16 digits; total: int, one a row."""
    bits = bit_length(total.to(torch.int64))
    total = total.double().clamp(min=1)
    # floor(mult · 2^(bits − 1) / total + ½): a quotient below 2^17 over 2 · total < 2^26, so float64 rounds none up to
    # the next integer
    q = ((context.mult * power_of_two(bits) + total) / (2 * total)).floor().clamp(max=65535)
    q = torch.where(bits > 0, q, 0.0)
    return requantise(acc, 0, q * power_of_two(1 - context.shift - bits), 8)


POWERS = torch.tensor([2.0**exponent for exponent in range(-128, 128)], dtype=torch.float64)


def power_of_two(exponent: Tensor) -> Tensor:
    """float64, exact (torch.ldexp computes the power in float32, by a function that may round)."""
    return POWERS[exponent + 128]


def bit_length(x: Tensor) -> Tensor:
    """Bits of each element of an int64 tensor that is not negative."""
    length = torch.zeros_like(x)
    for step in (32, 16, 8, 4, 2, 1):
        large = x >= 1 << step
        length += large * step
        x = torch.where(large, x >> step, x)
    return length + (x > 0)


def as_float(integers: np.ndarray) -> Tensor:
    """float64"""
    return torch.from_numpy(integers.astype(np.float64))


def float_of(factor: Factor) -> float:
    """mult / 2^shift"""
    return factor.mult * 2.0**-factor.shift


def floats_of(mult: np.ndarray, shift: np.ndarray | int) -> Tensor:
    """float64 [channels]: mult / 2^shift"""
    return torch.from_numpy(np.ldexp(mult.astype(np.float64), -np.asarray(shift, np.int64)))
