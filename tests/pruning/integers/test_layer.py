"""The golden model against integers of Python, which are never too narrow."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pruning.files.artefact import Layer
from pruning.integers.layer import IntegerLinear, golden, requantise
from rtl.params import InputError
from tests.pruning.samples import layers, random_layer


def naive_requantise(acc: int, bias: int, mult: int, shift: int, bits: int) -> int:
    scaled = ((acc + bias) * mult + 2 ** (shift - 1)) // 2**shift
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, scaled))


def naive(layer: Layer, x: list[list[int]]) -> list[list[int]]:
    parameters = list(zip(layer.bias.tolist(), layer.mult.tolist(), layer.shift.tolist(), strict=True))
    return [
        [
            naive_requantise(sum(a * b for a, b in zip(token, row, strict=True)), *parameters[c], layer.out_bits)
            for c, row in enumerate(layer.weights.tolist())
        ]
        for token in x
    ]


@given(layers(), st.integers(1, 4), st.integers(0, 1 << 32))
def test_full_range_operands(layer: Layer, tokens: int, seed: int) -> None:
    x = np.random.default_rng(seed).integers(-128, 128, (tokens, layer.k)).astype(np.int8)
    y = golden(layer, x)
    assert y.dtype == (np.int8 if layer.out_bits == 8 else np.int16)
    assert y.tolist() == naive(layer, x.tolist())


edge = st.sampled_from


@given(
    acc=edge((-(1 << 30), -1, 0, 1, 1 << 30)) | st.integers(-(1 << 30), 1 << 30),
    bias=edge((-(1 << 31), -1, 0, 1, (1 << 31) - 1)) | st.integers(-(1 << 31), (1 << 31) - 1),
    mult=edge((0, 1, 32767, 32768, 65535)) | st.integers(0, 65535),
    shift=st.integers(1, 47),
    bits=edge((8, 16)),
)
def test_requantise(acc: int, bias: int, mult: int, shift: int, bits: int) -> None:
    tensors = (torch.tensor(value, dtype=torch.int64) for value in (acc, bias, mult, shift))
    assert int(requantise(*tensors, bits)) == naive_requantise(acc, bias, mult, shift, bits)


@pytest.mark.parametrize(("sign_x", "sign_w"), [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("mult", "shift"), [(65535, 1), (1, 1), (65535, 47), (32768, 30), (0, 20)])
def test_extremes_at_the_longest_k(sign_x: int, sign_w: int, bits: int, mult: int, shift: int) -> None:
    """The largest sums and biases there are."""
    k = 1 << 16
    bias = sign_x * sign_w * ((1 << 31) - 1)
    layer = Layer.from_dense(
        "fc",
        np.full((1, k), 127 * sign_w, np.int8),
        8,
        8,
        bias=np.array([bias]),
        mult=np.array([mult]),
        shift=np.array([shift]),
        out_bits=bits,
    )
    value = 127 if sign_x > 0 else -128
    acc = k * value * 127 * sign_w
    assert golden(layer, np.full((1, k), value, np.int8)).tolist() == [
        [naive_requantise(acc, bias, mult, shift, bits)],
    ]


def test_ties_round_upwards() -> None:
    half = torch.tensor([-5, -3, -1, 1, 3, 5])
    one = torch.tensor(1)
    assert requantise(half, one * 0, one, one, 8).tolist() == [-2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (torch.zeros(3, 16, dtype=torch.int8), "int8 [3, 16]"),
        (torch.zeros(3, 17, dtype=torch.int16), "int16 [3, 17]"),
        (torch.zeros(17, dtype=torch.int8), "int8 [17]"),
        (torch.zeros(3, 17), "float32 [3, 17]"),
    ],
)
def test_wrong_input(x: torch.Tensor, kind: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"layer fc: input is {kind}, must be int8 [tokens, 17]")):
        IntegerLinear(random_layer(0, 5, 17, 2, 8))(x)
