"""Every integer that the accelerator needs of a ViT, made once from an artefact.

The rules are those of pruning/families/bert/parameters.py, whose blocks these are: their LayerNorms stand one earlier,
so that block i holds layernorm_after of its own and layernorm_before of block i + 1, the last block the final one. What
a LayerNorm computes goes to the operand alone, and the residual stays; where nothing reads an operand, to the residual.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pruning.families.bert.integer import requantise
from pruning.families.bert.parameters import (
    BlockParameters,
    Norm,
    Source,
    context_factor,
    exponential,
    factor,
    layer_norm,
    rescale,
)
from pruning.families.vit.export import CLASSIFIER, PROJECTION, checked_shape
from pruning.families.vit.model import ViTShape
from pruning.files.artefact import Artefact, Layer


@dataclass(frozen=True, kw_only=True, eq=False)
class VitParameters:
    """All of a ViT.

    Parameters
    ----------
    initial : int16 [tokens, hidden]: what the residual begins as, before the patches' projection is added
    projection : of the patches, 16 bits; of a class token's zeros it gives what `initial` lacks there
    norm : layernorm_before of the first block
    classifier : of the class token, 16 bits that cannot saturate; None where there is none
    scale : of a logit or, without a classifier, of the class token's state
    """

    shape: ViTShape
    initial: np.ndarray
    projection: Layer
    norm: Norm
    blocks: tuple[BlockParameters, ...]
    classifier: Layer | None
    scale: float


def vit_parameters(artefact: Artefact) -> VitParameters:
    """The integers of an artefact of a ViT.

    Raises
    ------
    InputError : no ViT, or a number that the accelerator's instructions do not hold, named.
    """
    shape = checked_shape(artefact)
    assert artefact.model  # checked_shape says so otherwise
    source = Source(artefact, artefact.model)
    projection = source.layer(PROJECTION, shape.hidden, shape.channels * shape.patch**2, 16)
    classifier = source.layer(CLASSIFIER, shape.labels, shape.hidden, 16) if shape.labels else None
    return VitParameters(
        shape=shape,
        initial=_initial(source, shape, projection),
        projection=projection,
        norm=_norm_before(source, shape, 0),
        blocks=tuple(_block(source, shape, i) for i in range(shape.layers)),
        classifier=classifier,
        scale=source.scale(CLASSIFIER if classifier else "layernorm"),
    )


def _initial(source: Source, shape: ViTShape, projection: Layer) -> np.ndarray:
    """int16 [tokens, hidden]"""
    rows = source.floats("embeddings.position_embeddings", 1, shape.tokens, shape.hidden)[0]
    rows[0] += source.floats("embeddings.cls_token", 1, 1, shape.hidden)[0, 0]
    steps = torch.from_numpy(rows / source.scale("residual")).round()
    factors = torch.from_numpy(np.ldexp(projection.mult.astype(np.float64), -projection.shift.astype(np.int64)))
    steps[0] -= requantise(torch.zeros(1), torch.from_numpy(projection.bias.astype(np.float64)), factors, 16)
    return np.asarray(steps.clamp(-32768, 32767).to(torch.int16))


def _block(source: Source, shape: ViTShape, i: int) -> BlockParameters:
    name, hidden, inner = f"encoder.layer.{i}", shape.hidden, shape.intermediate
    own, feed = f"{name}.attention.attention", f"{name}.intermediate"
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
        attention_norm=_norm(source, shape, f"{name}.layernorm_after", f"{feed}.operand"),
        intermediate=source.layer(f"{feed}.dense", inner, hidden),
        table=np.roll(source.integers(f"tables.{feed}", 256), 128),
        table_rescale=rescale(source.scale(f"{feed}.result"), source.scales(f"{name}.output.operand", inner)),
        output=source.layer(f"{name}.output.dense", hidden, inner, 16),
        output_norm=_norm_before(source, shape, i + 1),
    )


def _norm_before(source: Source, shape: ViTShape, i: int) -> Norm:
    """layernorm_before of a block; behind the last one, the final LayerNorm."""
    if i == shape.layers:
        return _norm(source, shape, "layernorm", f"{CLASSIFIER}.operand" if shape.labels else None)
    name = f"encoder.layer.{i}"
    return _norm(source, shape, f"{name}.layernorm_before", f"{name}.attention.attention.operand")


def _norm(source: Source, shape: ViTShape, name: str, operand: str | None) -> Norm:
    y_scale = source.scale(name)
    return layer_norm(
        name,
        *(source.floats(f"{name}.{part}", shape.hidden) for part in ("weight", "bias")),
        epsilon=shape.epsilon,
        x_scale=source.scale("residual"),
        y_scale=y_scale,
        operand=None if operand is None else rescale(y_scale, source.scales(operand, shape.hidden)),
    )
