"""Cases of `nmgen.bench.core` on the RTL, two at a time, each in a process of its own.

`python -m nmgen.bench.core_runs LABEL CASE`, the case in JSON, is such a process: it keeps what it measures, and the
bench finds it there.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from threading import Event
from typing import Any

from nmgen.bench.command import bench
from nmgen.bench.core import ROOT, Case, measure
from nmgen.console.ending import process
from nmgen.console.progress import EVERY_S, say
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.process.children import started

AT_A_TIME = 2
POLL_S = 0.5  # between looks at whether a run has ended


def run_all(cases: Mapping[str, Case]) -> Iterator[str]:
    """Run cases, the first ones first; yields the label of each when its numbers are kept.

    Raises
    ------
    InputError : a case failed, its process has said why; the others are stopped.
    """
    stop = Event()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            asked = {pool.submit(_run, label, case, stop): label for label, case in cases.items()}
            for future in as_completed(asked):
                future.result()
                yield asked[future]
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def command(label: str, case: Case) -> list[str]:
    return [sys.executable, "-m", "nmgen.bench.core_runs", label, json.dumps(asdict(case))]


def _run(label: str, case: Case, stop: Event) -> None:
    with started(command(label, case), folder=ROOT, output=sys.__stderr__) as child:
        while child.poll() is None:
            if stop.wait(POLL_S):
                child.terminate()  # it ends its own simulation
                child.wait()
                raise CancelledError
    if child.returncode:
        raise InputError(f"{label} ended with {child.returncode}")


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
    args = parser.parse_args(argv)
    measure(args.case, Told(args.label))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "core-runs")


if __name__ == "__main__":
    sys.exit(process(main, "core-runs"))
