"""Every integer that the accelerator needs of the blocks of an encoder, made once from an artefact.

The integer encoder (pruning/encoder/integer.py) and the compiler compute with the same numbers, these. A float is its
integer times a scale; a factor is `mult / 2^shift`. Arrays are numpy; a channel is the last dimension. What stands
before and behind the blocks is in the families' own parameters.py.

Two things are not in the artefact as integers and are derived here:

norm      gamma · z / scale + beta / scale as a requantisation of z, which has 16 bits behind the point; where gamma is
          negative the accumulator is negated before the bias is added
rescale   what brings a 16-bit value to the 8-bit operand of the layer behind (pruning/integers/rescale.py).
          Calibration gives scales that a factor makes exactly; those of older artefacts get the nearest factor, so
          that a scale may be wrong by 1 / (2 · factor): this costs MiniLM 0.0002 of the cosine to float
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pruning.files.artefact import Artefact, Layer, check_numbers
from pruning.integers.quantise import BIAS_ROOM, requantisation
from pruning.integers.rescale import Rescale, rescale
from rtl.params import InputError

Z_FRACTION = 16  # bits behind the point of a normalised element
EXP_ONE = 255 << 8  # the exponential of the row's maximum
EPSILON_MAX = (1 << 32) - 1


class EncoderShape(Protocol):
    """What a config.json of any family says of the blocks."""

    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def epsilon(self) -> float: ...


@dataclass(frozen=True)
class Factor:
    """mult / 2^shift of a requantisation without a bias, all channels alike."""

    mult: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """An instruction NORM: z of the residual, requantised to 16 bits a channel, these rescaled to the 8-bit operand.

    Parameters
    ----------
    normalise : false: z is the residual as it is
    operand : None where nothing behind reads it in 8 bits
    """

    name: str
    epsilon: int
    bias: np.ndarray  # int32 [channels]
    mult: np.ndarray  # uint16 [channels]
    shift: np.ndarray  # uint8 [channels]
    negate: np.ndarray  # uint8 [channels], 0 or 1
    operand: Rescale | None
    normalise: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockParameters:
    """A block, in the order of its instructions. Layers that end in `output` are added to the residual."""

    name: str  # 'encoder.layer.3'
    query: Layer
    key: Layer
    value: Layer
    scores: Factor
    exponential: np.ndarray  # uint16 [256], by maximum − score
    context: Factor  # beside the sum of the exponentials
    attention_output: Layer
    attention_norm: Norm
    intermediate: Layer  # 8 bits, the index of the table
    table: np.ndarray  # int16 [256], by index & 255
    table_rescale: Rescale
    output: Layer
    output_norm: Norm  # of the last block without an operand


def pool_factor(tokens: int) -> Factor:
    """What makes a sum of tokens their mean."""
    return factor("pool", 1 / tokens)


class Source:
    """Tensors, scales and layers of an artefact by name; InputError where one is missing or of another shape."""

    def __init__(self, artefact: Artefact) -> None:
        self._tensors: Mapping[str, np.ndarray] = artefact.whole.tensors
        self._layers = artefact.layers

    def integers(self, name: str, *shape: int) -> np.ndarray:
        return self._tensor(name, np.dtype(np.int16), shape)

    def floats(self, name: str, *shape: int) -> np.ndarray:
        return self._tensor(name, np.dtype(np.float32), shape).astype(np.float64)

    def scale(self, point: str) -> float:
        return float(self.scales(point))

    def scales(self, point: str, *channels: int) -> np.ndarray:
        found = self._tensor(f"scales.{point}", np.dtype(np.float64), channels)
        check_numbers(f"scales.{point}", found)
        return found

    def layer(self, name: str, channels: int, k: int, out_bits: int = 8) -> Layer:
        if name not in self._layers:
            raise InputError(f"layer {name} is missing")
        layer = self._layers[name]
        found, wanted = (layer.channels, layer.k, layer.out_bits), (channels, k, out_bits)
        if found != wanted:
            raise InputError(f"layer {name} has channels, k and out_bits {found}, must be {wanted} by the config")
        return layer

    def _tensor(self, name: str, kind: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self._tensors:
            raise InputError(f"tensor {name} of the model is missing")
        tensor = self._tensors[name]
        if tensor.dtype != kind or tensor.shape != shape:
            found, wanted = (f"{type_} {list(of)}" for type_, of in ((tensor.dtype, tensor.shape), (kind, shape)))
            raise InputError(f"tensor {name} is {found}, must be {wanted} by the config")
        return tensor


def block_parameters(
    source: Source, shape: EncoderShape, name: str, attention: str, attention_norm: Norm, output_norm: Norm
) -> BlockParameters:
    """The integers of the block `name`.

    attention : the module in it that has query, key and value
    attention_norm, output_norm : what follows the two sums with the residual
    """
    hidden, inner = shape.hidden, shape.intermediate
    own, feed = f"{name}.{attention}", f"{name}.intermediate"
    q, k, scores = (source.scale(f"{own}.{point}") for point in ("q", "k", "scores"))
    return BlockParameters(
        name=name,
        query=source.layer(f"{own}.query", hidden, hidden),
        key=source.layer(f"{own}.key", hidden, hidden),
        value=source.layer(f"{own}.value", hidden, hidden),
        scores=factor(f"{own}.scores", q * k / (hidden // shape.heads) ** 0.5 / scores),
        exponential=exponential(scores),
        context=context_factor(source, f"{own}.v", f"{name}.attention.output.operand", hidden),
        attention_output=source.layer(f"{name}.attention.output.dense", hidden, hidden, 16),
        attention_norm=attention_norm,
        intermediate=source.layer(f"{feed}.dense", inner, hidden),
        table=np.roll(source.integers(f"tables.{feed}", 256), 128),
        table_rescale=rescale(source.scale(f"{feed}.result"), source.scales(f"{name}.output.operand", inner)),
        output=source.layer(f"{name}.output.dense", hidden, inner, 16),
        output_norm=output_norm,
    )


def context_factor(source: Source, value: str, context: str, hidden: int) -> Factor:
    """Scale of the value over that of the context: one number, though both have a scale a channel."""
    ratio = source.scales(value, hidden) / source.scales(context, hidden)
    middle = float(ratio.mean())
    if np.abs(ratio / middle - 1).max() > 1e-6:
        raise InputError(f"scales.{value} are not those of the context times one number")
    return factor(f"{value.rpartition('.')[0]}.context", middle)


def layer_norm(source: Source, shape: EncoderShape, name: str, *, x: str, y: str, operand: str | None) -> Norm:
    """The integers of the LayerNorm `name`.

    x, y : the points of the residual that it reads and of what it gives
    operand : the point of the 8-bit operand behind it; None where nothing reads one
    """
    gamma, beta = (source.floats(f"{name}.{part}", shape.hidden) for part in ("weight", "bias"))
    x_scale, y_scale = source.scale(x), source.scale(y)
    unit = np.maximum(np.abs(gamma) / (1 << Z_FRACTION), np.abs(beta) / BIAS_ROOM)  # of the accumulator: a bias fits
    unit = np.where(unit > 0, unit, y_scale)  # neither gamma nor beta: made zero below
    mult, shift = (part.numpy() for part in requantisation(name, torch.from_numpy(unit / y_scale)))
    mult = np.where((gamma == 0) & (beta == 0), 0, mult)
    exact = np.ldexp(mult.astype(np.float64), -shift)  # what one step of the accumulator truly gives
    bias = np.divide(beta / y_scale, exact, out=np.zeros_like(beta), where=exact > 0).round()
    steps = round(shape.epsilon * len(gamma) ** 2 / x_scale**2)  # of the residual squared
    if steps > EPSILON_MAX:
        raise InputError(f"{name}: epsilon is {steps} in steps of the residual, must be at most {EPSILON_MAX}")
    return Norm(
        name=name,
        epsilon=steps,
        bias=bias.astype(np.int32),
        mult=mult.astype(np.uint16),
        shift=shift.astype(np.uint8),
        negate=(gamma < 0).astype(np.uint8),
        operand=None if operand is None else rescale(y_scale, source.scales(operand, shape.hidden)),
    )


# --- single numbers --------------------------------------------------------------------------------------------------


def factor(name: str, real: float) -> Factor:
    mult, shift = requantisation(name, torch.tensor([real], dtype=torch.float64))
    return Factor(int(mult[0]), int(shift[0]))


def exponential(scale: float) -> np.ndarray:
    """uint16 [256]: exp of minus 0 … 255 steps of the scores, 1 being EXP_ONE."""
    return (EXP_ONE * np.exp(-scale * np.arange(256))).round().astype(np.uint16)
