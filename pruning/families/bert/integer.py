"""The integer encoder of text: what the accelerator computes, instruction after instruction, bit for bit.

The blocks and their arithmetic are those of pruning/encoder/integer.py. Shapes are those of
pruning/families/bert/model.py: [tokens, …] of one sentence, or [sentences, tokens, …] with the mask of true tokens,
outside of which the mean reads nothing.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pruning.encoder.batches import by_length
from pruning.encoder.integer import (
    IntegerBlock,
    IntegerLinear,
    IntegerNorm,
    Note,
    Step,
    as_float,
    float_of,
    no_note,
    noted,
    requantise,
    saturate,
)
from pruning.encoder.parameters import pool_factor
from pruning.families.bert.parameters import Head, integer_parameters
from pruning.files.artefact import Artefact
from pruning.files.tokenizer import ids_of, open_tokenizer
from rtl.params import InputError


class IntegerEncoder:
    """An artefact of the BERT family, computed in integers. It scores as an Encoder does.

    narrow_words : words in 8 bits with a scale each, as `nmgen compile --table-bits 8` has them
    """

    def __init__(self, artefact: Artefact, *, narrow_words: bool = False) -> None:
        p = integer_parameters(artefact)
        p = self.parameters = p.narrowed() if narrow_words else p
        text = artefact.whole.tokenizer
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
        note = noted(steps)
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
            return requantise(residual.sum(dim=-2), 0, float_of(pool_factor(residual.shape[-2])), 16)
        factors = [float_of(pool_factor(tokens)) for tokens in mask.sum(dim=-1).tolist()]
        sums = (residual * mask[..., None]).sum(dim=-2)
        return requantise(sums, 0, torch.tensor(factors, dtype=torch.float64)[:, None], 16)


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
