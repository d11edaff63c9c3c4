"""Layer-wise N': the best plan within a budget of cycles, against trying them all."""

import random
from itertools import product

import pytest
import torch
from torch import nn

from pruning.masks.plan import Plan
from pruning.masks.sensitivity import choose, sensitivities
from pruning.masks.sparsify import finalize, sparsify, verify
from pruning.training.train import train
from rtl.engine.cycles import product_cycles
from rtl.params import PRESETS, InputError
from tests.pruning.toy import RECIPE, Toy, mlp

CONFIG = PRESETS["base"]  # M = 8
OPTIONS = (1, 2, 4, 8)


def all_plans(cycles: dict[str, dict[int, int]]) -> list[dict[str, int]]:
    return [dict(zip(cycles, chosen, strict=True)) for chosen in product(*(options for options in cycles.values()))]


def total(table: dict[str, dict[int, float]], chosen: dict[str, int]) -> float:
    return sum(table[name][n] for name, n in chosen.items())


@pytest.mark.parametrize("seed", range(8))
def test_no_plan_within_the_budget_is_better(seed: int) -> None:
    """Of five layers with random costs, some of them equal, and random harms, also ones that pruning lessens."""
    draw = random.Random(seed)
    cycles = {str(i): {n: draw.randint(1, 6) * 10 * n + draw.randint(0, 1) for n in OPTIONS} for i in range(5)}
    harm = {str(i): {n: draw.choice((-1, 0, 1, 2, 5, 9)) / n for n in OPTIONS} for i in range(5)}
    plans = all_plans(cycles)
    costs = sorted(total(cycles, plan) for plan in plans)
    for budget in (costs[0], costs[1], *draw.sample(costs, 12), costs[-1], 2 * costs[-1]):
        chosen = choose(harm, cycles, budget)
        assert total(cycles, chosen) <= budget
        best = min(total(harm, plan) for plan in plans if total(cycles, plan) <= budget)
        assert total(harm, chosen) == pytest.approx(best)


def test_budget_to_the_cycle() -> None:
    """One cycle less than a plan takes, and the plan is another."""
    cycles = {"a": {1: 10, 8: 33}, "b": {1: 11, 8: 35}}
    harm = {"a": {1: 1.0, 8: 0.0}, "b": {1: 2.0, 8: 0.0}}
    assert choose(harm, cycles, 68) == {"a": 8, "b": 8}
    assert choose(harm, cycles, 67) == {"a": 1, "b": 8}
    assert choose(harm, cycles, 45) == {"a": 1, "b": 8}
    assert choose(harm, cycles, 44) == {"a": 8, "b": 1}
    assert choose(harm, cycles, 21) == {"a": 1, "b": 1}
    with pytest.raises(InputError, match=r"^budget is 20 cycles, must be at least 21: so many take the sparsest"):
        choose(harm, cycles, 20)


def test_sensitivity_is_the_rise_of_the_loss() -> None:
    """One layer pruned at a time, by hand; the model itself stays."""
    model, task = mlp().eval(), Toy()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return task.validate(model)["error"]

    table = sensitivities(model, ["0", "4"], (2, 8), 8, loss)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    for name in ("0", "4"):
        pruned = mlp().eval()
        sparsify(pruned, "2:8", filter_fn=lambda _, found, name=name: found == name)
        assert table[name][2] == pytest.approx(loss(pruned) - loss(model))
        assert table[name][2] != 0
        assert table[name][8] == 0


@pytest.mark.parametrize("share", [0.8, 0.9, 1.0])
def test_plan_of_a_model(share: float) -> None:
    """A plan like any other; of a model that pruning harms the best within its budget, to the cycle."""
    model, task = mlp(), Toy()
    train(model, task, steps=60, **RECIPE)

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return task.validate(model)["error"]

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    cycles = {
        name: {n: product_cycles(CONFIG, 64, layer.in_features, layer.out_features, n) for n in OPTIONS}
        for name, layer in layers.items()
    }
    harm = sensitivities(model, list(layers), OPTIONS, 8, loss)
    budget = round(share * sum(options[8] for options in cycles.values()))
    chosen = choose(harm, cycles, budget)
    assert list(chosen) == list(layers)
    assert (set(chosen.values()) == {8}) == (share == 1.0)
    taken = total(cycles, chosen)
    affordable = [other for other in all_plans(cycles) if total(cycles, other) <= budget]
    assert total(harm, chosen) == pytest.approx(min(total(harm, other) for other in affordable))
    assert taken <= budget
    assert choose(harm, cycles, int(taken)) == chosen
    assert total(cycles, choose(harm, cycles, int(taken) - 1)) < taken
    plan = Plan({name: (n, 8) for name, n in chosen.items()})
    sparsify(model, plan, method="asp")
    verify(model, plan)
    finalize(model)
    verify(model, plan)
