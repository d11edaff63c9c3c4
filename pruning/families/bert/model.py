"""A BERT-family encoder in plain torch: it trains, and it marks every point where the accelerator rounds.

Modules bear the names of BERT's own checkpoints whatever the family, for instance encoder.layer.0.intermediate.dense.
A place where the accelerator rounds is a `Point`, in float the identity, so that quantisation
(`pruning.families.bert.fake_quant`) exchanges modules and this file stays the only forward there is. Shapes are those
of one sentence, [tokens, …], of a padded batch, [sentences, tokens, …], which needs the mask of its true tokens, or of
a packed one, [tokens of all, …], which takes the place of the mask.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pruning.encoder.activations import ACTIVATIONS
from pruning.encoder.batches import Packed, by_length, pooled
from pruning.files.tokenizer import ids_of
from rtl.params import InputError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What config.json says of an encoder."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    activation: str
    positions: int  # rows of the position table
    first_position: int  # the row of a sentence's first token
    vocabulary: int
    types: int  # rows of the token type table, 0 where there is none
    epsilon: float

    @property
    def max_tokens(self) -> int:
        return self.positions - self.first_position


@dataclass(kw_only=True)
class Origin:
    """What came with an encoder and is not computed with here, so that a folder can be written back whole."""

    config: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)  # tokenizer and settings, by their names in the folder
    names: dict[str, str] = field(default_factory=dict)  # our name of a tensor → the checkpoint's
    others: dict[str, Tensor] = field(default_factory=dict)  # tensors of the checkpoint that are not the encoder's


Mask = Tensor | Packed | None  # of the true tokens of a padded batch, bool [sentences, tokens]


class Point(nn.Identity):
    """A point where the accelerator rounds: to 8 bits or, where the name says so, to 16."""


def bits_of(point: str) -> int:
    """Bits of a Point, by its name: the residual, the sums that it goes into, and what a table gives have 16."""
    return 16 if point.rpartition(".")[2] in ("residual", "total", "result") else 8


class Softmax(nn.Module):
    """Scores [heads, tokens, keys] → weights of the same shape; masked keys weigh nothing."""

    def forward(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:  # bool [..., keys]
            scores = scores.masked_fill(~mask[..., None, None, :], float("-inf"))
        return scores.softmax(dim=-1)


class Table(nn.Embedding):
    """One that spends no second on drawing weights for the device "meta", where there are none."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class Embeddings(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.word_embeddings = Table(shape.vocabulary, shape.hidden)
        self.position_embeddings = Table(shape.positions, shape.hidden)
        self.token_type_embeddings = Table(shape.types, shape.hidden) if shape.types else None
        self.LayerNorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.total, self.residual = Point(), Point()
        self.first_position = shape.first_position

    def forward(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:  # int64 [tokens] → [tokens, hidden]
        if positions is None:
            positions = torch.arange(ids.shape[-1], device=ids.device)
        total = self.word_embeddings(ids) + self.position_embeddings(positions + self.first_position)
        if self.token_type_embeddings is not None:
            total = total + self.token_type_embeddings.weight[0]
        return self.residual(self.LayerNorm(self.total(total)))


class SelfAttention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden, shape.hidden)
        self.key = nn.Linear(shape.hidden, shape.hidden)
        self.value = nn.Linear(shape.hidden, shape.hidden)
        self.heads = shape.heads
        self.operand, self.q, self.k, self.v, self.scores = Point(), Point(), Point(), Point(), Point()
        self.softmax = Softmax()

    def forward(self, x: Tensor, mask: Mask) -> Tensor:  # [tokens, hidden] → the same
        x = self.operand(x)
        q, k, v = self.q(self.query(x)), self.k(self.key(x)), self.v(self.value(x))
        return mask.attend(self._context, q, k, v) if isinstance(mask, Packed) else self._context(q, k, v, mask)

    def _context(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:  # [tokens, hidden] → the same
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in (q, k, v))
        # each [heads, tokens, head size]
        scores = self.scores(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
        return (self.softmax(scores, mask) @ v).transpose(-3, -2).flatten(-2)


class Output(nn.Module):
    """A linear layer, the residual, a LayerNorm."""

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, shape.hidden)
        self.LayerNorm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.operand, self.total, self.residual = Point(), Point(), Point()

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.residual(self.LayerNorm(self.total(self.dense(self.operand(x)) + residual)))


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self = SelfAttention(shape)
        self.output = Output(shape.hidden, shape)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.hidden, shape.intermediate)
        self.activation = ACTIVATIONS[shape.activation]
        self.operand, self.table, self.result = Point(), Point(), Point()

    def forward(self, x: Tensor) -> Tensor:
        return self.result(self.activation(self.table(self.dense(self.operand(x)))))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.intermediate = Intermediate(shape)
        self.output = Output(shape.intermediate, shape)

    def forward(self, x: Tensor, mask: Mask) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Stack(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(shape) for _ in range(shape.layers))

    def forward(self, x: Tensor, mask: Mask) -> list[Tensor]:
        """What each block gives, the last one last."""
        states = []
        for block in self.layer:
            x = block(x, mask)
            states.append(x)
        return states


class Encoder(nn.Module):
    """Token ids to states; with a head, a sentence's classes too.

    Parameters
    ----------
    classes : outputs of the head, a linear layer on the mean of the tokens; 0 for none
    """

    def __init__(self, shape: Shape, tokenizer: Any, origin: Origin, classes: int = 0) -> None:
        super().__init__()
        self.shape, self.tokenizer, self.origin = shape, tokenizer, origin
        self.embeddings = Embeddings(shape)
        self.encoder = Stack(shape)
        self.head = nn.Linear(shape.hidden, classes) if classes else None

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """int64 [tokens] → [tokens, hidden]."""
        return self.states(ids, mask)[-1]

    def states(self, ids: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """What each block gives: [tokens, hidden], as many as there are blocks."""
        states: list[Tensor] = self.encoder(self.embeddings(ids), mask)
        return states

    def packed_states(self, batch: Packed) -> list[Tensor]:
        """The same of sentences without padding: [tokens, hidden]."""
        states: list[Tensor] = self.encoder(self.embeddings(batch.ids, batch.positions), batch)
        return [one[: batch.tokens] for one in states]

    @property
    def classes(self) -> int:
        """Outputs of the head; 0 where there is none."""
        return self.head.out_features if self.head else 0

    def means(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean of each sentence's tokens: [hidden]."""
        return pooled(self(ids, mask), mask)

    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the head says of each sentence: [classes]."""
        return self.classify(self.means(ids, mask))

    def classify(self, means: Tensor) -> Tensor:
        """What the head says of the means of sentences' tokens: [hidden] → [classes]."""
        if self.head is None:
            raise InputError("the model has no head: train one with nmgen prune --classify")
        logits: Tensor = self.head(means)
        return logits

    def blocks(self) -> list[Block]:
        return [cast(Block, block) for block in self.encoder.layer]

    def linears(self) -> dict[str, nn.Linear]:
        """The linear layers of the blocks by name, in the order in which a sentence meets them."""
        return {
            name: module
            for name, module in self.encoder.named_modules(prefix="encoder")
            if isinstance(module, nn.Linear)
        }

    def points(self) -> dict[str, nn.Module]:
        """The points where the accelerator rounds, by name, in the order in which a sentence meets them."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Point)}

    def ids(self, sentence: str) -> Tensor:
        """int64 [tokens], special tokens included."""
        ids = torch.tensor(ids_of(self.tokenizer, sentence), dtype=torch.int64)
        if len(ids) and int(ids.max()) >= self.shape.vocabulary:
            raise InputError(f"the tokenizer gives token {int(ids.max())}, must be below {self.shape.vocabulary}")
        return ids

    @torch.inference_mode()
    def embed(self, sentences: Iterable[str]) -> Tensor:
        """The embedding of each sentence, mean of its tokens at length 1: [sentences, hidden]."""
        ids = [self.ids(sentence) for sentence in sentences]
        return normalize(by_length(ids, self.means), dim=1)

    @torch.inference_mode()
    def inputs(self, sentences: Iterable[str], names: Iterable[str]) -> dict[str, Tensor]:
        """What the named linear layers truly get, all sentences one after another: float [tokens, in] of each."""
        linears, names = self.linears(), list(names)
        seen: dict[str, list[Tensor]] = {name: [] for name in names}

        def note(name: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen[name].append(args[0])

        hooks = [linears[name].register_forward_pre_hook(partial(note, name)) for name in names]
        try:
            for sentence in sentences:
                self(self.ids(sentence))
        finally:
            for hook in hooks:
                hook.remove()
        return {name: torch.cat(parts) for name, parts in seen.items()}
