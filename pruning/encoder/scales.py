"""The scale of every point where the accelerator rounds in an encoder's blocks, from what the float model sees.

An integer times its scale is the float. Scales are float64: one a point, or one a channel where that is free because it
folds into the weights behind it (SmoothQuant, arXiv 2211.10438). What is free where:

operand of a linear layer  a scale a channel: LayerNorm, and the requantiser of the layer before, scale channels apart
value                      the shape of the context's, which the attention's sums of it keep
query, key                 one scale
table input                one scale, and an integer that stands for 0, which the bias before it holds: all 256 inputs
                           lie between the least one seen, or where the function is flat, and the largest
scores                     one scale, set by the largest score: clipping there would lose the maximum; low ones saturate
residual, sums of it       16 bits, one scale for both operands of an addition, with room for twice what was seen
table output               16 bits; a scale a channel brings it to the 8 bits of the operand behind it
operand behind 16 bits     a scale that is theirs over one of a few factors (pruning/integers/rescale.py)

The operand behind the activation function errs most: a few tokens have very large inputs in one channel, and these
decide much of the result. How much of them to smooth, and whether to saturate the largest, differs from model to model
(`ACTIVATED`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from pruning.encoder.activations import ACTIVATIONS, flat_below
from pruning.integers.rescale import representable


class Smoothing(NamedTuple):
    """How the scales of an operand are made.

    alpha : how much of the spread of the channels moves from the activations to the weights
    percentile : of the magnitudes of an 8-bit tensor; what is larger saturates
    """

    alpha: float = 0.85
    percentile: float = 99.99


USUAL = Smoothing()
# Of the operand behind the activation function, to choose from.
ACTIVATED = (USUAL, Smoothing(0.85, 100), Smoothing(0.8, 100), Smoothing(0.75, 100), Smoothing(0.7, 100))
LEAST = 1e-3  # of the largest channel: what any other counts as at least
HEADROOM = 2.0  # of 16-bit tensors
FLAT = 0.005  # up to which a result of the activation function counts as none: of the largest, or of 1 if that is less

Scales = Mapping[str, Tensor]  # by the name of the point: float64, a scalar or [channels]


def block_scales(
    model: nn.Module, seen: Scales, name: str, attention: str, activation: str, smoothing: Smoothing = USUAL
) -> dict[str, Tensor]:
    """Scales of the 8-bit points of the block `name`, its operands behind 16 bits not yet `represented`, and
    the integer that stands for 0 at the table's input.

    seen : what each point gets, [tokens, channels]; of scores any that have their largest
    attention : the module in the block that has query, key and value
    activation : the function of the table
    """
    own = f"{name}.{attention}"
    readers = {f"{own}.operand": [f"{own}.{part}" for part in ("query", "key", "value")]}
    for part in ("attention.output", "intermediate", "output"):
        readers[f"{name}.{part}.operand"] = [f"{name}.{part}.dense"]
    scales: dict[str, Tensor] = {}
    for point, names in readers.items():
        linears = [cast(nn.Linear, model.get_submodule(linear)) for linear in names]
        scales[point] = operand_scale(seen[point], linears, smoothing)
    context = scales[f"{name}.attention.output.operand"]
    scales[f"{own}.v"] = narrow_scale(seen[f"{own}.v"] / context, smoothing.percentile) * context
    for point in (f"{own}.q", f"{own}.k"):
        scales[point] = narrow_scale(seen[point], smoothing.percentile)
    table = f"{name}.intermediate.table"
    scales[table], scales[zero_of(table)] = table_scale(seen[table], activation)
    scales[f"{own}.scores"] = upper_scale(seen[f"{own}.scores"])
    return scales


def together(seen: Sequence[Scales]) -> dict[str, Tensor]:
    """What the points of several models get, as if it were one."""
    return {point: torch.cat([one[point] for one in seen]) for point in seen[0]}


def wide_scales(seen: Scales, sharing: Iterable[Sequence[str]]) -> dict[str, Tensor]:
    """Scales of the points of 16 bits, of which those that share one come together."""
    scales: dict[str, Tensor] = {}
    for points in sharing:
        scales |= dict.fromkeys(points, wide_scale(HEADROOM * max(float(seen[point].max()) for point in points)))
    return scales


def represented(scales: Scales, rescaled: Mapping[str, str]) -> dict[str, Tensor]:
    """The scales of operands behind 16 bits as a factor makes them; rescaled : the operand and the point before it."""
    return {
        operand: torch.from_numpy(representable(float(scales[wide]), scales[operand].numpy()))
        for operand, wide in rescaled.items()
    }


def operand_scale(inputs: Tensor, linears: Sequence[nn.Linear], smoothing: Smoothing) -> Tensor:
    """float64 [channels]: of what linear layers read, inputs [tokens, channels]."""
    shape = smoothed(inputs, linears, smoothing.alpha)
    return narrow_scale(inputs / shape, smoothing.percentile) * shape


def smoothed(inputs: Tensor, linears: Sequence[nn.Linear], alpha: float) -> Tensor:
    """float64 [channels]: largest input to the power alpha, over largest weight to the power 1 − alpha.

    inputs [tokens, channels]; linears: the layers that read them. A channel that was hardly seen, or hardly weighs,
    counts as LEAST of the largest: other text may use it.
    """
    weights = torch.cat([linear.weight.detach() for linear in linears])
    inputs_largest, weights_largest = (side.abs().amax(dim=0).to(torch.float64) for side in (inputs, weights))
    return _at_least(inputs_largest) ** alpha / _at_least(weights_largest) ** (1 - alpha)


def _at_least(largest: Tensor) -> Tensor:
    top = float(largest.max())
    return largest.clamp(min=LEAST * top if top else 1.0)


def narrow_scale(x: Tensor, percentile: float) -> Tensor:
    """float64: the percentile of the magnitudes is 127."""
    magnitudes = x.abs().flatten().to(torch.float64)
    rank = max(1, min(len(magnitudes), round(len(magnitudes) * percentile / 100)))
    return (magnitudes.kthvalue(rank).values / 127).clamp(min=1e-12)


def zero_of(point: str) -> str:
    """The name of the integer that stands for 0 at a point, beside the scale's; without one it is 0."""
    return f"{point}.zero"


def zero_at(point: str, scales: Scales) -> int:
    """The integer that stands for 0 at a point."""
    return int(scales.get(zero_of(point), 0))


def offset_at(point: str, scales: Scales) -> Tensor:
    """float64: what is in the bias of the layer before a point because an integer other than 0 stands for 0 there."""
    return zero_at(point, scales) * scales[point]


def tensors_of_scales(scales: Scales) -> dict[str, np.ndarray]:
    """scales.POINT, and zeros.POINT int16 where one is given: what an artefact has of them."""
    found: dict[str, np.ndarray] = {}
    for name, value in scales.items():
        point = name.removesuffix(".zero")
        if point == name:
            found[f"scales.{point}"] = value.numpy()
        else:
            found[f"zeros.{point}"] = value.numpy().astype(np.int16)
    return found


def scales_of_tensors(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The scales, and the integers that stand for 0, by those tensors of an artefact."""
    found: dict[str, Tensor] = {}
    for name, array in tensors.items():
        kind, _, point = name.partition(".")
        if kind == "scales":
            found[point] = torch.from_numpy(array.copy())
        elif kind == "zeros":
            found[zero_of(point)] = torch.from_numpy(array.astype(np.float64))
    return found


def table_scale(x: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """(scale, zero), float64: the largest input is 127; −128 is the least one, or where the function is flat below.

    The largest one and no percentile: what the few huge inputs give decides much of the result.
    """
    small = FLAT * min(1.0, float(ACTIVATIONS[activation](x).abs().max()))
    low = min(0.0, max(float(x.min()), flat_below(activation, small)))
    high = max(0.0, float(x.max()))
    if low == high:  # a function that is flat below 0, of negative inputs alone
        return narrow_scale(x, 100), torch.zeros((), dtype=torch.float64)
    scale = torch.tensor((high - low) / 255, dtype=torch.float64).clamp(min=1e-12)
    return scale, (-128 - low / scale).round()


def wide_scale(largest: float) -> Tensor:
    """float64: the largest is 32767."""
    return torch.tensor((largest or 1.0) / 32767, dtype=torch.float64)


def upper_scale(scores: Tensor) -> Tensor:
    """float64: the largest is 127."""
    return (scores.max().to(torch.float64) / 127).clamp(min=1e-3)
