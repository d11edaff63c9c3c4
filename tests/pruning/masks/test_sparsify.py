"""Masks on any module: exactly N of every group, for every method and pattern, from training to the artefact."""

import io
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pruning.files import artefact
from pruning.integers.quantise import quantise_linear
from pruning.masks.masked import live_weight, masked_layers
from pruning.masks.methods import METHODS, Method, calibrated, method_of
from pruning.masks.patterns import from_rows, rows
from pruning.masks.plan import Plan, plan_of, prunable
from pruning.masks.sparsify import check_counts, finalize, sparsify, verify
from pruning.training.series import series
from pruning.training.train import train
from rtl.format import parse_pattern
from rtl.params import InputError
from tests.pruning.toy import PATTERNS, RECIPE, Toy, convolutions, mlp

PRUNING = [name for name, method in METHODS.items() if method.prunes]


def method_for(name: str, model: nn.Module, task: Toy, *, nested: bool = False) -> Method:
    return calibrated(method_of(name, nested=nested), model, list(prunable(model)), lambda: model(task.x))


def kept_in_each_group(mask: torch.Tensor, m: int) -> list[int]:
    """How many of each group of a Linear's or Conv2d's mask are true, counted one by one along the inputs."""
    counts = []
    for out in mask.flatten(2).permute(0, 2, 1).tolist() if mask.ndim == 4 else mask[:, None].tolist():
        for line in out:
            counts += [sum(line[start : start + m]) for start in range(0, len(line), m)]
    return counts


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", PRUNING)
def test_exactly_n_of_every_group(name: str, pattern: str) -> None:
    n, m = parse_pattern(pattern)
    model, task = convolutions(), Toy()
    method = method_for(name, model, task)
    plan = sparsify(model, pattern, method=method)
    assert plan.layers == {"first": (n, m), "second": (n, m), "last": (n, m)}
    if method.trains:
        train(model, task, steps=3, method=method, **RECIPE)
    verify(model, plan)
    for _, masked in masked_layers(model).values():
        assert set(kept_in_each_group(masked.mask, m)) == {n}
    masks = finalize(model)
    assert not masked_layers(model)
    for layer_name, layer in prunable(model).items():
        assert (layer.weight[~masks[layer_name]] == 0).all()
        assert not torch.signbit(layer.weight[~masks[layer_name]]).any()  # +0, as everyone reads it
        assert (layer.weight[masks[layer_name]] != 0).any()
    verify(model, plan)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", PRUNING)
def test_zeros_reach_the_artefact(name: str, pattern: str, tmp_path: Path) -> None:
    """Trained, made integers, written and read: nothing but what the mask kept, N pairs a group."""
    n, m = parse_pattern(pattern)
    model, task = mlp(), Toy()
    method = method_for(name, model, task)
    sparsify(model, pattern, method=method)
    if method.trains:
        train(model, task, steps=3, method=method, **RECIPE)
    mask = finalize(model)["0"].numpy()
    layer = model[0]
    artefact.save(tmp_path / "model", [quantise_linear("fc", layer.weight, layer.bias, task.x, n, m)])
    weights = artefact.load(tmp_path / "model")["fc"].weights
    assert not weights[~mask].any()
    assert np.count_nonzero(weights) > 0.9 * mask.sum()
    assert (np.count_nonzero(weights.reshape(-1, m), axis=1) <= n).all()


@pytest.mark.parametrize("m", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("name", METHODS)
def test_n_of_n_is_dense(name: str, m: int) -> None:
    """With N = M nothing is masked: the dense model, to the bit, and dense training, but for the order of sums."""
    task = Toy()
    model, dense = convolutions(), convolutions()
    method = method_for(name, model, task)
    sparsify(model, f"{m}:{m}", method=method)
    assert torch.equal(model(task.x), dense(task.x))
    train(model, task, steps=3, method=method, **RECIPE)
    train(dense, task, steps=3, **RECIPE)
    finalize(model)
    for layer_name, layer in prunable(model).items():
        assert torch.allclose(layer.weight, prunable(dense)[layer_name].weight, atol=1e-6)


def test_rows_of_a_kernel() -> None:
    """A row is the input channels of one output channel at one kernel position."""
    weight = torch.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5)
    flat = rows(weight)
    assert flat.shape == (2 * 3 * 5, 4)
    assert torch.equal(flat[1 * 15 + 2 * 5 + 3], weight[1, :, 2, 3])
    assert torch.equal(from_rows(flat, weight.shape), weight)


def test_ties_go_to_the_lower_position() -> None:
    layer = nn.Linear(8, 3)
    nn.init.constant_(layer.weight, 0.5)
    model = nn.Sequential(layer)
    sparsify(model, "3:8")
    assert finalize(model)["0"].tolist() == [[True] * 3 + [False] * 5] * 3


# --- every way to use a module goes on working -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["asp", "idp"])
def test_state_dict(name: str) -> None:
    """Live weights and masks come back from a file, into a model that was made sparse the same way."""
    task, method = Toy(), METHODS[name]
    model, other = mlp(0), mlp(1)
    sparsify(model, "1:4", method=method)
    train(model, task, steps=3, method=method, **RECIPE)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    sparsify(other, "1:4", method=method)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model.eval()(task.x), other.eval()(task.x))
    for one, two in zip(masked_layers(model).values(), masked_layers(other).values(), strict=True):
        assert torch.equal(one[1].mask, two[1].mask)
        assert torch.equal(live_weight(one[0]), live_weight(two[0]))


def test_deepcopy_is_independent() -> None:
    task, method = Toy(), METHODS["idp"]
    model = mlp()
    sparsify(model, "2:8", method=method)
    copy = deepcopy(model)
    before = model.eval()(task.x)
    assert torch.equal(copy.eval()(task.x), before)
    train(copy, task, steps=3, method=method, **RECIPE)
    finalize(copy)
    assert all(hasattr(layer, "weight") for layer in (*prunable(model).values(), *prunable(copy).values()))
    assert torch.equal(model.eval()(task.x), before)
    assert len(masked_layers(model)) == 3
    finalize(model)
    assert torch.equal(model(task.x), before)


def test_optimiser_may_come_before_the_masks() -> None:
    """Parameters stay the same objects when masks come, change and go."""
    model = mlp()
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=0.1)
    sparsify(model, "2:4", method="idp")
    model(Toy().x).sum().backward()
    optimiser.step()
    sparsify(model, "1:4", method="idp")
    assert {id(one) for one in model.parameters()} == {id(one) for one in parameters}
    assert optimiser.state[live_weight(model[0])]["step"] == 1
    finalize(model)
    assert {id(one) for one in model.parameters()} == {id(one) for one in parameters}


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # what torch.compile itself does
def test_compile() -> None:
    """A compiled model follows the masks, and its gradients are the plain model's."""
    torch.compiler.reset()
    task, method = Toy(), method_of("sr-ste")
    model = mlp().eval()
    sparsify(model, "2:8", method=method)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        model.zero_grad()
        compiled(task.x).square().mean().backward()
        gradient = live_weight(model[0]).grad.clone()
        model.zero_grad()
        output = model(task.x)
        output.square().mean().backward()
        assert torch.allclose(compiled(task.x), output, atol=1e-6)
        assert torch.allclose(gradient, live_weight(model[0]).grad, atol=1e-6)
        with torch.no_grad():
            for layer, _ in masked_layers(model).values():
                live_weight(layer).copy_(torch.randn_like(live_weight(layer)))
        method.after_step(model)


def test_a_new_pattern_keeps_the_live_weights() -> None:
    model = mlp()
    live = {name: layer.weight.clone() for name, layer in prunable(model).items()}
    sparsify(model, "2:4", method="asp")
    sparsify(model, "4:8", method="sr-ste")
    assert str(plan_of(model)) == "3 × 4:8"
    for _, masked in masked_layers(model).values():
        assert set(kept_in_each_group(masked.mask, 8)) == {4}
        assert masked.straight_through
    assert all(torch.equal(live_weight(layer), live[name]) for name, layer in prunable(model).items())


# --- plans -----------------------------------------------------------------------------------------------------------


def test_plan_comes_back_from_toml(tmp_path: Path) -> None:
    plan = Plan({"encoder.layer.0.output.dense": (2, 8), 'odd "name" ä': (1, 2), "0": (32, 32)})
    (tmp_path / "plan.toml").write_text(plan.to_toml(), encoding="utf-8")
    assert Plan.read(tmp_path / "plan.toml") == plan


def test_layers_get_their_own_patterns() -> None:
    model = mlp()
    plan = Plan({"0": (2, 16), "4": (1, 2)})
    assert sparsify(model, plan, method="asp") == plan
    verify(model, plan)
    masked = masked_layers(model)
    assert list(masked) == ["0", "4"]
    assert set(kept_in_each_group(masked["0"][1].mask, 16)) == {2}
    assert set(kept_in_each_group(masked["4"][1].mask, 2)) == {1}


def test_filter() -> None:
    model = convolutions()
    plan = sparsify(model, "2:8", filter_fn=lambda layer, name: isinstance(layer, nn.Conv2d) and name != "second")
    assert list(plan.layers) == list(masked_layers(model)) == ["first"]


def test_ragged_layers() -> None:
    """19 inputs are two groups of 8 and one of 3; the choice is the user's."""
    model = nn.Sequential(nn.Linear(16, 19), nn.Linear(19, 4))
    with pytest.raises(InputError, match=r"^layer 1 has 19 inputs, no multiple of 8: choose to skip or to pad it$"):
        sparsify(model, "4:8")
    assert not masked_layers(model)
    assert list(sparsify(deepcopy(model), "4:8", ragged="skip").layers) == ["0"]
    for pattern, last in (("4:8", 3), ("2:8", 2)):
        plan = sparsify(model, pattern, ragged="pad")
        mask = masked_layers(model)["1"][1].mask
        assert set(mask[:, 16:].sum(dim=1).tolist()) == {last}
        verify(model, plan)


BAD_PLANS = {
    "layers = 3": "plan has no table [layers], or something beside it",
    "[layers]": "plan has no table [layers], or something beside it",
    "[layers]\n[more]": "plan has no table [layers], or something beside it",
    '[layers]\n0 = "2:7"': "pattern 2:7 has groups of 7, must be 2, 4, 8, 16 or 32",
    '[layers]\na.b = "2:8"': "plan: layer a is {'b': '2:8'}, must be a pattern such as '2:8'; quote its name",
    "[layers": "plan is not TOML: ",
}


@pytest.mark.parametrize("text", BAD_PLANS)
def test_bad_plans(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(f'{tmp_path}/plan: {BAD_PLANS[text]}')}"):
        Plan.read(tmp_path / "plan")


def test_what_is_refused() -> None:
    model = mlp()
    cases = {
        "the plan names layer 7, which is no Linear or Conv2d of the model": {"pattern": Plan({"7": (2, 8)})},
        "pattern is '2', must be N:M such as 2:8": {"pattern": "2"},
        f"method is 'magic', must be one of {', '.join(METHODS)}": {"method": "magic"},
        "ragged is 'cut', must be one of error, skip, pad": {"ragged": "cut"},
        "wanda has no norms of the input of layer 0: calibrate it first": {"method": "wanda"},
        "sparsegpt has no products of the input of layer 0: calibrate it first": {"method": "sparsegpt"},
        "the model has no layer to prune: no Linear or Conv2d passes the filter": {"filter_fn": lambda *_: False},
    }
    for message, arguments in cases.items():
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            sparsify(model, **{"pattern": "2:8", **arguments})
        assert not masked_layers(model)  # nothing was begun


def test_verify_names_what_is_wrong() -> None:
    model = mlp()
    plan = sparsify(model, "2:8", method="asp")
    bits = masked_layers(model)["2"][1].bits
    bits[3, 8:16] = -1
    message = "layer 2, row 3, inputs 8 to 15: 8 weights are kept, must be 2 for 2:8"
    with pytest.raises(InputError, match=f"^{message}$"):
        verify(model, plan)
    bits[3, 8:16] = 0
    with pytest.raises(InputError, match="0 weights are kept, must be 2"):
        verify(model, plan)  # fewer than N are as wrong
    finalize(model)
    verify(model, plan)  # a group of zeros is of any pattern
    with torch.no_grad():
        model[2].weight.fill_(1)
    with pytest.raises(InputError, match=r"row 0, inputs 0 to 7: 8 weights are kept, must be at most 2"):
        verify(model, plan)
    with pytest.raises(InputError, match="row 0, inputs 8 to 9"):
        check_counts("fc", torch.tensor([[True] + [False] * 7 + [True] * 2]), 1, 8, exactly=False)


def test_series_of_every_method() -> None:
    task = Toy()
    model = mlp()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in METHODS:
        method = method_for(name, model, task)
        found = list(series(model, ("4:8", "2:8", "1:8"), task, method=method, steps=2, **RECIPE))
        assert [one.name for one in found] == ["4-8", "2-8", "1-8"]
        for one in found:
            verify(one.model, one.plan)
            assert set(one.metrics) == {"error"}
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
