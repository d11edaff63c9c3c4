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


def table(activation: str, x_scale: Tensor, zero: int, y_scale: Tensor) -> Tensor:
    """int16 [256]: the activation function of the inputs −128 … 127, of which `zero` stands for 0."""
    inputs = (torch.arange(-128, 128, dtype=torch.float64) - zero) * x_scale
    return (ACTIVATIONS[activation](inputs) / y_scale).round().clamp(-32768, 32767).to(torch.int16)


def flat_below(activation: str, small: float) -> float:
    """The input, in sixteenths down to −20, below which no result is larger than `small`.

    Of 0.005: gelu −2.9375, silu −7.3125, relu 0.
    """
    inputs = -torch.arange(0, 321, dtype=torch.float64) / 16  # from 0 down
    others = (ACTIVATIONS[activation](inputs[:-1]).abs() > small).nonzero().flatten().tolist()
    return float(inputs[max(others) + 1]) if others else 0.0
