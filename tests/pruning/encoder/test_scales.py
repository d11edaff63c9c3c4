"""Scales of operands: which magnitude becomes the largest integer."""

import pytest
import torch

from pruning.encoder.activations import ACTIVATIONS, flat_below
from pruning.encoder.scales import FLAT, narrow_scale, table_scale


@pytest.mark.parametrize(("percentile", "largest"), [(100, 8.0), (75, 6.0), (50, 4.0), (0, 1.0)])
def test_the_percentile_is_127(percentile: float, largest: float) -> None:
    x = torch.tensor([[-1.0, 2.0, -3.0, 4.0], [-5.0, 6.0, 7.0, -8.0]])
    assert float(narrow_scale(x, percentile)) == largest / 127


def test_zeros_have_a_scale() -> None:
    assert float(narrow_scale(torch.zeros(3), 100)) == 1e-12


@pytest.mark.parametrize(
    ("activation", "inputs", "low", "high"),
    [
        ("gelu", [-1.0, 4.1], -1.0, 4.1),
        ("gelu", [-20.0, 0.5, 26.0], -2.9375, 26.0),
        ("silu", [-20.0, 26.0], -7.3125, 26.0),
        ("relu", [-20.0, 26.0], 0.0, 26.0),
        ("gelu", [1.0, 2.0], 0.0, 2.0),
        ("gelu", [-1.0, -0.5], -1.0, 0.0),
    ],
)
def test_all_inputs_of_a_table_are_used(activation: str, inputs: list[float], low: float, high: float) -> None:
    scale, zero = (float(part) for part in table_scale(torch.tensor(inputs), activation))
    assert scale == pytest.approx((high - low) / 255)
    assert zero == round(-128 - low / scale)
    least, most = (-128 - zero) * scale, (127 - zero) * scale
    assert (least, most) == (pytest.approx(low, abs=scale / 2), pytest.approx(high, abs=scale / 2))


@pytest.mark.parametrize(("activation", "inputs"), [("relu", [-2.54, -1.0]), ("gelu", [0.0, 0.0])])
def test_a_table_of_flat_inputs_has_a_scale(activation: str, inputs: list[float]) -> None:
    scale, zero = (float(part) for part in table_scale(torch.tensor(inputs), activation))
    assert (scale, zero) == (pytest.approx(max(-min(inputs) / 127, 1e-12)), 0)


@pytest.mark.parametrize("small", [FLAT, 1e-6])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nothing_is_lost_where_a_function_is_flat(activation: str, small: float) -> None:
    low = flat_below(activation, small)
    inputs = torch.linspace(-50, low, 5000, dtype=torch.float64)
    assert low == -20 or float(ACTIVATIONS[activation](inputs).abs().max()) <= small


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_inputs_of_small_results_are_told_apart(activation: str) -> None:
    """All results are below FLAT."""
    inputs = torch.linspace(-9, -8, 11)
    scale, zero = (float(part) for part in table_scale(inputs, activation))
    least = (-128 - zero) * scale
    function = ACTIVATIONS[activation]
    assert abs(float(function(torch.tensor(least)))) <= 0.01 * float(function(inputs).abs().max()) or least < -8.9
