"""How good an encoder is: Spearman's correlation on scored pairs, accuracy on labelled sentences, both times 100."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from pruning.data.text import Labelled, Pair
from pruning.encoder.batches import by_length
from pruning.encoder.forms import TextForm
from rtl.params import InputError


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation, −1 … 1, ties at their mean rank; 0 where one side is constant."""
    ranks = [_ranks(x), _ranks(y)]
    x, y = (rank - rank.mean() for rank in ranks)
    size = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / size if size else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """float64 [values], from 0."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks: np.ndarray = (last - (counts - 1) / 2)[place]
    return ranks


def sts_score(encoder: TextForm, pairs: Sequence[Pair]) -> float:
    """100 · Spearman between the cosine of the pairs' embeddings and their scores."""
    embeddings = embed_once(encoder, [text for pair in pairs for text in (pair.first, pair.second)])
    cosines = (embeddings[0::2] * embeddings[1::2]).sum(dim=1)
    return 100 * spearman(cosines.numpy(), np.array([pair.score for pair in pairs]))


def embed_once(encoder: TextForm, sentences: Sequence[str]) -> Tensor:
    """The embeddings [sentences, hidden], `checked`, a sentence that comes again computed once."""
    distinct = {sentence: i for i, sentence in enumerate(dict.fromkeys(sentences))}
    return checked(encoder.embed(distinct))[[distinct[sentence] for sentence in sentences]]


def checked(outputs: Tensor) -> Tensor:
    """What a model gives of what it is scored on: InputError where there is a NaN or an infinity in it."""
    if not torch.isfinite(outputs).all():
        raise InputError("the model gives a NaN or an infinity: its weights or scales cannot be computed with")
    return outputs


def mean(scores: Iterable[float]) -> float:
    """The unweighted mean over files."""
    return float(np.mean(list(scores)))


@torch.inference_mode()
def accuracy(encoder: TextForm, rows: Sequence[Labelled]) -> float:
    """100 · share of the rows whose label the head gives the largest output."""
    logits = checked(by_length([encoder.ids(row.sentence) for row in rows], encoder.logits))
    labels = torch.tensor([row.label for row in rows])
    return 100 * float((logits.argmax(dim=1) == labels).double().mean())
