"""Artefacts of ViTs: there and back, and what is wrong with one is named."""

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pruning.encoder.pixels import Pixels
from pruning.encoder.scales import Smoothing
from pruning.families.bert.export import from_artefact as encoder_from_artefact
from pruning.families.bert.parameters import integer_parameters
from pruning.families.known import family_of_config
from pruning.families.vit.calibrate import calibrate, rescaled
from pruning.families.vit.export import CLASSIFIER, PROJECTION, from_artefact, points_of, to_artefact
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.model import encoder_layers
from pruning.families.vit.parameters import vit_parameters
from pruning.families.vit.shape import ViTShape, labels_of
from pruning.files.artefact import Artefact, Layer, Model, read, save, to_bytes, whole_from_bytes
from pruning.masks.sparsify import finalize, sparsify, verify
from rtl.params import InputError
from tests.pruning.samples import random_layer
from tests.pruning.vits import random_images, random_vit, vit_artefact

TINY = ViTShape(image=12, patch=4, channels=3, hidden=24, layers=2, heads=3, intermediate=40, labels=5)
COLOURS = Pixels((100.0, 127.5, 10.0), (50.0, 60.0, 127.5))


def step_of(name: str, artefact: Artefact) -> torch.Tensor:
    """What a step of each weight of a layer is worth, by docs/format.md: [channels, k]."""
    assert artefact.model
    layer, tensors = artefact.layers[name], artefact.model.tensors
    x, y = points_of(from_artefact(artefact).shape)[name]
    channels = layer.k // TINY.patch**2 if name == PROJECTION else 1
    pixels = (1 / tensors["pixels.deviation"])[:channels].repeat(TINY.patch**2)
    unit = tensors[f"scales.{y}"] * layer.mult.astype(float) / 2.0**layer.shift
    x_scale = np.broadcast_to(tensors[f"scales.{x}"] if x else pixels, layer.k)
    return torch.from_numpy(unit[:, None] / x_scale)


def test_no_logit_is_beyond_16_bits() -> None:
    """The largest that operands of −128 and 128 could make is one per cent below the largest that 16 bits hold."""
    model = random_vit(TINY, COLOURS)
    scales = calibrate(model, random_images(TINY, 8, seed=1))
    weight, bias = (tensor.detach().double() for tensor in (model.classifier.weight, model.classifier.bias))
    signs = torch.where(weight < 0, -1, 1)
    logits = (weight * signs * 128 * scales["classifier.operand"]).sum(dim=1) + bias.abs()
    assert float(logits.max() / scales["classifier"]) == pytest.approx(32767 / 1.01, rel=1e-6)


@pytest.mark.parametrize("change", [{}, {"labels": 0}, {"qkv_bias": False, "activation": "relu"}, {"channels": 1}])
@pytest.mark.parametrize("pattern", ["", "2:8"])
def test_there_and_back(change: dict[str, Any], pattern: str, tmp_path: Path) -> None:
    """The float model of an artefact is the one it was made of, its weights rounded."""
    shape = replace(TINY, **change)
    model = random_vit(shape, COLOURS if shape.channels == 3 else Pixels((90.0,), (80.0,)))
    plan = sparsify(model, pattern, filter_fn=encoder_layers, ragged="pad") if pattern else None
    finalize(model)
    scales = calibrate(model, random_images(shape, 8, seed=1))
    artefact = to_artefact(model, plan.layers if plan else {}, scales, {"model": "random"})
    save(tmp_path / "A.safetensors", artefact.layers.values(), artefact.model)
    found = read(tmp_path / "A.safetensors")
    assert found.version == 2
    assert family_of_config(found.whole.config, "its config") == "vit"
    patterns = {name: (layer.n, layer.m) for name, layer in found.layers.items()}
    assert len(patterns) == 13 + bool(shape.labels)
    assert {name for name, kept in patterns.items() if kept == (2, 8)} == set(plan.layers if plan else {})

    again = from_artefact(found)
    assert (again.shape, again.pixels, again.config) == (shape, model.pixels, model.config)
    if plan:
        verify(again, plan)
    for name, wanted in model.state_dict().items():
        got = again.state_dict()[name]
        if "layernorm" in name or "cls_token" in name or "position_embeddings" in name:
            assert torch.equal(got, wanted), name
        elif name.endswith("weight"):
            assert (
                (got - wanted).abs() <= 0.51 * step_of(name.removesuffix(".weight"), found).reshape(wanted.shape)
            ).all()
    pictures = random_images(shape, 8)
    floats = model.pixels.floats(pictures)
    assert (again(floats) - model(floats)).std() < 0.05 * model(floats).std()

    integers, before = (IntegerViT(vit_parameters(one)) for one in (found, artefact))
    assert torch.equal(integers.results(pictures), before.results(pictures))
    wanted = again(floats)
    assert (integers.logits(pictures) - wanted).std() < 0.06 * wanted.std()


def test_a_dense_bias_is_what_the_pixels_leave(tmp_path: Path) -> None:
    """The mean of the pixels is in the integer bias, and comes out of it again."""
    model = random_vit(TINY, COLOURS)
    artefact = to_artefact(model, {}, calibrate(model, random_images(TINY, 4)))
    again = from_artefact(artefact)
    layer, wanted = again.get_submodule(PROJECTION), model.get_submodule(PROJECTION)
    assert (layer.bias - wanted.bias).abs().max() < 0.05
    assert wanted.bias.abs().max() > 0.05
    assert (layer.weight - wanted.weight).norm() < 0.01 * wanted.weight.norm()


def test_scales_are_those_that_factors_make() -> None:
    """However far apart the channels are: nothing that was seen saturates behind a factor."""
    model = random_vit(TINY)
    with torch.no_grad():
        for block in model.encoder.layer:
            block.layernorm_before.weight[3] = 1e-5  # type: ignore[union-attr,operator,index]
            block.layernorm_before.bias[3] = 0  # type: ignore[union-attr,operator,index]
    pictures = random_images(TINY, 8)
    scales = calibrate(model, pictures, smoothing=Smoothing(alpha=1.0))
    p = vit_parameters(to_artefact(model, {}, scales))
    for operand, wide in rescaled(model).items():
        if not operand.endswith("attention.operand"):
            continue
        i = int(operand.split(".")[2])
        norm = p.norm if i == 0 else p.blocks[i - 1].output_norm
        assert norm.operand
        made = float(scales[wide]) * 2.0**norm.operand.shift / norm.operand.factors.astype(float)
        assert np.allclose(made, scales[operand].numpy(), rtol=1e-12)
        assert made.max() / made.min() > 100
    for step in IntegerViT(p).steps(pictures[0]):
        if step.name.endswith("layernorm_before"):
            assert step.store is not None
            assert (step.store.abs() >= 127).float().mean() < 0.02, step.name


def test_the_same_contents_give_the_same_bytes() -> None:
    first, second = (vit_artefact.__wrapped__(TINY, "2:8") for _ in range(2))
    assert to_bytes(first.layers.values(), first.model) == to_bytes(second.layers.values(), second.model)


def test_every_changed_byte_is_noticed() -> None:
    artefact = vit_artefact(TINY)
    data = to_bytes(artefact.layers.values(), artefact.model)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(InputError):
            whole_from_bytes(bytes(damaged))


def test_the_pattern_is_verified_and_not_assumed() -> None:
    name = "encoder.layer.0.intermediate.dense"
    model = random_vit(TINY)
    scales = calibrate(model, random_images(TINY, 2))
    with pytest.raises(InputError, match=f"layer {name}: row .channel. 0, group 0 has 8 non-zero weights, the pattern"):
        to_artefact(model, {name: (2, 8)}, scales)


def test_each_kind_of_model_is_refused_where_the_other_is_read() -> None:
    artefact = vit_artefact(TINY)
    for reader in (encoder_from_artefact, integer_parameters):
        with pytest.raises(InputError, match=r"^the artefact's config: model_type is 'vit', must be one of "):
            reader(artefact)
    layers_alone = Artefact(layers={"fc": random_layer(1, 3, 20, 2, 8)}, model=None)
    for read_it in (from_artefact, vit_parameters, encoder_from_artefact, integer_parameters):
        with pytest.raises(InputError, match=r"holds layers alone \(version 1\), must hold a whole model"):
            read_it(layers_alone)


def test_names_of_classes() -> None:
    assert labels_of({"id2label": {"0": "cat", "1": "dog"}}, 2) == ["cat", "dog"]
    for config in ({}, {"id2label": {"0": "cat"}}, {"id2label": {"0": "cat", "1": 3}}, {"id2label": []}, None):
        assert labels_of(config, 2) == []


def changed(artefact: Artefact, **parts: Any) -> Artefact:
    assert artefact.model
    kept = {key: getattr(artefact.model, key) for key in ("config", "tokenizer", "tensors", "about")}
    return Artefact(layers=artefact.layers, model=Model(**kept | parts))


def with_tensor(name: str, value: np.ndarray | None) -> Callable[[Artefact], Artefact]:
    def change(artefact: Artefact) -> Artefact:
        assert artefact.model
        tensors = dict(artefact.model.tensors)
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
        return changed(artefact, tensors=tensors)

    return change


def with_layer(name: str, layer: Layer | None) -> Callable[[Artefact], Artefact]:
    def change(artefact: Artefact) -> Artefact:
        layers = {key: value for key, value in artefact.layers.items() if key != name}
        return Artefact(layers=layers | ({name: layer} if layer else {}), model=artefact.model)

    return change


def with_config(**parts: object) -> Callable[[Artefact], Artefact]:
    def change(artefact: Artefact) -> Artefact:
        assert artefact.model
        return changed(artefact, config=dict(artefact.model.config) | parts)

    return change


QUERY = "encoder.layer.0.attention.attention.query"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_tensor("layernorm.bias", None), "tensor layernorm.bias is missing"),
        (with_tensor("scales.residual", None), "tensor scales.residual is missing"),
        (with_tensor("pixels.mean", None), "tensor pixels.mean is missing"),
        (with_tensor("more", np.zeros(1)), "tensor more belongs to no ViT of this config"),
        (with_layer(QUERY, None), f"layer {QUERY} is missing"),
        (with_layer("more", random_layer(1, 3, 20, 2, 8, name="more")), "layer more belongs to no ViT of this config"),
        (with_config(num_hidden_layers=3), "layer encoder.layer.2.attention.attention.key is missing"),
        (with_config(model_type="bert"), "the artefact's config: model_type is 'bert', must be 'vit'"),
        (with_config(hidden_size=0), "the artefact's config: hidden_size is 0, must be an integer of at least 1"),
    ],
)
def test_what_is_missing_or_unknown(change: Callable[[Artefact], Artefact], message: str) -> None:
    artefact = change(vit_artefact(TINY))
    for reader in (from_artefact, vit_parameters):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            reader(artefact)


@pytest.mark.parametrize(
    ("change", "in_float", "in_integers"),
    [
        (
            with_tensor("layernorm.bias", np.zeros(3, np.float32)),
            "tensor layernorm.bias is [3], must be [24] by the config",
            "tensor layernorm.bias is float32 [3], must be float32 [24] by the config",
        ),
        (
            with_layer(QUERY, random_layer(1, 24, 20, 2, 8, name=QUERY)),
            "tensor scales.encoder.layer.0.attention.attention.operand is [24], must be [20] by the config",
            f"layer {QUERY} has channels, k and out_bits (24, 20, 8), must be (24, 24, 8) by the config",
        ),
        (
            with_tensor("pixels.deviation", np.array([0.0])),
            "tensor pixels.deviation has 0.0, must be above 0",
            None,
        ),
        (
            with_tensor("pixels.mean", np.zeros(2)),
            "tensor pixels.mean is float64 [2], must be float64 [3] by the config",
            None,
        ),
        (
            with_tensor("scales.residual", np.array(0.0)),
            None,
            "tensor scales.residual has 0.0, must be above 0",
        ),
    ],
)
def test_what_has_another_shape(
    change: Callable[[Artefact], Artefact], in_float: str | None, in_integers: str | None
) -> None:
    artefact = change(vit_artefact(TINY))
    for reader, message in ((from_artefact, in_float), (vit_parameters, in_integers)):
        if message:
            with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
                reader(artefact)


def test_without_a_classifier_there_is_none() -> None:
    artefact = deepcopy(vit_artefact(replace(TINY, labels=0)))
    assert CLASSIFIER not in artefact.layers
    assert artefact.model
    assert not [name for name in artefact.model.tensors if "classifier" in name]
    assert from_artefact(artefact).shape.labels == 0
