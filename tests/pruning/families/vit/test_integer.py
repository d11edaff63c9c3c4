"""The integer ViT against the float one, and its parameters against the definitions.

Its arithmetic is that of the integer encoder, tests/pruning/families/bert/test_integer.py.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pruning.encoder.pixels import Pixels
from pruning.families.vit.calibrate import calibrate, observe, patches_of
from pruning.families.vit.export import to_artefact
from pruning.families.vit.folder import load, save
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.model import encoder_layers
from pruning.families.vit.parameters import vit_parameters
from pruning.families.vit.shape import ViTShape
from pruning.masks.sparsify import finalize, sparsify
from rtl.params import InputError
from tests.pruning.vits import PIXELS, parameters, random_images, random_vit

TINY = ViTShape(image=12, patch=4, channels=3, hidden=24, layers=2, heads=3, intermediate=40, labels=5)


@pytest.mark.parametrize("change", [{}, {"labels": 0}, {"qkv_bias": False, "activation": "relu"}, {"epsilon": 0.01}])
@pytest.mark.parametrize("pixels", [PIXELS, Pixels((100.0, 127.5, 10.0), (50.0, 60.0, 127.5))])
def test_near_the_float_model(change: dict, pixels: Pixels) -> None:
    model, pictures = random_vit(replace(TINY, **change), pixels), random_images(TINY, 32)
    scales = calibrate(model, random_images(TINY, 16, seed=1))
    integers = IntegerViT(vit_parameters(to_artefact(model, {}, scales)))
    found, wanted = integers.logits(pictures), model(pixels.floats(pictures))
    assert (found - wanted).std() < 0.06 * wanted.std()


def test_pictures_at_once_equal_each_alone_and_the_steps() -> None:
    model, pictures = IntegerViT(parameters(TINY)), random_images(TINY, 5)
    together = model.results(pictures)
    assert torch.equal(together, torch.cat([model.results(picture[None]) for picture in pictures]))
    steps = [model.steps(picture) for picture in pictures]
    assert torch.equal(together, torch.cat([one[-1].residual for one in steps if one[-1].residual is not None]))
    assert [step.name for step in steps[0]][:4] == [
        "embeddings.position_embeddings",
        "patches",
        "embeddings.patch_embeddings.projection",
        "encoder.layer.0.layernorm_before",
    ]
    assert together.unique(dim=0).shape == together.shape  # not all alike


def test_patches_in_the_order_of_the_projection() -> None:
    """And the class token's gives what its place in the residual lacks."""
    model, pictures = random_vit(TINY), random_images(TINY, 2)
    p = parameters(TINY)
    scale = float(calibrate(model, random_images(TINY, 4, seed=1))["residual"])
    patches = patches_of(TINY, pictures)
    assert (patches.dtype, patches.shape) == (torch.int8, (2, 10, 48))
    layer = p.projection
    acc = patches.to(torch.int64) @ torch.from_numpy(layer.weights.astype(np.int64)).T + torch.from_numpy(layer.bias)
    y = (acc * torch.from_numpy(np.ldexp(layer.mult.astype(float), -layer.shift.astype(int)))).round()
    residual = (y + torch.from_numpy(p.initial)) * scale
    wanted = model.embeddings(PIXELS.floats(pictures))
    assert torch.allclose(residual[:, 1:].float(), wanted[:, 1:], atol=0.05)  # weights of 8 bits
    assert torch.allclose(residual[:, 0].float(), wanted[:, 0], atol=1.5 * scale)


def test_scores_are_divided_by_the_root_of_a_heads_channels() -> None:
    model = random_vit(TINY)
    artefact = to_artefact(model, {}, calibrate(model, random_images(TINY, 4)))
    assert artefact.model
    names = (f"scales.encoder.layer.1.attention.attention.{point}" for point in ("q", "k", "scores"))
    q, k, scores = (float(artefact.model.tensors[name]) for name in names)
    found = vit_parameters(artefact).blocks[1].scores
    wanted = q * k / (TINY.hidden / TINY.heads) ** 0.5 / scores
    assert found.mult * 2.0**-found.shift == pytest.approx(wanted, rel=2**-15)


def test_observed_as_the_model_computes() -> None:
    model, pictures = random_vit(TINY), random_images(TINY, 3)
    seen = observe(model, pictures)
    floats = PIXELS.floats(pictures)
    assert torch.allclose(seen["classifier.operand"], model.states(floats)[:, 0], atol=1e-5)
    inputs = model.encoder.layer[1].layernorm_before(model.encoder.layer[0](model.embeddings(floats)))
    assert torch.allclose(seen["encoder.layer.1.attention.attention.operand"], inputs.flatten(0, 1), atol=1e-5)


def test_pruned_and_from_a_folder(tmp_path: Path) -> None:
    model = random_vit(TINY)
    plan = sparsify(model, "2:8", filter_fn=encoder_layers, ragged="pad")
    finalize(model)
    save(model, tmp_path)
    read = load(tmp_path)
    scales = calibrate(read, random_images(TINY, 4))
    p = vit_parameters(to_artefact(read, plan.layers, scales))
    assert (p.blocks[1].output.n, p.blocks[1].output.m) == (2, 8)
    assert (p.projection.n, p.projection.m) == (8, 8)
    with pytest.raises(InputError, match=re.escape("encoder.layer.0.attention.attention.query")):
        to_artefact(random_vit(TINY), plan.layers, scales)


def test_refusals() -> None:
    model = random_vit(TINY)
    with pytest.raises(InputError, match="no image to calibrate on"):
        calibrate(model, random_images(TINY, 0))
    scales = calibrate(model, random_images(TINY, 2))
    with pytest.raises(InputError, match=r"layernorm_before: epsilon is \d+ in steps"):
        vit_parameters(to_artefact(random_vit(replace(TINY, epsilon=1e6)), {}, scales))
