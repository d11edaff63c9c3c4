"""The activation functions between the feed-forward layers, by their names in config.json."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import gelu, relu, silu

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": partial(gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(gelu, approximate="tanh"),
    "relu": relu,
    "silu": silu,
}


def table(activation: str, x_scale: Tensor, y_scale: Tensor) -> Tensor:
    """int16 [256]: the activation function of the inputs −128 … 127."""
    inputs = torch.arange(-128, 128, dtype=torch.float64) * x_scale
    return (ACTIVATIONS[activation](inputs) / y_scale).round().clamp(-32768, 32767).to(torch.int16)
