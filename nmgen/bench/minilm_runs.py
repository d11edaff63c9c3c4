"""MiniLM pruned and trained by `nmgen prune`, several runs of one recipe: what the benches of training have in common.

Two runs go on at a time, with a thread each. Every run is kept in a folder of its own: one that was stopped goes on
where it was.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nmgen.console.progress import say
from rtl.params import InputError

ROOT = Path(__file__).resolve().parents[2]
BATCH, LR = 64, 5e-4
TRAINED_ON = ("sst2/train.txt", "sts/2012", "sts/2013")
MEASURED_ON = ("sts/2014", "sts/2015")
AT_A_TIME = 2

Report = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One `nmgen prune`.

    Attributes
    ----------
    name : begins that of its folder
    options : of `nmgen prune`, what is made
    candidates : that its report ends with
    steps : of a candidate
    """

    name: str
    options: tuple[str, ...]
    candidates: int
    steps: int
    seed: int


def asked(prog: str, description: str, seeds: int, argv: Sequence[str] | None) -> tuple[Path, int]:
    """(where the text is, seeds) by a bench's flags; InputError where text is missing."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="with sst2/ and sts/: docs/training.md")
    parser.add_argument("--seeds", type=int, default=seeds, metavar="N", help=f"seeds 0 to N − 1, default {seeds}")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}, must be at least 1")
    for name in (*TRAINED_ON, *MEASURED_ON):
        if not (args.data / name).exists():
            raise InputError(f"{args.data / name} is missing")
    return args.data.resolve(), args.seeds


def command(run: Run, data: Path, out: Path) -> list[str]:
    """What makes the models of a run; the same command goes on with them."""
    return [
        *(sys.executable, "-m", "nmgen", "prune", "minilm", *run.options, "--seed", str(run.seed)),
        *("--steps", str(run.steps), "--batch", str(BATCH), "--lr", str(LR), "--resume", "-o", str(out)),
        *("--data", *(str(data / name) for name in TRAINED_ON)),
        *("--sts", *(str(data / name) for name in MEASURED_ON)),
    ]


def made(run: Run, data: Path, cache: Path) -> Report:
    """The report of a run, which is made if it is not there; one that goes on has no more than its first candidates.

    Raises
    ------
    InputError : the run failed; names its log.
    """
    out = folder_of(run, data, cache)
    report = out / "report.json"
    if not report.exists() or len(_read(report)["candidates"]) < run.candidates:
        cache.mkdir(parents=True, exist_ok=True)
        said = out.with_suffix(".log")
        with said.open("wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command(run, data, out), stdout=log, stderr=log, env=environment, cwd=ROOT, check=False
            )
        if done.returncode:
            raise InputError(f"{run.name} ended with {done.returncode}: {said}")
    return _read(report)


def folder_of(run: Run, data: Path, cache: Path) -> Path:
    """Of this command alone."""
    return cache / f"{run.name}-{sha256(repr((run, str(data), BATCH, LR)).encode()).hexdigest()[:8]}"


def run_all(runs: Sequence[Run], data: Path, cache: Path) -> dict[str, Report]:
    """The reports by name.

    Raises
    ------
    InputError : runs failed, each told at once; the others went on, and are kept.
    """
    start = time.monotonic()
    found: dict[str, Report] = {}
    failed: list[InputError] = []
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        asked = {pool.submit(made, run, data, cache): run for run in runs}
        for future in as_completed(asked):
            run = asked[future]
            try:
                found[run.name] = future.result()
            except InputError as error:
                failed.append(error)
                say(f"{error}; the others go on")
                continue
            scores = ", ".join(f"{one:.2f}" for one in scores_of(found[run.name]))
            say(f"{len(found)}/{len(asked)} {run.name}: {scores}, {time.monotonic() - start:.0f} s")
    if failed:
        raise failed[0]
    return found


def scores_of(report: Report) -> list[float]:
    """Of each candidate, in int8: 100 · Spearman, mean of the files."""
    return [one["int8"]["mean"] for one in report["candidates"]]


def _read(report: Path) -> Report:
    found: Report = json.loads(report.read_text())
    return found
