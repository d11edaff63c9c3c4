"""From a float ViT to an artefact, and back.

Of version 2 (docs/format.md), by the rules of pruning/families/bert/export.py. Every product is a packed integer layer,
the patches' projection and the classifier too; what is added to the patches and the norms stay in float32.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning.encoder.activations import table
from pruning.encoder.dequantise import dequantised
from pruning.encoder.patches import GREY
from pruning.encoder.pixels import Pixels
from pruning.encoder.scales import Scales, offset_at, scales_of_tensors, tensors_of_scales, zero_at
from pruning.families.vit.calibrate import wide_points
from pruning.families.vit.model import ViT
from pruning.families.vit.shape import ViTShape, shape_of
from pruning.files.artefact import DENSE, Artefact, Model, check_numbers
from pruning.files.checkpoint_files import check_finite
from pruning.integers.quantise import FloatLayer
from rtl.params import InputError

PROJECTION = "embeddings.patch_embeddings.projection"
CLASSIFIER = "classifier"
PARTS = ("weight", "bias")

# The linear layers of a block, with the points of their inputs and results; "residual" is the one of all blocks.
LINEARS = {
    "attention.attention.query": ("attention.attention.operand", "attention.attention.q"),
    "attention.attention.key": ("attention.attention.operand", "attention.attention.k"),
    "attention.attention.value": ("attention.attention.operand", "attention.attention.v"),
    "attention.output.dense": ("attention.output.operand", "residual"),
    "intermediate.dense": ("intermediate.operand", "intermediate.table"),
    "output.dense": ("output.operand", "residual"),
}


def to_artefact(
    model: ViT,
    patterns: Mapping[str, tuple[int, int]],
    scales: Scales,
    about: Mapping[str, Any] | None = None,
    units: Mapping[str, Tensor] | None = None,
) -> Artefact:
    """The artefact of a float ViT, masked or with its masks baked in.

    patterns : (n, m) by layer; a layer that is not named is dense. Each group of each layer is checked.
    units : of the accumulators of layers whose integers are shared, by name; None: each layer's own
    """
    layers = {}
    for name, layer in float_layers(model, scales).items():
        n, m = patterns.get(name, DENSE)
        layers[name] = layer.quantised(name, n, m, None if units is None else units[name])
    tensors: dict[str, np.ndarray] = tensors_of_scales(scales)
    for part in ("mean", "deviation"):
        tensors[f"pixels.{part}"] = np.array(getattr(model.pixels, part), np.float64)
    state = model.state_dict()
    for name in plain_tensors(model.shape):
        tensors[name] = state[name].to(torch.float32).numpy()
    for i in range(model.shape.layers):
        name = f"encoder.layer.{i}.intermediate"
        x, y = f"{name}.table", f"{name}.result"
        found = table(model.shape.activation, scales[x], zero_at(x, scales), scales[y])
        tensors[f"tables.{name}"] = found.numpy()
    return Artefact(
        layers=layers, model=Model(config=model.config, tokenizer="", tensors=tensors, about=dict(about or {}))
    )


def float_layers(model: ViT, scales: Scales) -> dict[str, FloatLayer]:
    """All packed layers with the scales of their inputs and results."""
    found = {}
    for name, (x_scale, y_scale) in points_of(model.shape).items():
        weight, bias, inputs = _float_layer(model, name, scales[x_scale] if x_scale else None)
        out_bits = 16 if y_scale in ("residual", CLASSIFIER) else 8
        bias = bias.double() + offset_at(y_scale, scales)
        found[name] = FloatLayer(weight=weight, bias=bias, x_scale=inputs, y_scale=scales[y_scale], out_bits=out_bits)
    return found


def points_of(shape: ViTShape) -> dict[str, tuple[str, str]]:
    """The points of the input and of the results of every layer; the input of the projection, pixels, has none."""
    found = {PROJECTION: ("", "residual")}
    for i in range(shape.layers):
        block = f"encoder.layer.{i}"
        for name, points in LINEARS.items():
            x, y = (point if point == "residual" else f"{block}.{point}" for point in points)
            found[f"{block}.{name}"] = x, y
    return found | ({CLASSIFIER: (f"{CLASSIFIER}.operand", CLASSIFIER)} if shape.labels else {})


def plain_tensors(shape: ViTShape) -> list[str]:
    """The tensors in float32, by the names of Hugging Face's checkpoints."""
    norms = [f"encoder.layer.{i}.layernorm_{part}" for i in range(shape.layers) for part in ("before", "after")]
    return [
        "embeddings.cls_token",
        "embeddings.position_embeddings",
        *(f"{norm}.{part}" for norm in (*norms, "layernorm") for part in PARTS),
    ]


def checked_shape(artefact: Artefact) -> ViTShape:
    """The shape of the ViT in an artefact.

    Raises
    ------
    InputError : no model, or one of another kind; a layer or a tensor that is missing or that no ViT has.
    """
    model = artefact.whole
    classifier = artefact.layers.get(CLASSIFIER)
    shape = shape_of(dict(model.config), "the artefact's config", classifier.channels if classifier else 0)
    points = points_of(shape)
    scales = {point for pair in points.values() for point in pair if point}
    for i in range(shape.layers):
        scales |= {f"encoder.layer.{i}.attention.attention.scores"}
    wanted = {f"scales.{point}" for point in scales | set(wide_points(shape))}
    wanted |= {"pixels.mean", "pixels.deviation", *plain_tensors(shape)}
    wanted |= {f"tables.encoder.layer.{i}.intermediate" for i in range(shape.layers)}
    zeros = {f"zeros.encoder.layer.{i}.intermediate.table" for i in range(shape.layers)}  # earlier artefacts lack them
    for what, needed, may, there in (
        ("layer", points.keys(), set(), artefact.layers),
        ("tensor", wanted, zeros, model.tensors),
    ):
        if missing := needed - there.keys():
            raise InputError(f"{what} {min(missing)} is missing")
        if unknown := there.keys() - needed - may:
            raise InputError(f"{what} {min(unknown)} belongs to no ViT of this config")
    return shape


def from_artefact(artefact: Artefact) -> ViT:
    """The float ViT of an artefact.

    Raises
    ------
    InputError : the artefact holds no ViT; a layer or tensor is missing, unknown or of another shape.
    """
    shape = checked_shape(artefact)
    whole = artefact.whole
    tensors = {name: torch.from_numpy(array.copy()) for name, array in whole.tensors.items()}
    with torch.device("meta"):  # only names and shapes
        model = ViT(shape)
    model.config, model.pixels = dict(whole.config), _pixels(whole, shape.channels)
    scales = scales_of_tensors(whole.tensors)
    state = {name: tensors[name] for name in plain_tensors(shape)}
    for name, (x, y) in points_of(shape).items():
        layer = artefact.layers[name]
        x_scale = tensors[f"scales.{x}"] if x else _pixel_scales(model.pixels, shape)
        if x_scale.shape not in ((), (layer.k,)):
            raise InputError(f"tensor scales.{x} is {list(x_scale.shape)}, must be {[layer.k]} by the config")
        weight, bias = (dequantised(layer, part, x_scale, scales[y]) for part in PARTS)
        bias = bias - offset_at(y, scales)
        if name == PROJECTION:
            bias = bias - _grey(weight, model.pixels, shape)
            weight = weight.reshape(-1, shape.channels, shape.patch, shape.patch)
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    for name, wanted in model.state_dict().items():
        if state[name].shape != wanted.shape:
            raise InputError(f"tensor {name} is {list(state[name].shape)}, must be {list(wanted.shape)} by the config")
    singles = {name: state[name].to(torch.float32) for name in model.state_dict()}
    for name, tensor in singles.items():
        check_finite(name, tensor)
    model.load_state_dict(singles, assign=True)
    return model.eval().requires_grad_(False)


def _float_layer(model: ViT, name: str, x_scale: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weight [channels, k], bias [channels] and the scales of the input of a layer. Of pixels, which have no point, the
    mean goes into the bias and the deviation into the scales."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    weight = layer.weight.detach().flatten(1)
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
    if x_scale is not None:
        return weight, bias, x_scale
    weight = weight.double()
    return weight, bias + _grey(weight, model.pixels, model.shape), _pixel_scales(model.pixels, model.shape)


def _pixel_scales(pixels: Pixels, shape: ViTShape) -> Tensor:
    """float64 [inputs of the projection]: what a step of a byte is worth."""
    return _of_pixels(1 / torch.tensor(pixels.deviation, dtype=torch.float64), shape)


def _grey(weight: Tensor, pixels: Pixels, shape: ViTShape) -> Tensor:
    """float64 [channels]: what the projection, of weights float64 [channels, inputs], gives for GREY alone."""
    mean, deviation = (torch.tensor(part, dtype=torch.float64) for part in (pixels.mean, pixels.deviation))
    return (weight * _of_pixels((GREY - mean) / deviation, shape)).sum(dim=1)


def _of_pixels(values: Tensor, shape: ViTShape) -> Tensor:
    """[1] or [image channels] → [inputs of the projection]."""
    return values.expand(shape.channels).repeat_interleave(shape.patch**2)


def _pixels(model: Model, channels: int) -> Pixels:
    found = []
    for part in ("mean", "deviation"):
        values = model.tensors[f"pixels.{part}"]
        if values.dtype != np.float64 or values.shape not in ((1,), (channels,)):
            kind = f"{values.dtype} {list(values.shape)}"
            raise InputError(f"tensor pixels.{part} is {kind}, must be float64 [{channels}] by the config")
        check_numbers(f"pixels.{part}", values)
        found.append(tuple(values.tolist()))
    return Pixels(*found)
