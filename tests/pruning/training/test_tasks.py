"""Distillation and classification: the loss by hand, the split, and that training lowers it."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from pruning.data.text import Labelled, Pair
from pruning.families.bert.folder import load
from pruning.families.bert.model import Encoder
from pruning.masks.methods import method_of
from pruning.masks.sparsify import sparsify
from pruning.training.scores import accuracy, spearman, sts_score
from pruning.training.tasks import Classification, Distillation, Texts
from pruning.training.train import train
from rtl.params import InputError
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[5:], int(rng.integers(1, 12)))) for _ in range(count)]


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    return load(write_model(tmp_path / "small"))


@pytest.fixture
def headed(small: Encoder) -> Encoder:
    torch.manual_seed(3)
    small.head = nn.Linear(24, 2).requires_grad_(False)
    return small


def test_a_tenth_validates_and_nothing_else_is_left_out(small: Encoder) -> None:
    texts = Texts(small, sentences(203))
    assert len(texts.validation) == 20
    assert sorted(texts.training + texts.validation) == list(range(203))


def test_a_batch_has_its_sentences_the_shortest_first(small: Encoder) -> None:
    texts = Texts(small, sentences(203))
    batch = torch.arange(5, 150)
    packed, numbers = texts.packed(batch)
    assert sorted(numbers) == sorted(texts.training[int(i)] for i in batch)
    lengths = [len(texts.ids[number]) for number in numbers]
    assert lengths == sorted(lengths)
    assert torch.equal(packed.ids[: packed.tokens], torch.cat([texts.ids[number] for number in numbers]))


def test_a_deeper_teacher(tmp_path: Path) -> None:
    """Each block is like the last of as many: a model whose other blocks do nothing is as near as can be."""
    config = CONFIG | {"num_hidden_layers": 6}
    deep, texts = load(write_model(tmp_path, config=config, checkpoint=tensors(config=config))), sentences(60)
    task = Distillation(deep, texts, 2)
    whole = Distillation(deep, texts)
    for found, wanted in zip(task.teacher.states, whole.teacher.states, strict=True):
        parts = wanted.chunk(6, dim=1)
        assert torch.equal(found, torch.cat([parts[2], parts[5]], dim=1))
    assert torch.equal(task.embeddings, whole.embeddings)
    assert torch.equal(task.teacher.squares, whole.teacher.squares[[2, 5]])


def test_the_dense_model_is_its_own_best(small: Encoder) -> None:
    task = Distillation(small, sentences(60))
    assert float(task.loss(small, torch.arange(30))) < 2e-4  # the dense model's states are kept in bfloat16
    assert task.validate(small)["cosine"] == pytest.approx(1, abs=1e-3)


def test_distillation_by_hand(small: Encoder) -> None:
    texts = sentences(20)
    task, other = Distillation(small, texts), deepcopy(small)
    sparsify(other, "1:8")
    batch = torch.tensor([3, 8, 1])
    places = [task.texts.training[int(i)] for i in batch]
    with torch.inference_mode():
        found, right = (normalize(encoder.embed([texts[p] for p in places]), dim=1) for encoder in (other, small))
        errors, tokens = torch.zeros(2), 0
        for place in places:
            ids = small.ids(texts[place])
            for i, (a, b) in enumerate(zip(other.states(ids), small.states(ids), strict=True)):
                errors[i] += (a - b).square().sum()
            tokens += len(ids)
        squares = torch.zeros(2)
        for text in texts:
            squares += torch.stack([states.square().sum() for states in small.states(small.ids(text))])
        squares /= sum(len(small.ids(text)) for text in texts)
        expected = (
            1
            - (found * right).sum(dim=1).mean()
            + 10 * (found @ found.T - right @ right.T).square().mean()
            + (errors / squares).mean() / tokens
        )
    assert float(task.loss(other, batch)) == pytest.approx(float(expected), rel=0.02)


def test_classification_by_hand(headed: Encoder) -> None:
    rows = [Labelled(i % 2, text) for i, text in enumerate(sentences(30))]
    task = Classification(headed, rows)
    batch = torch.tensor([2, 9, 4, 0])
    chosen = [rows[task.texts.training[int(i)]] for i in batch]
    with torch.inference_mode():
        logits = torch.stack([headed.logits(headed.ids(row.sentence)) for row in chosen])
    expected = cross_entropy(logits, torch.tensor([row.label for row in chosen]))
    assert float(task.loss(headed, batch)) == pytest.approx(float(expected), rel=1e-4)
    distilled = Classification(headed, rows, headed)  # its own teacher: nothing is added
    assert float(distilled.loss(headed, batch)) == pytest.approx(float(expected), rel=1e-2)


def test_a_dense_model_speaks_of_pieces(headed: Encoder) -> None:
    """Of each sentence that trains a piece, and a piece before one of another; they have no label."""
    rows = [Labelled(i % 2, text) for i, text in enumerate(sentences(30))]
    task = Classification(headed, rows, headed)
    ids = [one.tolist() for one in task.texts.ids]
    first, last = ids[0][0], ids[0][-1]
    bodies = [one[1:-1] for one in ids[:30]]
    assert task.size == 27 * 3
    assert task.texts.training[27:] == list(range(30, 84))
    assert not {30, 83} & set(task.texts.validation)
    parts = {tuple(body[i:j]) for body in bodies for i in range(len(body)) for j in range(i + 1, len(body) + 1)}
    for number, place in enumerate(task.texts.training[:27]):
        alone, beside = ids[30 + 2 * number], ids[31 + 2 * number]
        assert alone[0] == beside[0] == first
        assert alone[-1] == beside[-1] == last
        own = bodies[place]
        assert any(alone[1:-1] == own[i : i + len(alone) - 2] for i in range(len(own)))
        assert len(beside) <= max(len(body) for body in bodies) + 2
        pairs = [(tuple(beside[1:cut]), tuple(beside[cut:-1])) for cut in range(2, len(beside))]
        assert any(a in parts and b in parts | {()} for a, b in pairs)  # the second may be cut off
    assert len({tuple(one) for one in ids[30:]}) > 40  # drawn, not one for all
    batch = torch.arange(27, 81)
    assert float(task.loss(headed, batch)) < 2e-4  # as the teacher, and nothing of a label
    mixed = torch.tensor([0, 27, 28, 29])  # one of four is labelled
    labelled = float(Classification(headed, rows).loss(headed, mixed[:1]))
    assert float(task.loss(headed, mixed)) == pytest.approx(labelled / 4, rel=2e-2)


def test_classification_of_a_pruned_model_by_hand(headed: Encoder) -> None:
    """Labels, logits as the dense model's, and layer outputs as its."""
    rows = [Labelled(i % 2, text) for i, text in enumerate(sentences(30))]
    task, other = Classification(headed, rows, headed), deepcopy(headed)
    sparsify(other, "1:8")
    batch = torch.tensor([2, 9, 4, 0])
    chosen = [rows[task.texts.training[int(i)]] for i in batch]
    with torch.inference_mode():
        ids = [headed.ids(row.sentence) for row in chosen]
        found, right = (torch.stack([encoder.logits(one) for one in ids]) for encoder in (other, headed))
        errors, squares, tokens = torch.zeros(2), torch.zeros(2), 0
        for one in ids:
            for i, (a, b) in enumerate(zip(other.states(one), headed.states(one), strict=True)):
                errors[i] += (a - b).square().sum()
        for row in rows:
            squares += torch.stack([states.square().sum() for states in headed.states(headed.ids(row.sentence))])
            tokens += len(headed.ids(row.sentence))
        distance = (errors / (squares / tokens)).mean() / sum(len(one) for one in ids)
        expected = cross_entropy(found, torch.tensor([row.label for row in chosen]))
        expected = expected + (found - right).square().mean() + distance
    assert float(task.loss(other, batch)) == pytest.approx(float(expected), rel=0.02)


def test_a_head_learns_a_word(headed: Encoder) -> None:
    """Label 1 is of the sentences with a fox."""
    rows = [Labelled(int("fox" in text), text) for text in sentences(200)]
    before = accuracy(headed, rows)
    found = train(headed.requires_grad_(True), Classification(headed, rows), steps=30, batch=32, lr=0.01)
    assert accuracy(headed.requires_grad_(False), rows) > before + 15
    assert found.keys() == {"accuracy"}


def test_distillation_brings_a_pruned_model_nearer(small: Encoder) -> None:
    task, pruned = Distillation(small, sentences(200)), deepcopy(small).requires_grad_(True)
    sparsify(pruned, "2:8", method="idp")
    with torch.no_grad():
        before = task.validate(pruned)["cosine"]
    after = train(pruned, task, steps=20, batch=32, lr=3e-3, method=method_of("idp"))
    assert after["cosine"] > before


def test_too_little_text(small: Encoder) -> None:
    with pytest.raises(InputError, match="the text has 9 sentences, must be at least 10: a tenth validates"):
        Texts(small, sentences(9))


def test_spearman_with_ties() -> None:
    """By hand: ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3."""
    assert spearman(np.array([1, 2, 2, 9]), np.array([10, 20, 30, 40])) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman(np.array([1, 2, 3]), np.array([3, 2, 1])) == -1
    assert spearman(np.array([1, 1, 1]), np.array([3, 2, 1])) == 0


def test_sts_score_is_of_cosines(small: Encoder) -> None:
    texts = sentences(24)
    embeddings = small.embed(texts)
    cosines = (embeddings[:12] * embeddings[12:]).sum(dim=1).numpy()
    pairs = [Pair(float(c), a, b) for c, a, b in zip(cosines, texts[:12], texts[12:], strict=True)]
    assert sts_score(small, pairs) == pytest.approx(100)
