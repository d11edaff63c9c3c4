"""Who counts: processes on this machine, or the workers of a Dask cluster.

Both give each result as it comes, in any order, and give a task to another worker when one is lost.
"""

import atexit
import os
import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Lock, Thread
from typing import Any, Protocol

from nmgen.explore.cluster_tools import ClusterTools
from nmgen.explore.counting import Counted, Work, count
from nmgen.fpga.place_and_route import OwnTools, Tools, cores
from rtl.params import Config, InputError
from sim.process.interrupts import finished

TRIES = 3  # of a task whose worker is lost
ANSWER_S = 10  # that a scheduler has to answer
ADDRESS = re.compile(r"((tcp|tls)://)?[^\s/]+:\d{1,5}")


Task = tuple[str, Config]  # an artefact's file, a configuration


class Workers(Protocol):
    def count(self, tasks: Sequence[Task], work: Work) -> Iterator[tuple[int, Counted]]:
        """(number of the task, result) of each."""

    def tools(self) -> Tools:
        """Where designs are synthesised, placed and routed."""

    @property
    def at_a_time(self) -> int:
        """How many of them may run at the same time."""

    def close(self) -> None:
        """Nothing runs any more."""


class Processes:
    """On this machine, as many as it has cores unless told otherwise; they stay until they are closed."""

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs = jobs or cores()
        self._pool: ProcessPoolExecutor | None = None

    def count(self, tasks: Sequence[Task], work: Work) -> Iterator[tuple[int, Counted]]:
        left = dict(enumerate(tasks))
        tries = TRIES
        while tries:
            try:
                for number, found in self._once(left, work):
                    del left[number]
                    tries = TRIES
                    yield number, found
                return
            except BrokenProcessPool:
                self.close()
                tries -= 1
        raise InputError(f"{len(left)} tasks are left whose processes died {TRIES} times")

    def _once(self, tasks: dict[int, Task], work: Work) -> Iterator[tuple[int, Counted]]:
        if self._pool is None:
            # Spawned: torch has threads, which a forked process lacks.
            self._pool = ProcessPoolExecutor(self._jobs, get_context("spawn"), _begin)
        waiting = iter(dict(tasks).items())
        running: dict[Future[Counted], int] = {}
        try:
            while True:
                for number, task in islice(waiting, 2 * self._jobs - len(running)):
                    running[self._pool.submit(count, *task, work)] = number
                if not running:
                    return
                done, _ = finished(running)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            for future in running:
                future.cancel()

    def tools(self) -> Tools:
        return OwnTools()

    @property
    def at_a_time(self) -> int:
        return self._jobs

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _begin() -> None:
    """Of a process: there are as many of them as cores, and none is there for longer than the one that started it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which sends it to all: the first one ends the others
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Were it killed, its processes would wait for work forever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Dask:
    """The workers behind a scheduler; artefacts and netlists go there by themselves.

    Raises
    ------
    InputError : the scheduler does not answer, or no longer; dask.distributed is not installed.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError as missing:
            raise InputError(f"--dask needs {missing.name}: pip install 'nmgen[explore]'") from None
        if not ADDRESS.fullmatch(address):
            raise InputError(f"scheduler is {address!r}, must be an address such as tcp://host:8786")
        self._address = address
        try:
            self._client: Any = Client(address, timeout=ANSWER_S)  # type: ignore[no-untyped-call]
        except Exception as error:  # of many kinds
            raise InputError(f"scheduler {address} does not answer: {_first_line(error)}") from None

    def count(self, tasks: Sequence[Task], work: Work) -> Iterator[tuple[int, Counted]]:
        left = dict(enumerate(tasks))
        for tries in range(TRIES):
            try:
                for number, found in self._once(left, work):
                    del left[number]
                    yield number, found
                return
            except _lost() as error:  # the scheduler gave up, or what was sent is no longer on any worker
                if tries == TRIES - 1:
                    raise InputError(
                        f"{len(left)} tasks are left that scheduler {self._address} has lost: {_first_line(error)}"
                    ) from None

    def _once(self, tasks: dict[int, Task], work: Work) -> Iterator[tuple[int, Counted]]:
        from distributed import as_completed

        sent = {
            path: self._client.scatter(Path(path).read_bytes(), broadcast=True)
            for path in dict.fromkeys(path for path, _ in tasks.values())
        }
        futures = {
            self._client.submit(_count_data, sent[path], path, config, work, pure=False, retries=TRIES): number
            for number, (path, config) in tasks.items()
        }
        for future in as_completed(list(futures)):  # type: ignore[no-untyped-call]
            yield futures[future], future.result()

    def tools(self) -> Tools:
        return ClusterTools(self._client, _lost())

    @property
    def at_a_time(self) -> int:
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def close(self) -> None:
        self._client.close()


def _lost() -> tuple[type[Exception], ...]:
    from distributed import CancelledError, KilledWorker

    return CancelledError, KilledWorker, OSError, TimeoutError


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


_files: dict[str, str] = {}  # of a worker: artefacts that came, and the folder that they are in
_files_lock = Lock()  # a worker has several threads


def _count_data(data: bytes, path: str, config: Config, work: Work) -> Counted:
    """On a worker, which may have none of our files."""
    from nmgen.explore.counting import digest_of_bytes

    digest = digest_of_bytes(data)
    with _files_lock:
        if "" not in _files:
            _files[""] = mkdtemp(prefix="nmgen-")
            atexit.register(rmtree, _files[""], ignore_errors=True)
        if digest not in _files:
            file = Path(_files[""]) / f"{digest}.safetensors"
            file.write_bytes(data)
            _files[digest] = str(file)
    return count(_files[digest], config, work)


def open_workers(dask: str | None, jobs: int | None) -> Workers:
    return Processes(jobs) if dask is None else Dask(dask)
