"""The loss with one layer alone pruned, after a few steps of training."""

from copy import deepcopy

import pytest
import torch

from pruning.masks.methods import method_of
from pruning.masks.sparsify import sparsify
from pruning.training.sensitivity import STEPS, trained_sensitivities
from pruning.training.train import train
from rtl.params import InputError
from tests.pruning.toy import RECIPE, Toy, mlp


class Distilled(Toy):
    """What the unpruned model says is to be learnt."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.y = mlp().eval()(self.x)


class Half:
    """A toy task of half its examples, drawn, validated by the loss over the others."""

    size = 24

    def __init__(self) -> None:
        self._toy = Distilled()
        order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
        self._others, self._mine = order[:24], order[24:]

    def loss(self, model: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return self._toy.loss(model, self._mine[batch])

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        return {"loss": float(self._toy.loss(model, self._others))}


@pytest.mark.parametrize("method", ["idp", "asp", "sr-ste"])
def test_rise_over_the_dense_model_trained_alike(method: str) -> None:
    """By hand, one layer at a time; what it is measured on is not trained on, and the model stays."""
    model = mlp()
    state = deepcopy(model.state_dict())
    told = []
    found = trained_sensitivities(
        model,
        Distilled(),
        ["0", "4"],
        (1, 2, 8),
        8,
        method=method_of(method),
        on_step=lambda step, loss: told.append((step, loss)),
        seed=5,
        **RECIPE,
    )
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [step for step, _ in told] == list(range(1, 5 * STEPS + 1))

    def loss(name: str, n: int) -> float:
        trained = deepcopy(model)
        if n < 8:
            sparsify(trained, f"{n}:8", method=method, filter_fn=lambda _, layer: layer == name)
        return train(trained, Half(), steps=STEPS, method=method_of(method), seed=5, **RECIPE)["loss"]

    for name in ("0", "4"):
        rises = {n: loss(name, n) - loss(name, 8) for n in (1, 2)}
        assert found[name] == {8: 0.0, 2: max(0.0, rises[2]), 1: max(0.0, *rises.values())}
        assert found[name][1] > 0


def test_a_sparser_pattern_harms_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the noise of a few steps says."""
    losses = iter([1.0, 0.9, 1.5, 1.25, 1.375])
    monkeypatch.setattr("pruning.training.sensitivity.train", lambda *_, **__: {"loss": next(losses)})
    found = trained_sensitivities(mlp(), Toy(), ["0", "4"], (1, 4, 8), 8, method=method_of("idp"), **RECIPE)
    assert found == {"0": {1: 0.5, 4: 0.0, 8: 0.0}, "4": {1: 0.375, 4: 0.25, 8: 0.0}}


def test_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruning.training.sensitivity.train", lambda *_, **__: {"loss": float("nan")})
    with pytest.raises(InputError, match=r"^the loss after 8 steps with no layer pruned is nan$"):
        trained_sensitivities(mlp(), Toy(), ["0"], (2, 8), 8, method=method_of("idp"), **RECIPE)


def test_a_task_of_one_example() -> None:
    """It is trained on and measured on."""
    task = Toy()
    task.size = 1
    found = trained_sensitivities(mlp(), task, ["0"], (2, 8), 8, method=method_of("idp"), **RECIPE)
    assert set(found["0"]) == {2, 8}
