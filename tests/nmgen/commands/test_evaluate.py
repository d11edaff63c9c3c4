"""`nmgen evaluate`: models and artefacts, float and int8, and one line for what is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nmgen.cli import main
from nmgen.console.threads import one_thread
from pruning.data.text import classification, sts
from pruning.families.bert.calibrate import calibrate
from pruning.families.bert.export import to_artefact
from pruning.families.bert.family import from_artefact
from pruning.families.bert.folder import load, save
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.bert.model import Encoder
from pruning.files import artefact
from pruning.files.artefact import read
from pruning.files.artefact import save as save_artefact
from pruning.training.scores import accuracy, sts_score
from tests.pruning.samples import WORDS, random_layer, write_model


@pytest.fixture(autouse=True)
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """A folder small/ with a head, its artefact A.safetensors, pairs in sts/ and labelled text in t/."""
    monkeypatch.chdir(tmp_path)
    encoder = load(write_model(Path("plain")))
    torch.manual_seed(0)
    encoder.head = nn.Linear(24, 2).requires_grad_(False)
    save(encoder, Path("small"))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[5:], int(rng.integers(1, 12)))) for _ in range(100)]
    Path("sts").mkdir()
    for name, start in (("a", 0), ("b", 20)):
        rows = [f"{i % 6}\t{texts[start + 2 * i]}\t{texts[start + 2 * i + 1]}\n" for i in range(10)]
        Path("sts", f"{name}.tsv").write_text("".join(rows) + "\tno\tscore\n")
    Path("t").mkdir()
    for split, start in (("train", 40), ("dev", 60), ("test", 80)):
        Path("t", f"{split}.txt").write_text("".join(f"{i % 2} {texts[start + i]}\n" for i in range(20)))
    with one_thread():
        artefact = to_artefact(encoder, {}, calibrate(encoder, texts))
    save_artefact("A.safetensors", artefact.layers.values(), artefact.model)
    return encoder


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["evaluate", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_an_artefact_in_float_and_in_int8(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "A.safetensors", "--sts", "sts", "--classify", "t")
    assert found.keys() == {"model", "float", "int8", "cosine"}
    for form in ("float", "int8"):
        assert found[form]["sts"].keys() == {"sts/a.tsv", "sts/b.tsv"}
        assert found[form]["mean"] == pytest.approx(sum(found[form]["sts"].values()) / 2, abs=0.002)
        assert found[form]["accuracy"].keys() == {"dev", "test"}
    exact = sts_score(encoder, sts(Path("sts/a.tsv")))
    assert found["float"]["sts"]["sts/a.tsv"] == pytest.approx(exact, abs=6)
    assert found["float"] != found["int8"]


def test_int8_is_the_integer_encoder(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "A.safetensors", "--sts", "sts/a.tsv", "--classify", "t")["int8"]
    integer = IntegerEncoder(read("A.safetensors"))
    assert found["mean"] == round(sts_score(integer, sts(Path("sts/a.tsv"))), 3)
    rows = classification(Path("t"), 2)
    assert found["accuracy"] == {split: round(accuracy(integer, rows[split]), 3) for split in ("dev", "test")}


def test_a_folder_in_float_alone(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "small", "--sts", "sts/b.tsv", "sts/a.tsv")
    assert list(found["float"]["sts"]) == ["sts/b.tsv", "sts/a.tsv"]
    assert found["float"]["sts"]["sts/a.tsv"] == pytest.approx(sts_score(encoder, sts(Path("sts/a.tsv"))), abs=1e-3)
    assert found.keys() == {"model", "float"}


def test_a_folder_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "small", "--sts", "sts/a.tsv", "--calibrate", "t/train.txt")
    assert found.keys() == {"model", "float", "int8", "cosine"}
    assert 0.9 < found["cosine"]["lowest"] < found["cosine"]["mean"] < 1


def test_the_cosine_is_of_all_that_is_scored(capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(capsys, "A.safetensors", "--sts", "sts", "--classify", "t")["cosine"]
    pairs = [pair for name in ("a", "b") for pair in sts(Path(f"sts/{name}.tsv"))]
    sentences = [text for pair in pairs for text in (pair.first, pair.second)]
    sentences += [row.sentence for split in ("dev", "test") for row in classification(Path("t"), 2)[split]]
    with one_thread():
        exact, rounded = from_artefact(read("A.safetensors")), IntegerEncoder(read("A.safetensors"))
        cosines = torch.nn.functional.cosine_similarity(exact.embed(sentences), rounded.embed(sentences))
    assert found["inputs"] == len(sentences) == 80
    assert found["mean"] == pytest.approx(float(cosines.mean()), abs=1e-5)
    assert found["lowest"] == pytest.approx(float(cosines.min()), abs=1e-5)


def test_no_score_of_what_is_no_number(encoder: Encoder, capsys: pytest.CaptureFixture[str]) -> None:
    whole = read("A.safetensors").whole
    tiny = {"scales.encoder.layer.0.output.operand": np.full(40, 1e-30)}
    save_artefact("B.safetensors", read("A.safetensors").layers.values(), replace(whole, tensors=whole.tensors | tiny))
    encoder.blocks()[0].intermediate.dense.weight.data *= 1e36
    save(encoder, Path("huge"))
    for model in ("B.safetensors", "huge"):
        for on in (("--sts", "sts"), ("--classify", "t")):
            assert main(["evaluate", model, *on]) == 2
            out, err = capsys.readouterr()
            assert not out
            assert err == "nmgen: the model gives a NaN or an infinity: its weights or scales cannot be computed with\n"


def test_one_input(capsys: pytest.CaptureFixture[str]) -> None:
    Path("one").mkdir()
    Path("one/test.txt").write_text("0 the fox\n")
    assert main(["evaluate", "A.safetensors", "--classify", "one"]) == 0
    assert "cosine of int8 to float, 1 input: mean 0.9" in capsys.readouterr().out


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "A.safetensors", "--sts", "sts", "--classify", "t"]) == 0
    out = capsys.readouterr().out
    for part in (
        "float",
        "int8",
        "sts/a.tsv",
        "mean of the files",
        "test.txt",
        "cosine of int8 to float, 80 inputs: mean 0.9",
    ):
        assert part in out


def test_train_counts_only_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("dev", "test"):
        Path("t", f"{split}.txt").unlink()
    assert evaluated(capsys, "small", "--classify", "t")["float"]["accuracy"].keys() == {"train"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small"], "nothing to score on: give --sts or --classify"),
        (["none", "--sts", "sts"], "model none is not a folder"),
        (["small", "--sts", "none.tsv"], "none.tsv: No such file or directory"),
        (["small", "--sts", "t"], "t has no *.tsv"),
        (["small", "--sts", "empty.tsv"], "empty.tsv has no sentence"),
        (["small", "--sts", "sts/a.tsv", "bad.tsv"], "bad.tsv row 2: score is '9', must be a number from 0 to 5"),
        (["small", "--classify", "labels"], "labels/dev.txt row 2: label is 2, must be 0 to 1"),
        (["small", "--classify", "none"], "none is not a folder"),
        (["plain", "--classify", "t"], "the model has no head: train one with nmgen prune --classify"),
        (
            ["one.safetensors", "--sts", "sts"],
            "one.safetensors: the artefact holds layers alone (version 1), must hold",
        ),
        (["cut.safetensors", "--sts", "sts"], "cut.safetensors: truncated: tensor "),
        (["bad.tsv", "--sts", "sts"], "bad.tsv: truncated, or no safetensors file: "),
        (["A.safetensors", "--sts", "sts", "--calibrate", "t/dev.txt"], "A.safetensors is an artefact, which has its "),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.tsv").touch()
    Path("bad.tsv").write_text("1\ta\tb\n9\ta\tb\n")
    Path("labels").mkdir()
    Path("labels/dev.txt").write_text("0 a\n2 b\n")
    save_artefact("one.safetensors", [random_layer(1, 3, 20, 2, 8)])
    Path("cut.safetensors").write_bytes(Path("A.safetensors").read_bytes()[:-1])
    assert main(["evaluate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"nmgen: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        "evaluate A.safetensors --sts sts/a.tsv",
        "compile A.safetensors --seq 4 --m 8 --max-tokens 32 --hidden 24 --preset small -o P.nmp",
    ],
)
def test_an_artefact_is_read_once(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    whole = artefact._read

    def counted(*given: Any) -> Any:
        opened.append(given)
        return whole(*given)

    monkeypatch.setattr(artefact, "_read", counted)
    assert main(line.split()) == 0
    assert len(opened) == 1
