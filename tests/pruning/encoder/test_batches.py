"""Sentences without padding: every token is what it is alone, and so is every gradient."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pruning.encoder.batches import CHUNK, PACKED_TOKENS, Packed
from pruning.families.bert import fake_quant
from pruning.families.bert.calibrate import calibrate
from pruning.families.bert.folder import load
from pruning.families.bert.model import Encoder
from tests.pruning.samples import WORDS, write_model


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    return load(write_model(tmp_path / "small"))


def ids_of(seed: int, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 17, (count,), generator=generator).tolist()
    return [torch.randint(5, len(WORDS), (length,), generator=generator) for length in lengths]


@pytest.mark.parametrize("count", [1, 2, CHUNK, CHUNK + 1, 3 * CHUNK - 1])
def test_as_each_sentence_alone(count: int, small: Encoder) -> None:
    sentences = ids_of(count, count)
    packed = Packed(sentences)
    assert sorted(packed.order) == list(range(count))
    with torch.inference_mode():
        found = small.packed_states(packed)
        wanted = [small.states(sentences[i]) for i in packed.order]
        for block, states in enumerate(found):
            assert torch.allclose(states, torch.cat([one[block] for one in wanted]), atol=1e-4)
        means = packed.means(found[-1])
        assert torch.allclose(means, torch.stack([small.means(sentences[i]) for i in packed.order]), atol=1e-4)


def test_shapes_come_up_again(small: Encoder) -> None:
    """Padding fills a batch up; what comes of it is cut off."""
    seen = set()
    for seed in range(8):
        packed = Packed(ids_of(seed, 24))
        assert len(packed.ids) == len(packed.positions) < packed.tokens + PACKED_TOKENS
        assert len(packed.ids) % PACKED_TOKENS == 0
        assert {len(states) for states in small.packed_states(packed)} == {packed.tokens}
        seen.add(packed.tokens)
    assert len(seen) > 4


def test_gradients_as_of_each_sentence_alone(small: Encoder) -> None:
    sentences = ids_of(7, 2 * CHUNK + 3)
    one, other = (deepcopy(small).double().requires_grad_(True) for _ in range(2))
    packed = Packed(sentences)
    packed.means(one.packed_states(packed)[-1]).square().sum().backward()  # type: ignore[no-untyped-call]
    for sentence in sentences:
        other.means(sentence).square().sum().backward()
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        if theirs.grad is not None and "token_type" not in name:
            assert mine.grad is not None, name
            assert torch.allclose(mine.grad, theirs.grad, rtol=1e-8, atol=1e-10), name


def test_rounded_to_int8_too(small: Encoder) -> None:
    """Training in int8 goes the same way."""
    texts = ["a fox crossed the river .", "the line ?", "a fox"]
    fake_quant.quantise(small, calibrate(small, texts))
    sentences = [small.ids(text) for text in texts]
    packed = Packed(sentences)
    with torch.inference_mode():
        found = small.packed_states(packed)[-1]
        wanted = torch.cat([small.states(sentences[i])[-1] for i in packed.order])
    assert torch.allclose(found, wanted, atol=2e-2 * float(wanted.abs().max()))
