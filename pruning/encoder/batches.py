"""Sentences of different lengths, computed several at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

BATCH = 32  # sentences of similar length that are computed at once


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
