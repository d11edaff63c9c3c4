"""MiniLM at 4:8, 2:8 and 1:8, trained in several ways, over seeds: ``make bench-minilm DATA=…``.

A series takes `STEPS` steps for each candidate, an elastic model as many as the whole series, each of three densities:
so it reads the text as often, and computes three times as much. The scores are those of `nmgen prune --sts`:
100 · Spearman, mean of the files, in int8.

Two runs go on at a time, with a thread each. Every run is kept in build/bench-minilm/: one that was stopped goes on
where it was. The table goes into docs/training.md, the numbers into build/bench-minilm/scores.json.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from nmgen.bench.command import bench
from nmgen.bench.pruning import with_error
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import say
from rtl.params import InputError

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = ("4:8", "2:8", "1:8")
SEEDS, STEPS, BATCH, LR = 3, 450, 64, 5e-4
TRAINED_ON = ("sst2/train.txt", "sts/2012", "sts/2013")
MEASURED_ON = ("sts/2014", "sts/2015")
AT_A_TIME = 2


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A way to train.

    Attributes
    ----------
    options : of `nmgen prune`
    steps : of a candidate
    aims : points that it is to gain over a series by IDP, by pattern
    """

    title: str
    options: tuple[str, ...]
    steps: int = STEPS
    aims: Mapping[str, float] = field(default_factory=dict)


SERIES = "series"  # what the others are compared with
KINDS = {
    SERIES: Kind(title="a model each, by IDP", options=("--patterns", ",".join(PATTERNS), "--method", "idp")),
    "update": Kind(
        title="a model each, by idp-update",
        options=("--patterns", ",".join(PATTERNS), "--method", "idp-update"),
        aims={"1:8": 0.5},
    ),
    "elastic": Kind(
        title="one elastic model",
        options=("--elastic", ",".join(PATTERNS)),
        steps=len(PATTERNS) * STEPS,
        aims=dict.fromkeys(PATTERNS, -0.3),
    ),
}

Scores = dict[str, float]  # by pattern


def command(kind: str, seed: int, data: Path, out: Path) -> list[str]:
    """What makes the models of a run; the same command goes on with them."""
    return [
        *(sys.executable, "-m", "nmgen", "prune", "minilm", *KINDS[kind].options, "--seed", str(seed)),
        *("--steps", str(KINDS[kind].steps), "--batch", str(BATCH), "--lr", str(LR), "--resume", "-o", str(out)),
        *("--data", *(str(data / name) for name in TRAINED_ON)),
        *("--sts", *(str(data / name) for name in MEASURED_ON)),
    ]


def scores(report: Path) -> Scores:
    """Of a run's candidates, in int8; a series has no more than its first ones while it goes on."""
    candidates = json.loads(report.read_text())["candidates"] if report.exists() else []
    return {pattern: one["int8"]["mean"] for pattern, one in zip(PATTERNS, candidates, strict=False)}


def made(kind: str, seed: int, data: Path, cache: Path) -> Scores:
    """The scores of a run, which is made if it is not there.

    Raises
    ------
    InputError : the run failed; names its log.
    """
    out = cache / f"{kind}-{seed}"
    if len(scores(out / "report.json")) < len(PATTERNS):
        cache.mkdir(parents=True, exist_ok=True)
        said = cache / f"{kind}-{seed}.log"
        with said.open("wb") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command(kind, seed, data, out), stdout=log, stderr=log, env=environment, cwd=ROOT, check=False
            )
        if done.returncode:
            raise InputError(f"{kind}, seed {seed}, ended with {done.returncode}: {said}")
    return scores(out / "report.json")


def run_all(seeds: int, data: Path, cache: Path) -> dict[str, list[Scores]]:
    """The scores of all seeds by kind."""
    start = time.monotonic()
    found: dict[tuple[str, int], Scores] = {}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        asked = {pool.submit(made, kind, seed, data, cache): (kind, seed) for seed in range(seeds) for kind in KINDS}
        for future in as_completed(asked):
            kind, seed = asked[future]
            found[kind, seed] = future.result()
            say(f"{len(found)}/{len(asked)} {kind}, seed {seed}: {found[kind, seed]}, {time.monotonic() - start:.0f} s")
    return {kind: [found[kind, seed] for seed in range(seeds)] for kind in KINDS}


def table(found: dict[str, list[Scores]]) -> str:
    """Markdown."""
    seeds = len(found[SERIES])
    text = [
        f"`make bench-minilm` writes this table; last run on {time.strftime('%Y-%m-%d')}; seeds: {seeds}. Mean ±",
        f"standard error; differences seed by seed. {STEPS} steps of {BATCH} sentences for each candidate of a series,",
        f"{len(PATTERNS) * STEPS:,} of three densities each for an elastic model. 100 · Spearman in int8, mean of the",
        "files of STS 2014 and 2015.",
        "",
        f"| | {' | '.join(PATTERNS)} |",
        "|---|" + "---|" * len(PATTERNS),
    ]
    for kind, scored in found.items():
        row = [with_error([one[p] for one in scored]) for p in PATTERNS]
        text.append(f"| {KINDS[kind].title} | " + " | ".join(row) + " |")
    for kind, scored in found.items():
        if kind == SERIES:
            continue
        row = []
        for p in PATTERNS:
            gained = [one[p] - other[p] for one, other in zip(scored, found[SERIES], strict=True)]
            aim = KINDS[kind].aims.get(p)
            judged = "" if aim is None else f", {'met' if mean(gained) >= aim else 'missed'} (≥ {aim:+})"
            row.append(with_error(gained, "+") + judged)
        text.append(f"| {KINDS[kind].title}, gain over IDP | " + " | ".join(row) + " |")
    return "\n".join(text)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench-minilm", description="MiniLM trained in several ways, over seeds: five hours."
    )
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="with sst2/ and sts/: docs/training.md")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"seeds 0 to N − 1, default {SEEDS}")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}, must be at least 1")
    for name in (*TRAINED_ON, *MEASURED_ON):
        if not (args.data / name).exists():
            raise InputError(f"{args.data / name} is missing")
    cache = ROOT / "build" / "bench-minilm"
    found = run_all(args.seeds, args.data.resolve(), cache)
    with written_whole(cache / "scores.json") as path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    replace_section(ROOT / "docs" / "training.md", "bench-minilm", table(found))
    print(f"{args.seeds} seeds: docs/training.md, {(cache / 'scores.json').relative_to(ROOT)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-minilm")


if __name__ == "__main__":
    sys.exit(process(main, "bench-minilm"))
