"""The demo's training, on a model that takes a second: trained once, then taken from where it was kept."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nmgen.bench import demo_training
from nmgen.bench.demo_training import layer_and_operands, trained
from nmgen.console.threads import one_thread
from pruning.files import folders
from pruning.files.artefact import read
from tests.pruning.samples import CONFIG, WORDS, tensors, write_model

LAYER = "encoder.layer.1.intermediate.dense"


@pytest.fixture(autouse=True)
def _small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MiniLM is a small model with words enough for phrases, its recipe three steps on forty of them."""
    words = [*WORDS, *(f"{one}{other}" for one in ("stone", "water") for other in ("bridge", "mill", "wall", "way"))]
    name = "embeddings.word_embeddings.weight"
    model = write_model(
        tmp_path / "model",
        config=CONFIG | {"vocab_size": len(words)},
        checkpoint=tensors() | {name: torch.randn(len(words), CONFIG["hidden_size"])},
    )
    (model / "vocab.txt").write_text("\n".join(words) + "\n")
    monkeypatch.setattr(folders, "packaged_minilm", lambda: model)
    monkeypatch.setattr(demo_training, "SENTENCES", 40)
    monkeypatch.setattr(demo_training, "RECIPE", replace(demo_training.RECIPE, steps=3, batch=8))
    with one_thread():
        yield


def test_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def note(_what: str, step: int, _steps: int, _loss: float) -> None:
        steps.append(step)

    artefact, facts = trained(tmp_path / "out", note)
    assert steps == [1, 2, 3]
    assert facts.keys() == {"sentences", "cosine", "one_shot_cosine"}
    assert facts["sentences"] == 40
    assert all(-1 <= facts[name] <= 1 for name in ("cosine", "one_shot_cosine"))
    assert {(layer.n, layer.m) for layer in read(artefact).layers.values()} == {(2, 8)}

    assert trained(tmp_path / "out", note) == (artefact, facts)
    assert steps == [1, 2, 3]  # what was kept is taken
    monkeypatch.setattr(demo_training, "RECIPE", replace(demo_training.RECIPE, seed=1))
    other, _ = trained(tmp_path / "out", note)
    assert steps == [1, 2, 3] * 2
    assert other.parent != artefact.parent


def test_a_layer_with_what_it_gets(tmp_path: Path) -> None:
    artefact, _ = trained(tmp_path / "out", lambda *_: None)
    layer, operands, error = layer_and_operands(artefact, LAYER, 7)
    assert (layer.name, layer.n, layer.m, layer.k) == (LAYER, 2, 8, 24)
    assert (operands.shape, operands.dtype) == ((7, 24), np.int8)
    assert 0 < error < 0.1
