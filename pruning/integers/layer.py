"""The golden model: one packed layer in integers, bit-exact with the hardware and with its twins in rtl/."""

import numpy as np
import torch
from torch import Tensor, nn

from pruning.files.artefact import Layer
from rtl.params import InputError


def requantise(acc: Tensor, bias: Tensor, mult: Tensor, shift: Tensor, out_bits: int) -> Tensor:
    """saturate(((acc + bias)·mult + 2^(shift − 1)) >> shift) to out_bits signed.

    acc int64 [tokens, channels]; the others int64 and broadcast to it. |acc + bias| stays below 2^33 and mult below
    2^16, so nothing here comes near 2^63. Torch's >> of a negative number rounds downwards, as the hardware does.
    """
    scaled = (acc + bias) * mult + (1 << (shift - 1))
    return (scaled >> shift).clamp(-(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1)


class IntegerLinear(nn.Module):
    """x int8 [tokens, k] → y int8 or int16 [tokens, channels]."""

    weights: Tensor
    bias: Tensor
    mult: Tensor
    shift: Tensor

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        for name in ("weights", "bias", "mult", "shift"):
            self.register_buffer(name, torch.from_numpy(getattr(layer, name).astype(np.int64)))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.int8 or x.ndim != 2 or x.shape[1] != self.layer.k:
            kind = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            raise InputError(f"layer {self.layer.name}: input is {kind}, must be int8 [tokens, {self.layer.k}]")
        acc = x.to(torch.int64) @ self.weights.T
        y = requantise(acc, self.bias, self.mult, self.shift, self.layer.out_bits)
        return y.to(torch.int8 if self.layer.out_bits == 8 else torch.int16)


def golden(layer: Layer, x: np.ndarray) -> np.ndarray:
    """IntegerLinear on numpy arrays: x int8 [tokens, k] → y int8 or int16 [tokens, channels]."""
    result: np.ndarray = IntegerLinear(layer)(torch.tensor(x)).numpy()
    return result
