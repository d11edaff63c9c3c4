"""Quantisation: the mask stays, the integers stand for the floats, and what cannot be quantised is named."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruning.integers.layer import golden
from pruning.integers.quantise import (
    accumulator_units,
    activation_scale,
    check_finite,
    quantise_activations,
    quantise_linear,
    quantise_weights,
    requantisation,
    weight_scales,
)
from pruning.masks.patterns import magnitude_mask
from rtl.params import InputError


def random_linear(seed: int, channels: int, k: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(weight, bias, activations), every channel of another magnitude."""
    generator = torch.Generator().manual_seed(seed)
    magnitudes = 10 ** torch.linspace(-4, 3, channels)
    weight = torch.randn(channels, k, generator=generator) * magnitudes[:, None]
    bias = torch.randn(channels, generator=generator) * magnitudes
    return weight, bias, torch.randn(tokens, k, generator=generator)


@given(st.integers(0, 1 << 32), st.sampled_from([(1, 4), (2, 8), (3, 8), (8, 8), (4, 16)]))
def test_the_mask_is_kept(seed: int, pattern: tuple[int, int]) -> None:
    n, m = pattern
    weight, bias, activations = random_linear(seed, 9, 21, 5)
    mask = magnitude_mask(weight, n, m)
    layer = quantise_linear("fc", weight * mask, bias, activations, n, m)
    assert not layer.weights[~mask.numpy()].any()
    assert np.abs(layer.weights).max(axis=1).tolist() == [127] * 9  # the largest weight of a channel is never pruned
    assert (layer.n, layer.m, layer.channels, layer.k) == (n, m, 9, 21)


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.02), (16, 0.012)])
def test_the_integer_layer_stands_for_the_float_one(bits: int, tolerance: float) -> None:
    """Its results times y_scale, against the float results."""
    weight, bias, activations = random_linear(1, 64, 256, 40)
    weight, bias = weight / weight.abs().amax(dim=1, keepdim=True), bias / 1000
    layer = quantise_linear("fc", weight, bias, activations, 8, 8, out_bits=bits)
    x = quantise_activations(activations, layer.extras["x_scale"]).numpy()
    y = golden(layer, x) * layer.extras["y_scale"]
    exact = (activations @ weight.T + bias).numpy()
    assert np.linalg.norm(y - exact) / np.linalg.norm(exact) < tolerance


def test_what_goes_along() -> None:
    weight, bias, activations = random_linear(2, 3, 16, 5)
    layer = quantise_linear("fc", weight, bias, activations, 8, 8, extras={"method": "none"})
    assert layer.extras == {
        "method": "none",
        "x_scale": activations.abs().max().item() / 127,
        "y_scale": pytest.approx((activations @ weight.T + bias).abs().max().item() / 127),
    }


def test_no_bias_is_a_bias_of_zero() -> None:
    weight, _, activations = random_linear(3, 5, 16, 5)
    assert not quantise_linear("fc", weight, None, activations, 8, 8).bias.any()


@pytest.mark.parametrize("bits", [8, 16])
def test_activation_scale(bits: int) -> None:
    largest = (1 << (bits - 1)) - 1
    assert activation_scale(torch.tensor([[0.5, -2.0], [1.0, 0.0]]), bits) == 2 / largest
    assert activation_scale(torch.zeros(3, 4), bits) == 1


def test_activations_saturate_and_ties_go_to_even() -> None:
    x = torch.tensor([0.5, 1.5, -0.5, -1.5, 127.4, 500.0, -127.6, -500.0])
    assert quantise_activations(x, 1.0).tolist() == [0, 2, 0, -2, 127, 127, -128, -128]


def test_weights_reach_127_on_both_sides_and_never_128() -> None:
    weight = torch.tensor([[1.0, -1.0, 0.0], [0.0, -3.0, 1.5]])
    scales = weight_scales(weight, torch.zeros(2), 1.0)
    assert quantise_weights(weight, scales).tolist() == [[127, -127, 0], [0, -127, 64]]


@pytest.mark.parametrize("bias", [3.0, -3.0, 1e-30, 0.0])
def test_a_channel_without_weights(bias: float) -> None:
    """Its scale is that of its bias, or 1: neither a division by zero nor a bias beyond int32."""
    weight = torch.zeros(2, 8)
    weight[1, 0] = 1.0
    layer = quantise_linear("fc", weight, torch.tensor([bias, 0.0]), torch.ones(1, 8), 1, 8)
    y = golden(layer, np.full((1, 8), 127, np.int8)) * layer.extras["y_scale"]
    assert y[0, 0] == pytest.approx(bias, abs=layer.extras["y_scale"])
    assert y[0, 1] == pytest.approx(1, abs=layer.extras["y_scale"])


def test_a_channel_without_weights_counts_in_steps_of_the_results() -> None:
    """So the bias of another density, many times as large, is in int32 too. One that is huge sets the steps itself."""
    weight, bias = torch.zeros(3, 8), torch.tensor([1e-6, 0.0, 3e9])
    one = torch.ones((), dtype=torch.float64)
    units = accumulator_units(weight, bias, one, 0.1 * one)
    assert units.tolist() == pytest.approx([0.1, 0.1, 3e9 / (1 << 30)])


def test_a_bias_that_dwarfs_its_weights_fits() -> None:
    weight = torch.full((1, 8), 1e-12)
    layer = quantise_linear("fc", weight, torch.tensor([5.0]), torch.ones(1, 8), 8, 8)
    assert abs(int(layer.bias[0])) <= 1 << 30
    assert golden(layer, np.full((1, 8), 127, np.int8)).tolist() == [[127]]


# --- mult and shift --------------------------------------------------------------------------------------------------


@given(st.floats(2.0**-31, 32000))
def test_the_factor_is_as_near_as_16_bits_allow(real: float) -> None:
    mult, shift = (int(part) for part in requantisation("fc", torch.tensor([real], dtype=torch.float64)))
    assert 32768 <= mult <= 65535
    assert 1 <= shift <= 47
    assert abs(mult / 2**shift - real) <= 2.0 ** (-shift - 1)


@given(st.floats(2.0**-80, 2.0**-32))
def test_a_small_factor_has_shift_47(real: float) -> None:
    mult, shift = (int(part) for part in requantisation("fc", torch.tensor([real], dtype=torch.float64)))
    assert shift == 47
    assert 0 <= mult <= 32768
    assert abs(mult / 2**47 - real) <= 2.0**-48


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.5, (32768, 16)),
        (1.0, (32768, 15)),
        (1 - 2.0**-18, (32768, 15)),  # rounds up to 65536 · 2^−16
        (65535 / 2, (65535, 1)),
        (2.0**-32, (32768, 47)),
        (2.0**-33, (16384, 47)),
        (2.0**-90, (0, 47)),
    ],
)
def test_factors(real: float, expected: tuple[int, int]) -> None:
    mult, shift = requantisation("fc", torch.tensor([real], dtype=torch.float64))
    assert (int(mult), int(shift)) == expected


@pytest.mark.parametrize("real", [32767.9, 32768.0, 1e30])
def test_a_factor_too_large(real: float) -> None:
    message = f"layer fc: channel 1 scales by {real:g}, must be at most 32767.5"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        requantisation("fc", torch.tensor([1.0, real], dtype=torch.float64))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("part", "place"), [("weight", [1, 2]), ("bias", [1]), ("input", [0, 3])])
def test_not_finite(part: str, place: list[int], value: float) -> None:
    tensors = dict(zip(("weight", "bias", "input"), random_linear(0, 3, 16, 5), strict=True))
    tensors[part][tuple(place)] = value
    message = f"tensor fc.{part} is {value} at {place}, must be finite"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        quantise_linear("fc", tensors["weight"], tensors["bias"], tensors["input"], 8, 8)


def test_results_too_large_for_float32() -> None:
    weight, bias, inputs = random_linear(0, 3, 16, 5)
    weight[1] = 1e38
    with pytest.raises(InputError, match=r"^tensor fc\.output is (nan|-?inf) at \[\d, 1\], must be finite$"):
        quantise_linear("fc", weight, bias, 1e3 * inputs, 8, 8)


def test_a_scalar_that_is_not_finite() -> None:
    with pytest.raises(InputError, match=re.escape("tensor t is nan at [], must be finite")):
        check_finite("t", torch.tensor(float("nan")))


def test_not_pruned() -> None:
    weight, bias, activations = random_linear(0, 3, 16, 5)
    with pytest.raises(InputError, match=re.escape("layer fc: row (channel) 0, group 0 has 8 non-zero weights")):
        quantise_linear("fc", weight, bias, activations, 2, 8)
