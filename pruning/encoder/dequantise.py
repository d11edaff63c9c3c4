"""Of integer layers the floats that they stand for."""

import numpy as np
import torch
from torch import Tensor

from pruning.files.artefact import Layer
from rtl.params import InputError


def dequantised(layer: Layer, part: str, x_scale: Tensor, y_scale: Tensor) -> Tensor:
    """weight [channels, k] or bias [channels] of an integer layer: what one step of an accumulator is worth, times the
    integers, over the scale of the input."""
    for what, scale, wanted in (("inputs", x_scale, layer.k), ("results", y_scale, layer.channels)):
        if scale.shape not in ((), (wanted,)):
            raise InputError(f"layer {layer.name} has {len(scale)} scales of its {what}, must have 1 or {wanted}")
    unit = torch.from_numpy(np.ldexp(layer.mult.astype(np.float64), -layer.shift.astype(np.int64))) * y_scale
    if part == "bias":
        return torch.from_numpy(layer.bias.astype(np.float64)) * unit
    return torch.from_numpy(layer.weights.astype(np.float64)) * unit[:, None] / x_scale
