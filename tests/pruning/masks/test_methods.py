"""What tells the methods apart, each against a calculation by hand."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from pruning.masks.masked import Masked, live_weight, masked_layers
from pruning.masks.methods import METHODS, calibrated, input_norms, method_of
from pruning.masks.patterns import from_rows, keep_largest, rows
from pruning.masks.plan import prunable
from pruning.masks.second_order import prune_and_update
from pruning.masks.sparsify import finalize, nested, sparsify
from pruning.training.series import series
from pruning.training.train import train
from rtl.params import InputError
from tests.pruning.toy import PATTERNS, RECIPE, Toy, convolutions, mlp


def one_row(weights: list[float]) -> nn.Sequential:
    """A linear layer with one output and without a bias."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return nn.Sequential(layer)


def test_magnitude_keeps_the_largest() -> None:
    model = one_row([0.1, -0.5, 0.3, 0.2, 0.0, 0.0, 4.0, -3.0])
    sparsify(model, "2:4", method="magnitude")
    assert finalize(model)["0"].tolist() == [[False, True, True, False, False, False, True, True]]


def test_wanda_weighs_with_the_norms_of_the_input() -> None:
    """Inputs (3, 0, 1, 1) and (4, 0, 1, 0): norms 5, 0, √2, 1. Scores 0.5, 0, 0.42, 0.2: 0 and 2 stay."""
    model = one_row([0.1, -9.0, 0.3, 0.2])
    x = torch.tensor([[3.0, 0.0, 1.0, 1.0], [4.0, 0.0, 1.0, 0.0]])
    norms = input_norms(model, ["0"], lambda: [model(row) for row in x])
    assert torch.allclose(norms["0"], torch.tensor([5.0, 0.0, 2**0.5, 1.0], dtype=torch.float64))
    sparsify(model, "2:4", method=replace(METHODS["wanda"], norms=norms))
    assert finalize(model)["0"].tolist() == [[True, False, True, False]]


def test_norms_of_a_convolution() -> None:
    """By input channel, over images and places; of two channel groups each output channel sees its own half."""
    model, x = nn.Sequential(nn.Conv2d(8, 2, 1, groups=2, bias=False)), torch.zeros(3, 8, 2, 5)
    scales = torch.tensor([1.0, 2, 3, 4, 4, 3, 2, 1])
    x += scales[:, None, None]
    norms = input_norms(model, ["0"], lambda: model(x))
    assert torch.allclose(norms["0"], scales.double() * 30**0.5)
    nn.init.ones_(model[0].weight)
    sparsify(model, "2:4", method=replace(METHODS["wanda"], norms=norms))
    assert finalize(model)["0"].flatten(1).tolist() == [[False, False, True, True], [True, True, False, False]]


def gradient(method: str, decay: float | None = None) -> list[float]:
    """Of the weights (2, −1, 0.5, −3) of pattern 2:4 at the input (1, 2, 3, 4) and the loss y: the input, but for what
    the method makes of it. The mask is (1, 0, 0, 1)."""
    model = one_row([2.0, -1.0, 0.5, -3.0])
    sparsify(model, "2:4", method=replace(METHODS[method], rescales=False))
    if decay is not None:
        masked_layers(model)["0"][1].decay = decay
    y = model(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert y.item() == 2 * 1 - 3 * 4
    y.backward()
    return live_weight(model[0]).grad[0].tolist()


def test_gradient_of_sr_ste() -> None:
    """g + λ · (1 − mask) · w with λ = 0.125: (1, 2 − 0.125, 3 + 0.0625, 4), exact in binary."""
    assert gradient("sr-ste", 0.125) == [1.0, 1.875, 3.0625, 4.0]
    assert gradient("sr-ste", 0.0) == [1.0, 2.0, 3.0, 4.0]


def test_decay_of_sr_ste() -> None:
    """Its own λ, on a masked weight that gets no other gradient, pulls towards zero."""
    assert METHODS["sr-ste"].decay > 0
    weight = torch.tensor([[3.0, -1.0]], requires_grad=True)
    masked = Masked(weight, 1, 2, straight_through=True, decay=METHODS["sr-ste"].decay)
    masked.choose(weight)
    (masked(weight) * 0).sum().backward()
    assert torch.allclose(weight.grad, torch.tensor([[0.0, -METHODS["sr-ste"].decay]]))


def test_decay_after_a_step() -> None:
    """Of what is masked, whatever its gradient; what it leaves may win its place again."""
    model = one_row([2.0, -1.0, 0.5, -3.0])
    method = replace(METHODS["idp-decay"], rescales=False, shrink=0.25)
    sparsify(model, "2:4", method=method)
    method.after_step(model)
    assert live_weight(model[0])[0].tolist() == [2.0, -0.75, 0.375, -3.0]
    with torch.no_grad():
        live_weight(model[0])[0, 1] = -2.5
    method.after_step(model)
    assert live_weight(model[0])[0].tolist() == [1.5, -2.5, 0.28125, -3.0]
    assert gradient("idp-decay") == gradient("idp")


def test_steps_by_the_norm_of_the_input() -> None:
    """Norms 16, 4, 0, 0 of mean 5: steps over √3.2, √0.8 and, as 0 counts as a tenth of the mean, √0.1 twice. The mask
    goes by the weights after that."""
    model = one_row([1.0, 2.0, 0.5, -0.25])
    norms = {"0": torch.tensor([16.0, 4.0, 0.0, 0.0], dtype=torch.float64)}
    method = replace(METHODS["idp-scaled"], rescales=False, norms=norms)
    sparsify(model, "1:4", method=method)
    for start in ([[2.0, 1.0, 0.0, 0.0]], [[1.0, 2.0, 0.5, -0.25]]):
        with torch.no_grad():
            live_weight(model[0]).copy_(torch.tensor(start))
        method.before_step(model, 0.5)
        with torch.no_grad():
            live_weight(model[0]).add_(torch.tensor([[-0.8, 0.1, 0.1, -0.1]]))
        method.after_step(model)
        steps = torch.tensor([[-0.8 / 3.2**0.5, 0.1 / 0.8**0.5, 0.1 / 0.1**0.5, -0.1 / 0.1**0.5]])
        assert torch.allclose(live_weight(model[0]), torch.tensor(start) + steps)
        # At last 16 · 0.553 is more than 4 · 2.112; after the whole step 16 · 0.2 would be less.
        assert masked_layers(model)["0"][1].mask.tolist() == [[True, False, False, False]]


def test_steps_of_a_layer_that_reads_nothing() -> None:
    """Where all norms are 0 steps stay as they are."""
    model = one_row([1.0, 2.0])
    method = replace(METHODS["idp-scaled"], norms={"0": torch.zeros(2, dtype=torch.float64)})
    sparsify(model, "1:2", method=method)
    start = live_weight(model[0]).detach().clone()
    method.before_step(model, 0.0)
    with torch.no_grad():
        live_weight(model[0]).add_(0.5)
    method.after_step(model)
    assert torch.equal(live_weight(model[0]), start + 0.5)


def test_gradient_of_a_fixed_mask() -> None:
    assert gradient("asp") == [1.0, 0.0, 0.0, 4.0]


def test_gradient_of_idp() -> None:
    """Masked weights get the whole gradient, with IDP's own decay."""
    decay = METHODS["idp"].decay
    expected = [1.0, 2 - decay, 3 + decay / 2, 4.0]
    assert gradient("idp") == pytest.approx(expected)


# --- masks in training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ["idp", "sr-ste", "idp-decay"])
def test_a_dynamic_mask_changes(name: str, pattern: str) -> None:
    model, method = convolutions(), METHODS[name]
    sparsify(model, pattern, method=method)
    before = {layer: masked.mask for layer, (_, masked) in masked_layers(model).items()}
    train(model, Toy(), steps=10, method=method, **RECIPE)
    for layer, masked in masked_layers(model).values():
        fresh = Masked(live_weight(layer), masked.n, masked.m)
        fresh.choose(live_weight(layer))
        assert torch.equal(fresh.mask, masked.mask)  # it follows the weights, to the last step
    after = finalize(model)
    for layer_name in before:
        assert (before[layer_name] != after[layer_name]).any()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_fixed_mask_does_not(pattern: str) -> None:
    """Not even where masked weights have become the larger ones."""
    model, method = mlp(), METHODS["asp"]
    sparsify(model, pattern, method=method)
    before = {layer: masked.mask for layer, (_, masked) in masked_layers(model).items()}
    train(model, Toy(), steps=10, method=method, **RECIPE)
    with torch.no_grad():
        for layer, masked in masked_layers(model).values():
            live_weight(layer).mul_(torch.where(masked.mask, 0.001, 1.0))
    method.after_step(model)
    after = finalize(model)
    for layer_name in before:
        assert torch.equal(before[layer_name], after[layer_name])


def test_a_masked_weight_comes_back() -> None:
    """Under IDP it lives on and may win its place again; under ASP it never does."""
    for name, expected in (("idp", [False, True]), ("asp", [True, False])):
        model = one_row([1.0, 0.9])
        sparsify(model, "1:2", method=name)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(4):
            optimiser.zero_grad()
            (-model(torch.tensor([0.0, 1.0]))).backward()  # wants the second weight to grow
            optimiser.step()
            METHODS[name].after_step(model)
        assert finalize(model)["0"].tolist() == [expected]


# --- inheritance -----------------------------------------------------------------------------------------------------


def test_idp_inherits_live_weights() -> None:
    """The second candidate begins with what the first ended with, masked weights included; others with the dense."""
    task, model = Toy(), mlp()
    for name in ("idp", "sr-ste"):
        starts: list[torch.Tensor] = []
        method = replace(METHODS[name], rescales=False)

        class Watch(Toy):
            def loss(self, model: nn.Module, batch: torch.Tensor, starts: list[torch.Tensor] = starts) -> torch.Tensor:
                starts.append(live_weight(model[0]).detach().clone())
                return super().loss(model, batch)

        list(series(model, ("4:8", "2:8"), Watch(), method=method, steps=3, **RECIPE))
        dense = model[0].weight
        assert torch.equal(starts[0], dense)
        if name == "idp":
            assert (starts[3] != starts[2]).any()  # the first candidate's last step came in between
            assert torch.allclose(starts[3], starts[2], atol=0.02)  # and no more than that step
            assert (starts[3] != dense).float().mean() > 0.9
            assert (starts[3] != 0).all()
        else:
            assert torch.equal(starts[3], dense)
    assert task.calls == 0


def test_idp_keeps_the_norms_of_outputs() -> None:
    """When a step down takes weights away, those that stay grow by as much, in each output channel; the mask is the
    one without."""
    model, plain = convolutions(), convolutions()
    sparsify(model, "2:8", method="idp")
    sparsify(plain, "2:8", method="sr-ste")
    norms = {name: layer.weight.flatten(1).norm(dim=1) for name, layer in prunable(model).items()}
    for name, layer in prunable(convolutions()).items():
        assert torch.allclose(norms[name], layer.weight.flatten(1).norm(dim=1))
        assert torch.equal(masked_layers(model)[name][1].mask, masked_layers(plain)[name][1].mask)
    sparsify(model, "1:8", method="idp")
    for name, layer in prunable(model).items():
        assert torch.allclose(layer.weight.flatten(1).norm(dim=1), norms[name])
        live, dense = live_weight(layer).flatten(1), prunable(plain)[name].parametrizations.weight.original.flatten(1)
        factors = live / dense  # masked weights are scaled with the others
        assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-4)
        assert (factors > 1).all()


def test_idp_update_makes_up_for_what_it_drops() -> None:
    """Each step down is SparseGPT's, of what the denser candidate computes with: not of weights that are masked."""
    draw, model = torch.Generator().manual_seed(5), mlp()
    inputs = torch.randn(64, model[0].in_features, generator=draw) * torch.rand(model[0].in_features, generator=draw)
    names = list(prunable(model))
    method = calibrated(METHODS["idp-update"], model, names, lambda: model(inputs))
    for pattern in ("4:8", "2:8", "1:8"):
        computed = {name: layer.weight.detach().clone() for name, layer in prunable(model).items()}
        sparsify(model, pattern, method=method)
        for name, (layer, masked) in masked_layers(model).items():
            mask, updated = prune_and_update(computed[name], method.products[name], masked.n, masked.m)
            assert torch.equal(masked.mask, mask)
            assert torch.equal(layer.weight, updated)
            assert torch.equal(live_weight(layer), updated)
            with torch.no_grad():
                live_weight(layer).add_(torch.where(mask, 0.0, 3.0))  # training moves what is masked, too
        method.after_step(model)
        for layer, masked in masked_layers(model).values():
            assert torch.equal(masked.mask, keep_largest(live_weight(layer).abs(), masked.n, masked.m))


def test_idp_weighed_weighs_after_every_step() -> None:
    """Masks and the keeping of norms both go by weight times norm of its input, in Conv2d too."""
    draw, model = torch.Generator().manual_seed(6), convolutions()
    x = torch.randn(32, 3, 8, 8, generator=draw)
    names = list(prunable(model))
    method = calibrated(METHODS["idp-weighed"], model, names, lambda: model(x))
    for pattern in ("4:8", "2:8", "1:8"):
        before = {name: layer.weight.detach().clone() for name, layer in prunable(model).items()}
        sparsify(model, pattern, method=method)
        differ = False
        for name, (layer, masked) in masked_layers(model).items():
            importance = method.importance(name, layer)
            assert importance is not None
            old, new = ((one * importance).flatten(1).norm(dim=1) for one in (before[name], layer.weight.detach()))
            assert torch.allclose(old, new, rtol=1e-4)
            assert torch.equal(masked.mask, weighed(layer, masked, importance))
            with torch.no_grad():
                live_weight(layer).add_(0.3 * torch.randn(layer.weight.shape, generator=draw))
            plain = Masked(live_weight(layer), masked.n, masked.m)
            plain.choose(live_weight(layer))
            differ |= not torch.equal(plain.mask, weighed(layer, masked, importance))
        assert differ  # from magnitudes alone
        method.after_step(model)
        for name, (layer, masked) in masked_layers(model).items():
            importance = method.importance(name, layer)
            assert importance is not None
            assert torch.equal(masked.mask, weighed(layer, masked, importance))


def weighed(layer: nn.Module, masked: Masked, importance: torch.Tensor) -> torch.Tensor:
    """The mask by |weight| · importance."""
    scores = rows(live_weight(layer).detach().abs() * importance)
    return from_rows(keep_largest(scores, masked.n, masked.m), masked.bits.shape)


def test_norms_of_an_empty_channel() -> None:
    model = one_row([0.0] * 8)
    sparsify(model, "2:8", method="idp")
    assert live_weight(model[0]).tolist() == [[0.0] * 8]


@pytest.mark.parametrize(
    "chain", [("2:2", "1:2"), ("2:4", "1:4"), ("4:8", "2:8", "1:8"), ("6:16", "3:16"), ("8:32", "2:32")]
)
def test_nested_masks_are_nested(chain: tuple[str, ...]) -> None:
    method = method_of("idp", nested=True)
    first, *others = series(convolutions(), chain, Toy(), method=method, steps=8, **RECIPE)
    outer = first
    for inner in others:
        assert nested(inner.masks, outer.masks)
        assert not nested(outer.masks, inner.masks)
        outer = inner


def test_nested_masks_still_change() -> None:
    model, task = mlp(), Toy()
    method = method_of("idp", nested=True)
    sparsify(model, "4:8", method=method)
    outer = {name: masked.mask for name, (_, masked) in masked_layers(model).items()}
    sparsify(model, "1:8", method=method)
    before = {name: masked.mask for name, (_, masked) in masked_layers(model).items()}
    train(model, task, steps=10, method=method, **RECIPE)
    after = finalize(model)
    assert nested(after, outer)
    assert any((before[name] != after[name]).any() for name in after)


def test_free_masks_leave_the_outer_ones() -> None:
    """Without the option a mask goes where the weights are, so nesting is the option's doing."""
    first, second = series(convolutions(), ("2:8", "1:8"), Toy(), method=METHODS["idp"], steps=10, **RECIPE)
    assert not nested(second.masks, first.masks)


def test_what_is_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"^method is 'x', must be one of dense, magnitude, wanda, sparsegpt, asp, sr-ste, idp, idp-update, idp-",
    ):
        method_of("x")
    with pytest.raises(InputError, match=r"^method asp inherits nothing, so its masks cannot be nested$"):
        method_of("asp", nested=True)
    with pytest.raises(InputError, match=r"^method idp-update chooses among all weights at a step down, so its masks"):
        method_of("idp-update", nested=True)
    message = "layer 0 steps from 2:8 up to 4:8, must step down in a series"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        list(series(mlp(), ("2:8", "4:8"), Toy(), method=METHODS["idp"], steps=1, **RECIPE))
    model = mlp()
    sparsify(model, "2:4", method="idp")
    with pytest.raises(InputError, match=r"^layer 0: 1:8 cannot be nested in 2:4$"):
        sparsify(model, "1:8", method=method_of("idp", nested=True))
    assert all((masked.n, masked.m) == (2, 4) for _, masked in masked_layers(model).values())
    assert len(prunable(model)) == 3
