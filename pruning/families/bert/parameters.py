"""Every integer that the accelerator needs of an encoder of text, made once from an artefact.

The blocks are those of pruning/encoder/parameters.py. The head is a product of its own, int8: its operand is what the
mean of the tokens rescales to.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from pruning.encoder.narrow_rows import NarrowRows, narrow_rows
from pruning.encoder.parameters import BlockParameters, Norm, Source, block_parameters, layer_norm
from pruning.families.bert.folder import shape_of
from pruning.families.bert.model import Shape
from pruning.files.artefact import Artefact, Layer
from pruning.integers.quantise import integer_layer
from pruning.integers.rescale import representable, rescale

HEAD_DEVIATIONS = 4.0  # of the last LayerNorm: a mean of tokens is seldom farther from the bias; what is saturates


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
    narrow_words : the same in 8 bits, where memory is to hold it so
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
    narrow_words: NarrowRows | None = None

    def narrowed(self) -> "IntegerParameters":
        """With words in 8 bits, each of a scale of its own."""
        rows = narrow_rows("embeddings.word_embeddings", self.words)
        return replace(self, words=rows.wide(), narrow_words=rows)


def integer_parameters(artefact: Artefact) -> IntegerParameters:
    """The integers of an artefact of the BERT family.

    Raises
    ------
    InputError : no model, or a number that the accelerator's instructions do not hold, named.
    """
    model = artefact.whole
    shape = shape_of(dict(model.config), "the artefact's config")
    source = Source(artefact)
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


def _positions(source: Source, shape: Shape) -> np.ndarray:
    positions = source.integers("embeddings.position_embeddings.weight", shape.positions, shape.hidden)
    rows = positions[shape.first_position :].astype(np.int64)
    if shape.types:
        rows = rows + source.integers("embeddings.token_type_embeddings.weight", shape.types, shape.hidden)[0]
    return rows.clip(-32768, 32767).astype(np.int16)


def _block(source: Source, shape: Shape, i: int) -> BlockParameters:
    name = f"encoder.layer.{i}"
    behind = f"encoder.layer.{i + 1}.attention.self.operand" if i + 1 < shape.layers else None
    return block_parameters(
        source,
        shape,
        name,
        "attention.self",
        attention_norm=_norm(source, shape, f"{name}.attention.output", f"{name}.intermediate.operand"),
        output_norm=_norm(source, shape, f"{name}.output", behind),
    )


def _norm(source: Source, shape: Shape, name: str, operand: str | None) -> Norm:
    """name : the module that has LayerNorm, total and residual"""
    return layer_norm(source, shape, f"{name}.LayerNorm", x=f"{name}.total", y=f"{name}.residual", operand=operand)


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
