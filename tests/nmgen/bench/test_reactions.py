"""The bench of the BERT of chemistry: its runs and its table. Accuracies it measures."""

from pathlib import Path
from typing import Any

import pytest

from nmgen.bench.reactions import PATTERNS, main, runs, scores, table
from nmgen.bench.training_runs import command
from nmgen.cli import parser


def report(least: float) -> dict[str, Any]:
    def scored(value: float) -> dict[str, Any]:
        return {"accuracy": {"test": value}}

    candidates = [
        {"float": scored(least - i), "int8": scored(least - i - 0.5), "one-shot": scored(10.0 * i)}
        for i in range(len(PATTERNS))
    ]
    return {"dense": {"float": scored(least + 1)}, "candidates": candidates}


def test_runs(tmp_path: Path) -> None:
    found = runs(2, tmp_path)
    assert [one.name for one in found] == ["idp-0", "idp-1"]
    for seed, one in enumerate(found):
        args = parser().parse_args(command(one, tmp_path / "out")[3:])
        assert (args.seed, args.classify, args.patterns, args.data) == (seed, True, "4:8,2:8,1:8", [tmp_path / "text"])


def test_the_table() -> None:
    found = [scores(report(least)) for least in (96.0, 97.0)]
    lines = table(found, {"dense": 4000, "4:8": 3000, "2:8": 2000, "1:8": 2000}).splitlines()
    assert "seeds: 2." in lines[0]
    assert lines[-6:] == [
        "| | dense | 4:8 | 2:8 | 1:8 |",
        "|---|---|---|---|---|",
        "| trained, float | 97.50 ± 0.50 | 96.50 ± 0.50 | 95.50 ± 0.50 | 94.50 ± 0.50 |",
        "| trained, int8 |  | 96.00 ± 0.50 | 95.00 ± 0.50 | 94.00 ± 0.50 |",
        "| magnitude, one-shot, float |  | 0.00 ± 0.00 | 10.00 ± 0.00 | 20.00 ± 0.00 |",
        "| cycles | 4,000 | 3,000 | 2,000 | 2,000 |",
    ]


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0"]) == 2
    assert capsys.readouterr().err == "bench-reactions: --seeds is 0, must be at least 1\n"
