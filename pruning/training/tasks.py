"""What a text model is trained for: to be like the dense model, or to tell classes apart.

Both follow the interface `pruning.training.train.Task`. A tenth of the text is kept for validation. A batch is computed
without padding. What the dense model says is computed once.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from pruning.data.text import Labelled
from pruning.encoder.batches import Packed, by_length, padded, pooled
from pruning.encoder.forms import TextForm, TextModel
from pruning.training.processes import gathered
from pruning.training.train import has_bf16
from rtl.params import InputError

KEPT = 10  # one sentence in ten validates
PART = 48  # sentences that the dense model reads at once
MAX_TOKENS = 128  # of a sentence in training
UNKNOWN = -1  # label of what has none


def check_sentences(sentences: Sequence[str]) -> None:
    """InputError where there are too few to train on."""
    if len(sentences) < KEPT:
        raise InputError(f"the text has {len(sentences)} sentences, must be at least {KEPT}: a tenth validates")


class Texts:
    """Sentences as ids, split into those that train, numbered from 0, and those that validate."""

    def __init__(self, encoder: TextModel, sentences: Sequence[str]) -> None:
        check_sentences(sentences)
        self.ids = [encoder.ids(sentence)[:MAX_TOKENS] for sentence in sentences]
        # Drawn, since text may come in a pattern; always the same, since candidates are compared.
        drawn = torch.randperm(len(self.ids), generator=torch.Generator().manual_seed(0)).tolist()
        self.validation = sorted(drawn[: len(drawn) // KEPT])  # numbers in the list of sentences
        self.training = sorted(drawn[len(drawn) // KEPT :])

    def packed(self, batch: Tensor) -> tuple[Packed, list[int]]:
        """The sentences of a batch of this process, and their numbers in its order."""
        numbers = [self.training[int(i)] for i in batch]
        packed = Packed([self.ids[number] for number in numbers])
        return packed, [numbers[i] for i in packed.order]

    def pieces(self) -> None:
        """As many sentences again, and once more, that nobody wrote, to train on: of each that trains a piece, and
        a piece before a piece of another. Always the same."""
        generator = torch.Generator().manual_seed(1)

        def drawn(bound: int) -> int:
            return int(torch.randint(bound, (), generator=generator))

        def piece(ids: Tensor) -> Tensor:  # without the marks of beginning and end
            size = drawn(len(ids) - 2) + 1 if len(ids) > 2 else 0
            at = 1 + drawn(len(ids) - 1 - size)
            return ids[at : at + size]

        found, own = [], [self.ids[number] for number in self.training]
        longest = max(len(ids) for ids in own)  # a model may have no more positions
        for ids in own:
            other = own[drawn(len(own))]
            found.append(torch.cat([ids[:1], piece(ids), ids[-1:]]))
            found.append(torch.cat([ids[:1], torch.cat([piece(ids), piece(other)])[: longest - 2], ids[-1:]]))
        self.training += range(len(self.ids), len(self.ids) + len(found))
        self.ids += found

    def tokens(self, numbers: Sequence[int]) -> int:
        """Of these sentences together."""
        return sum(len(self.ids[number]) for number in numbers)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(ids, mask), both [sentences, longest]."""
        return padded([self.ids[number] for number in numbers])


class Teacher:
    """What the dense model says of each sentence, computed once, products in bfloat16 where the hardware has it.

    means : float32 [sentences, hidden], of the tokens of each
    states : of each sentence, what the blocks give: bfloat16 [tokens, blocks · hidden]
    """

    def __init__(self, encoder: TextModel, texts: Texts, blocks: int | None = None) -> None:
        """blocks : of the model that learns; each is like the last of as many of the encoder's. None: as many"""
        self.blocks = blocks or encoder.shape.layers
        every = encoder.shape.layers // self.blocks
        self.states: list[Tensor] = [torch.empty(0)] * len(texts.ids)
        self.means = torch.empty(len(texts.ids), encoder.shape.hidden)
        squares = torch.zeros(self.blocks)
        order = sorted(range(len(texts.ids)), key=lambda i: len(texts.ids[i]))
        device = next(encoder.parameters()).device
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
            for at in range(0, len(order), PART):
                numbers = order[at : at + PART]
                ids, mask = texts.batch(numbers)
                outputs = encoder.states(ids, mask)[every - 1 :: every]
                self.means[numbers] = pooled(outputs[-1].float(), mask)
                squares += torch.stack([states[mask].float().square().sum() for states in outputs])
                joined = torch.cat(outputs, dim=2).to(torch.bfloat16)
                for number, states in zip(numbers, joined, strict=True):
                    self.states[number] = states[: len(texts.ids[number])].clone()
        self.squares = squares / sum(len(ids) for ids in texts.ids)  # [blocks], of a token's states, mean of the tokens

    def distance(self, blocks: Sequence[Tensor], numbers: Sequence[int]) -> Tensor:
        """How far what a model's blocks give of sentences, each [tokens, hidden], is from what the dense model's do.

        Squared error over mean square, mean of the blocks, sum of the tokens.
        """
        wanted = torch.cat([self.states[number] for number in numbers]).float().chunk(self.blocks, dim=1)
        pairs = zip(blocks, wanted, strict=True)
        errors = [mse_loss(states.float(), right, reduction="sum") for states, right in pairs]
        return (torch.stack(errors) / self.squares).mean()


class Distillation:
    """Embeddings, similarities and layer outputs as the dense model's.

    loss = COSINE · mean(1 − cos(e, e'))             embeddings e, the dense model's e'
         + SIMILARITY · mean((e·f − e'·f')²)         over all pairs e, f of a batch
         + STATES · distance of what the blocks give, a token
    """

    COSINE, SIMILARITY, STATES = 1.0, 10.0, 1.0

    def __init__(self, dense: TextModel, sentences: Sequence[str], blocks: int | None = None) -> None:
        """blocks : of the model that learns, of which dense has a multiple; None: as many"""
        self.texts = Texts(dense, sentences)
        self.size = len(self.texts.training)
        self.teacher = Teacher(dense, self.texts, blocks)
        self.embeddings = normalize(self.teacher.means, dim=1)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        packed, numbers = self.texts.packed(batch)
        blocks = cast(TextModel, model).packed_states(packed)
        distance = self.teacher.distance(blocks, numbers)
        found, right = normalize(packed.means(blocks[-1].float()), dim=1), self.embeddings[numbers]
        tokens = gathered(torch.tensor([float(self.texts.tokens(numbers))])).mean()  # of a process
        with torch.autocast(found.device.type, enabled=False):  # cosines near 1 need more than bfloat16
            cosine = 1 - (found * right).sum(dim=1).mean()
            found, right = gathered(found), gathered(right)  # pairs are of the whole batch
            similarity = mse_loss(found @ found.T, right @ right.T)
        return self.COSINE * cosine + self.SIMILARITY * similarity + self.STATES * distance / tokens

    def validate(self, model: nn.Module | TextForm) -> dict[str, float]:
        """cosine: between the embeddings and the dense model's, mean of the sentences that validate."""
        encoder, numbers = cast(TextForm, model), self.texts.validation
        means = by_length([self.texts.ids[number] for number in numbers], encoder.means).float()
        return {"cosine": float((normalize(means, dim=1) * self.embeddings[numbers]).sum(dim=1).mean())}


class Classification:
    """Labels by a head; with a dense model that has learnt them, its logits and layer outputs as well.

    loss = mean cross entropy + LOGITS · mean((z − z')²) + STATES · distance of what the blocks give, a token

    Labelled sentences are few, and a model soon knows them by heart. So a dense model also speaks of pieces of them,
    which have no label and no part in the cross entropy.
    """

    LOGITS, STATES = 1.0, 1.0

    def __init__(self, encoder: TextModel, rows: Sequence[Labelled], dense: TextModel | None = None) -> None:
        """encoder gives the ids; dense, which has a head, what is to be distilled from, None: labels alone."""
        self.texts = Texts(encoder, [row.sentence for row in rows])
        if dense:
            self.texts.pieces()
        self.size = len(self.texts.training)
        self.labels = torch.tensor([row.label for row in rows] + [UNKNOWN] * (len(self.texts.ids) - len(rows)))
        self.teacher = Teacher(dense, self.texts) if dense else None
        if self.teacher and dense and dense.head:
            with torch.inference_mode():
                self.logits: Tensor = dense.head(self.teacher.means).clone()

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        encoder = cast(TextModel, model)
        packed, numbers = self.texts.packed(batch)
        blocks = encoder.packed_states(packed)
        logits = encoder.classify(packed.means(blocks[-1].float())).float()
        loss = cross_entropy(logits, self.labels[numbers], ignore_index=UNKNOWN, reduction="sum") / len(numbers)
        if self.teacher:
            tokens = gathered(torch.tensor([float(self.texts.tokens(numbers))])).mean()  # of a process
            distance = self.teacher.distance(blocks, numbers) / tokens
            loss = loss + self.LOGITS * mse_loss(logits, self.logits[numbers]) + self.STATES * distance
        return loss

    def validate(self, model: nn.Module | TextForm) -> dict[str, float]:
        """accuracy: 100 · share of the sentences that validate whose label has the largest output."""
        numbers = self.texts.validation
        logits = by_length([self.texts.ids[number] for number in numbers], cast(TextForm, model).logits)
        return {"accuracy": 100 * float((logits.argmax(dim=1) == self.labels[numbers]).double().mean())}
