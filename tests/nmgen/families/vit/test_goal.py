"""`nmgen prune` and `nmgen evaluate` of a ViT: labelled pictures to artefacts, and what is wrong in one line."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nmgen.cli import main
from pruning.families.known import family_of
from pruning.families.vit import folder
from pruning.families.vit import model as vit
from pruning.families.vit.calibrate import calibrate
from pruning.families.vit.export import from_artefact, to_artefact
from pruning.families.vit.folder import load, save
from pruning.families.vit.integer import IntegerViT
from pruning.families.vit.parameters import vit_parameters
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import read
from pruning.masks.sparsify import finalize, sparsify
from pruning.training.image_task import ImageTask
from tests.nmgen.test_cli import fails
from tests.pruning.vits import random_vit

TINY = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)
COUNTS = {"train": 48, "t10k": 30}


def idx(path: Path, array: np.ndarray) -> None:
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the model vit/ and labelled pictures d/, bright ones in one of 3 places."""
    monkeypatch.chdir(tmp_path)
    model = random_vit(TINY)
    model.config["id2label"] = {"0": "left", "1": "middle", "2": "right"}
    save(model, Path("vit"))
    rng = np.random.default_rng(0)
    Path("d").mkdir()
    for part, count in COUNTS.items():
        labels = rng.integers(0, 3, count).astype(np.uint8)
        pixels = rng.integers(0, 60, (count, 8, 8)).astype(np.uint8)
        for picture, label in zip(pixels, labels, strict=True):
            picture[:, 3 * label : 3 * label + 2] += 190
        idx(Path(f"d/{part}-images-idx3-ubyte.gz"), pixels)
        idx(Path(f"d/{part}-labels-idx1-ubyte.gz"), labels)


def prune(capsys: pytest.CaptureFixture[str], *further: str) -> dict[str, Any]:
    assert main(["prune", "vit", "--data", "d", "-o", "out", "--json", *further]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_series(capsys: pytest.CaptureFixture[str]) -> None:
    """Trained, each from the one before; what is written is what the report says."""
    recipe = ["--patterns", "4:8,2:8", "--steps", "30", "--batch", "16", "--lr", "3e-3"]
    report = prune(capsys, *recipe)
    assert report == json.loads(Path("out/report.json").read_text())
    assert [one["name"] for one in report["candidates"]] == ["4of8", "2of8"]
    assert Path("out/accuracy.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    dense = report["dense"]["float"]["accuracy"]["test pictures"]
    for one, share in zip(report["candidates"], (0.5, 0.25), strict=True):
        assert one["float"]["accuracy"]["test pictures"] > max(dense, 60)  # a random model knows one in three
        assert 0.8 * share < one["density"] <= share
        assert set(one["plan"].values()) == {one["name"].replace("of", ":")}
        artefact = read(f"out/{one['artefact']}")
        assert artefact.model
        assert artefact.model.about["method"] == "idp"
        assert artefact.model.config["id2label"]["2"] == "right"
        model = load(f"out/{one['folder']}")
        assert model.pixels.mean == pytest.approx(random_vit(TINY).pixels.mean)
        for form, accuracy in (("float", model), ("int8", IntegerViT(vit_parameters(artefact)))):
            assert one[form]["accuracy"]["test pictures"] == pytest.approx(right(accuracy), abs=0.001)
        assert folder.load(f"out/{one['folder']}").config == artefact.model.config
    again = {path: path.read_bytes() for path in Path("out").glob("*.safetensors")}
    prune(capsys, *recipe, "--resume")  # all of it is there
    assert {path: path.read_bytes() for path in Path("out").glob("*.safetensors")} == again


def right(model: vit.ViT | IntegerViT) -> float:
    pixels, labels = (
        np.frombuffer(gzip.decompress(Path(f"d/t10k-{part}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for part, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    pictures = torch.from_numpy(pixels.reshape(-1, 1, 8, 8).copy())
    logits = model(model.pixels.floats(pictures)) if isinstance(model, vit.ViT) else model.logits(pictures)
    return 100 * float((logits.argmax(dim=1).numpy() == labels).mean())


def test_one_shot(capsys: pytest.CaptureFixture[str]) -> None:
    """No step is trained: the largest weights of the folder, calibrated on the training pictures."""
    report = prune(capsys, "--patterns", "2:8,1:4", "--method", "magnitude")
    assert [one["name"] for one in report["candidates"]] == ["2of8", "1of4"]
    model = load("vit")
    plan = sparsify(model, "1:4", filter_fn=vit.encoder_layers)
    finalize(model)
    data = gzip.decompress(Path("d/train-images-idx3-ubyte.gz").read_bytes())
    pictures = torch.from_numpy(np.frombuffer(data, np.uint8, offset=16).reshape(-1, 1, 8, 8).copy())
    wanted, found = to_artefact(model, plan.layers, calibrate(model, pictures)), read("out/1of4.safetensors")
    for name, layer in wanted.layers.items():
        assert np.array_equal(found.layers[name].weights, layer.weights), name
        assert (found.layers[name].n, found.layers[name].m) == (layer.n, layer.m)
    one = report["candidates"][1]
    assert one["float"] == one["one-shot"] == {"accuracy": {"test pictures": pytest.approx(right(model), abs=0.001)}}


def test_who_is_distilled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidates of the model that is given; the dense one learns from labels alone."""
    artefacts = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(ImageTask, "LOGITS", share)
        for method in ("dense", "idp"):
            further = ["--patterns", "2:8"] if method == "idp" else []
            prune(capsys, "--method", method, *further, "--steps", "3", "--batch", "8")
            artefacts.append(Path(f"out/{'2of8' if further else 'dense'}.safetensors").read_bytes())
            shutil.rmtree("out")
    assert artefacts[0] == artefacts[2]
    assert artefacts[1] != artefacts[3]


def test_dense(capsys: pytest.CaptureFixture[str]) -> None:
    report = prune(capsys, "--method", "dense", "--steps", "3", "--batch", "8")
    assert [one["name"] for one in report["candidates"]] == ["dense"]
    assert family_of("out/dense.safetensors") == "vit"
    assert not torch.equal(load("out/dense").classifier.weight, load("vit").classifier.weight)


def test_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    prune(capsys, "--patterns", "2:8", "--method", "magnitude")
    assert main(["evaluate", "out/2of8.safetensors", "--images", "d", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    artefact = read("out/2of8.safetensors")
    for form, model in (("float", from_artefact(artefact)), ("int8", IntegerViT(vit_parameters(artefact)))):
        assert found[form]["accuracy"] == {"test pictures": pytest.approx(right(model), abs=0.001)}
    assert main(["evaluate", "vit", "--images", "d"]) == 0
    shown = capsys.readouterr().out
    assert f"{right(load('vit')):.2f}" in shown
    assert "int8" not in shown
    assert main(["evaluate", "vit", "--images", "d", "--calibrate", "d", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"model", "float", "int8", "cosine"}
    assert 0.9 < found["cosine"]["lowest"] <= found["cosine"]["mean"] <= 1


def test_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        return fails(["prune", "vit", *arguments, "-o", "out"], capsys)

    assert "vit is a ViT, which needs pictures: give --data" in said("--patterns", "2:8")
    assert "vit is a ViT: it takes no --classify" in said("--patterns", "2:8", "--data", "d", "--classify")
    assert "vit is a ViT: it takes no --teacher" in said("--patterns", "2:8", "--data", "d", "--teacher", "minilm")
    assert "vit is a ViT: it takes no --qat" in said("--patterns", "2:8", "--data", "d", "--qat", "3")
    assert "vit is a ViT: it takes one folder as --data, not 2" in said("--patterns", "2:8", "--data", "d", "d")
    assert "nowhere/train-images-idx3-ubyte.gz is missing" in said("--patterns", "2:8", "--data", "nowhere")
    assert "layers is 'x', must match one of 6 such as encoder.layer.0.attention" in said(
        "--patterns", "2:8", "--data", "d", "--layers", "x"
    )
    assert "encoder.layer.0.attention.attention.query" in said("--patterns", "2:32", "--data", "d")
    assert not Path("out").exists()
    idx(Path("d/t10k-labels-idx1-ubyte.gz"), np.full(30, 3, np.uint8))
    assert "d has label 3, the model has 3 classes" in said("--patterns", "2:8", "--data", "d")
    idx(Path("d/train-images-idx3-ubyte.gz"), np.zeros((48, 9, 8), np.uint8))
    assert "d has 8 x 9 pixels, the model takes 8 x 8" in said("--patterns", "2:8", "--data", "d")

    assert "vit is a ViT: give --images" in fails(["evaluate", "vit", "--sts", "d"], capsys)
    assert "vit is a ViT: give --images" in fails(["evaluate", "vit", "--sts", "d", "--images", "d"], capsys)
    assert "nothing to score on" in fails(["evaluate", "vit"], capsys)
    assert "minilm reads text: it takes no --images" in fails(["evaluate", "minilm", "--images", "d"], capsys)
    save(random_vit(ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, labels=0)), Path("none"))
    message = "d has grey pictures with labels, the model has no classifier"
    assert message in fails(["evaluate", "none", "--images", "d"], capsys)
