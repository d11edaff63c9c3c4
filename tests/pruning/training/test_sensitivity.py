"""The loss with one layer alone pruned, after a few steps of training."""

from copy import deepcopy

import pytest
import torch

from pruning.masks.methods import method_of
from pruning.masks.sparsify import sparsify
from pruning.training.sensitivity import STEPS, trained_sensitivities
from pruning.training.train import train
from tests.pruning.toy import RECIPE, Toy, mlp


class Later:
    """A toy task of its first 24 examples, validated by the loss over its last 24."""

    size = 24

    def __init__(self) -> None:
        self._toy = Toy()
        self.loss = self._toy.loss

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        return {"loss": float(self._toy.loss(model, torch.arange(24, 48)))}


@pytest.mark.parametrize("method", ["idp", "asp", "sr-ste"])
def test_rise_over_the_dense_model_trained_alike(method: str) -> None:
    """By hand, one layer at a time; what it is measured on is not trained on, and the model stays."""
    model = mlp()
    state = deepcopy(model.state_dict())
    told = []
    found = trained_sensitivities(
        model,
        Toy(),
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
        return train(trained, Later(), steps=STEPS, method=method_of(method), seed=5, **RECIPE)["loss"]

    for name in ("0", "4"):
        assert found[name][8] == 0
        for n in (1, 2):
            assert found[name][n] == loss(name, n) - loss(name, 8)
            assert found[name][n] != 0


def test_a_task_of_one_example() -> None:
    """It is trained on and measured on."""
    task = Toy()
    task.size = 1
    found = trained_sensitivities(mlp(), task, ["0"], (2, 8), 8, method=method_of("idp"), **RECIPE)
    assert set(found["0"]) == {2, 8}
