"""`nmgen estimate` and `nmgen compile` of models as they are found: dense or pruned in one shot, by the same flags."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmgen.cli import main
from nmgen.compiler import program as programs
from nmgen.console.progress import stages
from pruning.families.bert.folder import load
from pruning.families.vit.folder import save as save_vit
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import save
from pruning.integers.layer import golden
from pruning.masks.patterns import magnitude_mask
from tests.nmgen.encoders import artefact
from tests.nmgen.test_cli import fails
from tests.pruning.samples import WORDS, write_model
from tests.pruning.vits import random_images, random_vit

FLAGS = ["--preset", "small", "--m", "8", "--max-tokens", "32", "--hidden", "24"]
LENGTHS = ["--seq", "6,4", "--batch", "2"]
FIT = "".join(f"a {one} crossed the {other} .\n" for one in WORDS[5:9] for other in WORDS[5:])
POOR = "Methane burns in oxygen .\nThe volcano slept .\na fox\n"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds the models small/ and vit/, A.safetensors, texts and pictures."""
    monkeypatch.chdir(tmp_path)
    write_model(Path("small"))
    whole = artefact(24, 3, 40, pattern="2:8")
    save("A.safetensors", whole.layers.values(), whole.model)
    shape = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=1, heads=2, intermediate=24, labels=3)
    save_vit(random_vit(shape), Path("vit"))
    np.save("pictures.npy", random_images(shape, 4)[:, 0].numpy())
    Path("fit.txt").write_text(FIT)
    Path("poor.txt").write_text(POOR)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


MODELS = [
    ["small", *LENGTHS, "--calibrate", "fit.txt"],
    ["small", *LENGTHS, "--calibrate", "fit.txt", "--pattern", "2:8"],
    ["small", *LENGTHS, "--calibrate", "fit.txt", "--pattern", "1:32"],  # 24 inputs: a group is filled up
    ["A.safetensors", *LENGTHS],
    ["vit", "--batch", "2", "--calibrate", "pictures.npy", "--pattern", "4:8"],
]


@pytest.mark.parametrize("model", MODELS, ids=" ".join)
def test_the_estimate_of_a_model_is_that_of_its_program(model: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """To the cycle, of each instruction; and no file is written for it."""
    before = sorted(Path().rglob("*"))
    found = run(capsys, "estimate", *model, *FLAGS, "--mem-latency", "17")
    assert sorted(Path().rglob("*")) == before
    run(capsys, "compile", *model, *FLAGS, "-o", "p.nmp")
    expected = run(capsys, "estimate", "p.nmp", "--mem-latency", "17")
    assert found.pop("file") == model[0]
    assert expected.pop("file") == "p.nmp"
    assert found == expected
    assert found["cycles"] > 1000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_done_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more once it is done."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with stages() as say:
        say("reading the model")
        time.sleep(0.3)  # a few of its pictures
        say("counting cycles")
        time.sleep(0.3)
    said = terminal.getvalue()
    assert 0 < said.index("reading the model") < said.index("counting cycles")
    assert said.rstrip("\r").endswith("\x1b[2K"), "the line is gone at the end"
    assert main(["estimate", "small", "--seq", "6", "--calibrate", "fit.txt", *FLAGS]) == 0
    assert len(terminal.getvalue()) > len(said)


def test_a_pattern_takes_fewer_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["estimate", "small", *LENGTHS, "--calibrate", "fit.txt", *FLAGS]
    cycles = [run(capsys, *common, *pattern)["cycles"] for pattern in ([], ["--pattern", "4:8"], ["--pattern", "1:8"])]
    assert cycles == sorted(cycles, reverse=True)
    assert len(set(cycles)) == 3


def test_what_is_compiled_is_pruned_by_magnitude(capsys: pytest.CaptureFixture[str]) -> None:
    """The program that compile makes of a pattern is that of an artefact with the largest weights."""
    from nmgen.models.dense import Dense, dense_artefact

    said = run(capsys, "compile", "small", *LENGTHS, "--calibrate", "fit.txt", "--pattern", "2:8", *FLAGS, "-o", "p")
    assert said["about"]["method"] == "magnitude"
    assert said["about"]["pattern"] == "12 × 2:8"
    dense = Dense("small", [Path("fit.txt")])
    made = dense_artefact(dense, "2:8")
    for name, linear in load("small").linears().items():
        kept = magnitude_mask(linear.weight, 2, 8).numpy()
        assert not made.layers[name].weights[~kept].any(), name
        assert (made.layers[name].n, made.layers[name].m) == (2, 8)
        assert golden(made.layers[name], np.zeros((1, linear.in_features), np.int8)).shape == (1, linear.out_features)
    save("B.safetensors", made.layers.values(), made.model)
    run(capsys, "compile", "B.safetensors", *LENGTHS, *FLAGS, "-o", "q")
    assert programs.load(Path("p")).memory == programs.load(Path("q")).memory


def test_flags_that_do_not_go_with_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "compile", "A.safetensors", *LENGTHS, *FLAGS, "-o", "p.nmp")
    for flags in (
        ["--seq", "3"],
        ["--batch", "2"],
        ["--pattern", "2:8"],
        ["--store-words", "64"],
        ["--preset", "base"],
    ):
        expected = f"p.nmp is a program, compiled for one configuration: {flags[0]} is for a model"
        assert expected in fails(["estimate", "p.nmp", *flags], capsys)
    for command in (["estimate"], ["compile", "-o", "x"]):
        said = fails([*command, "A.safetensors", "--seq", "6", "--pattern", "2:8"], capsys)
        assert "A.safetensors is an artefact, which has its patterns: --pattern is for a folder" in said
        assert "pattern 9:8 keeps 9 of 8" in fails([*command, "small", "--seq", "6", "--pattern", "9:8"], capsys)
    assert "small reads text: give --seq" in fails(["estimate", "small"], capsys)
    assert "hf download a/b --local-dir b" in fails(["estimate", "a/b"], capsys)
    assert "none.nmp: No such file or directory" in fails(["estimate", "none.nmp"], capsys)
    assert "model ./none is not a folder" in fails(["estimate", "./none"], capsys)


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("compile", ["--seq", "6", "-o", "p", *FLAGS]),
        ("estimate", ["--seq", "6", *FLAGS]),
        ("evaluate", ["--sts", "s.tsv"]),
    ],
)
def test_poor_calibration_text_is_told_and_used(
    command: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line with both numbers; in none where the text is fit, and in an error's place never."""
    Path("s.tsv").write_text("1\ta fox\tthe river\n4\ta river\tthe line\n2\ta line\tthe fox\n")
    assert main([command, "small", "--calibrate", "poor.txt", *flags]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: calibration text poor.txt: 3 sentences (good scales take 16 or more), 55% of the ")
    assert err.count("\n") == 1
    assert main([command, "small", "--calibrate", "fit.txt", *flags]) == 0
    assert capsys.readouterr().err == ""
    if command != "evaluate":
        assert "too many (hidden)" in fails(
            [command, "small", "--calibrate", "poor.txt", *flags, "--hidden", "8"], capsys
        )


def test_enough_sentences_of_unknown_words_are_poor(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.txt").write_text("".join(f"the word {number} crossed\n" for number in range(20)))
    assert main(["compile", "small", "--calibrate", "other.txt", "--seq", "6", "-o", "p", *FLAGS]) == 0
    assert "other.txt: 20 sentences (good scales take 16 or more), 50% of the tokens are" in capsys.readouterr().err
