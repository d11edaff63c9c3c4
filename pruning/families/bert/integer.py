"""The integer encoder: what the accelerator computes, instruction after instruction, bit for bit.

docs/numerics.md defines every number here. Integers are kept in floating point, which is exact and faster: no sum of a
matrix product reaches 2^24 in float32, whatever the order of its terms (`product`), and nothing behind it reaches 2^53
in float64. A factor mult / 2^shift is a float64 of 16 digits, so that ((acc + bias) · mult + 2^(shift − 1)) >> shift is
floor((acc + bias) · factor + ½), every step of it exact.

Shapes are those of pruning/families/bert/model.py: [tokens, …] of one sentence, or [sentences, tokens, …] with the mask
of true tokens. What padding computes is read by nobody: its keys weigh nothing, and the mean leaves it out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from pruning.families.bert.model import by_length
from pruning.families.bert.parameters import (
    BlockParameters,
    Factor,
    Head,
    IntegerParameters,
    Norm,
    Rescale,
    integer_parameters,
    pool_factor,
)
from pruning.files.artefact import Artefact, Layer
from pruning.files.tokenizer import ids_of, open_tokenizer
from rtl.params import InputError

EXACT = 1 << 24  # float32 holds every integer up to here
CARRY = 8  # bits of an exponential that are not emitted but carried along the row


@dataclass(frozen=True)
class Step:
    """What one instruction leaves behind: 8 bits in the store, 16 bits in the residual, or both.

    Tokens and channels of the sentence alone: int8 and int16 [tokens, channels]. POOL and the head leave one token.
    """

    name: str
    store: Tensor | None = None
    residual: Tensor | None = None


Note = Callable[[str, Tensor | None, Tensor | None], None]  # name, store, residual


class IntegerEncoder:
    """An artefact of the BERT family, computed in integers. It scores as an Encoder does."""

    def __init__(self, artefact: Artefact) -> None:
        self.parameters: IntegerParameters = integer_parameters(artefact)
        assert artefact.model  # integer_parameters says so otherwise
        p = self.parameters
        text = artefact.model.tokenizer
        self.tokenizer = open_tokenizer(text, "the artefact's tokenizer is none", p.shape.max_tokens)
        self._words, self._positions = torch.from_numpy(p.words.copy()), as_float(p.positions)
        self._norm = IntegerNorm(p.norm)
        self._blocks = [IntegerBlock(block, p.shape.heads) for block in p.blocks]
        self._head = _Head(p.head) if p.head else None

    @property
    def classes(self) -> int:
        """Outputs of the head; 0 where there is none."""
        return self.parameters.head.layer.channels if self.parameters.head else 0

    def ids(self, sentence: str) -> Tensor:
        """int64 [tokens], special tokens included."""
        ids = torch.tensor(ids_of(self.tokenizer, sentence), dtype=torch.int64)
        if len(ids) and int(ids.max()) >= self.parameters.shape.vocabulary:
            vocabulary = self.parameters.shape.vocabulary
            raise InputError(f"the tokenizer gives token {int(ids.max())}, must be below {vocabulary}")
        return ids

    @torch.inference_mode()
    def steps(self, ids: Tensor) -> list[Step]:
        """Every instruction of one sentence int64 [tokens], in order, with what it leaves behind."""
        steps: list[Step] = []

        def note(name: str, store: Tensor | None, residual: Tensor | None) -> None:
            narrow = None if store is None else store.to(torch.int8)
            steps.append(Step(name, narrow, None if residual is None else residual.to(torch.int16)))

        mean = self._pool(self._residual(ids, None, note), None)
        note("pool", None, mean[None])
        if self._head:
            self._head(mean[None], note)
        return steps

    @torch.inference_mode()
    def means(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What POOL gives: the mean of each sentence's tokens, int16 [hidden], in steps of parameters.scale."""
        return self._pool(self._residual(ids, mask, no_note), mask).to(torch.int16)

    @torch.inference_mode()
    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head says of each sentence: float [classes]."""
        if self._head is None:
            raise InputError("the model has no head: train one with nmgen prune --classify")
        return self._head(self._pool(self._residual(ids, mask, no_note), mask), no_note).float() * self._head.scale

    def embed(self, sentences: Iterable[str]) -> Tensor:
        """The embedding of each sentence, mean of its tokens at length 1: float [sentences, hidden]."""
        means = by_length([self.ids(sentence) for sentence in sentences], self.means)
        return normalize(means.float(), dim=1)

    def _residual(self, ids: Tensor, mask: Tensor | None, note: Note) -> Tensor:
        """float64 [tokens, hidden], what the last block leaves."""
        if ids.shape[-1] > len(self._positions):
            raise InputError(f"a sentence has {ids.shape[-1]} tokens, must have at most {len(self._positions)}")
        residual = self._words[ids].double()
        note("embeddings.word_embeddings", None, residual)
        residual = saturate(residual + self._positions[: ids.shape[-1]], 16)
        note("embeddings.position_embeddings", None, residual)
        residual, operand = self._norm(residual, note)
        for block in self._blocks:
            assert operand is not None
            residual, operand = block(residual, operand, mask, note)
        return residual

    def _pool(self, residual: Tensor, mask: Tensor | None) -> Tensor:
        """float64 [tokens, hidden] → [hidden]."""
        if mask is None:
            return requantise(residual.sum(dim=-2), 0, _factor(pool_factor(residual.shape[-2])), 16)
        factors = [_factor(pool_factor(tokens)) for tokens in mask.sum(dim=-1).tolist()]
        sums = (residual * mask[..., None]).sum(dim=-2)
        return requantise(sums, 0, torch.tensor(factors, dtype=torch.float64)[:, None], 16)


# --- the instructions ------------------------------------------------------------------------------------------------


class IntegerLinear:
    """x float32 [tokens, k] → float64 [tokens, channels] of out_bits."""

    def __init__(self, layer: Layer) -> None:
        self.name, self.bits = layer.name, layer.out_bits
        self._weights = torch.from_numpy(layer.weights.astype(np.float32)).T.contiguous()
        self._bias, self._factor = as_float(layer.bias), _factors(layer.mult, layer.shift)

    def __call__(self, x: Tensor) -> Tensor:
        return requantise(product(x, self._weights, 128 * 127), self._bias, self._factor, self.bits)


class _Rescale:
    """y float64 of 16 bits → float32 of 8 bits."""

    def __init__(self, rescale: Rescale) -> None:
        self._factor = _factors(rescale.factors, rescale.shift)

    def __call__(self, y: Tensor) -> Tensor:
        return requantise(y, 0, self._factor, 8).float()


class IntegerNorm:
    """r float64 [tokens, hidden] → what goes to the residual, float64, and to the store, float32 or None."""

    def __init__(self, norm: Norm) -> None:
        self._norm = norm
        self._sign = 1 - 2 * as_float(norm.negate)
        self._bias, self._factor = as_float(norm.bias), _factors(norm.mult, norm.shift)
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
        self._scores, self._context = _factor(block.scores), block.context
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
        total = saturate(linear(x) + residual, 16)
        note(linear.name, None, total)
        return norm(total, note)


class _Head:
    """mean float64 [hidden] → float64 [classes]."""

    def __init__(self, head: Head) -> None:
        self.scale = head.scale
        self._norm, self._linear = IntegerNorm(head.norm), IntegerLinear(head.layer)

    def __call__(self, mean: Tensor, note: Note) -> Tensor:
        _, operand = self._norm(mean, lambda name, store, _: note(name, store, None))
        assert operand is not None
        logits = self._linear(operand)
        note(self._linear.name, None, logits)
        return logits


def no_note(_name: str, _store: Tensor | None, _residual: Tensor | None) -> None:
    """The Note of whoever wants no steps."""


# --- arithmetic ------------------------------------------------------------------------------------------------------


def product(x: Tensor, y: Tensor, largest: int) -> Tensor:
    """x float32 [..., k] · y float32 [k, channels] → float64, exact.

    largest : what no product of two elements exceeds. As many terms are summed at once as stay within 2^24.
    """
    terms = EXACT // largest
    parts = [(x[..., at : at + terms] @ y[..., at : at + terms, :]).double() for at in range(0, x.shape[-1], terms)]
    return torch.stack(parts).sum(dim=0) if len(parts) > 1 else parts[0]


def requantise(acc: Tensor, bias: Tensor | int, factor: Tensor | float, bits: int) -> Tensor:
    """saturate(((acc + bias) · mult + 2^(shift − 1)) >> shift), float64; factor: mult / 2^shift."""
    return saturate(((acc + bias) * factor + 0.5).floor_(), bits)


def saturate(y: Tensor, bits: int) -> Tensor:
    half = 1 << (bits - 1)
    return y.clamp(-half, half - 1)


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


def _factor(factor: Factor) -> float:
    return factor.mult * 2.0**-factor.shift


def _factors(mult: np.ndarray, shift: np.ndarray | int) -> Tensor:
    return torch.from_numpy(np.ldexp(mult.astype(np.float64), -np.asarray(shift, np.int64)))
