"""Cases of `nmgen.bench.core` on the RTL, two at a time, each in a process of its own.

`python -m nmgen.bench.core_runs LABEL CASE FILE`, the case in JSON, is such a process: it keeps what it measures, for
the next bench, and writes it and the estimate into the file, a `Ran` in JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from nmgen.bench.command import bench
from nmgen.bench.core import ROOT, Case, Measured, measure
from nmgen.console.ending import process
from nmgen.console.progress import EVERY_S, say
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.process.children import started

AT_A_TIME = 2
POLL_S = 0.5  # between looks at whether a run has ended


@dataclass(frozen=True)
class Ran:
    """What a case took, and the cycles that `nmgen.estimate` says it takes."""

    measured: Measured
    estimated: int


def run_all(cases: Mapping[str, Case]) -> Iterator[tuple[str, Ran]]:
    """Run cases, the first ones first; yields the label of each and what it took, when it has ended.

    Raises
    ------
    InputError : a case failed, its process has said why; the others are stopped.
    """
    stop = Event()
    with TemporaryDirectory() as folder, ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            asked = {
                pool.submit(_run, label, case, Path(folder, f"{number}.json"), stop): label
                for number, (label, case) in enumerate(cases.items())
            }
            for future in as_completed(asked):
                yield asked[future], future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def command(label: str, case: Case, ran: Path) -> list[str]:
    return [sys.executable, "-m", "nmgen.bench.core_runs", label, json.dumps(asdict(case)), str(ran)]


def _run(label: str, case: Case, ran: Path, stop: Event) -> Ran:
    with started(command(label, case, ran), folder=ROOT, output=sys.__stderr__) as child:
        while child.poll() is None:
            if stop.wait(POLL_S):
                child.terminate()  # it ends its own simulation
                child.wait()
                raise CancelledError
    if child.returncode:
        raise InputError(f"{label} ended with {child.returncode}")
    found: dict[str, Any] = json.loads(ran.read_text())
    return Ran(Measured(**found["measured"]), found["estimated"])


def read_case(text: str) -> Case:
    """Of JSON."""
    fields: dict[str, Any] = json.loads(text)
    config = StaConfig(**fields.pop("config"))
    return Case(**{**fields, "config": config, "lengths": tuple(fields["lengths"])})


class Told:
    """Says what a run does: each stage once, how far it is every ten seconds. Stages are what stands before a colon."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._stage = ""
        self._said = 0.0

    def __call__(self, text: str) -> None:
        stage, now = text.partition(":")[0], time.monotonic()
        if stage != self._stage or now - self._said >= EVERY_S:
            say(f"{self._label}: {text}")
            self._stage, self._said = stage, now


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="core-runs", description="One case of bench-core or bench-scale.")
    parser.add_argument("label", help="that its progress begins with")
    parser.add_argument("case", type=read_case, help="in JSON")
    parser.add_argument("ran", type=Path, metavar="FILE", help="where to write what it takes")
    args = parser.parse_args(argv)
    measured, estimates = measure(args.case, Told(args.label))
    estimated = estimates[0].begin + sum(guess.cycles for guess in estimates)
    args.ran.write_text(json.dumps(asdict(Ran(measured, estimated))))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "core-runs")


if __name__ == "__main__":
    sys.exit(process(main, "core-runs"))
