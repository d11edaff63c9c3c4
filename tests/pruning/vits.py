"""Small ViTs, in floats and in integers."""

from functools import cache

import torch
from torch import Tensor, nn

from pruning.encoder.pixels import Pixels
from pruning.families.vit.calibrate import calibrate
from pruning.families.vit.export import to_artefact
from pruning.families.vit.model import ViT, encoder_layers
from pruning.families.vit.parameters import VitParameters, vit_parameters
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import Artefact
from pruning.masks.sparsify import finalize, sparsify

PIXELS = Pixels((90.0,), (80.0,))


def random_vit(shape: ViTShape, pixels: Pixels = PIXELS) -> ViT:
    """Of random weights, half of its gammas negative."""
    torch.manual_seed(shape.hidden * shape.heads + shape.intermediate)
    model = ViT(shape).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, std=0.3)
    nn.init.normal_(model.embeddings.cls_token)
    nn.init.normal_(model.embeddings.position_embeddings, std=0.5)
    model.pixels = pixels
    return model


def random_images(shape: ViTShape, count: int, seed: int = 0) -> Tensor:
    """uint8 [images, channels, side, side]"""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, shape.channels, shape.image, shape.image), dtype=torch.uint8, generator=draw)


@cache
def vit_artefact(shape: ViTShape, pattern: str = "") -> Artefact:
    """pattern : N:M of the blocks' layers, dense unless given"""
    model, patterns = random_vit(shape), {}
    if pattern:
        patterns = dict(sparsify(model, pattern, filter_fn=encoder_layers, ragged="pad").layers)
        finalize(model)
    return to_artefact(model, patterns, calibrate(model, random_images(shape, 4, seed=1)), {"model": "random"})


@cache
def parameters(shape: ViTShape, pattern: str = "") -> VitParameters:
    """Of vit_artefact."""
    return vit_parameters(vit_artefact(shape, pattern))
