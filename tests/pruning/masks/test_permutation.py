"""Channels in a better order: what it keeps, against all orders of a few channels, and models that stay the same."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pruning.encoder.exchanges import Exchange
from pruning.families.bert import family as bert
from pruning.families.bert.folder import load
from pruning.families.vit import family as vit
from pruning.families.vit.shape import ViTShape
from pruning.masks.methods import METHODS, calibrated
from pruning.masks.patterns import keep_largest
from pruning.masks.permutation import better_order, permute
from pruning.masks.plan import Plan
from tests.pruning.samples import write_model
from tests.pruning.vits import random_images, random_vit

SHAPE = ViTShape(image=8, patch=4, channels=1, hidden=32, layers=2, heads=2, intermediate=48, labels=3)


def kept(scores: Tensor, n: int, m: int) -> float:
    return float(scores[keep_largest(scores, n, m)].sum())


def scores_of(seed: int, rows: int, k: int) -> Tensor:
    """As squares of weights are: few are large."""
    return torch.randn(rows, k, generator=torch.Generator().manual_seed(seed)) ** 4


def orders(channels: list[int], m: int) -> Iterator[list[int]]:
    """All ways to fill the groups."""
    if not channels:
        yield []
        return
    for others in combinations(channels[1:], m - 1):
        group = [channels[0], *others]
        for rest in orders([channel for channel in channels if channel not in group], m):
            yield group + rest


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "m", "k"), [(1, 2, 4), (1, 2, 6), (3, 4, 8)])
def test_the_best_of_all_orders(seed: int, n: int, m: int, k: int) -> None:
    scores = scores_of(seed, 5, k)
    best = max(kept(scores[:, order], n, m) for order in orders(list(range(k)), m))
    found = kept(scores[:, better_order(scores, n, m, k)], n, m)
    assert found >= max(0.98 * best, kept(scores, n, m))


@pytest.mark.parametrize(("n", "m", "part"), [(1, 8, 64), (2, 8, 64), (4, 8, 32), (7, 8, 16), (2, 4, 4), (1, 16, 64)])
def test_channels_stay_in_their_part_and_more_is_kept(n: int, m: int, part: int) -> None:
    scores = scores_of(n, 24, 64)
    order = better_order(scores, n, m, part)
    assert torch.equal(order.sort().values, torch.arange(64))
    assert torch.equal(order // part, torch.arange(64) // part)
    before, after = (float(scores.sum()) - kept(one, n, m) for one in (scores, scores[:, order]))
    assert after == pytest.approx(before) if part == m else after < 0.98 * before
    assert torch.equal(order, better_order(scores, n, m, part))


def test_large_columns_that_share_a_group_are_spread() -> None:
    scores = torch.full((4, 32), 0.01)
    scores[:, :4] = 1.0
    order = better_order(scores, 1, 8, 32)
    assert sorted((torch.argsort(order)[:4] // 8).tolist()) == [0, 1, 2, 3]


def models(tmp_path: Path) -> dict[str, tuple[Any, nn.Module, Callable[[nn.Module], Tensor]]]:
    """By family: its functions, a model, what it gives."""
    text = load(write_model(tmp_path / "small"))
    sentences = ["a fox crossed the line", "the river ?", "a fox a fox crossed the river ."]
    picture, images = random_vit(SHAPE), random_images(SHAPE, 5)
    return {
        "bert": (bert, text, lambda model: torch.stack([model.means(model.ids(one)) for one in sentences])),  # type: ignore[operator]
        "vit": (vit, picture, lambda model: model.logits(images)),  # type: ignore[operator]
    }


@pytest.mark.parametrize("name", ["bert", "vit"])
@pytest.mark.parametrize("pattern", ["2:4", "1:8"])
def test_the_model_gives_the_same(name: str, pattern: str, tmp_path: Path) -> None:
    family, model, outputs = models(tmp_path)[name]
    plan = Plan.uniform(model, pattern, lambda _, layer: layer.startswith("encoder."))
    changed = deepcopy(model)
    exchanges = family.exchanges(changed)
    orders = permute(changed, exchanges, plan, {})
    want = outputs(model)
    assert float((outputs(changed) - want).abs().max()) <= 1e-5 * float(want.abs().max())
    before, after = (dict(one.named_modules()) for one in (model, changed))
    n, m = plan.layers[exchanges[0].consumer]
    # A head is one part; of the smaller model it is one group of 8.
    free = [one for one in exchanges if one.part > m]
    assert free
    for one in free:
        weight = after[one.consumer].weight
        assert torch.equal(weight, before[one.consumer].weight[:, orders[one.consumer]])
        assert kept(weight.square(), n, m) > kept(before[one.consumer].weight.square(), n, m)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_what_is_known_of_inputs_goes_along(method: str, tmp_path: Path) -> None:
    family, model, outputs = models(tmp_path)["vit"]
    plan = Plan.uniform(model, "1:8", lambda _, layer: layer.startswith("encoder."))
    names = list(plan.layers)
    before = calibrated(METHODS[method], model, names, lambda: outputs(model))
    orders = permute(model, family.exchanges(model), plan, before.input_norms)
    assert any((order != torch.arange(len(order))).any() for order in orders.values())
    after = calibrated(METHODS[method], model, names, lambda: outputs(model))
    reordered = before.reordered(orders)
    for name in names:
        known, want = (one.products if method == "sparsegpt" else one.norms for one in (reordered, after))
        assert torch.allclose(known[name], want[name], rtol=1e-4, atol=1e-4 * float(want[name].abs().max()))
    for name in names:
        assert torch.allclose(reordered.input_norms[name], after.input_norms[name], rtol=1e-4)


def test_norms_weigh() -> None:
    """Large inputs that share a group are spread, though all weights are alike."""
    model = nn.ModuleDict({"first": nn.Linear(4, 32), "second": nn.Linear(32, 4)})
    with torch.no_grad():
        model["second"].weight.fill_(0.1)  # type: ignore[union-attr]
    norms = torch.ones(32)
    norms[:4] = 9.0
    exchange = Exchange(producer="first", consumer="second", part=32)
    order = permute(model, [exchange], Plan({"second": (1, 8)}), {"second": norms})["second"]
    assert sorted((torch.argsort(order)[:4] // 8).tolist()) == [0, 1, 2, 3]


def test_what_stays_as_it_is() -> None:
    model = nn.ModuleDict({"first": nn.Linear(4, 24, bias=False), "second": nn.Linear(24, 4)})
    exchange = Exchange(producer="first", consumer="second", part=12)
    for plan in (
        Plan({}),
        Plan({"second": (8, 8)}),
        Plan({"second": (2, 8)}),
    ):  # dense twice; parts of a group and a half
        before = deepcopy(model.state_dict())
        assert permute(model, [exchange], plan, {}) == {}
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert "second" in permute(model, [exchange], Plan({"second": (2, 4)}), {})  # without a bias
