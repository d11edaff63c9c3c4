"""Every integer that the accelerator needs of an encoder, made once from an artefact.

The integer encoder (pruning/integer.py) and the compiler compute with the same numbers, these. A float is its integer
times a scale; a factor is `mult / 2^shift`. Arrays are numpy; a channel is the last dimension.

Three things are not in the artefact as integers and are derived here:

norm      gamma · z / scale + beta / scale as a requantisation of z, which has 16 bits behind the point; where gamma is
          negative the accumulator is negated before the bias is added
rescale   what brings a 16-bit value to the 8-bit operand of the layer behind: 1 … 511 a channel and one shift, so that
          the operand's scale is (scale of the 16 bits) · 2^shift / factor. Scales of an artefact that are no such
          fraction get the nearest: by a relative error of up to 1 / (2 · factor)
head      a product of its own, int8: its operand is what the mean of the tokens rescales to
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pruning.artefact import Artefact, Layer, Model
from pruning.bert import Shape
from pruning.folder import shape_of
from pruning.quantise import BIAS_ROOM, integer_layer, requantisation
from rtl.params import InputError

Z_FRACTION = 16  # bits behind the point of a normalised element
EXP_ONE = 255 << 8  # the exponential of the row's maximum
RESCALE_MAX = 511
RESCALE_SHIFT_MAX = 31
EPSILON_MAX = (1 << 32) - 1
HEAD_DEVIATIONS = 4.0  # of the last LayerNorm: a mean of tokens is seldom farther from the bias; what is saturates


@dataclass(frozen=True)
class Factor:
    """mult / 2^shift of a requantisation without a bias, all channels alike."""

    mult: int
    shift: int


@dataclass(frozen=True, eq=False)
class Rescale:
    """16 bits to 8: saturate((y · factors[channel] + 2^(shift − 1)) >> shift)."""

    factors: np.ndarray  # uint16 [channels], 1 … 511
    shift: int  # 1 … 31


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Mean of the tokens → classes: a NORM that normalises nothing, and a product of 16 bits that cannot saturate."""

    norm: Norm
    layer: Layer
    scale: float  # of a logit


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerParameters:
    """All of an encoder.

    Parameters
    ----------
    words : int16 [vocabulary, hidden]
    positions : int16 [max_tokens, hidden]: what is added to token i, position and token type in one
    norm : of the embeddings
    scale : of the last residual, so of the embedding that POOL gives
    """

    shape: Shape
    words: np.ndarray
    positions: np.ndarray
    norm: Norm
    blocks: tuple[BlockParameters, ...]
    head: Head | None
    scale: float


def pool_factor(tokens: int) -> Factor:
    """What makes a sum of tokens their mean."""
    return factor("pool", 1 / tokens)


def integer_parameters(artefact: Artefact) -> IntegerParameters:
    """The integers of an artefact of the BERT family.

    Raises
    ------
    InputError : no model, or a number that the accelerator's instructions do not hold, named.
    """
    model = artefact.model
    if model is None:
        raise InputError("the artefact holds layers alone (version 1), must hold a whole model")
    shape = shape_of(dict(model.config), "the artefact's config")
    source = _Source(artefact, model)
    blocks = tuple(_block(source, shape, i) for i in range(shape.layers))
    scale = float(source.scale(f"encoder.layer.{shape.layers - 1}.output.residual"))
    return IntegerParameters(
        shape=shape,
        words=source.tensor("embeddings.word_embeddings.weight"),
        positions=_positions(source, shape),
        norm=_norm(source, shape, "embeddings", "encoder.layer.0.attention.self.operand"),
        blocks=blocks,
        head=_head(source, shape, scale) if "head.bias" in model.tensors else None,
        scale=scale,
    )


class _Source:
    """Tensors, scales and layers of an artefact by name; InputError where one is missing."""

    def __init__(self, artefact: Artefact, model: Model) -> None:
        self._tensors: Mapping[str, np.ndarray] = model.tensors
        self._layers = artefact.layers

    def has(self, name: str) -> bool:
        return name in self._tensors

    def tensor(self, name: str) -> np.ndarray:
        if name not in self._tensors:
            raise InputError(f"tensor {name} of the model is missing")
        return self._tensors[name]

    def scale(self, point: str) -> np.ndarray:
        return self.tensor(f"scales.{point}").astype(np.float64)

    def layer(self, name: str) -> Layer:
        if name not in self._layers:
            raise InputError(f"layer {name} is missing")
        return self._layers[name]


def _positions(source: _Source, shape: Shape) -> np.ndarray:
    rows = source.tensor("embeddings.position_embeddings.weight")[shape.first_position :].astype(np.int64)
    if shape.types:
        rows = rows + source.tensor("embeddings.token_type_embeddings.weight")[0]
    return rows.clip(-32768, 32767).astype(np.int16)


def _block(source: _Source, shape: Shape, i: int) -> BlockParameters:
    name = f"encoder.layer.{i}"
    own, feed = f"{name}.attention.self", f"{name}.intermediate"
    q, k, scores = (float(source.scale(f"{own}.{point}")) for point in ("q", "k", "scores"))
    behind = f"encoder.layer.{i + 1}.attention.self.operand" if i + 1 < shape.layers else None
    return BlockParameters(
        name=name,
        query=source.layer(f"{own}.query"),
        key=source.layer(f"{own}.key"),
        value=source.layer(f"{own}.value"),
        scores=factor(f"{own}.scores", q * k / (shape.hidden // shape.heads) ** 0.5 / scores),
        exponential=exponential(scores),
        context=factor(f"{own}.context", _context(source, name)),
        attention_output=source.layer(f"{name}.attention.output.dense"),
        attention_norm=_norm(source, shape, f"{name}.attention.output", f"{feed}.operand"),
        intermediate=source.layer(f"{feed}.dense"),
        table=np.roll(source.tensor(f"tables.{feed}"), 128),
        table_rescale=rescale(float(source.scale(f"{feed}.result")), source.scale(f"{name}.output.operand")),
        output=source.layer(f"{name}.output.dense"),
        output_norm=_norm(source, shape, f"{name}.output", behind),
    )


def _context(source: _Source, block: str) -> float:
    """Scale of the value over that of the context: one number, though both have a scale a channel."""
    ratio = source.scale(f"{block}.attention.self.v") / source.scale(f"{block}.attention.output.operand")
    middle = float(ratio.mean())
    if np.abs(ratio / middle - 1).max() > 1e-6:
        raise InputError(f"scales.{block}.attention.self.v are not those of the context times one number")
    return middle


def _norm(source: _Source, shape: Shape, name: str, operand: str | None) -> Norm:
    """name : the module that has LayerNorm, total and residual"""
    y_scale = float(source.scale(f"{name}.residual"))
    gamma, beta = (source.tensor(f"{name}.LayerNorm.{part}").astype(np.float64) for part in ("weight", "bias"))
    unit = np.maximum(np.abs(gamma) / (1 << Z_FRACTION), np.abs(beta) / BIAS_ROOM)  # of the accumulator: a bias fits
    unit = np.where(unit > 0, unit, y_scale)  # neither gamma nor beta: made zero below
    mult, shift = (part.numpy() for part in requantisation(f"{name}.LayerNorm", torch.from_numpy(unit / y_scale)))
    mult = np.where((gamma == 0) & (beta == 0), 0, mult)
    exact = np.ldexp(mult.astype(np.float64), -shift)  # what one step of the accumulator truly gives
    bias = np.divide(beta / y_scale, exact, out=np.zeros_like(beta), where=exact > 0).round()
    x_scale = float(source.scale("embeddings.total" if name == "embeddings" else f"{name}.total"))
    return Norm(
        name=f"{name}.LayerNorm",
        epsilon=_epsilon(f"{name}.LayerNorm", shape, x_scale),
        bias=bias.astype(np.int32),
        mult=mult.astype(np.uint16),
        shift=shift.astype(np.uint8),
        negate=(gamma < 0).astype(np.uint8),
        operand=None if operand is None else rescale(y_scale, source.scale(operand)),
    )


def _epsilon(name: str, shape: Shape, scale: float) -> int:
    """epsilon · hidden² in steps of the residual squared."""
    epsilon = round(shape.epsilon * shape.hidden**2 / scale**2)
    if epsilon > EPSILON_MAX:
        raise InputError(f"{name}: epsilon is {epsilon} in steps of the residual, must be at most {EPSILON_MAX}")
    return epsilon


def _head(source: _Source, shape: Shape, scale: float) -> Head:
    weight, bias = (source.tensor(f"head.{part}").astype(np.float64) for part in ("weight", "bias"))
    norm = f"encoder.layer.{shape.layers - 1}.output.LayerNorm"
    gamma, beta = (np.abs(source.tensor(f"{norm}.{part}").astype(np.float64)) for part in ("weight", "bias"))
    wanted = np.maximum(HEAD_DEVIATIONS * gamma + beta, scale) / 127
    brought = rescale(scale, wanted)
    operand = represented(scale, brought)
    y_scale = float((np.abs(weight) @ (128 * operand) + np.abs(bias)).max() * 1.01 or 1.0) / 32767
    layer = integer_layer(
        "head",
        torch.from_numpy(weight),
        torch.from_numpy(bias),
        8,
        8,
        x_scale=torch.from_numpy(operand),
        y_scale=torch.tensor(y_scale, dtype=torch.float64),
        out_bits=16,
    )
    channels = shape.hidden
    return Head(
        norm=Norm(
            name="head.operand",
            epsilon=0,
            bias=np.zeros(channels, np.int32),
            mult=np.full(channels, 1 << 15, np.uint16),
            shift=np.full(channels, 15, np.uint8),
            negate=np.zeros(channels, np.uint8),
            operand=brought,
            normalise=False,
        ),
        layer=layer,
        scale=y_scale,
    )


# --- single numbers --------------------------------------------------------------------------------------------------


def factor(name: str, real: float) -> Factor:
    mult, shift = requantisation(name, torch.tensor([real], dtype=torch.float64))
    return Factor(int(mult[0]), int(shift[0]))


def exponential(scale: float) -> np.ndarray:
    """uint16 [256]: exp of minus 0 … 255 steps of the scores, 1 being EXP_ONE."""
    return (EXP_ONE * np.exp(-scale * np.arange(256))).round().astype(np.uint16)


def rescale(wide: float, narrow: np.ndarray) -> Rescale:
    """The nearest factors that bring a 16-bit value, of scale wide, to 8 bits of the scales narrow [channels].

    The shift is the largest that leaves every factor below 512: so they have as many digits as they may.
    """
    ratio = wide / narrow
    shift = RESCALE_SHIFT_MAX
    while shift > 1 and round(float(ratio.max()) * 2.0**shift) > RESCALE_MAX:
        shift -= 1
    return Rescale((ratio * 2.0**shift).round().clip(1, RESCALE_MAX).astype(np.uint16), shift)


def represented(wide: float, brought: Rescale) -> np.ndarray:
    """float64 [channels]: the scales of the 8-bit values that a rescale gives, exactly."""
    return wide * 2.0**brought.shift / brought.factors.astype(np.float64)
