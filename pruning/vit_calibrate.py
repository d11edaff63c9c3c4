"""The scale of every place where the accelerator rounds in a ViT, from pictures that the float model sees.

The rules are those of pruning/calibrate.py. What differs: LayerNorm stands before each part, so one residual is added
to from the pixels to the end, and has one scale; what a LayerNorm computes in 16 bits goes to an operand alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pruning.calibrate import ALPHA, HEADROOM, PERCENTILE, narrow_scale, smoothing, upper_scale, wide_scale
from pruning.vit import Block, ViT
from rtl.params import InputError

IMAGES = 128  # as many are looked at, spread evenly over what is given
GREY = 128  # the byte that is 0 for the accelerator, whose pixels are signed

Scales = Mapping[str, Tensor]  # by the name of the place: float64, a scalar or [channels]


@dataclass(frozen=True)
class Pixels:
    """What a model takes instead of a byte: (byte − mean) / deviation, one of each a channel or one for all."""

    mean: tuple[float, ...] = (127.5,)  # these are Hugging Face's for ViT
    deviation: tuple[float, ...] = (127.5,)

    def floats(self, images: Tensor) -> Tensor:
        """uint8 [images, channels, side, side] → float of the same shape."""
        mean, deviation = (torch.tensor(part)[:, None, None] for part in (self.mean, self.deviation))
        return (images.to(torch.float32) - mean) / deviation


def calibrate(
    model: ViT, images: Tensor, pixels: Pixels, *, alpha: float = ALPHA, percentile: float = PERCENTILE
) -> dict[str, Tensor]:
    """Scales of all places of a float ViT, from images uint8 [images, channels, side, side]."""
    if not len(images):
        raise InputError("there is no image to calibrate on, must be at least 1")
    count = min(IMAGES, len(images))
    seen = observe(model, images[[i * len(images) // count for i in range(count)]], pixels)
    scales: dict[str, Tensor] = {}

    def operand(point: str, *linears: nn.Linear) -> None:
        shape = smoothing(seen[point], linears, alpha)
        scales[point] = narrow_scale(seen[point] / shape, percentile) * shape

    for i, block in enumerate(blocks_of(model)):
        name, own = f"encoder.layer.{i}", block.attention.attention
        operand(f"{name}.attention.attention.operand", own.query, own.key, own.value)
        operand(f"{name}.attention.output.operand", block.attention.output.dense)
        operand(f"{name}.intermediate.operand", block.intermediate.dense)
        operand(f"{name}.output.operand", block.output.dense)
        context, value = scales[f"{name}.attention.output.operand"], f"{name}.attention.attention.v"
        scales[value] = narrow_scale(seen[value] / context, percentile) * context
        for point in ("attention.attention.q", "attention.attention.k", "intermediate.table"):
            scales[f"{name}.{point}"] = narrow_scale(seen[f"{name}.{point}"], percentile)
        scales[f"{name}.attention.attention.scores"] = upper_scale(seen[f"{name}.attention.attention.scores"])
    if model.shape.labels:
        operand("classifier.operand", cast(nn.Linear, model.classifier))
    for point in wide_points(model):
        scales[point] = wide_scale(HEADROOM * float(seen[point].max()))
    return scales


def wide_points(model: ViT) -> list[str]:
    """The places of 16 bits."""
    parts = ("layernorm_before", "layernorm_after", "intermediate.result")
    return [
        "residual",
        "layernorm",
        *(f"encoder.layer.{i}.{part}" for i in range(model.shape.layers) for part in parts),
    ]


@torch.inference_mode()
def observe(model: ViT, images: Tensor, pixels: Pixels) -> dict[str, Tensor]:
    """What each place gets: of 8-bit ones all of it, [tokens, channels], scores excepted; of scores the largest of each
    image, of 16-bit places the largest magnitude."""
    seen: dict[str, list[Tensor]] = {}
    wide = set(wide_points(model))

    def note(point: str, x: Tensor) -> Tensor:
        kept = (
            x.abs().max()[None] if point in wide else x.max()[None] if point.endswith(".scores") else x.flatten(0, -2)
        )
        seen.setdefault(point, []).append(kept)
        return x

    note("residual", initial(model, pixels))
    for image in images:
        floats = pixels.floats(image[None])
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
    return {point: torch.cat(parts) for point, parts in seen.items()}


@torch.inference_mode()
def initial(model: ViT, pixels: Pixels) -> Tensor:
    """float [tokens, hidden]: what the residual is before the patches' projection is added to it.

    Every token gets a projection, the class token that of a grey patch, which is taken off here.
    """
    shape = model.shape
    grey = torch.full((1, shape.channels, shape.patch, shape.patch), GREY, dtype=torch.uint8)
    rows = model.embeddings.position_embeddings[0].clone()
    rows[0] += model.embeddings.cls_token[0, 0]
    rows[0] -= model.embeddings.patch_embeddings.projection(pixels.floats(grey)).flatten()
    return rows


def blocks_of(model: ViT) -> list[Block]:
    return [cast(Block, block) for block in model.encoder.layer]


def patches_of(shape: Any, images: Tensor) -> Tensor:
    """uint8 [images, channels, side, side] → int8 [images, tokens, inputs of the projection].

    The pixels of a patch in the order of the projection's weights, GREY being 0; the class token's are all 0.
    """
    found = nn.functional.unfold(images.to(torch.float32) - GREY, shape.patch, stride=shape.patch)
    return nn.functional.pad(found.transpose(1, 2), (0, 0, 1, 0)).to(torch.int8)
