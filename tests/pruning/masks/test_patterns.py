"""Masks, against a definition in plain Python."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruning.masks.patterns import magnitude_mask
from rtl.format import GROUP_SIZES
from rtl.params import InputError


def naive_mask(weight: list[list[float]], n: int, m: int) -> list[list[bool]]:
    """The n largest magnitudes of a group; of equal ones the lower position."""
    mask = []
    for channel in weight:
        kept = set()
        for start in range(0, len(channel), m):
            group = range(start, min(start + m, len(channel)))
            kept |= set(sorted(group, key=lambda p: (-abs(channel[p]), p))[:n])
        mask.append([p in kept for p in range(len(channel))])
    return mask


@given(st.data())
def test_equals_the_definition(data: st.DataObject) -> None:
    m = data.draw(st.sampled_from(GROUP_SIZES))
    n = data.draw(st.integers(1, m))
    channels, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2 * m + 3))
    few = st.sampled_from((-2.0, -1.0, -0.0, 0.0, 1.0, 2.0))  # so that ties are common
    values = data.draw(st.sampled_from((few, st.floats(width=32, allow_nan=False))))
    weight = data.draw(st.lists(st.lists(values, min_size=k, max_size=k), min_size=channels, max_size=channels))
    assert magnitude_mask(torch.tensor(weight), n, m).tolist() == naive_mask(weight, n, m)


def test_infinite_weights_beside_equal_ones() -> None:
    """One group keeps too few at first, another as many too many."""
    weight = [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, math.inf]]
    assert magnitude_mask(torch.tensor(weight), 1, 2).tolist() == naive_mask(weight, 1, 2)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_linear_layer(kind: torch.dtype) -> None:
    """Also one that training still holds a gradient for, of any float type."""
    linear = torch.nn.Linear(20, 6).to(kind)
    mask = magnitude_mask(linear.weight, 2, 8)
    assert mask.dtype == torch.bool
    assert mask.shape == (6, 20)
    assert mask[:, :8].sum(dim=1).tolist() == [2] * 6
    assert mask[:, 16:].sum(dim=1).tolist() == [2] * 6  # the last group has 4 weights and keeps 2 of them
    assert not mask.requires_grad


def test_dense_keeps_everything() -> None:
    assert magnitude_mask(torch.zeros(3, 10), 8, 8).all()


def test_wrong_pattern() -> None:
    with pytest.raises(InputError, match=f"^{re.escape('pattern 2:6 has groups of 6, must be 2, 4, 8, 16 or 32')}$"):
        magnitude_mask(torch.zeros(3, 12), 2, 6)
