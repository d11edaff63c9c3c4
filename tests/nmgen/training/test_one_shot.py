"""`nmgen prune` without --data: whole models in one shot, by pattern, by plan and within a budget of cycles."""

import json
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.models.dense import Dense
from pruning.families.bert.folder import load
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.vit.folder import load as load_vit
from pruning.families.vit.folder import save as save_vit
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import read
from pruning.masks.methods import METHODS, calibrated
from pruning.masks.patterns import magnitude_mask
from pruning.masks.sparsify import sparsify
from tests.nmgen.test_cli import fails
from tests.pruning.samples import WORDS, write_model
from tests.pruning.vits import random_images, random_vit

FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]
FIT = "".join(f"a {one} crossed the {other} .\n" for one in WORDS[5:9] for other in WORDS[5:])
TINY = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the models small/ and vit/, text and pictures for them."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    save_vit(random_vit(TINY), Path("vit"))
    np.save("pictures.npy", random_images(TINY, 20)[:, 0].numpy())
    Path("fit.txt").write_text(FIT)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    found: dict[str, Any] = json.loads(said.out)
    return found


def prune(capsys: pytest.CaptureFixture[str], *further: str, model: str = "small") -> dict[str, Any]:
    calibrate = "pictures.npy" if model == "vit" else "fit.txt"
    return run(capsys, "prune", model, "--calibrate", calibrate, "-o", "out", *further)


def test_a_whole_model_is_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    """prune, compile and estimate one after another, as somebody new to it would type them."""
    report = prune(capsys, "--patterns", "2:8,4:4", "--method", "magnitude")
    assert report == json.loads(Path("out/report.json").read_text())
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "2of8",
        "2of8.safetensors",
        "4of4",
        "4of4.safetensors",
        "report.json",
    ]
    run(capsys, "compile", "out/2of8.safetensors", "--seq", "6", *FLAGS, "-o", "p.nmp")
    assert run(capsys, "estimate", "p.nmp")["cycles"] > 1000
    dense, sparse, artefact = load("small"), load("out/2of8"), read("out/2of8.safetensors")
    assert artefact.model
    assert artefact.model.about == {"model": "small", "method": "magnitude", "pattern": "12 × 2:8"}
    for name, linear in dense.linears().items():
        kept = magnitude_mask(linear.weight, 2, 8)
        assert torch.equal(sparse.linears()[name].weight, torch.where(kept, linear.weight, 0.0)), name
        assert not artefact.layers[name].weights[~kept.numpy()].any(), name
    first, second = report["candidates"]
    assert first["plan"] == dict.fromkeys(dense.linears(), "2:8")
    assert first["density"] == pytest.approx(0.25, abs=0.01)
    assert second["float"]["cosine"] == pytest.approx(1)
    lines = FIT.splitlines()
    for form, model in (("float", sparse), ("int8", IntegerEncoder(artefact))):
        cosine = (model.embed(lines) * dense.embed(lines)).sum(dim=1).mean()
        assert first[form]["cosine"] == pytest.approx(float(cosine), abs=1e-6)


def test_the_same_bytes_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    prune(capsys, "--patterns", "2:8")
    first = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    prune(capsys, "--patterns", "2:8")  # into the folder that is there
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == first


def test_a_vit(capsys: pytest.CaptureFixture[str]) -> None:
    prune(capsys, "--patterns", "2:8", model="vit")
    name = "encoder.layer.0.output.dense"
    weight = load_vit("vit").get_parameter(f"{name}.weight")
    kept = magnitude_mask(weight, 2, 8)
    assert torch.equal(load_vit("out/2of8").get_parameter(f"{name}.weight"), torch.where(kept, weight, 0.0))
    flags = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "16"]
    run(capsys, "compile", "out/2of8.safetensors", "--batch", "2", *flags, "-o", "p.nmp")
    found = prune(capsys, "--budget", "1G", *flags, model="vit")
    (bounds,) = found["budgets"]
    assert bounds["cycles"] == bounds["dense"]
    run(capsys, "compile", "out/plan.safetensors", *flags, "-o", "q.nmp")
    assert run(capsys, "estimate", "q.nmp")["cycles"] == bounds["cycles"]


def test_inputs_that_are_no_multiple_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """24 and 40 inputs: filled up, unless they are to be left dense."""
    (padded,) = prune(capsys, "--patterns", "1:16")["candidates"]
    assert len(padded["plan"]) == 12
    (skipped,) = prune(capsys, "--patterns", "1:8,1:32", "--ragged", "skip")["candidates"][1:]
    assert skipped["plan"] == {}
    assert skipped["density"] == 1
    assert skipped["float"]["cosine"] == pytest.approx(1)


def test_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plan.toml").write_text('[layers]\n"encoder.layer.1.output.dense" = "1:8"\n')
    (entry,) = prune(capsys, "--plan", "plan.toml")["candidates"]
    assert (entry["name"], entry["plan"]) == ("plan", {"encoder.layer.1.output.dense": "1:8"})
    layers = read("out/plan.safetensors").layers
    assert [name for name, layer in layers.items() if (layer.n, layer.m) != (8, 8)] == list(entry["plan"])


# --- what is wrong, and what is poor ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to prune to: give --patterns, --plan, --budget or --elastic"),
        (["--budget", "x"], "budget is 'x', must be a number of cycles such as "),
        (["--budget", "1M", "--patterns", "2:8"], "argument --patterns: not allowed with argument --budget"),
        (
            ["--budget", "1M", "--seq", "6", "--hidden", "8"],
            "hidden channels: 24, the configuration has 8: 16 too many (hidden)",
        ),
        (["--budget", "1M", "--seq", "0"], "seq is '0', must be numbers of tokens of at least 1"),
        (["--budget", "1M", "--layers", "x"], "layers is 'x', must match one of 12 such as "),
        (["--patterns", "2:8", "--rows", "4"], "--rows is for a budget of cycles: give --budget"),
        (["--patterns", "2:8", "--seq", "4"], "--seq is for a budget of cycles: give --budget"),
        (["--patterns", "2:8", "--tokens", "4"], "--tokens is for layers alone: give --layers and --patterns, and no"),
        (["--patterns", "2:8", "--sts", "x.tsv"], "--sts is for training: give --data"),
        (["--patterns", "2:8", "--qat", "3"], "--qat is for training: give --data"),
        (["--patterns", "2:8", "--steps", "1000"], "--steps is for training: give --data"),
        (["--patterns", "2:8", "--lr", "1"], "--lr is for training: give --data"),
        (["--patterns", "2:8", "--batch", "3"], "--batch is for training: give --data"),
        (["--patterns", "2:8", "--checkpoint-every", "3"], "--checkpoint-every is for training: give --data"),
        (["--patterns", "2:8", "--teacher", "minilm"], "--teacher is for training: give --data"),
        (["--patterns", "1:16", "--ragged", "error"], "layer encoder.layer.0.attention.self.query has 24 inputs, no "),
        (["--plan", "plan.toml"], "plan plan.toml is missing"),
        (["--patterns", "2:8", "--calibrate", "none.txt"], "none.txt: No such file or directory"),
        (["--patterns", "2:8", "--method", "sr-ste"], "method sr-ste needs text: give --data"),
        (
            ["--patterns", "2:8", "--layers", "*", "--method", "wanda"],
            "method wanda is for whole models: give no --lay",
        ),
        (["--patterns", "2:8", "--layers", "*", "--permute"], "--permute is for whole models: give no --layers, or "),
        (["--patterns", "2:8", "-o", "fit.txt"], "cannot write fit.txt/2of8.safetensors: "),
    ],
)
def test_refusals(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(["prune", "small", "-o", "out", *flags], capsys)
    assert not Path("out").exists()


@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
@pytest.mark.parametrize("model", ["small", "vit"])
def test_methods_that_look_at_inputs(method: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the dense model on what it is calibrated on, whatever else is pruned."""
    report = prune(capsys, "--patterns", "2:8,1:4", "--method", method, model=model)
    assert report["method"] == method
    dense = Dense(model, [Path("pictures.npy" if model == "vit" else "fit.txt")])
    run_dense = partial(dense.family.compiles.outputs, dense.model, dense.inputs)
    for pattern in ("2:8", "1:4"):
        want, plan = deepcopy(dense.model), dense.uniform(pattern)
        sparsify(
            want, plan, method=calibrated(METHODS[method], dense.model, list(plan.layers), run_dense), ragged="pad"
        )
        folder = f"out/{pattern.replace(':', 'of')}"
        found, artefact = (load_vit(folder) if model == "vit" else load(folder)), read(f"{folder}.safetensors")
        for name, linear in want.linears().items():
            assert torch.equal(found.linears()[name].weight, linear.weight), name
            kept = artefact.layers[name].weights.reshape(linear.weight.shape) != 0
            assert not (kept & (linear.weight == 0).numpy()).any()
        assert artefact.model
        assert artefact.model.about["method"] == method


@pytest.mark.parametrize("model", ["small", "vit"])
def test_channels_in_another_order(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each candidate its own: its weights are those of the reordered dense model, and what falls is less."""
    plain = prune(capsys, "--patterns", "1:8,2:4", model=model)
    report = prune(capsys, "--patterns", "1:8,2:4", "--permute", model=model)
    assert (plain["permuted"], report["permuted"]) == (False, True)
    dense = Dense(model, [Path("pictures.npy" if model == "vit" else "fit.txt")])
    for pattern in ("1:8", "2:4"):
        folder = f"out/{pattern.replace(':', 'of')}"
        found = load_vit(folder) if model == "vit" else load(folder)
        name = "encoder.layer.0.output.dense"
        before, after = (one.linears()[name].weight for one in (dense.model, found))
        plain_one = dense.pruned(dense.uniform(pattern)).linears()[name].weight
        assert float(after.square().sum()) > float(plain_one.square().sum())
        for row, wanted in zip(after, before, strict=True):
            assert set(row[row != 0].tolist()) <= set(wanted.tolist())
    if model == "small":
        run(capsys, "compile", "out/1of8.safetensors", *FLAGS, "--seq", "8", "-o", "out/program.nmp")


def test_refusals_of_a_vit(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(["prune", "vit", "--patterns", "2:8", "-o", "out"], capsys)
    assert "vit is a ViT, which needs pictures: give --data to train it, or --calibrate" in said
    said = fails(["prune", "vit", "--budget", "1M", "--seq", "3", "--calibrate", "pictures.npy", "-o", "out"], capsys)
    assert "vit is a ViT, whose tokens are its patches: it takes no --seq" in said
    said = fails(["prune", "vit", "--patterns", "2:8", "--layers", "*", "-o", "out"], capsys)
    assert "vit is a ViT: its layers are pruned with the whole model, without --layers" in said


POOR = {
    "whole": ["--patterns", "2:8", "--calibrate", "poor.txt"],
    "layers": ["--patterns", "2:8", "--layers", "*", "--sentences", "poor.txt", "--tokens", "5"],
    "trained": ["--patterns", "2:8", "--data", "fit.txt", "--calibrate", "poor.txt", "--steps", "1", "--batch", "8"],
}


@pytest.mark.parametrize("how", POOR)
def test_poor_text_is_told_and_used(how: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("poor.txt").write_text("Methane burns in oxygen .\nThe volcano slept .\na fox\n")
    assert main(["prune", "small", *POOR[how], "-o", "out"]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "step" not in line]
    assert warnings == [
        "warning: calibration text poor.txt: 3 sentences (good scales take 16 or more), 55% of the tokens are unknown "
        "to the model (at most 10%): int8 may be poor"
    ]
