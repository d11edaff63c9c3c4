"""`nmgen prune --elastic`: a store of several densities, its integers shared to the bit; stopped and resumed alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmgen.cli import main
from nmgen.console.threads import one_thread
from nmgen.families.known import halves_named
from nmgen.training.elastic import integers
from pruning.families.bert.folder import load
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import read, read_elastic
from pruning.masks.elastic import Elastic
from pruning.masks.plan import Plan
from tests.nmgen.test_cli import fails
from tests.pruning.samples import WORDS, write_model
from tests.pruning.vits import random_images, random_vit

DENSITIES = "4:8,2:8,1:8"
FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]
SHAPE = ViTShape(image=8, patch=4, channels=1, hidden=32, layers=2, heads=2, intermediate=48, labels=3)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the model small/ and text for it."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS[5:], int(rng.integers(3, 12)))) for _ in range(60)]
    Path("text.txt").write_text("".join(f"{line} .\n" for line in lines))
    Path("p.tsv").write_text("".join(f"{i % 6}\t{lines[i]}\t{lines[59 - i]}\n" for i in range(20)))


def prune(*further: str, out: str = "out") -> int:
    with one_thread():
        flags = ["--steps", "6", "--batch", "16", "--lr", "1e-3", "-o", out]
        return main(["prune", "small", "--elastic", DENSITIES, "--data", "text.txt", *flags, *further])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    with one_thread():
        assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_one_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(Path("out/report.json").read_text())
    assert [one["artefact"] for one in report["candidates"]] == [f"{n}of8.safetensors" for n in (4, 2, 1)]
    store = read_elastic("out/elastic.safetensors")
    assert store
    dense = store.densities["4:8"]
    for density in DENSITIES.split(","):
        artefact = store.densities[density]
        alone = read(f"out/{density.replace(':', 'of')}.safetensors")
        for name, layer in artefact.layers.items():
            assert all(
                np.array_equal(getattr(layer, part), getattr(alone.layers[name], part))
                for part in ("weights", "bias", "mult", "shift")
            )
            assert (layer.n, layer.m) == (int(density[0]), 8)
            kept = layer.weights != 0
            assert np.array_equal(layer.weights[kept], dense.layers[name].weights[kept])
            assert kept.sum() > 0.9 * layer.weights.size * layer.n / 8
        # What the float model gives, near enough; the scales are shared.
        encoder = load(f"out/{density.replace(':', 'of')}")
        sentence = ["a fox crossed the river ."]
        cosine = float((encoder.embed(sentence) * IntegerEncoder(artefact).embed(sentence)).sum())
        assert cosine > 0.95
        scales = [name for name in artefact.whole.tensors if name.startswith("scales.")]
        assert scales
        assert all(np.array_equal(artefact.whole.tensors[name], dense.whole.tensors[name]) for name in scales)
    bias = "encoder.layer.0.output.dense"
    assert not np.array_equal(store.densities["1:8"].layers[bias].bias, dense.layers[bias].bias)
    weights = sum(layer.weights.size for layer in dense.layers.values())
    assert report["store"]["bytes"] == store.weight_bytes == weights // 8 * 44 // 8
    assert 10 * store.weight_bytes == 11 * sum(layer.packed_bytes for layer in dense.layers.values())


def test_the_commands_take_a_density(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune() == 0
    path = "out/elastic.safetensors"
    inspected = run(capsys, "inspect", path)
    assert (inspected["version"], inspected["densities"]) == (3, DENSITIES.split(","))
    assert [plane["n"] for plane in inspected["layers"][0]["planes"]] == [1, 1, 2]
    assert inspected["store_bytes"] == sum(layer["bytes"] for layer in inspected["layers"])
    assert main(["inspect", path]) == 0
    assert "4:8 also" in capsys.readouterr().out
    one = run(capsys, "inspect", path, "--density", "1:8")
    assert {layer["pattern"] for layer in one["layers"]} == {"1:8"}
    cycles = {}
    for density in DENSITIES.split(","):
        found = run(capsys, "compile", path, "--density", density, "--seq", "8", *FLAGS, "-o", f"{density[0]}.nmp")
        cycles[density] = run(capsys, "estimate", f"{density[0]}.nmp")["cycles"]
        assert found
    assert cycles["4:8"] > cycles["1:8"]
    scores = {one: run(capsys, "evaluate", path, "--density", one, "--sts", "p.tsv") for one in DENSITIES.split(",")}
    assert scores["4:8"] != scores["1:8"]
    assert run(capsys, "evaluate", path, "--sts", "p.tsv")["int8"] == scores["4:8"]["int8"]
    report = json.loads(Path("out/report.json").read_text())
    assert "density is '3:8', must be one of 4:8, 2:8, 1:8" in fails(
        ["evaluate", path, "--density", "3:8", "--sts", "p.tsv"], capsys
    )
    assert "small is no artefact of several densities" in fails(
        ["compile", "small", "--density", "1:8", "--seq", "8", "-o", "x.nmp"], capsys
    )
    assert (report["recipe"]["elastic"], report["recipe"]["method"]) == (True, "idp-weighed")


def files(folder: str) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith("run/")}


def test_resumed_and_repeated_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert prune(out="one") == 0
    assert prune(out="two") == 0

    class StoppedError(Exception):
        pass

    def stop(_self: object, _what: str, step: int, *_: object) -> None:
        if step == 4:
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("nmgen.console.progress.StepProgress.__call__", stop)
        with pytest.raises(StoppedError):
            prune("--checkpoint-every", "2", out="three")
    assert not Path("three/elastic.safetensors").exists()
    assert prune("--checkpoint-every", "2", "--resume", out="three") == 0
    wanted = files("one")
    assert "elastic.safetensors" in wanted
    for other in ("two", "three"):
        found = files(other)
        assert found.keys() == wanted.keys()
        assert all(found[name] == wanted[name] for name in wanted if not name.endswith("report.json"))
    capsys.readouterr()


@pytest.mark.parametrize("seed", range(4))
def test_integers_are_shared_whatever_the_gains(seed: int) -> None:
    """A ViT, whose projection and classifier are dense in all; gains, biases and norms as training may leave them."""
    model = random_vit(SHAPE)
    plans = [
        Plan.uniform(model, one, lambda _, name: name.startswith("encoder.")) for one in ("7:8", "4:8", "2:8", "1:8")
    ]
    elastic = Elastic(model, plans)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in elastic.parameters():
            if parameter.ndim == 1:
                parameter.mul_(torch.rand(parameter.shape, generator=generator) + 0.3)
    models: list[Any] = [one.eval().requires_grad_(False) for one in elastic.plain()]
    family = halves_named("vit").prunes
    store = integers(family, elastic, models, random_images(SHAPE, 12, seed), {})
    assert list(store.densities) == ["7:8", "4:8", "2:8", "1:8"]
    images = random_images(SHAPE, 6, seed + 100)
    for artefact, float_model in zip(store.densities.values(), models, strict=True):
        found, wanted = family.integers(artefact).logits(images), float_model.logits(images)
        assert torch.nn.functional.cosine_similarity(found.flatten(), wanted.flatten(), dim=0) > 0.97
    for name in ("embeddings.patch_embeddings.projection", "classifier"):
        layers = store.layer(name)
        assert all(np.array_equal(layer.weights, layers[0].weights) for layer in layers)
        assert len(store.planes(name)) == 1
    Path("x").mkdir()
    from pruning.files import elastic as files_of

    files_of.save("x/a.safetensors", store)
    for density, artefact in store.densities.items():
        again = read("x/a.safetensors", density)
        assert torch.equal(family.integers(again).logits(images), family.integers(artefact).logits(images))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--elastic", "4:8", "--data", "text.txt"], "an elastic model has one density, must have at least 2"),
        (["--elastic", "2:8,4:8", "--data", "text.txt"], "patterns step from 2:8 up to 4:8, must step down"),
        (["--elastic", "2:8,1:4", "--data", "text.txt"], "step from 2:8 to 1:4, must step down in groups of 8"),
        (["--elastic", "4:8,x", "--data", "text.txt"], "pattern is 'x', must be N:M such as 2:8"),
        (["--elastic", "4:8,2:8"], "an elastic model is trained: give --data"),
        (["--elastic", ""], "an elastic model is trained: give --data"),
        (["--elastic", "", "--data", "text.txt"], "pattern is '', must be N:M such as 2:8"),
        (["--elastic", "4:8,2:8", "--patterns", "2:8"], "not allowed with argument --"),
        (["--elastic", "4:8,2:8", "--data", "text.txt", "--method", "asp"], "idp or idp-weighed, not by asp"),
        (["--elastic", "4:8,2:8", "--data", "text.txt", "--qat", "3"], "--qat is for a series: give --patterns, not"),
        (["--elastic", "4:8,2:8", "--data", "text.txt", "--nested"], "--nested is for a series: give --patterns, not"),
    ],
)
def test_refusals(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(["prune", "small", "-o", "out", "--steps", "2", "--batch", "8", *flags], capsys)
    assert not Path("out/elastic.safetensors").exists()


def test_scales_are_of_all_densities() -> None:
    """What a sparser density gives is larger here, and does not saturate."""
    model = random_vit(SHAPE)
    plans = [Plan.uniform(model, one, lambda _, name: name.startswith("encoder.")) for one in ("2:8", "1:8")]
    elastic = Elastic(model, plans)
    with torch.no_grad():
        for name, parameter in elastic.models[1].named_parameters():
            if name.endswith(("gain", "bias")):
                parameter.mul_(4)
    models: list[Any] = [one.eval().requires_grad_(False) for one in elastic.plain()]
    family, images = halves_named("vit").prunes, random_images(SHAPE, 12)
    store = integers(family, elastic, models, images, {})
    alone = [family.calibrate(one, images) for one in models]
    point = "encoder.layer.1.attention.attention.q"
    assert alone[1][point] > 2 * alone[0][point]
    found = store.densities["2:8"].whole.tensors[f"scales.{point}"]
    assert found >= 0.9 * float(alone[1][point])
