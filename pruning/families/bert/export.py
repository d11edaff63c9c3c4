"""From a trained encoder to an artefact, and back.

Of version 2 (docs/format.md): the linear layers of the blocks are packed integer layers; beside them stand, as plain
tensors, the embedding tables in 16 bits, norms and head in float32, the scale of each Point in float64, and the tables
of the activation functions. Read back, a weight is its integer times its scales, so the float encoder of an artefact is
what its int8 one rounds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning.encoder.activations import table
from pruning.encoder.dequantise import dequantised
from pruning.encoder.scales import Scales, offset_at, scales_of_tensors, tensors_of_scales, zero_at
from pruning.families.bert.fake_quant import operand_of
from pruning.families.bert.folder import shape_of, tensors_of
from pruning.families.bert.model import Encoder, Origin
from pruning.files.artefact import DENSE, Artefact, Model
from pruning.files.checkpoint_files import check_finite
from pruning.files.tokenizer import open_tokenizer
from pruning.integers.quantise import FloatLayer
from rtl.params import InputError

# Where the results of a linear layer are rounded: the Point, beside or above the layer.
RESULTS = {
    "attention.self.query": "attention.self.q",
    "attention.self.key": "attention.self.k",
    "attention.self.value": "attention.self.v",
    "attention.output.dense": "attention.output.total",
    "intermediate.dense": "intermediate.table",
    "output.dense": "output.total",
}


def to_artefact(
    model: Encoder,
    patterns: Mapping[str, tuple[int, int]],
    scales: Scales,
    about: Mapping[str, Any] | None = None,
    units: Mapping[str, Tensor] | None = None,
) -> Artefact:
    """The artefact of a float encoder, masked or with its masks baked in.

    patterns : (n, m) by layer; a layer that is not named is dense. Each group of each layer is checked.
    units : of the accumulators of layers whose integers are shared, by name; None: each layer's own
    """
    layers = {}
    for name, linear in float_layers(model, scales).items():
        n, m = patterns.get(name, DENSE)
        layers[name] = linear.quantised(name, n, m, None if units is None else units[name])
    tensors: dict[str, np.ndarray] = tensors_of_scales(scales)
    for name, tensor in tensors_of(model).items():
        if name.startswith("embeddings.") and name.endswith("embeddings.weight"):
            tensors[name] = (tensor.double() / scales["embeddings.total"]).round().to(torch.int16).numpy()
        elif "LayerNorm" in name or name.startswith("head."):
            tensors[name] = tensor.to(torch.float32).numpy()
    for i in range(model.shape.layers):
        name = f"encoder.layer.{i}.intermediate"
        x, y = f"{name}.table", f"{name}.result"
        found = table(model.shape.activation, scales[x], zero_at(x, scales), scales[y])
        tensors[f"tables.{name}"] = found.numpy()
    whole = Model(
        config=model.origin.config, tokenizer=model.tokenizer.to_str(), tensors=tensors, about=dict(about or {})
    )
    return Artefact(layers=layers, model=whole)


def float_layers(model: Encoder, scales: Scales) -> dict[str, FloatLayer]:
    """The linear layers of the blocks with the scales of their inputs and results."""
    found = {}
    for name, linear in model.linears().items():
        block, own = _block(name)
        y = f"{block}.{RESULTS[own]}"
        found[name] = FloatLayer(
            weight=linear.weight.detach(),
            bias=linear.bias.detach().double() + offset_at(y, scales),
            x_scale=scales[operand_of(name)],
            y_scale=scales[y],
            out_bits=16 if own.endswith("output.dense") else 8,
        )
    return found


def from_artefact(artefact: Artefact) -> tuple[Encoder, dict[str, Tensor]]:
    """The float encoder of an artefact, and the scales of its points.

    Raises
    ------
    InputError : the artefact has no model; a layer or tensor is missing, unknown or of another shape.
    """
    model = artefact.whole
    shape = shape_of(dict(model.config), "the artefact's config")
    tokenizer = open_tokenizer(model.tokenizer, "the artefact's tokenizer is none", shape.max_tokens)
    origin = Origin(config=dict(model.config), files={"tokenizer.json": model.tokenizer.encode()})
    head = model.tensors.get("head.bias")
    with torch.device("meta"):
        encoder = Encoder(shape, tokenizer, origin, classes=0 if head is None else head.size)
    points = {f"scales.{point}" for point in encoder.points()}
    zeros = {f"zeros.encoder.layer.{i}.intermediate.table" for i in range(shape.layers)}  # earlier artefacts lack them
    found = {name for name in model.tensors if name.startswith(("scales.", "zeros."))}
    if missing := points - found:
        raise InputError(f"tensor {min(missing)} is missing")
    if unknown := found - points - zeros:
        raise InputError(f"tensor {min(unknown)} belongs to no encoder of this config")
    scales = scales_of_tensors(model.tensors)
    state: dict[str, Tensor] = {}
    for name, wanted in encoder.state_dict().items():
        tensor = _tensor(name, artefact, scales)
        if tuple(tensor.shape) != tuple(wanted.shape):
            raise InputError(f"tensor {name} is {list(tensor.shape)}, must be {list(wanted.shape)} by the config")
        state[name] = tensor.to(torch.float32)
        check_finite(name, state[name])
    encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False), scales


def _tensor(name: str, artefact: Artefact, scales: Scales) -> Tensor:
    """A tensor of the float encoder, in float64 where it is computed."""
    tensors = artefact.whole.tensors
    layer_name, _, part = name.rpartition(".")
    if layer_name in artefact.layers:
        block, own = _block(layer_name)
        y = f"{block}.{RESULTS[own]}"
        found = dequantised(artefact.layers[layer_name], part, scales[operand_of(layer_name)], scales[y])
        return found - offset_at(y, scales) if part == "bias" else found
    if name not in tensors:
        raise InputError(f"tensor {name} of the model is missing")
    tensor = torch.from_numpy(tensors[name].copy())
    if tensor.is_floating_point():
        return tensor
    total = scales["embeddings.total"]
    if total.shape:
        raise InputError(f"tensor scales.embeddings.total is {list(total.shape)}, must be [] by the config")
    return tensor.double() * total


def _block(linear: str) -> tuple[str, str]:
    """('encoder.layer.3', 'output.dense') of a linear layer's name."""
    parts = linear.split(".")
    return ".".join(parts[:3]), ".".join(parts[3:])
