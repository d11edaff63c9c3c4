"""Masks learnt by gradient: where they begin, what a step does to them, that they find what magnitude cannot see."""

from itertools import combinations
from math import comb

import pytest
import torch
from torch import nn

from pruning.masks.learnt import CHOICES_MAX, COOLING, LearntMask
from pruning.masks.masked import live_weight, masked_layers
from pruning.masks.methods import METHODS, method_of
from pruning.masks.patterns import magnitude_mask
from pruning.masks.sparsify import finalize, sparsify, verify
from pruning.training.series import series
from pruning.training.train import train
from rtl.params import InputError
from tests.pruning.toy import RECIPE, Toy, convolutions, mlp

LEARNT = METHODS["idp-learnt"]


def masks(model: nn.Module) -> dict[str, LearntMask]:
    found = {name: masked for name, (_, masked) in masked_layers(model).items()}
    assert all(isinstance(masked, LearntMask) for masked in found.values())
    return found


@pytest.mark.parametrize("pattern", ["1:8", "2:8", "4:8", "1:4", "2:4"])
def test_it_begins_with_the_largest(pattern: str) -> None:
    n, m = map(int, pattern.split(":"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Conv2d(16, 8, 3)).eval()
    plan = sparsify(model, pattern, method=LEARNT)
    verify(model, plan)
    for name, masked in masks(model).items():
        weight = live_weight(model.get_submodule(name))
        flat = weight.movedim(1, -1).reshape(-1, weight.shape[1])
        wanted = magnitude_mask(flat, n, m).reshape(*weight.shape[:1], *weight.shape[2:], -1).movedim(-1, 1)
        assert torch.equal(masked.mask, wanted)
        assert masked.logits.shape == (weight.numel() // m, comb(m, n))


def test_a_draw_keeps_n_of_m() -> None:
    """Another one at each look; in evaluation always the likeliest."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32))
    sparsify(model.eval(), "2:8", method=LEARNT)
    layer = model[0]
    still = layer.weight.detach().clone()
    assert torch.equal(layer.weight, still)
    model.train()
    drawn = [layer.weight.detach().clone() for _ in range(20)]
    for weight in drawn:
        kept = weight != 0
        assert (kept.reshape(-1, 8).sum(dim=1) == 2).all()
        assert torch.equal(weight[kept], live_weight(layer)[kept])
    assert len({tuple((weight != 0).flatten().tolist()) for weight in drawn}) == 20
    # Most of what is drawn is what is likely: 4 of 10 weights of the first choice at least, where chance has 1 of 4.
    share = torch.stack([(weight != 0) & (still != 0) for weight in drawn]).float().sum() / (20 * (still != 0).sum())
    assert 0.4 < float(share) < 0.99


def test_the_gradient_of_logits_by_hand() -> None:
    """Of one group: Σ over weights of g · w · table, through the softmax of what was drawn."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    sparsify(model.eval(), "2:4", method=LEARNT)
    model.train()
    masked, x = masks(model)["0"], torch.tensor([1.0, -2.0, 3.0, 0.5])
    torch.manual_seed(2)
    y = model(x)
    (3 * y).sum().backward()
    torch.manual_seed(2)
    noise = -(-torch.rand_like(masked.logits).log()).log()
    likely = (100 * masked.logits.detach() + noise).softmax(dim=1)
    table = torch.zeros(6, 4)
    for number, places in enumerate(combinations(range(4), 2)):
        table[number, list(places)] = 1
    weight = live_weight(model[0]).detach()
    gains = table @ (3 * x * weight[0])
    wanted = 100 * likely * (gains - (likely * gains).sum())
    assert torch.allclose(masked.logits.grad, wanted, rtol=1e-4, atol=1e-4)
    assert torch.allclose(live_weight(model[0]).grad, 3 * x[None])  # whole, masked or not
    kept = table[int((100 * masked.logits.detach() + noise).argmax())]
    assert y.item() == pytest.approx(float((kept * weight[0] * x).sum()), rel=1e-5)


def test_it_finds_what_magnitude_cannot_see() -> None:
    """The larger weight of each pair multiplies nothing."""
    torch.manual_seed(0)
    layer = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.8] * 4]))
    model = nn.Sequential(layer).eval()
    sparsify(model, "1:2", method=LEARNT)
    optimiser = torch.optim.Adam([masks(model)["0"].logits], lr=0.01)
    model.train()
    for _ in range(300):
        x = torch.randn(16, 8) * torch.tensor([0.0, 1.0] * 4)
        optimiser.zero_grad()
        (model(x).squeeze(1) - 0.8 * x.sum(dim=1)).square().mean().backward()
        optimiser.step()
        LEARNT.after_step(model)
    model.eval()
    assert finalize(model)["0"].tolist() == [[False, True] * 4]


def test_training() -> None:
    """Masks change, the chance in them goes, and the mask is that of the largest logits to the last step."""
    model = convolutions().eval()
    plan = sparsify(model, "2:8", method=LEARNT)
    before = {name: masked.mask for name, masked in masks(model).items()}
    train(model, Toy(), steps=10, method=LEARNT, **RECIPE)
    verify(model, plan)
    for name, masked in masks(model).items():
        assert float(masked.chance) == pytest.approx(COOLING**10)
        last = masked.mask
        masked.after_step(live_weight(model.get_submodule(name)))
        assert torch.equal(masked.mask, last)
    assert any((before[name] != masked.mask).any() for name, masked in masks(model).items())


def test_a_series_steps_down() -> None:
    """The next candidate begins with the live weights, and learns anew."""
    for candidate in series(mlp(), ("4:8", "2:8", "1:8"), Toy(), method=LEARNT, steps=3, **RECIPE):
        n = int(candidate.name[0])
        for mask in candidate.masks.values():
            assert (mask.reshape(-1, 8).sum(dim=1) == n).all()


def test_what_it_cannot() -> None:
    """Said before any layer is changed."""
    model = nn.Sequential(nn.Linear(32, 12), nn.Linear(12, 2))
    many = r"^layer 0: a group of 4:16 has 1,820 choices, learnt masks are of at most 1,000$"
    short = r"^layer 1: learnt masks are of whole groups, 12 inputs are no multiple of 8$"
    for pattern, message in (("4:16", many), ("2:8", short)):
        with pytest.raises(InputError, match=message):
            sparsify(model, pattern, method=LEARNT, ragged="pad")
        assert not masked_layers(model)
    with pytest.raises(InputError, match=r"^method idp-learnt learns its masks, so they cannot be nested$"):
        method_of("idp-learnt", nested=True)
    assert comb(16, 3) < CHOICES_MAX
