"""The scales of a ViT, from pictures that the float model sees.

The rules are those of pruning/encoder/scales.py. LayerNorm stands before each part, so one residual is added to from
the pixels to the end, and has one scale; what a LayerNorm computes in 16 bits goes to an operand alone.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from pruning.encoder.patches import GREY, patches
from pruning.encoder.scales import (
    USUAL,
    Smoothing,
    block_scales,
    operand_scale,
    represented,
    together,
    wide_scale,
    wide_scales,
)
from pruning.encoder.spread import spread
from pruning.families.vit.model import Block, ViT
from pruning.families.vit.shape import ViTShape
from pruning.integers.quantise import check_seen
from rtl.params import InputError


def calibrate(
    model: ViT,
    inputs: Tensor,
    others: Sequence[ViT] = (),
    *,
    smoothing: Smoothing = USUAL,
) -> dict[str, Tensor]:
    """Scales of all points of a float ViT, from pictures uint8 [pictures, channels, side, side].

    others : ViTs with weights of this one, which are to have the same scales
    """
    if not len(inputs):
        raise InputError("there is no image to calibrate on, must be at least 1")
    images, shape = inputs[spread(len(inputs))], model.shape
    seen = together([observe(one, images) for one in (model, *others)])
    classifier, operand = cast(nn.Linear, model.classifier), "classifier.operand"
    scales: dict[str, Tensor] = {}
    for i in range(shape.layers):
        block = f"encoder.layer.{i}"
        scales |= block_scales(model, seen, block, "attention.attention", shape.activation, smoothing)
    if shape.labels:
        scales[operand] = operand_scale(seen[operand], [classifier], smoothing)
    scales |= wide_scales(seen, [(point,) for point in wide_points(shape)])
    scales |= represented(scales, rescaled(model))
    if shape.labels:
        classifiers = [cast(nn.Linear, one.classifier) for one in (model, *others)]
        scales["classifier"] = torch.stack([_logit_scale(one, scales[operand]) for one in classifiers]).max()
    return scales


def rescaled(model: ViT) -> dict[str, str]:
    """The 8-bit operands that are made of 16 bits, and the points of these."""
    found = {}
    for i in range(model.shape.layers):
        block = f"encoder.layer.{i}"
        found[f"{block}.attention.attention.operand"] = f"{block}.layernorm_before"
        found[f"{block}.intermediate.operand"] = f"{block}.layernorm_after"
        found[f"{block}.output.operand"] = f"{block}.intermediate.result"
    return found | ({"classifier.operand": "layernorm"} if model.shape.labels else {})


def _logit_scale(classifier: nn.Linear, operand: Tensor) -> Tensor:
    """float64: no operand and no bias takes a logit beyond 16 bits."""
    largest = classifier.weight.detach().double().abs() @ (128 * operand) + classifier.bias.detach().abs()
    return wide_scale(float(largest.max() * 1.01))


def wide_points(shape: ViTShape) -> list[str]:
    """The points of 16 bits."""
    parts = ("layernorm_before", "layernorm_after", "intermediate.result")
    return [
        "residual",
        "layernorm",
        *(f"encoder.layer.{i}.{part}" for i in range(shape.layers) for part in parts),
    ]


@torch.inference_mode()
def observe(model: ViT, images: Tensor) -> dict[str, Tensor]:
    """What each point gets: of 8-bit ones all of it, [tokens, channels], scores excepted; of scores the largest of each
    image, of 16-bit points the largest magnitude."""
    seen: dict[str, list[Tensor]] = {}
    wide = set(wide_points(model.shape))

    def note(point: str, x: Tensor) -> Tensor:
        kept = (
            x.abs().max()[None] if point in wide else x.max()[None] if point.endswith(".scores") else x.flatten(0, -2)
        )
        seen.setdefault(point, []).append(kept)
        return x

    note("residual", initial(model))
    for image in images:
        floats = model.pixels.floats(image[None])
        note("residual", model.embeddings.patch_embeddings(floats))
        x = note("residual", model.embeddings(floats))
        for i, block in enumerate(blocks_of(model)):
            name, own = f"encoder.layer.{i}", block.attention.attention
            h = note(f"{name}.layernorm_before", block.layernorm_before(x))
            note(f"{name}.attention.attention.operand", h)
            q, k, v = (
                note(f"{name}.attention.attention.{part}", linear(h)).unflatten(2, (own.heads, -1)).transpose(1, 2)
                for part, linear in (("q", own.query), ("k", own.key), ("v", own.value))
            )
            scores = note(f"{name}.attention.attention.scores", q @ k.transpose(2, 3) / q.shape[-1] ** 0.5)
            context = note(f"{name}.attention.output.operand", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            x = note("residual", x + block.attention.output(context))
            h = note(f"{name}.layernorm_after", block.layernorm_after(x))
            h = note(f"{name}.intermediate.table", block.intermediate(note(f"{name}.intermediate.operand", h)))
            h = note(f"{name}.intermediate.result", block.activation(h))
            x = note("residual", x + block.output(note(f"{name}.output.operand", h)))
        note("classifier.operand", note("layernorm", model.layernorm(x))[:, 0])
    whole = {point: torch.cat(parts) for point, parts in seen.items()}
    check_seen(whole)
    return whole


@torch.inference_mode()
def initial(model: ViT) -> Tensor:
    """float [tokens, hidden]: what the residual is before the patches' projection is added to it.

    Every token gets a projection, the class token that of a grey patch, which is taken off here.
    """
    shape = model.shape
    grey = torch.full((1, shape.channels, shape.patch, shape.patch), GREY, dtype=torch.uint8)
    rows = model.embeddings.position_embeddings[0].clone()
    rows[0] += model.embeddings.cls_token[0, 0]
    rows[0] -= model.embeddings.patch_embeddings.projection(model.pixels.floats(grey)).flatten()
    return rows


def blocks_of(model: ViT) -> list[Block]:
    return [cast(Block, block) for block in model.encoder.layer]


def patches_of(shape: ViTShape, images: Tensor) -> Tensor:
    """uint8 [images, channels, side, side] → int8 [images, tokens, inputs], `pruning.encoder.patches`."""
    return torch.from_numpy(patches(images.numpy(), shape.patch))
