"""How benches end: with the exit status that says so, and one line where all is not well."""

import re
from pathlib import Path

import pytest

import nmgen.bench
from nmgen.bench.command import bench
from nmgen.fpga.tools import ToolError
from rtl.params import InputError
from sim.bench.runner import SimulationError

BENCHES = [path for path in Path(nmgen.bench.__path__[0]).glob("*.py") if "def main(" in path.read_text()]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InputError("jobs is 0, must be at least 1"), 2, "jobs is 0, must be at least 1"),
        (FileNotFoundError(2, "No such file or directory", "page.md"), 2, "page.md: No such file or directory"),
        (ToolError("yosys: exit status 1"), 1, "yosys: exit status 1"),
        (SimulationError("it hung"), 1, "it hung"),
    ],
)
def test_what_goes_wrong(error: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert bench(work, "bench-x") == status
    assert capsys.readouterr().err == f"bench-x: {said}\n"


@pytest.mark.parametrize("status", [0, 1])
def test_its_own_status(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(lambda: status, "bench-x") == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_every_bench_ends_so(path: Path) -> None:
    """Also where a signal comes: `process` has the name that the line begins with."""
    text = path.read_text()
    name = text.partition("sys.exit(process(main, ")[2].partition(")")[0]
    assert name
    assert text.count(f", {name})") == 2
    assert "except (InputError" not in text.partition("def main(")[2]


def test_make_runs_each() -> None:
    makefile = Path(nmgen.__path__[0]).parent / "Makefile"
    run = re.findall(r"^\t\$\(RUN\) -m nmgen\.bench\.(\w+)", makefile.read_text(), re.MULTILINE)
    processes = ["core_runs"]  # of bench-scale
    assert sorted([*run, *processes]) == sorted(path.stem for path in BENCHES)
