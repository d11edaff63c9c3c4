"""One model at several densities: what is shared, what is not, and what a step of training does to each."""

import re
from copy import deepcopy
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from pruning.masks.elastic import METHOD, Elastic, Fading, Gain, check_densities, shared
from pruning.masks.masked import live_weight, masked_layers
from pruning.masks.methods import METHODS, calibrated
from pruning.masks.patterns import magnitude_mask
from pruning.masks.plan import Plan
from pruning.masks.sparsify import nested, verify
from pruning.training.elastic import ElasticTask
from pruning.training.train import train
from rtl.params import InputError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 24)
        self.norm = nn.LayerNorm(24)
        self.last = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.relu(self.norm(self.first(x))))
        return found


class Regression:
    """Outputs as those of another network."""

    size = 64

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.x = torch.randn(self.size, 16, generator=generator)
        self.y = torch.randn(self.size, 5, generator=generator)
        self.seen: list[nn.Module] = []
        self.batches: list[Tensor] = []

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        self.seen.append(model)
        self.batches.append(batch)
        found: Tensor = (model(self.x[batch]) - self.y[batch]).square().mean()
        return found

    def validate(self, model: nn.Module) -> dict[str, float]:
        return {"loss": float(self.loss(model, torch.arange(self.size)))}


def net() -> Net:
    torch.manual_seed(3)
    return Net()


def plans(*patterns: str) -> list[Plan]:
    return [Plan.uniform(net(), one, lambda _, name: name == "first") for one in patterns]


def test_what_is_shared() -> None:
    model = net()
    before = deepcopy(model.state_dict())
    elastic = Elastic(model, plans("4:8", "2:8", "1:8"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    one, two, three = elastic.models
    assert live_weight(one.first) is live_weight(two.first) is live_weight(three.first)  # type: ignore[arg-type]
    assert one.last.weight is two.last.weight is three.last.weight  # type: ignore[union-attr]
    own = {"first.bias", "first.gain", "norm.weight", "norm.bias", "last.bias"}
    vectors = [
        {
            re.sub(r"parametrizations.weight.\d.", "", name): id(each)
            for name, each in model.named_parameters()
            if each.ndim == 1
        }
        for model in elastic.models
    ]
    assert [set(each) for each in vectors] == [own] * 3
    assert all(len({each[name] for each in vectors}) == 3 for name in own)
    assert len(list(elastic.parameters())) == 2 + 3 * len(own)


def test_masks_are_nested_and_gains_keep_the_norms() -> None:
    model = net()
    elastic = Elastic(model, plans("4:8", "2:8", "1:8"))
    for i, n in enumerate((4, 2, 1)):
        assert torch.equal(elastic.masks(i)["first"], magnitude_mask(model.first.weight, n, 8))
        norms = elastic.models[i].first.weight.norm(dim=1)  # type: ignore[union-attr,operator]
        assert torch.allclose(norms, model.first.weight.norm(dim=1), rtol=1e-5)
    assert nested(elastic.masks(1), elastic.masks(0))
    assert nested(elastic.masks(2), elastic.masks(1))
    assert (elastic.gains(2)["first"] > elastic.gains(0)["first"]).all()


def test_weighed_densities() -> None:
    """By idp-weighed masks and gains go by weight times norm of its input, at first and after every step."""
    task = Regression()
    model, x = net(), task.x * torch.linspace(0.1, 3, 16)
    method = shared(calibrated(METHODS["idp-weighed"], model, ["first"], lambda: model(x)))
    norms = x.norm(dim=0)
    elastic = Elastic(model, plans("4:8", "2:8", "1:8"), method)
    for i in range(3):
        weight = elastic.models[i].first.weight * norms  # type: ignore[operator,union-attr]
        assert torch.allclose(weight.norm(dim=1), (model.first.weight * norms).norm(dim=1), rtol=1e-5)
    train(elastic, ElasticTask(task), method=method, steps=12, batch=16, lr=3e-2, bf16=False)
    for i, n in enumerate((4, 2, 1)):
        live = live_weight(elastic.models[i].first)  # type: ignore[arg-type]
        assert torch.equal(elastic.masks(i)["first"], magnitude_mask(live * norms, n, 8))
        assert not torch.equal(elastic.masks(i)["first"], magnitude_mask(live, n, 8))


@pytest.mark.parametrize(("passed", "share"), [(0.0, 1.0), (1 / 3, 0.75), (0.5, 0.5), (1.0, 0.0)])
def test_gradients_of_sparser_densities_fade(passed: float, share: float) -> None:
    """Where the densest keeps what they do not; nowhere else, and its own never."""
    elastic, x = Elastic(net(), plans("4:8", "2:8", "1:8")), Regression().x
    masks = [elastic.masks(i)["first"] for i in range(3)]
    shared = live_weight(elastic.models[0].first)  # type: ignore[arg-type]

    def gradient(model: nn.Module) -> Tensor:
        model.zero_grad()
        model(x).square().mean().backward()
        assert shared.grad is not None
        return shared.grad.clone()

    whole = [gradient(model) for model in elastic.models]
    METHOD.before_step(elastic, passed)
    for i, model in enumerate(elastic.models):
        left = torch.where(masks[0] & ~masks[i], share, 1.0)
        assert torch.allclose(gradient(model), left * whole[i], atol=1e-7)
    assert all(bool(one[masks[0] & ~mask].any()) for one, mask in zip(whole[1:], masks[1:], strict=True))


def test_gradients_fade_while_it_trains_and_masks_move() -> None:
    elastic, shares = Elastic(net(), plans("4:8", "2:8", "1:8")), []
    first = elastic.masks(0)["first"]

    class Noting(Regression):
        def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
            shares.extend(each.share for each in model.modules() if isinstance(each, Fading))
            return super().loss(model, batch)

        def validate(self, _model: nn.Module) -> dict[str, float]:
            return {}

    train(elastic, ElasticTask(Noting()), method=METHOD, steps=4, batch=16, lr=3e-1, bf16=False)
    assert shares == pytest.approx([1.0] * 2 + [(2 + 2**0.5) / 4] * 2 + [0.5] * 2 + [(2 - 2**0.5) / 4] * 2)
    assert not torch.equal(elastic.masks(0)["first"], first)
    METHOD.before_step(elastic, 1.0)
    elastic.zero_grad()
    elastic.models[2](Regression().x).square().mean().backward()
    gradient = live_weight(elastic.models[0].first).grad  # type: ignore[arg-type]
    assert gradient is not None
    assert not gradient[elastic.masks(0)["first"] & ~elastic.masks(2)["first"]].any()  # by the masks of now
    assert gradient[~elastic.masks(0)["first"]].any()


def test_a_row_that_is_all_zero_has_a_gain_of_one() -> None:
    model = net()
    with torch.no_grad():
        model.first.weight[3] = 0
    assert float(Elastic(model, plans("2:8", "1:8")).gains(1)["first"][3]) == 1


def test_training_moves_all_and_masks_follow() -> None:
    elastic, task = Elastic(net(), plans("4:8", "2:8", "1:8")), Regression()
    before = deepcopy(elastic.state_dict())
    found = train(elastic, ElasticTask(task), method=METHOD, steps=12, batch=16, lr=3e-2, bf16=False)
    assert set(found) == {"loss 0", "loss 1", "loss 2"}
    assert found["loss 0"] < 1
    changed = {name for name, tensor in elastic.state_dict().items() if not torch.equal(tensor, before[name])}
    for i, n in enumerate((4, 2, 1)):
        assert f"models.{i}.first.parametrizations.weight.0.bits" in changed
        assert f"models.{i}.first.parametrizations.weight.{1 if i == 0 else 2}.gain" in changed
        weight = live_weight(elastic.models[i].first)  # type: ignore[arg-type]
        assert torch.equal(elastic.masks(i)["first"], magnitude_mask(weight, n, 8))
    plain = elastic.plain()
    shared = live_weight(elastic.models[0].first)  # type: ignore[arg-type]
    for i, (model, plan) in enumerate(zip(plain, elastic.plans, strict=True)):
        verify(model, plan)
        assert not masked_layers(model)
        assert not any(isinstance(module, Gain) for module in model.modules())
        want = torch.where(elastic.masks(i)["first"], shared, 0.0) * elastic.gains(i)["first"][:, None]
        assert torch.equal(model.first.weight, want)  # type: ignore[union-attr,arg-type]
    assert plain[0].last.weight is not plain[1].last.weight  # type: ignore[union-attr]


def test_which_densities_a_step_trains() -> None:
    elastic, task = Elastic(net(), plans("7:8", "6:8", "4:8", "2:8", "1:8")), Regression()
    drawn = set()
    for seed in range(30):
        torch.manual_seed(seed)
        task.seen.clear()
        ElasticTask(task).loss(elastic, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
        numbers = [next(i for i, one in enumerate(elastic.models) if one is each) for each in task.seen]
        assert (numbers[0], numbers[-1], len(numbers)) == (0, 4, 3)
        drawn.add(numbers[1])
    assert drawn == {1, 2, 3}
    pair = Elastic(net(), plans("2:8", "1:8"))
    task.seen.clear()
    ElasticTask(task).loss(pair, torch.arange(4))
    assert [any(one is each for each in task.seen) for one in pair.models] == [True, True]


def test_each_density_has_examples_of_its_own() -> None:
    """As many as the step has, all of which there are, the same after the same seed."""
    elastic, task, batch = Elastic(net(), plans("4:8", "2:8", "1:8")), Regression(), torch.tensor([60, 3, 17])
    firsts, losses = [], []
    for seed in (0, 1, 2, 0):
        torch.manual_seed(seed)
        task.batches.clear()
        losses.append(float(ElasticTask(task).loss(elastic, batch).detach()))
        firsts.append([int(one[0] - batch[0]) % task.size for one in task.batches])
        for first, one in zip(firsts[-1], task.batches, strict=True):
            assert one.tolist() == [(i + first) % task.size for i in batch.tolist()]
    assert len({first for one in firsts for first in one}) > 3
    assert all(len(set(one)) > 1 for one in firsts)
    assert (firsts[3], losses[3]) == (firsts[0], losses[0])


class Given:
    """Losses that are numbers: a density's is its `loss`."""

    size = 4

    def loss(self, model: nn.Module, _batch: Tensor) -> Tensor:
        return cast(Tensor, model.loss)

    def validate(self, _model: nn.Module) -> dict[str, float]:
        return {}


@pytest.mark.parametrize(
    ("losses", "gradient"),
    [
        ([0.25, 1.0], [0.5 / 0.25 / 2, 0.5 / 2]),
        ([0.005, 1.0], [0.0, 0.1 / 2]),  # less than a hundredth of the largest
        ([0.0, 1.0], [0.0, 0.1 / 2]),
        ([-1e-8, 0.0], [0.0, 0.0]),
        ([2**-10, 2**-5, 2**-10], [2**-9 * 2**10 * 0.4, 2**-9 * 2**5 * 0.2, 2**-9 * 2**10 * 0.4]),
    ],
)
def test_each_density_counts_by_the_share_of_its_loss(losses: list[float], gradient: list[float]) -> None:
    elastic = nn.Module()
    elastic.models = nn.ModuleList(nn.Module() for _ in losses)
    for model, loss in zip(elastic.models, losses, strict=True):
        model.loss = nn.Parameter(torch.tensor(loss))
    ElasticTask(Given()).loss(elastic, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    assert [float(model.loss.grad) for model in elastic.models] == pytest.approx(gradient)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["2:8"], "an elastic model has one density, must have at least 2: 4:8,2:8,1:8"),
        (["2:8", "4:8"], "densities of layer first step from 2:8 to 4:8, must step down in groups of 8"),
        (["2:8", "2:8"], "densities of layer first step from 2:8 to 2:8, must step down in groups of 8"),
        (["2:8", "1:4"], "densities of layer first step from 2:8 to 1:4, must step down in groups of 8"),
    ],
)
def test_densities_that_no_store_holds(patterns: list[str], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        check_densities(plans(*patterns))
