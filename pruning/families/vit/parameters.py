"""Every integer that the accelerator needs of a ViT, made once from an artefact.

The blocks are those of pruning/encoder/parameters.py: their LayerNorms stand one earlier, so that block i holds
layernorm_after of its own and layernorm_before of block i + 1, the last block the final one. What a LayerNorm computes
goes to the operand alone, and the residual stays; where nothing reads an operand, to the residual.
"""

from dataclasses import dataclass

import numpy as np
import torch

from pruning.encoder.integer import requantise
from pruning.encoder.parameters import BlockParameters, Norm, Source, block_parameters, layer_norm
from pruning.families.vit.export import CLASSIFIER, PROJECTION, checked_shape
from pruning.families.vit.shape import ViTShape
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
    source = Source(artefact)
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
    name = f"encoder.layer.{i}"
    return block_parameters(
        source,
        shape,
        name,
        "attention.attention",
        attention_norm=_norm(source, shape, f"{name}.layernorm_after", f"{name}.intermediate.operand"),
        output_norm=_norm_before(source, shape, i + 1),
    )


def _norm_before(source: Source, shape: ViTShape, i: int) -> Norm:
    """layernorm_before of a block; behind the last one, the final LayerNorm."""
    if i == shape.layers:
        return _norm(source, shape, "layernorm", f"{CLASSIFIER}.operand" if shape.labels else None)
    name = f"encoder.layer.{i}"
    return _norm(source, shape, f"{name}.layernorm_before", f"{name}.attention.attention.operand")


def _norm(source: Source, shape: ViTShape, name: str, operand: str | None) -> Norm:
    return layer_norm(source, shape, name, x="residual", y=name, operand=operand)
