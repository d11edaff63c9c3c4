"""Runs of whole encoders on the RTL beside one another. What they measure is tested with the simulation."""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nmgen.bench import core_runs
from nmgen.bench.core import Case, Measured
from nmgen.bench.core_runs import Ran, Told, command, main, read_case, run_all
from nmgen.bench.scale import rows
from nmgen.estimate.cycles import Estimate
from rtl.params import InputError
from rtl.sta.isa import Op

CASE = Case(about="", pattern="2:8", lengths=(3, 5))


def test_a_case_goes_through_json() -> None:
    for case in (CASE, *(row.case for row in rows())):
        *_, text, _ = command("a label", case, Path("ran.json"))
        assert read_case(text) == case


ESTIMATES = [
    Estimate("a table", Op.TABLE, begin=1, cycles=40, beats=3, multiplies=0),
    Estimate("a product", Op.PRODUCT, begin=41, cycles=50, beats=4, multiplies=9),
]
MEASURED = Measured(cycles=90, utilisation=0.5, linear=0.6, bytes=70, right=True, taken=[40, 50])


def test_a_process_measures_its_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    measured = []

    def measure(case: Case, say: Told) -> tuple[Measured, list[Estimate]]:
        measured.append(case)
        say("building")
        return MEASURED, ESTIMATES

    monkeypatch.setattr(core_runs, "measure", measure)
    ran = tmp_path / "ran.json"
    assert main(["1/1 a core", json.dumps(asdict(CASE)), str(ran)]) == 0
    assert measured == [CASE]
    assert capsys.readouterr().err == "1/1 a core: building\n"
    assert json.loads(ran.read_text()) == asdict(Ran(MEASURED, 91))


def test_it_says_each_stage_and_not_every_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told = Told("1/1")
    for now, text in (  # noqa: B007
        (100.0, "building"),
        (101.0, "simulation: 10 cycles"),
        (110.9, "simulation: 20 cycles"),
        (111.0, "simulation: 30 cycles"),
        (112.0, "simulation: 40 cycles"),
    ):
        told(text)
    said = capsys.readouterr().err.splitlines()
    assert said == ["1/1: building", "1/1: simulation: 10 cycles", "1/1: simulation: 30 cycles"]


def as_python(monkeypatch: pytest.MonkeyPatch, program: str, folder: Path) -> None:
    """In place of a case a program runs, which gets the folder, the label, the file to write and what to write."""

    def command(label: str, _case: Case, ran: Path) -> list[str]:
        found = json.dumps(asdict(Ran(MEASURED, 91)))
        return [sys.executable, "-c", program, str(folder), label, str(ran), found]

    monkeypatch.setattr(core_runs, "command", command)


def test_two_go_on_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each of two waits for the other one; the third comes behind them."""
    program = """if True:
        import pathlib, sys, time
        folder, label = pathlib.Path(sys.argv[1]), sys.argv[2]
        first = len(list(folder.iterdir()))
        (folder / label).touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.01)
        (folder / f"ended {label}").write_text(str(first))
        pathlib.Path(sys.argv[3]).write_text(sys.argv[4])
    """
    as_python(monkeypatch, program, tmp_path)
    assert dict(run_all({"a": CASE, "b": CASE, "c": CASE})) == dict.fromkeys("abc", Ran(MEASURED, 91))
    assert int((tmp_path / "ended c").read_text()) >= 3  # both and the end of one


def test_a_failed_one_stops_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What goes on gets a signal, and time to end what it has started."""
    program = """if True:
        import pathlib, signal, sys, time
        folder, label = pathlib.Path(sys.argv[1]), sys.argv[2]
        def end(*_):
            (folder / f"{label} stopped").touch()
            sys.exit(1)
        signal.signal(signal.SIGTERM, end)
        (folder / label).touch()
        while not (folder / "long").exists():
            time.sleep(0.01)
        if label == "bad":
            sys.exit(3)
        time.sleep(60)
    """
    as_python(monkeypatch, program, tmp_path)
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"^bad ended with 3$"):
        list(run_all({"long": CASE, "bad": replace(CASE, pattern="dense"), "next": CASE}))
    assert time.monotonic() - begin < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "long", "long stopped"]
