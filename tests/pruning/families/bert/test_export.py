"""Artefacts that hold a whole model: written, read, and refused."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from pruning.encoder.scales import zero_of
from pruning.families.bert.calibrate import calibrate
from pruning.families.bert.export import from_artefact, to_artefact
from pruning.families.bert.fake_quant import dequantise, quantise
from pruning.families.bert.folder import load as load_folder
from pruning.families.bert.model import Encoder
from pruning.files.artefact import Artefact, Model, load, read, save, to_bytes, whole_from_bytes
from pruning.masks.masked import masked_layers
from pruning.masks.methods import METHODS, calibrated, method_of
from pruning.masks.sparsify import finalize, sparsify
from pruning.training.tasks import Distillation
from pruning.training.train import train
from rtl.format import parse_pattern
from rtl.params import InputError
from tests.pruning.samples import CONFIG, random_layer, tensors, write_model
from tests.pruning.toy import PATTERNS

TEXT = ["a fox crossed the river .", "the line ?", "a river crossed a line .", "fox"]


@pytest.fixture
def small(tmp_path: Path) -> Encoder:
    return load_folder(write_model(tmp_path / "small"))


def whole(encoder: Encoder, patterns: dict[str, tuple[int, int]] | None = None) -> Artefact:
    return to_artefact(encoder, patterns or {}, calibrate(encoder, TEXT), {"model": "small", "seed": 0})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pruned_weight_is_exactly_zero_on_both_sides(pattern: str, small: Encoder, tmp_path: Path) -> None:
    plan = sparsify(small, pattern, ragged="pad")
    masks = finalize(small)
    artefact = whole(small, dict(plan.layers))
    save(tmp_path / "A.safetensors", artefact.layers.values(), artefact.model)
    layers = load(tmp_path / "A.safetensors")
    again, _ = from_artefact(read(tmp_path / "A.safetensors"))
    for name, linear in again.linears().items():
        assert (layers[name].n, layers[name].m) == plan.layers[name]
        assert not layers[name].weights[~masks[name].numpy()].any()
        assert (linear.weight[~masks[name]] == 0).all()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Its layers have whole groups of every size."""
    config = CONFIG | {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return load_folder(
        write_model(tmp_path_factory.mktemp("models") / "wide", config=config, checkpoint=tensors(config=config))
    )


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.prunes])
def test_masks_from_training_to_import(name: str, pattern: str, wide: Encoder) -> None:
    """Trained, trained in int8, exported and imported: N of every group stay, and all else is zero at every stage."""
    n, m = parse_pattern(pattern)
    task, model = Distillation(wide, TEXT * 4), deepcopy(wide).requires_grad_(True)
    method = calibrated(method_of(name), wide, list(wide.linears()), lambda: wide.embed(TEXT))
    plan = sparsify(model, pattern, method=method)
    recipe: dict[str, Any] = {"batch": 4, "lr": 1e-2, "bf16": False}
    if method.trains:
        train(model, task, steps=2, method=method, **recipe)
    masks = {layer: masked.mask for layer, (_, masked) in masked_layers(model).items()}
    assert masks.keys() == wide.linears().keys()
    for mask in masks.values():
        assert (mask.unflatten(1, (-1, m)).sum(dim=2) == n).all()

    def check_zeros(encoder: Encoder) -> None:
        for layer, linear in encoder.linears().items():
            assert (linear.weight[~masks[layer]] == 0).all()

    check_zeros(model)
    finalize(model)
    sparsify(model, pattern, method="asp")
    for layer, (_, masked) in masked_layers(model).items():
        masked.mask = masks[layer]
    scales = calibrate(model, TEXT)
    train(quantise(model, scales), task, steps=2, **recipe)
    check_zeros(model)
    found = finalize(dequantise(model))
    assert all(torch.equal(found[layer], masks[layer]) for layer in masks)
    check_zeros(model)

    artefact = to_artefact(model, plan.layers, scales)
    artefact = whole_from_bytes(to_bytes(artefact.layers.values(), artefact.model))
    assert {(layer.n, layer.m) for layer in artefact.layers.values()} == {(n, m)}
    encoder, _ = from_artefact(artefact)
    check_zeros(encoder)
    for layer, linear in encoder.linears().items():
        assert not artefact.layers[layer].weights[~masks[layer].numpy()].any()
        assert linear.weight.count_nonzero() > 0.7 * masks[layer].sum()  # a small weight may round to zero


@pytest.mark.parametrize("m", [2, 4, 8, 16, 32])
def test_n_of_n_is_the_dense_artefact(m: int, wide: Encoder) -> None:
    pruned = deepcopy(wide)
    plan = sparsify(pruned, f"{m}:{m}")
    layers = whole(pruned, dict(plan.layers)).layers
    for name, dense in whole(wide).layers.items():
        assert (layers[name].n, layers[name].m) == (m, m)
        assert np.array_equal(layers[name].weights, dense.weights)
        assert np.array_equal(layers[name].mult, dense.mult)


def test_read_back_it_computes_the_same(small: Encoder) -> None:
    small.head = nn.Linear(24, 3)
    artefact = whole(small)
    again, scales = from_artefact(whole_from_bytes(to_bytes(artefact.layers.values(), artefact.model)))
    expected = calibrate(small, TEXT)
    assert all(torch.equal(scales[name], expected[name]) for name in expected)
    assert [again.ids(text).tolist() for text in TEXT] == [small.ids(text).tolist() for text in TEXT]
    torch.testing.assert_close(again.embed(TEXT), small.embed(TEXT), atol=0.02, rtol=0)
    rounded, here = quantise(deepcopy(again), scales, weights=False), quantise(deepcopy(small), expected)
    torch.testing.assert_close(rounded.embed(TEXT), here.embed(TEXT), atol=0.02, rtol=0)
    assert again.head
    assert torch.equal(again.head.weight, small.head.weight)


def test_a_layer_that_no_plan_names_is_dense(small: Encoder) -> None:
    name = "encoder.layer.1.output.dense"
    sparsify(small, "2:8", filter_fn=lambda _, found: found == name)
    layers = whole(small, {name: (2, 8)}).layers
    assert (layers[name].n, layers[name].m) == (2, 8)
    assert {(layer.n, layer.m) for layer in layers.values() if layer.name != name} == {(8, 8)}


def test_the_pattern_is_verified_and_not_assumed(small: Encoder) -> None:
    name = "encoder.layer.0.intermediate.dense"
    with pytest.raises(InputError, match=f"layer {name}: row .channel. 0, group 0 has 8 non-zero weights, the pattern"):
        whole(small, {name: (2, 8)})


def test_tables_are_the_activation_function(small: Encoder) -> None:
    artefact = whole(small)
    assert artefact.model
    tensors = artefact.model.tensors
    table = torch.from_numpy(tensors["tables.encoder.layer.0.intermediate"]).double()
    zero = int(tensors["zeros.encoder.layer.0.intermediate.table"])
    x = (torch.arange(-128, 128) - zero).double() * float(tensors["scales.encoder.layer.0.intermediate.table"])
    y = table * float(tensors["scales.encoder.layer.0.intermediate.result"])
    torch.testing.assert_close(y, nn.functional.gelu(x), atol=1e-3, rtol=0)


def test_the_same_contents_give_the_same_bytes(small: Encoder) -> None:
    first, second = whole(small), whole(small)
    assert to_bytes(first.layers.values(), first.model) == to_bytes(second.layers.values(), second.model)


def test_version_1_still_opens(tmp_path: Path) -> None:
    save(tmp_path / "A.safetensors", [random_layer(1, 3, 20, 2, 8)])
    with safe_open(tmp_path / "A.safetensors", "np") as file:
        assert file.metadata()["version"] == "1"
    artefact = read(tmp_path / "A.safetensors")
    assert (artefact.version, artefact.model, list(artefact.layers)) == (1, None, ["fc"])
    with pytest.raises(InputError, match=r"holds layers alone \(version 1\), must hold a whole model"):
        from_artefact(artefact)


def test_any_reader_opens_version_2(small: Encoder, tmp_path: Path) -> None:
    artefact = whole(small)
    save(tmp_path / "A.safetensors", artefact.layers.values(), artefact.model)
    with safe_open(tmp_path / "A.safetensors", "np") as file:
        metadata = file.metadata()
        assert metadata["version"] == "2"
        assert json.loads(metadata["model"])["config"] == small.origin.config
        assert file.get_tensor("embeddings.word_embeddings.weight").dtype == np.int16
        assert bytes(file.get_tensor("tokenizer")).decode() == small.tokenizer.to_str()


def test_every_changed_byte_is_noticed(small: Encoder) -> None:
    artefact = whole(small)
    data = to_bytes(artefact.layers.values(), artefact.model)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 100):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(InputError):
            whole_from_bytes(bytes(damaged))


def changed(model: Model, **parts: Any) -> Model:
    return Model(**{key: getattr(model, key) for key in ("config", "tokenizer", "tensors", "about")} | parts)


def without(name: str) -> Callable[[Model], Model]:
    return lambda model: changed(model, tensors={key: value for key, value in model.tensors.items() if key != name})


def with_tensor(name: str, value: np.ndarray) -> Callable[[Model], Model]:
    return lambda model: changed(model, tensors=dict(model.tensors) | {name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("embeddings.LayerNorm.bias"), "tensor embeddings.LayerNorm.bias of the model is missing"),
        (without("scales.encoder.layer.0.output.total"), "tensor scales.encoder.layer.0.output.total is missing"),
        (
            with_tensor("embeddings.LayerNorm.bias", np.zeros(3, np.float32)),
            "tensor embeddings.LayerNorm.bias is [3], must be [24] by the config",
        ),
        (
            with_tensor("embeddings.LayerNorm.bias", np.full(24, np.nan, np.float32)),
            "tensor embeddings.LayerNorm.bias has a NaN or an infinity, must be finite",
        ),
        (
            with_tensor("encoder.layer.0.output.dense.bias", np.zeros(24, np.int32)),
            "tensor encoder.layer.0.output.dense.bias of the model has the name of a layer's, must be unique",
        ),
        (lambda model: changed(model, tokenizer="{}"), "the artefact's tokenizer is none: "),
        (lambda model: changed(model, config={}), "the artefact's config: model_type is None, must be one of "),
    ],
)
def test_models_with_something_wrong(change: Callable[[Model], Model], message: str, small: Encoder) -> None:
    artefact = whole(small)
    assert artefact.model
    with pytest.raises(InputError) as caught:
        from_artefact(whole_from_bytes(to_bytes(artefact.layers.values(), change(artefact.model))))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("zeros.encoder.layer.0.attention.self.q", np.array(100, np.int16)),
        ("zeros.encoder.layer.9.intermediate.table", np.array(0, np.int16)),
        ("scales.encoder.layer.0.attention.self.q.zero", np.array(1e50)),
        ("scales.encoder.layer.0.intermediate.table.zero", np.array(100.0)),
        ("scales.encoder.layer.0.attention.self.query", np.ones(24)),
    ],
)
def test_unknown_points_are_refused(name: str, value: np.ndarray, small: Encoder) -> None:
    artefact = whole(small)
    said = ""
    try:
        from_artefact(replace(artefact, model=with_tensor(name, value)(artefact.whole)))
    except InputError as error:
        said = str(error)
    assert said == f"tensor {name} belongs to no encoder of this config"


def test_without_zeros_0_stands_for_0(small: Encoder) -> None:
    """As artefacts of earlier versions have it."""
    scales = dict(calibrate(small, TEXT))
    for i in range(2):
        point = f"encoder.layer.{i}.intermediate.table"
        zero = int(scales.pop(zero_of(point)))
        scales[point] *= max(127 - zero, 128 + zero) / 127  # neither end saturates
    artefact = to_artefact(small, {}, scales)
    assert artefact.model
    assert not [name for name in artefact.model.tensors if name.startswith("zeros.")]
    again, read = from_artefact(artefact)
    assert read.keys() == scales.keys()
    torch.testing.assert_close(again.embed(TEXT), small.embed(TEXT), atol=0.02, rtol=0)
    rounded, here = quantise(again, read, weights=False), quantise(deepcopy(small), scales)
    torch.testing.assert_close(rounded.embed(TEXT), here.embed(TEXT), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("zero", "message"),
    [
        (np.array(128, np.int16), "has 128, must be from -128 to 127"),
        (np.array(-129, np.int16), "has -129, must be from -128 to 127"),
        (np.zeros(2, np.int16), r"is int16 \[2\], must be int16 with one number"),
        (np.array(1.0), r"is float64 \[\], must be int16 with one number"),
    ],
)
def test_a_zero_with_something_wrong(zero: np.ndarray, message: str, small: Encoder) -> None:
    artefact, name = whole(small), "zeros.encoder.layer.1.intermediate.table"
    assert artefact.model
    model = replace(artefact.model, tensors=artefact.model.tensors | {name: zero})
    with pytest.raises(InputError, match=f"tensor {name} {message}"):
        whole_from_bytes(to_bytes(artefact.layers.values(), model))
