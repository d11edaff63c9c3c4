"""Second-order pruning: against what it says on a few channels, by hand, and against the best that masks allow."""

import pytest
import torch
from torch import Tensor, nn

from pruning.masks.masked import live_weight
from pruning.masks.methods import METHODS, calibrated, input_products
from pruning.masks.patterns import magnitude_mask
from pruning.masks.second_order import BLOCK, DAMPING, prune_and_update
from pruning.masks.sparsify import finalize, sparsify

PATTERNS = [(2, 4), (1, 8), (3, 16), (4, 4)]


def layer(rows: int, k: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights, and the products of inputs that mostly lie in a quarter of the dimensions."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(4 * k, k // 4, generator=generator) @ torch.randn(k // 4, k, generator=generator)
    inputs = (few + torch.randn(4 * k, k, generator=generator)).to(torch.float64)
    return torch.randn(rows, k, generator=generator), inputs.T @ inputs


def error(before: Tensor, after: Tensor, products: Tensor) -> Tensor:
    """Squared error of each output over the calibration data [rows]."""
    difference = (after - before).to(torch.float64)
    return ((difference @ products) * difference).sum(dim=1)


def by_elimination(weight: Tensor, products: Tensor, n: int, m: int) -> tuple[Tensor, Tensor]:
    """The same by its definition: of each row, channel by channel, H⁻¹ of the channels that are left."""
    products = products + DAMPING * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    result = weight.to(torch.float64).clone()
    mask = torch.zeros(result.shape, dtype=torch.bool)
    k = result.shape[1]
    for i in range(k):
        if i % m == 0:
            for row in range(len(result)):
                costs = {
                    j: float(result[row, j] ** 2 / torch.linalg.inv(products[j:, j:])[0, 0])
                    for j in range(i, min(i + m, k))
                }
                for j in sorted(costs, key=costs.__getitem__, reverse=True)[:n]:
                    mask[row, j] = True
        inverse = torch.linalg.inv(products[i:, i:])
        for row in range(len(result)):
            if not mask[row, i]:
                result[row, i:] -= result[row, i] / inverse[0, 0] * inverse[0]
    return mask, torch.where(mask, result, 0.0)


@pytest.mark.parametrize(("n", "m"), PATTERNS)
@pytest.mark.parametrize("k", [16, 24])
def test_as_defined(n: int, m: int, k: int) -> None:
    weight, products = layer(3, k, seed=k)
    mask, result = prune_and_update(weight, products, n, m)
    want_mask, want = by_elimination(weight, products, n, m)
    assert torch.equal(mask, want_mask)
    assert torch.allclose(result.to(torch.float64), want, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), PATTERNS[:3])
def test_blocks_change_nothing(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, products = layer(5, BLOCK + 64, seed=n)
    mask, result = prune_and_update(weight, products, n, m)
    monkeypatch.setattr("pruning.masks.second_order.BLOCK", BLOCK + 64)
    whole_mask, whole = prune_and_update(weight, products, n, m)
    assert torch.equal(mask, whole_mask)
    assert torch.allclose(result, whole, atol=1e-5)


@pytest.mark.parametrize(("n", "m"), PATTERNS[:3])
def test_less_error_than_by_magnitude(n: int, m: int) -> None:
    weight, products = layer(40, 64, seed=m)
    _, result = prune_and_update(weight, products, n, m)
    plain = torch.where(magnitude_mask(weight, n, m), weight, 0.0)
    assert error(weight, result, products).sum() < 0.8 * error(weight, plain, products).sum()


def test_dense_stays_as_it_is() -> None:
    weight, products = layer(4, 16, seed=1)
    mask, result = prune_and_update(weight, products, 8, 8)
    assert mask.all()
    assert torch.equal(result, weight)


def test_a_channel_that_is_always_0() -> None:
    """Its weights go first, and cost nothing."""
    weight, products = layer(4, 16, seed=2)
    products[3], products[:, 3] = 0.0, 0.0
    weight[:, 3] = 1000.0
    _, result = prune_and_update(weight, products, 2, 4)
    assert (result[:, 3] == 0).all()
    assert torch.isfinite(result).all()


def test_products_of_a_model() -> None:
    """Over all that runs through it, one batch behind the other; a Conv2d's over images and places alike."""
    model, x = nn.Sequential(nn.Linear(8, 3)), torch.randn(5, 7, 8)
    products = input_products(model, ["0"], lambda: [model(one) for one in x])
    flat = x.reshape(-1, 8).to(torch.float64)
    assert torch.allclose(products["0"], flat.T @ flat)

    convolution, pictures = nn.Sequential(nn.Conv2d(4, 2, 3)), torch.randn(2, 4, 5, 6)
    products = input_products(convolution, ["0"], lambda: convolution(pictures))
    flat = pictures.movedim(1, -1).reshape(-1, 4).to(torch.float64)
    assert torch.allclose(products["0"], flat.T @ flat)


def test_a_layer_computes_with_what_is_made_up_for() -> None:
    model, x = nn.Sequential(nn.Linear(16, 6)), torch.randn(50, 16) @ torch.randn(16, 16)
    weight = model[0].weight.detach().clone()
    method = calibrated(METHODS["sparsegpt"], model, ["0"], lambda: model(x))
    sparsify(model, "2:8", method=method)
    mask, want = prune_and_update(weight, method.products["0"], 2, 8)
    assert torch.equal(model[0].weight, want)
    assert torch.equal(live_weight(model[0]), want)
    assert torch.equal(finalize(model)["0"], mask)


def test_channel_groups() -> None:
    """Each output channel with the inputs that it sees."""
    model, x = nn.Sequential(nn.Conv2d(16, 6, 1, groups=2)), torch.randn(3, 16, 4, 4)
    weight = model[0].weight.detach().clone()
    method = calibrated(METHODS["sparsegpt"], model, ["0"], lambda: model(x))
    sparsify(model, "2:4", method=method)
    for group in range(2):
        seen = slice(8 * group, 8 * group + 8)
        _, want = prune_and_update(weight[3 * group : 3 * group + 3].flatten(1), method.products["0"][seen, seen], 2, 4)
        assert torch.equal(model[0].weight[3 * group : 3 * group + 3].flatten(1), want)
