"""Models made by `nmgen prune`, several runs of it: what the benches of training have in common.

Two runs go on at a time, with a thread each. Every run is kept in a folder of its own: one that was stopped goes on
where it was.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from nmgen.console.progress import say
from nmgen.training.report import headline
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.process.children import started

ROOT = Path(__file__).resolve().parents[2]
AT_A_TIME = 2
POLL_S = 0.5  # between looks at whether a run has ended
TOKENS = 128  # that cycles are of

Report = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One `nmgen prune`.

    Attributes
    ----------
    name : begins that of its folder
    words : of `nmgen prune`: the model and all options but --resume and -o
    candidates : that its report ends with
    """

    name: str
    words: tuple[str, ...]
    candidates: int


def command(run: Run, out: Path) -> list[str]:
    """What makes the models of a run; the same command goes on with them."""
    return [sys.executable, "-m", "nmgen", "prune", *run.words, "--resume", "-o", str(out)]


def made(run: Run, cache: Path, stop: Event) -> Report:
    """The report of a run, which is made if it is not there; one that goes on has no more than its first candidates.

    Raises
    ------
    InputError : the run failed; names its log.
    CancelledError : stop was set
    """
    out = folder_of(run, cache)
    report = out / "report.json"
    if not report.exists() or len(_read(report)["candidates"]) < run.candidates:
        cache.mkdir(parents=True, exist_ok=True)
        said, one_thread = out.with_suffix(".log"), {**os.environ, "OMP_NUM_THREADS": "1"}
        with said.open("wb") as log, started(command(run, out), folder=ROOT, output=log, env=one_thread) as child:
            while child.poll() is None:
                if stop.wait(POLL_S):
                    raise CancelledError
        if child.returncode:
            raise InputError(f"{run.name} ended with {child.returncode}: {said}")
    return _read(report)


def folder_of(run: Run, cache: Path) -> Path:
    """Of this command alone."""
    return cache / f"{run.name}-{sha256(repr(run).encode()).hexdigest()[:8]}"


def run_all(runs: Sequence[Run], cache: Path) -> dict[str, Report]:
    """The reports by name.

    Raises
    ------
    InputError : runs failed, each told at once; the others went on, and are kept.
    """
    start = time.monotonic()
    found: dict[str, Report] = {}
    failed: list[InputError] = []
    stop = Event()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            asked = {pool.submit(made, run, cache, stop): run for run in runs}
            for future in as_completed(asked):
                run = asked[future]
                try:
                    found[run.name] = future.result()
                except InputError as error:
                    failed.append(error)
                    say(f"{error}; the others go on")
                    continue
                scores = ", ".join(f"{headline(one['int8'])[1]:.2f}" for one in found[run.name]["candidates"])
                say(f"{len(found)}/{len(asked)} {run.name}: {scores}, {time.monotonic() - start:.0f} s")
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if failed:
        raise failed[0]
    return found


def cycles(files: Mapping[str, Path], text: Path | None = None) -> dict[str, int]:
    """Of a program of each artefact or folder, by name, on 8×8 PEs with N = 2 and M = 8.

    text : to calibrate the folders on; None: nmgen's own
    """
    from nmgen.estimate.cycles import estimate, total
    from nmgen.families.known import Named
    from nmgen.models.model_program import artefact_of, compiled

    found = {}
    for name, path in files.items():
        model = Named(str(path))
        artefact, _ = artefact_of(model, None, None if model.artefact else text, say)
        program = compiled(artefact, str(path), StaConfig(), [TOKENS], 1)
        found[name] = int(total(program, estimate(program))["cycles"])
    return found


def _read(report: Path) -> Report:
    found: Report = json.loads(report.read_text())
    return found
