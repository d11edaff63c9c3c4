"""Yosys and nextpnr as tasks of a Dask cluster, where they only pretend."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from nmgen.explore.cluster_tools import TRIES, ClusterTools
from nmgen.explore.workers import Dask, open_workers
from nmgen.fpga.place_and_route import Design, measure
from nmgen.fpga.tools import StoppedError, ToolError
from rtl.params import InputError
from tests.nmgen.explore.cluster import cluster
from tests.nmgen.fpga.test_report import CELLS, PLACE
from tests.nmgen.tools import NETLIST, VERSION, calls, pretend, pretend_all

DESIGN = Design(
    title="some design", verilog="module t; endmodule\n", script="stat\n", place=("--85k",), seeds=(1, 2, 3)
)
# Nobody has what the yosys of a worker reads but that worker.
YOSYS = f"grep -q 'module t' design.v || exit 9; echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json"
# The third call kills the worker that called it.
DIES = "n=$(grep -c '^nextpnr' {folder}/calls); [ $n -eq 3 ] && kill -9 $PPID && sleep 9"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tools"
    pretend_all(folder, {"yosys": YOSYS, "nextpnr-ecp5": PLACE}, monkeypatch)
    return folder


@contextmanager
def of_a_cluster(count: int) -> Iterator[Dask]:
    with cluster(count) as one:
        dask = open_workers(one.scheduler_address, None)  # type: ignore[attr-defined]
        assert isinstance(dask, Dask)
        try:
            yield dask
        finally:
            dask.close()


# Of a killed worker: see test_workers.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_costs_its_task_only(tools: Path, tmp_path: Path) -> None:
    here = measure([DESIGN], tmp_path / "here")[0]
    done = len(calls(tools))
    assert done == 4
    (tools / "calls").unlink()
    pretend(tools, "nextpnr-ecp5", DIES.format(folder=tools) + PLACE)
    with of_a_cluster(2) as dask:
        assert dask.at_a_time == 4
        assert dask.tools().version("yosys") == VERSION
        there = measure([DESIGN], tmp_path / "there", jobs=1, tools=dask.tools())[0]
    assert (there.cells, there.mhz) == (here.cells, here.mhz)
    for one, other in zip([there.synthesised, *there.placed], [here.synthesised, *here.placed], strict=True):
        assert one.name == other.name  # a run on this machine finds it again
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert len(calls(tools)) == done + 1


def test_a_tool_that_fails_is_told(tools: Path, tmp_path: Path) -> None:
    pretend(tools, "nextpnr-ecp5", "echo no room; exit 3")
    with of_a_cluster(1) as dask, pytest.raises(ToolError, match=r"seed 1 failed: (.|\n)*exit status 3(.|\n)*no room"):
        measure([DESIGN], tmp_path / "there", jobs=1, tools=dask.tools())
    assert len(calls(tools)) == 4  # of each seed once


class Client:
    """Of Dask, with answers of its own."""

    def __init__(self, answers: list[Any], versions: dict[str, str] | None = None) -> None:
        self.answers, self.versions = answers, versions or {}
        self.cancelled = 0

    def run(self, function: object, program: str) -> dict[str, str]:
        return self.versions

    def submit(self, *arguments: object, pure: bool) -> "Client":
        return self

    def done(self) -> bool:
        return bool(self.answers)

    def result(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.mark.parametrize("losses", range(TRIES + 1))
def test_what_is_lost_is_sent_again(losses: int, tmp_path: Path) -> None:
    client = Client([*[OSError("gone")] * losses, {"made": b"it"}])
    said = ""
    try:
        ClusterTools(client, (OSError,)).run("yosys", [], tmp_path, "synthesis", Event())
    except ToolError as error:
        said = str(error)
    assert said == ("" if losses < TRIES else f"synthesis was lost by the cluster {TRIES} times: gone")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({} if said else {"made": b"it"})


def test_what_nobody_wants_any_more_is_cancelled(tmp_path: Path) -> None:
    client, stop = Client([]), Event()
    stop.set()
    with pytest.raises(StoppedError):
        ClusterTools(client, ()).run("yosys", [], tmp_path, "synthesis", stop)
    assert client.cancelled == 1


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({}, "the cluster has no workers to run yosys"),
        ({"a": "2", "b": "1", "c": "2"}, "workers have different versions of yosys: 1, 2"),
        ({"a": "2", "b": "2"}, "2"),
    ],
)
def test_versions(versions: dict[str, str], said: str) -> None:
    try:
        found = ClusterTools(Client([], versions), ()).version("yosys")
    except InputError as error:
        found = str(error)
    assert found == said
