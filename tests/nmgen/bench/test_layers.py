"""The tables of docs/results.md: they are what `make bench` writes, and they hold what the project promises."""

import json
from pathlib import Path

import pytest

from nmgen.bench.layers import LAYERS, Run, main, runs, tables

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def done() -> list[Run]:
    return list(runs())


def test_the_page_is_up_to_date(done: list[Run]) -> None:
    assert tables(done) in (ROOT / "docs" / "results.md").read_text(), "run `make bench` and commit docs/results.md"


def test_one_design_at_every_density(done: list[Run]) -> None:
    """384→1536 at 32 tokens on the array of the demo: at least 96 % wherever the lanes are filled, 2:8 3.8× dense."""
    demo = {
        run.pattern: run
        for run in done
        if (run.configuration, run.mem_latency, run.tokens, run.k, run.channels) == ("base", 30, 32, 384, 1536)
    }
    for pattern in ("2:8", "4:8", "dense"):
        assert demo[pattern].utilisation >= 0.96, demo[pattern]
    assert demo["dense"].cycles >= 3.8 * demo["2:8"].cycles


def test_no_run_does_more_than_its_multipliers_can(done: list[Run]) -> None:
    assert all(0 < run.utilisation < 1 for run in done)


def test_json(done: list[Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmgen.bench.layers.runs", lambda: iter(done))
    assert main(["--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert {(run["k"], run["channels"]) for run in numbers} == set(LAYERS)
