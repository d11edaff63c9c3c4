"""What a text model is trained for: to be like the dense model, or to tell classes apart.

Both follow the interface `pruning.train.Task`. A tenth of the text is kept for validation. A batch is computed in parts
of sentences of similar length, so that little of it is padding. What the dense model says is computed once.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize
from torch.nn.utils import parametrize

from pruning.bert import Encoder, by_length, padded, pooled
from rtl.params import InputError

KEPT = 10  # every tenth sentence validates
PART = 48  # sentences of a batch that are computed at once
MAX_TOKENS = 128  # of a sentence in training


class Texts:
    """Sentences as ids, split into those that train, numbered from 0, and those that validate."""

    def __init__(self, encoder: Encoder, sentences: Sequence[str]) -> None:
        if len(sentences) < KEPT:
            raise InputError(f"the text has {len(sentences)} sentences, must be at least {KEPT}: a tenth validates")
        ids = [encoder.ids(sentence)[:MAX_TOKENS] for sentence in sentences]
        places = range(len(ids))
        self.training = [i for i in places if i % KEPT != KEPT - 1]  # places in the list of sentences
        self.validation = [i for i in places if i % KEPT == KEPT - 1]
        self.ids = ids
        self.size = len(self.training)

    def parts(self, batch: Tensor) -> Iterator[list[int]]:
        """The places of a batch's sentences, in parts of similar length."""
        places = sorted((self.training[int(i)] for i in batch), key=lambda place: len(self.ids[place]))
        count = -(-len(places) // PART)
        for i in range(count):
            yield places[i * len(places) // count : (i + 1) * len(places) // count]


class Teacher:
    """What the dense model says of each sentence, computed once in float32.

    embeddings : float32 [sentences, hidden], length 1
    states : of each sentence, what the blocks give: bfloat16 [tokens, blocks · hidden]
    """

    def __init__(self, encoder: Encoder, texts: Texts) -> None:
        self.states: list[Tensor] = [torch.empty(0)] * len(texts.ids)
        self.embeddings = torch.empty(len(texts.ids), encoder.shape.hidden)
        order = sorted(range(len(texts.ids)), key=lambda i: len(texts.ids[i]))
        with torch.inference_mode():
            for at in range(0, len(order), PART):
                places = order[at : at + PART]
                ids, mask = padded([texts.ids[i] for i in places])
                blocks = encoder.states(ids, mask)
                self.embeddings[places] = normalize(pooled(blocks[-1], mask), dim=1)
                joined = torch.cat(blocks, dim=2).to(torch.bfloat16)
                for place, states in zip(places, joined, strict=True):
                    self.states[place] = states[: len(texts.ids[place])].clone()

    def tokens(self, places: Sequence[int]) -> Tensor:
        """bfloat16 [true tokens of the sentences, blocks · hidden]."""
        return torch.cat([self.states[place] for place in places])


class Distillation:
    """Embeddings, similarities and layer outputs as the dense model's.

    loss = COSINE · mean(1 − cos(e, e'))             embeddings e, the dense model's e'
         + SIMILARITY · mean((e·f − e'·f')²)         over all pairs e, f of a batch
         + STATES · mean((s − s')²) / mean(s'²)      what the blocks give, over all tokens, mean of the blocks
    """

    COSINE, SIMILARITY, STATES = 1.0, 10.0, 1.0

    def __init__(self, dense: Encoder, sentences: Sequence[str]) -> None:
        self.texts = Texts(dense, sentences)
        self.size = self.texts.size
        self.teacher = Teacher(dense, self.texts)
        squares = torch.stack([states.float().square().sum(dim=0) for states in self.teacher.states]).sum(dim=0)
        tokens = sum(len(states) for states in self.teacher.states)
        self.powers = (squares / tokens).reshape(dense.shape.layers, -1).mean(dim=1)  # mean square of each block's

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        with parametrize.cached():  # the masks act once a step, not once a part
            return self._loss(model, batch)

    def _loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        embeddings, places, differences, tokens = [], [], torch.zeros(()), 0
        for part in self.texts.parts(batch):
            ids, mask = padded([self.texts.ids[place] for place in part])
            blocks = cast(Encoder, model).states(ids, mask)
            wanted = self.teacher.tokens(part).unflatten(1, (len(blocks), -1))
            for i, states in enumerate(blocks):
                difference = (states[mask].float() - wanted[:, i].float()).square().mean(dim=1).sum()
                differences = differences + difference / self.powers[i] / len(blocks)
            embeddings.append(normalize(pooled(blocks[-1].float(), mask), dim=1))
            places += part
            tokens += len(wanted)
        found, right = torch.cat(embeddings), self.teacher.embeddings[places]
        with torch.autocast(found.device.type, enabled=False):  # cosines near 1 need more than bfloat16
            cosine = 1 - (found * right).sum(dim=1).mean()
            similarity = mse_loss(found @ found.T, right @ right.T)
        return self.COSINE * cosine + self.SIMILARITY * similarity + self.STATES * differences / tokens

    def validate(self, model: nn.Module) -> dict[str, float]:
        """cosine: between the embeddings and the dense model's, mean of the sentences that validate."""
        places = self.texts.validation
        ids = [self.texts.ids[place] for place in places]
        found = by_length(ids, lambda ids, mask: normalize(pooled(model(ids, mask), mask), dim=1))
        return {"cosine": float((found * self.teacher.embeddings[places]).sum(dim=1).mean())}
