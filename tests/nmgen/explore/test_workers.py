"""Who counts: processes, and the workers of a Dask cluster; what is lost is counted by another one."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from nmgen.explore import workers
from nmgen.explore.counting import Counted, Work
from nmgen.explore.workers import Dask, Processes, Task, open_workers
from rtl.params import InputError
from rtl.sta.params import StaConfig
from tests.nmgen.explore import fake
from tests.nmgen.explore.cluster import cluster
from tests.nmgen.explore.samples import candidates, counted_once

WORK = Work(lengths=(7,))


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent to a process names a function, which it then imports."""
    monkeypatch.setattr(workers, "count", fake.count)
    monkeypatch.setattr(workers, "_begin", fake.begin)


def configuration(rows: int, **changes: int) -> StaConfig:
    values = {"m": 8, "cols": 2, "drain": 2, "port_bytes": 4, "max_tokens": 16, "max_k": 32, "hidden": 16}
    return StaConfig(**{**values, "store_words": 64, "rows": rows, **changes})


TASKS: list[Task] = [("x", configuration(rows)) for rows in range(1, 9)]


@pytest.mark.usefixtures("faked")
def test_a_process_that_dies_costs_its_task_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fake.LOST, str(tmp_path / "lost"))
    pool = Processes(2)
    found = sorted(pool.count(TASKS, WORK))
    assert (tmp_path / "lost").exists()
    assert [(number, one.cycles) for number, one in found] == list(enumerate(range(1, 9)))
    again = sorted(pool.count(TASKS[:2], WORK))  # by processes that are there
    assert [one.cycles for _, one in again] == [1, 2]
    pool.close()


@pytest.mark.usefixtures("faked")
def test_a_task_that_kills_whoever_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it keeps from being counted is told."""
    monkeypatch.setenv(fake.LOST, "always")
    pool = Processes(1)
    with pytest.raises(InputError, match=r"\d tasks are left whose processes died 3 times"):
        list(pool.count(TASKS[2:4], WORK))
    pool.close()


@pytest.mark.usefixtures("faked")
def test_what_nobody_wants_any_more_is_not_counted() -> None:
    """A search that is interrupted closes its workers, and waits for what runs, not for all."""
    pool = Processes(1)
    some = pool.count([("x", configuration(1))] * 1000, WORK)
    assert next(some)[1].cycles == 1
    begin = time.monotonic()
    some.close()  # type: ignore[attr-defined]
    pool.close()
    assert time.monotonic() - begin < 10


def test_nothing_to_count() -> None:
    pool = Processes(1)
    assert list(pool.count([], WORK)) == []
    pool.close()


# The thread of Dask that a killed worker's connection belonged to, and what of it is collected later.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_cluster_with_a_worker_that_dies(tmp_path: Path) -> None:
    """Everything is counted, as this process counts it; artefacts go there by themselves."""
    found = candidates(tmp_path / "own")
    configs = [configuration(rows, store_words=words) for rows in (1, 2, 3, 4) for words in (8, 16, 24, 64)]
    tasks: list[Task] = [(str(one.file), config) for config in configs for one in found]
    with cluster(2) as one:
        dask = open_workers(one.scheduler_address, None)  # type: ignore[attr-defined]
        assert isinstance(dask, Dask)
        counted: dict[int, Counted] = {}
        for number, result in dask.count(tasks, WORK):
            assert number not in counted
            counted[number] = result
            if len(counted) == 3:
                os.kill(next(iter(one.workers.values())).pid, signal.SIGKILL)  # type: ignore[attr-defined]
        assert counted == {number: counted_once(*task, WORK) for number, task in enumerate(tasks)}
        assert any(result.refused for result in counted.values())
        dask.close()


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ANSWER_S", 1)
    with socket.socket() as taken:  # listens to nobody
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(InputError, match=rf"scheduler {address} does not answer: \S") as raised:
            Dask(address)
        assert time.monotonic() - begin < 8
        assert "\n" not in str(raised.value)


def test_it_is_waited_for_a_while() -> None:
    assert workers.ANSWER_S <= 10


@pytest.mark.parametrize("address", ["", "x", "tcp://", "tcp://host", "udp://host:1", "host:port", "a b:1", "h:1/x"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InputError) as raised:
        Dask(address)
    assert str(raised.value) == f"scheduler is {address!r}, must be an address such as tcp://host:8786"


def test_as_many_as_cores() -> None:
    assert isinstance(open_workers(None, 3), Processes)
    assert workers.TRIES == 3
