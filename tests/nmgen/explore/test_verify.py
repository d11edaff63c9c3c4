"""Designs of a front in full: which ones, simulated for real, synthesised and placed by tools that pretend."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nmgen.cli import main
from nmgen.explore import verify as module
from nmgen.explore import workers
from nmgen.explore.candidates import Candidate
from nmgen.explore.counting import Work, count
from nmgen.explore.verify import best, simulated
from rtl.params import Config
from rtl.sta.params import StaConfig
from sim.golden.layer import linear
from tests.nmgen.explore.samples import Here, candidates, space_file, write_candidates
from tests.nmgen.fpga.test_report import CELLS, PLACE
from tests.nmgen.tools import NETLIST, calls, pretend, pretend_all

ENGINE = Config(n=2, m=8, rows=1, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32)
CORE = StaConfig(n=2, m=8, rows=1, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32, hidden=16, store_words=64)
WORK = Work(lengths=(5,), mem_latency=7)
SMALL = {
    "n": (2,), "m": (8,), "rows": (1,), "cols": (1, 2), "drain": (2,), "port_bytes": (4,), "max_k": (32,),
    "pe": ("portable",),
}  # fmt: skip


def quiet(text: str) -> None:
    pass


def test_the_best_are_different_configurations() -> None:
    """Those of the least product of costs; a configuration counts once, with its better candidate."""
    rows = [(0.9, 10.0, 100), (0.8, 9.0, 100), (0.9, 30.0, 90), (0.7, 5.0, 400), (0.9, 10.0, 1000)]
    same = [0, 0, 1, 2, 3]
    points = [
        {"id": number, "accuracy": accuracy, "ms": ms, "luts": luts, "configuration": {"rows": own}}
        for number, ((accuracy, ms, luts), own) in enumerate(zip(rows, same, strict=True))
    ]
    found = {"points": points, "front": [4, 3, 2, 1, 0], "objectives": ["accuracy", "latency", "area"]}
    # Logarithms over the least: 0.80, 0.81, 1.79, 1.71, 3.10, where an accuracy counts by what it lacks of the best.
    assert best(found, 1) == [0]
    assert best(found, 2) == [0, 3]
    assert best(found, 9) == [0, 3, 2, 4]
    assert best({**found, "front": [1, 2]}, 9) == [1, 2]
    assert best({**found, "objectives": ["area"]}, 2) == [2, 0]
    assert best({**found, "objectives": ["accuracy"]}, 3) == [0, 2, 4]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return candidates(tmp_path_factory.mktemp("own") / "own", ["2:8"])[0]


SLICES: dict[str, Any] = {"pe": "ecp5", "device": "LFE5U-85F"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is compiled once is found again."""
    return tmp_path_factory.mktemp("built")


@pytest.mark.parametrize(
    "config",
    [
        ENGINE,
        pytest.param(replace(ENGINE, **SLICES), marks=pytest.mark.nightly),
        pytest.param(CORE, marks=pytest.mark.nightly),
        pytest.param(replace(CORE, **SLICES, m=16), marks=pytest.mark.nightly),
    ],
    ids=["engine", "engine of slices", "core", "core of slices"],
)
def test_simulated(config: Config, candidate: Candidate, built: Path) -> None:
    """Takes the cycles that were counted, and every result is right."""
    counted = count(str(candidate.file), config, WORK)
    assert simulated(candidate, config, WORK, built, quiet) == (counted.cycles, True)


def test_a_wrong_result_is_noticed(candidate: Candidate, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all layers one that is off by one in one element."""

    def off(x: Any, w: Any, *others: Any, **further: Any) -> Any:
        y = linear(x, w, *others, **further)
        y[-1, -1] ^= w.shape[1] == 24
        return y

    monkeypatch.setattr("sim.golden.layer.linear", off)  # where verify takes it from; the runner has its own by then
    cycles, right = simulated(candidate, ENGINE, WORK, built, quiet)
    assert cycles == count(str(candidate.file), ENGINE, WORK).cycles
    assert not right


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with candidates and a space, in which the tools pretend, and so does the simulation."""
    tools = tmp_path / "tools"
    scripts = {"yosys": f"echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json", "nextpnr-ecp5": PLACE}
    pretend_all(tools, scripts, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "Processes", lambda jobs: Here())
    write_candidates(Path("found"))
    space_file(Path("small.toml"), SMALL)
    return tools


LINE = ["explore", "found", "--kind", "engine", "--seq", "5", "--space", "small.toml", "-o", "out"]


def as_counted(candidate: Candidate, config: Config, work: Work, out: Path, say: object) -> tuple[int, bool]:
    return count(str(candidate.file), config, work).cycles, True


def test_of_the_command(pretended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "simulated", as_counted)
    assert main([*LINE, "--verify", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(Path("out/front.json").read_text()) == found
    assert len([call for call in calls(pretended) if call.startswith("nextpnr")]) == 6
    points = {one["id"]: one for one in found["points"]}
    assert len(found["verified"]) == 2
    for one in found["verified"]:
        assert one == {
            "id": one["id"], "cycles": points[one["id"]]["cycles"], "right": True, "luts": 240, "registers": 300,
            "block_rams": 3, "multipliers": 4, "mhz": {"min": 101, "median": 104, "max": 109},
        }  # fmt: skip
    assert "Verified" in Path("out/report.html").read_text()
    assert main([*LINE, "--verify", "1"]) == 0
    said = capsys.readouterr().out
    first = points[found["verified"][0]["id"]]
    assert f"verified, {first['label']}, {first['candidate']}: {first['cycles']:,} cycles in simulation (" in said
    assert "240 LUTs (" in said
    assert "104 MHz (" in said


def test_a_design_that_is_not_placed(
    pretended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is said to have no clock, in the terminal and on the page; the rest of it is told."""
    monkeypatch.setattr(module, "simulated", as_counted)
    gives_up = "echo \"ERROR: Unable to find legal placement for cell 'a' after 9 attempts\"; exit 1"
    pretend(pretended, "nextpnr-ecp5", gives_up)
    assert main([*LINE, "--verify", "1"]) == 0
    said = capsys.readouterr().out
    assert "240 LUTs (" in said
    assert "no MHz (" in said
    assert "does not route" in Path("out/report.html").read_text()


@pytest.mark.parametrize("wrong", [{"cycles": 1}, {"right": False}])
def test_what_is_not_as_counted_is_a_failure(
    wrong: dict[str, int], pretended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def off(candidate: Candidate, config: Config, work: Work, out: Path, say: object) -> tuple[int, bool]:
        cycles, _ = as_counted(candidate, config, work, out, say)
        return cycles + wrong.get("cycles", 0), bool(wrong.get("right", True))

    monkeypatch.setattr(module, "simulated", off)
    assert main([*LINE, "--verify", "1"]) == 1
    said = capsys.readouterr()
    assert "is not in simulation what was counted" in said.err.splitlines()[-1]
    assert Path("out/front.json").exists()


def test_a_tool_that_is_missing(
    pretended: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "simulated", as_counted)
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-program")
    assert main([*LINE, "--verify", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("nmgen: no-such-program is missing: pip install")
    assert Path("out/front.json").exists()
