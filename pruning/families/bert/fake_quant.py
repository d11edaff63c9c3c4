"""Fake quantisation: the float forward, rounded at every point where the accelerator rounds.

Products compute with what int8 holds, exactly: each operand and each weight is an integer times its scale. The residual
has 16 bits. Softmax and LayerNorm stay in float, except that the exponentials which multiply the values are 8 bits,
unsigned, and are divided by the sum of what was emitted. Rounding passes gradients (straight through), so a model
trains in this form too; masks stay, since they come before the rounding and a zero rounds to zero. What a model scores
in int8 is computed in integers instead (pruning/families/bert/integer.py).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pruning.encoder.scales import Scales, zero_at
from pruning.families.bert.model import Encoder, Point, Softmax, bits_of


def quantise(encoder: Encoder, scales: Scales, *, weights: bool = True) -> Encoder:
    """Rounds an encoder in place; returns it.

    weights : false for an encoder out of an artefact, whose weights are integers times their scales already
    """
    for name in encoder.points():
        _exchange(encoder, name, Rounded(scales[name], bits_of(name), zero_at(name, scales)))
    for i, block in enumerate(encoder.blocks()):
        block.attention.self.softmax = RoundedSoftmax()
        for name, layer in block.named_modules():
            if weights and isinstance(layer, nn.Linear):
                operand = scales[operand_of(f"encoder.layer.{i}.{name}")]
                parametrize.register_parametrization(layer, "weight", RoundedWeight(operand), unsafe=True)
    return encoder


def operand_of(linear: str) -> str:
    """The point that a linear layer reads, both by name."""
    return f"{linear.rpartition('.')[0]}.operand"


def dequantise(encoder: Encoder) -> Encoder:
    """The float encoder again, in place, with the live weights behind the rounding and with its masks; returns it."""
    for name in encoder.points():
        _exchange(encoder, name, Point())
    for block in encoder.blocks():
        block.attention.self.softmax = Softmax()
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                _live(layer)
    return encoder


def _live(layer: nn.Linear) -> None:
    """Takes the rounding off a layer's weight; a mask before it stays."""
    if not parametrize.is_parametrized(layer, "weight"):
        return
    chain = cast(parametrize.ParametrizationList, cast(nn.ModuleDict, layer.parametrizations)["weight"])
    if isinstance(chain[-1], RoundedWeight):
        if len(chain) == 1:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        else:
            del chain[len(chain) - 1]


def _exchange(encoder: Encoder, name: str, point: Point) -> None:
    parent, _, own = name.rpartition(".")
    setattr(encoder.get_submodule(parent), own, point)


class Rounded(Point):
    """x → the nearest integer times the scale, saturated to the bits; ties to even.

    Parameters
    ----------
    scale : a scalar, or [channels] along the last dimension of x
    zero : the integer that stands for 0
    """

    scale: Tensor

    def __init__(self, scale: Tensor, bits: int, zero: int = 0) -> None:
        super().__init__()
        self.register_buffer("scale", scale.to(torch.float32))
        half = 1 << (bits - 1)
        self.bits, self.least, self.most = bits, -half - zero, half - 1 - zero

    def forward(self, x: Tensor) -> Tensor:
        return straight_through_round((x.float() / self.scale).clamp(self.least, self.most)) * self.scale

    def extra_repr(self) -> str:
        return f"bits={self.bits}, least={self.least}"


class RoundedSoftmax(Softmax):
    """Softmax as the accelerator will have it, with exact exponentials.

    exp(score − maximum) is emitted in 255ths; what rounding leaves is carried along the row, so that a long tail is not
    lost; the emitted numbers are divided by their sum.
    """

    def forward(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        weights = super().forward(scores.float(), mask)
        exponentials = weights / weights.amax(dim=-1, keepdim=True) * 255
        emitted = exponentials.double().cumsum(dim=-1).round().diff(dim=-1, prepend=torch.zeros(*scores.shape[:-1], 1))
        rounded = (emitted / emitted.sum(dim=-1, keepdim=True)).to(weights.dtype)
        return weights + (rounded - weights).detach()


class RoundedWeight(nn.Module):
    """weight → what int8 holds of it, −127 … 127 with a scale an output channel, beside the scales of its inputs."""

    inputs: Tensor

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.register_buffer("inputs", inputs.to(torch.float32))

    def forward(self, weight: Tensor) -> Tensor:
        folded = weight.float() * self.inputs
        scales = folded.detach().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
        return straight_through_round(folded / scales) * scales / self.inputs

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def straight_through_round(x: Tensor) -> Tensor:
    """The nearest integers, ties to even; gradients pass as if nothing were rounded."""
    return x + (x.round() - x).detach()
