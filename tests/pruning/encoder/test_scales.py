"""Scales of operands: which magnitude becomes the largest integer."""

import pytest
import torch

from pruning.encoder.scales import narrow_scale


@pytest.mark.parametrize(("percentile", "largest"), [(100, 8.0), (75, 6.0), (50, 4.0), (0, 1.0)])
def test_the_percentile_is_127(percentile: float, largest: float) -> None:
    x = torch.tensor([[-1.0, 2.0, -3.0, 4.0], [-5.0, 6.0, 7.0, -8.0]])
    assert float(narrow_scale(x, percentile)) == largest / 127


def test_zeros_have_a_scale() -> None:
    assert float(narrow_scale(torch.zeros(3), 100)) == 1e-12
