"""Sentences of different lengths, computed several at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

BATCH = 32  # sentences of similar length that are computed at once
CHUNK = 16  # packed sentences of similar length whose attention is computed at once
# Multiples that tokens are filled up to. A product's code is made anew for each shape, which takes longer than a small
# product itself; so there are few shapes.
PACKED_TOKENS, CHUNK_TOKENS = 64, 4  # of a packed batch, of a chunk's longest sentence


def padded(ids: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sentences int64 [tokens] as a batch: ids and mask of the true tokens, both [sentences, longest]."""
    lengths = torch.tensor([len(one) for one in ids])
    batch = pad_sequence(list(ids), batch_first=True)
    return batch, torch.arange(batch.shape[1]) < lengths[:, None]


def pooled(states: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over the true tokens: [tokens, hidden] → [hidden]."""
    if mask is None:
        return states.mean(dim=-2)
    share = mask / mask.sum(dim=-1, keepdim=True)
    return (states * share[..., None].to(states.dtype)).sum(dim=-2)


def by_length(ids: Sequence[Tensor], compute: Callable[[Tensor, Tensor], Tensor], batch: int = BATCH) -> Tensor:
    """compute(ids, mask) → [sentences, …] of all sentences, in batches of similar length; the order is kept."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    parts = [compute(*padded([ids[i] for i in order[at : at + batch]])) for at in range(0, len(order), batch)]
    return torch.cat(parts)[torch.tensor(order).argsort()]


class Chunk(NamedTuple):
    """Some sentences of a packed batch, as attention takes them.

    tokens : how many, of those of the batch that no chunk before has
    mask : bool [sentences, places], of the true tokens
    places : int64 [tokens], of each in the flat mask
    """

    tokens: int
    mask: Tensor
    places: Tensor


class Packed:
    """Sentences one behind another, the shortest first, with padding behind the last one alone.

    What is computed of each token alone is computed of all at once. Attention is computed in chunks of similar length,
    padded within.

    Attributes
    ----------
    order : of the sentences that were given
    tokens : of all sentences together
    ids, positions : int64 [tokens and padding]
    """

    def __init__(self, ids: Sequence[Tensor]) -> None:
        self.order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        lengths = [len(ids[i]) for i in self.order]
        self.tokens = sum(lengths)
        padding = torch.zeros(-self.tokens % PACKED_TOKENS, dtype=torch.int64)
        self.ids = torch.cat([*(ids[i] for i in self.order), padding])
        self.positions = torch.cat([*(torch.arange(length) for length in lengths), padding])
        self._lengths = torch.tensor(lengths)
        self._sentences = torch.arange(len(ids)).repeat_interleave(self._lengths)
        self._chunks = []
        for at in range(0, len(ids), CHUNK):
            own = self._lengths[at : at + CHUNK]
            longest = int(own.max())
            mask = torch.arange(longest + -longest % CHUNK_TOKENS) < own[:, None]
            self._chunks.append(Chunk(int(own.sum()), mask, mask.flatten().nonzero()[:, 0]))

    def attend(self, attention: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], *qkv: Tensor) -> Tensor:
        """attention(q, k, v, mask) → [sentences, longest, channels] of every chunk: [tokens and padding, channels].

        qkv : query, key and value, [tokens and padding, channels]
        """
        found = []
        padding = len(self.ids) - self.tokens
        # Split at once: the gradient of a slice is as long as what it is of.
        parts = zip(*(part.split([*(chunk.tokens for chunk in self._chunks), padding]) for part in qkv), strict=True)
        for (_, mask, places), own in zip(self._chunks, parts, strict=False):  # the last part is the padding
            q, k, v = (_spread(part, mask, places) for part in own)
            found.append(attention(q, k, v, mask).flatten(0, 1).index_select(0, places))
        return torch.cat([*found, found[0].new_zeros(padding, found[0].shape[1])])

    def means(self, states: Tensor) -> Tensor:
        """The mean over the tokens of each sentence, in `order`: [tokens, channels] → [sentences, channels]."""
        sums = states.new_zeros(len(self._lengths), states.shape[1]).index_add(0, self._sentences, states)
        return sums / self._lengths[:, None]


def _spread(tokens: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """[tokens, channels] → [sentences, longest, channels], zeros where there is none."""
    flat = tokens.new_zeros(mask.numel(), tokens.shape[1]).index_copy(0, places, tokens)
    return flat.unflatten(0, tuple(mask.shape))
