"""Every integer that the accelerator needs of an encoder, made once from an artefact.

The integer encoder (pruning/families/bert/integer.py) and the compiler compute with the same numbers, these. A float is
its integer times a scale; a factor is `mult / 2^shift`. Arrays are numpy; a channel is the last dimension.

Three things are not in the artefact as integers and are derived here:

norm      gamma · z / scale + beta / scale as a requantisation of z, which has 16 bits behind the point; where gamma is
          negative the accumulator is negated before the bias is added
rescale   what brings a 16-bit value to the 8-bit operand of the layer behind (pruning/integers/rescale.py).
          Calibration gives scales that a factor makes exactly; those of older artefacts get the nearest factor, so
          that a scale may be wrong by 1 / (2 · factor): this costs MiniLM 0.0002 of the cosine to float
head      a product of its own, int8: its operand is what the mean of the tokens rescales to
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pruning.families.bert.folder import shape_of
from pruning.families.bert.model import Shape
from pruning.files.artefact import Artefact, Layer, Model, check_numbers
from pruning.integers.quantise import BIAS_ROOM, integer_layer, requantisation
from pruning.integers.rescale import Rescale as Rescale
from pruning.integers.rescale import representable, rescale
from pruning.integers.rescale import represented as represented
from rtl.params import InputError

Z_FRACTION = 16  # bits behind the point of a normalised element
EXP_ONE = 255 << 8  # the exponential of the row's maximum
EPSILON_MAX = (1 << 32) - 1
HEAD_DEVIATIONS = 4.0  # of the last LayerNorm: a mean of tokens is seldom farther from the bias; what is saturates


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
    source = Source(artefact, model)
    blocks = tuple(_block(source, shape, i) for i in range(shape.layers))
    scale = source.scale(f"encoder.layer.{shape.layers - 1}.output.residual")
    classes = model.tensors["head.bias"].size if "head.bias" in model.tensors else 0
    return IntegerParameters(
        shape=shape,
        words=source.integers("embeddings.word_embeddings.weight", shape.vocabulary, shape.hidden),
        positions=_positions(source, shape),
        norm=_norm(source, shape, "embeddings", "encoder.layer.0.attention.self.operand"),
        blocks=blocks,
        head=_head(source, shape, classes, scale) if classes else None,
        scale=scale,
    )


class Source:
    """Tensors, scales and layers of an artefact by name; InputError where one is missing or of another shape."""

    def __init__(self, artefact: Artefact, model: Model) -> None:
        self._tensors: Mapping[str, np.ndarray] = model.tensors
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


def _positions(source: Source, shape: Shape) -> np.ndarray:
    positions = source.integers("embeddings.position_embeddings.weight", shape.positions, shape.hidden)
    rows = positions[shape.first_position :].astype(np.int64)
    if shape.types:
        rows = rows + source.integers("embeddings.token_type_embeddings.weight", shape.types, shape.hidden)[0]
    return rows.clip(-32768, 32767).astype(np.int16)


def _block(source: Source, shape: Shape, i: int) -> BlockParameters:
    name, hidden, inner = f"encoder.layer.{i}", shape.hidden, shape.intermediate
    own, feed = f"{name}.attention.self", f"{name}.intermediate"
    q, k, scores = (source.scale(f"{own}.{point}") for point in ("q", "k", "scores"))
    behind = f"encoder.layer.{i + 1}.attention.self.operand" if i + 1 < shape.layers else None
    return BlockParameters(
        name=name,
        query=source.layer(f"{own}.query", hidden, hidden),
        key=source.layer(f"{own}.key", hidden, hidden),
        value=source.layer(f"{own}.value", hidden, hidden),
        scores=factor(f"{own}.scores", q * k / (hidden // shape.heads) ** 0.5 / scores),
        exponential=exponential(scores),
        context=context_factor(source, f"{own}.v", f"{name}.attention.output.operand", hidden),
        attention_output=source.layer(f"{name}.attention.output.dense", hidden, hidden, 16),
        attention_norm=_norm(source, shape, f"{name}.attention.output", f"{feed}.operand"),
        intermediate=source.layer(f"{feed}.dense", inner, hidden),
        table=np.roll(source.integers(f"tables.{feed}", 256), 128),
        table_rescale=rescale(source.scale(f"{feed}.result"), source.scales(f"{name}.output.operand", inner)),
        output=source.layer(f"{name}.output.dense", hidden, inner, 16),
        output_norm=_norm(source, shape, f"{name}.output", behind),
    )


def context_factor(source: Source, value: str, context: str, hidden: int) -> Factor:
    """Scale of the value over that of the context: one number, though both have a scale a channel."""
    ratio = source.scales(value, hidden) / source.scales(context, hidden)
    middle = float(ratio.mean())
    if np.abs(ratio / middle - 1).max() > 1e-6:
        raise InputError(f"scales.{value} are not those of the context times one number")
    return factor(f"{value.rpartition('.')[0]}.context", middle)


def _norm(source: Source, shape: Shape, name: str, operand: str | None) -> Norm:
    """name : the module that has LayerNorm, total and residual"""
    y_scale = source.scale(f"{name}.residual")
    return layer_norm(
        f"{name}.LayerNorm",
        *(source.floats(f"{name}.LayerNorm.{part}", shape.hidden) for part in ("weight", "bias")),
        epsilon=shape.epsilon,
        x_scale=source.scale(f"{name}.total"),
        y_scale=y_scale,
        operand=None if operand is None else rescale(y_scale, source.scales(operand, shape.hidden)),
    )


def layer_norm(
    name: str,
    gamma: np.ndarray,
    beta: np.ndarray,
    *,
    epsilon: float,
    x_scale: float,
    y_scale: float,
    operand: Rescale | None,
) -> Norm:
    """gamma, beta float64 [channels] and epsilon are the float model's; x_scale is the residual's that it reads."""
    unit = np.maximum(np.abs(gamma) / (1 << Z_FRACTION), np.abs(beta) / BIAS_ROOM)  # of the accumulator: a bias fits
    unit = np.where(unit > 0, unit, y_scale)  # neither gamma nor beta: made zero below
    mult, shift = (part.numpy() for part in requantisation(name, torch.from_numpy(unit / y_scale)))
    mult = np.where((gamma == 0) & (beta == 0), 0, mult)
    exact = np.ldexp(mult.astype(np.float64), -shift)  # what one step of the accumulator truly gives
    bias = np.divide(beta / y_scale, exact, out=np.zeros_like(beta), where=exact > 0).round()
    steps = round(epsilon * len(gamma) ** 2 / x_scale**2)  # of the residual squared
    if steps > EPSILON_MAX:
        raise InputError(f"{name}: epsilon is {steps} in steps of the residual, must be at most {EPSILON_MAX}")
    return Norm(
        name=name,
        epsilon=steps,
        bias=bias.astype(np.int32),
        mult=mult.astype(np.uint16),
        shift=shift.astype(np.uint8),
        negate=(gamma < 0).astype(np.uint8),
        operand=operand,
    )


def _head(source: Source, shape: Shape, classes: int, scale: float) -> Head:
    bias = source.floats("head.bias", classes)
    weight = source.floats("head.weight", classes, shape.hidden)
    norm = f"encoder.layer.{shape.layers - 1}.output.LayerNorm"
    gamma, beta = (np.abs(source.floats(f"{norm}.{part}", shape.hidden)) for part in ("weight", "bias"))
    operand = representable(scale, np.maximum(HEAD_DEVIATIONS * gamma + beta, scale) / 127)
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
            operand=rescale(scale, operand),
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
