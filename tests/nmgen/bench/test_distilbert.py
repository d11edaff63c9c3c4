"""The bench of a DistilBERT: its runs, each series from its own dense model, and its table. Scores it measures."""

from pathlib import Path
from typing import Any

import pytest

from nmgen.bench.distilbert import PATTERNS, artefacts, dense_runs, main, runs, scores, table
from nmgen.bench.training_runs import command, folder_of
from nmgen.cli import parser


def test_runs(tmp_path: Path) -> None:
    dense = dense_runs(2, tmp_path / "given", tmp_path)
    series = runs(dense, tmp_path, tmp_path)
    for seed, (one, other) in enumerate(zip(dense, series, strict=True)):
        first, then = (parser().parse_args(command(run, tmp_path / "out")[3:]) for run in (one, other))
        assert (first.model, first.method, first.teacher, first.seed, first.steps) == (
            *(str(tmp_path / "given"), "dense", "minilm"),
            *(seed, 900),
        )
        assert then.model == str(folder_of(one, tmp_path) / "dense")
        assert (then.teacher, then.patterns, then.seed, then.steps) == ("minilm", ",".join(PATTERNS), seed, 450)


def report(*values: float) -> dict[str, Any]:
    return {"dense": {"float": {"mean": 70.0}}, "candidates": [{"int8": {"mean": value}} for value in values]}


def test_the_table(tmp_path: Path) -> None:
    found = [scores(report(dense), report(77.0, 76.0, 75.0), 79.33) for dense in (77.5, 78.5)]
    taken = {"minilm": 7000, "dense": 3500, "4:8": 2600, "2:8": 1800, "1:8": 1800}
    lines = table(found, taken).splitlines()
    assert "seeds: 2." in lines[0]
    assert lines[-2:] == [
        "| score | 79.33 | 70.00 | 78.00 ± 0.50 | 77.00 ± 0.00 | 76.00 ± 0.00 | 75.00 ± 0.00 |",
        "| cycles | 7,000 |  | 3,500 | 2,600 | 1,800 | 1,800 |",
    ]
    assert artefacts(tmp_path)["2:8"] == tmp_path / "2of8.safetensors"


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "nowhere"]) == 2
    assert capsys.readouterr().err == "bench-distilbert: nowhere/sst2/train.txt is missing\n"
