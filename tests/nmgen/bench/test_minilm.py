"""The bench of MiniLM: its commands and table, and that it goes on where it was. Scores it measures."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from nmgen.bench import training_runs
from nmgen.bench.minilm import KINDS, PATTERNS, main, runs, scores, section, table
from nmgen.bench.minilm_runs import scores_of
from nmgen.bench.training_runs import ROOT, Run, command, folder_of, run_all
from nmgen.cli import parser
from rtl.params import InputError
from sim.process.children import started


def report(*scores: float) -> str:
    """Of scores in int8; in float they are a point higher."""
    candidates = [{"float": {"mean": score + 1}, "int8": {"mean": score}} for score in scores]
    return json.dumps({"candidates": candidates})


def test_the_table() -> None:
    series = [{"4:8": 79.0, "2:8": 78.0, "1:8": 76.0}, {"4:8": 79.2, "2:8": 78.2, "1:8": 76.2}]
    elastic = [{"4:8": 79.5, "2:8": 77.75, "1:8": 75.6}, {"4:8": 79.7, "2:8": 77.95, "1:8": 75.8}]
    assert table("int8", {"series": series, "elastic": elastic}) == [
        "| in int8 | 4:8 | 2:8 | 1:8 |",
        "|---|---|---|---|",
        "| a model each, by IDP | 79.10 ± 0.10 | 78.10 ± 0.10 | 76.10 ± 0.10 |",
        "| one elastic model, by idp-weighed | 79.60 ± 0.10 | 77.85 ± 0.10 | 75.70 ± 0.10 |",
        "| one elastic model, by idp-weighed, gain over IDP | +0.50 ± 0.00, met (≥ -0.3) | -0.25 ± 0.00, met (≥ -0.3) "
        "| -0.40 ± 0.00, missed (≥ -0.3) |",
    ]
    scaled = [{p: score + 0.6 for p, score in one.items()} for one in series]
    assert table("float", {"series": series, "scaled": scaled})[-1] == (
        "| a model each, by idp-scaled, gain over IDP | +0.60 ± 0.00 | +0.60 ± 0.00 | +0.60 ± 0.00, met (≥ +0.5) |"
    )


def test_the_section() -> None:
    series = {"int8": [79.0, 78.0, 76.0], "float": [79.1, 78.1, 76.2]}
    lines = section({form: {"series": [dict(zip(PATTERNS, one, strict=True))]} for form, one in series.items()})
    assert "seeds: 1." in lines.splitlines()[0]
    assert [line for line in lines.splitlines() if line.startswith(("| in", "| a"))] == [
        "| in int8 | 4:8 | 2:8 | 1:8 |",
        "| a model each, by IDP | 79.00 | 78.00 | 76.00 |",
        "| in float | 4:8 | 2:8 | 1:8 |",
        "| a model each, by IDP | 79.10 | 78.10 | 76.20 |",
    ]


def test_all_take_as_many_steps(tmp_path: Path) -> None:
    """Of one recipe, apart from what is made."""
    found = runs(4, tmp_path)
    assert len(found) == 4 * len(KINDS)
    for one in found:
        kind, seed = one.name.split("-")
        args = parser().parse_args(command(one, tmp_path / "out")[3:])
        candidates = 1 if args.elastic else len(PATTERNS)
        assert (candidates * args.steps, args.batch, args.lr, args.seed, args.resume) == (
            *(1350, 64, 5e-4),
            int(seed),
            True,
        )
        assert (args.patterns or args.elastic) == ",".join(PATTERNS)
        assert args.method == {"series": "idp", "scaled": "idp-scaled", "elastic": None}[kind]


def test_scores(tmp_path: Path) -> None:
    reports = {one.name: report(*(79.0 - number, 78.0, 76.0)) for number, one in enumerate(runs(2, tmp_path))}
    read = {name: json.loads(text) for name, text in reports.items()}
    found = scores(read, 2, "int8")
    assert found["series"] == [{"4:8": score, "2:8": 78.0, "1:8": 76.0} for score in (79.0, 79.0 - len(KINDS))]
    assert found["elastic"][1]["4:8"] == 80.0 - 2 * len(KINDS)
    assert scores(read, 2, "float")["elastic"][1]["4:8"] == 81.0 - 2 * len(KINDS)


def test_what_was_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    whole = tmp_path / "made.json"
    whole.write_text(report(79.0, 78.0, 76.0))

    def prune(run: Run, out: Path) -> list[str]:
        ran.append(run.name)
        if run.name == "elastic-1":
            return ["false"]
        return ["install", "-D", str(whole), str(out / "report.json")]

    monkeypatch.setattr(training_runs, "POLL_S", 0.01)
    monkeypatch.setattr(training_runs, "command", prune)
    stopped = folder_of(runs(2, tmp_path)[0], tmp_path / "cache")
    stopped.mkdir(parents=True)
    (stopped / "report.json").write_text(report(79.0, 78.0))
    for _ in range(2):
        with pytest.raises(InputError, match=r"^elastic-1 ended with 1: .*elastic-1-\w+\.log$"):
            run_all(runs(2, tmp_path), tmp_path / "cache")
    assert set(ran) == {f"{kind}-{seed}" for kind in KINDS for seed in range(2)}
    assert len(ran) == 2 * len(KINDS) + 1  # the one that failed twice
    (again,) = run_all(runs(1, tmp_path)[:1], tmp_path / "cache").values()
    assert scores_of(again) == [79.0, 78.0, 76.0]


def test_no_run_outlives_a_bench_that_is_told_to_end(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from nmgen.bench import training_runs
from nmgen.console.ending import process
training_runs.command = lambda run, out: ["sh", "-c", "echo $$ > {tmp_path}/" + run.name + "; sleep 100"]
runs = [training_runs.Run(name=str(i), words=(str(i),), candidates=1) for i in range(4)]
raise SystemExit(process(lambda: training_runs.run_all(runs, Path("{tmp_path}/cache"))))
"""
    with started([sys.executable, "-c", script], folder=ROOT, output=None) as bench:
        began = time.monotonic()
        while not all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in "01"):
            assert time.monotonic() < began + 60
            time.sleep(0.05)
        bench.terminate()
        assert bench.wait(30) == 143
    assert not (tmp_path / "2").exists()
    for name in "01":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--data", "nowhere"], "bench-minilm: nowhere/sst2/train.txt is missing\n"),
        (["--data", "nowhere", "--seeds", "0"], "bench-minilm: --seeds is 0, must be at least 1\n"),
    ],
)
def test_bad_input(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    assert capsys.readouterr().err == message
