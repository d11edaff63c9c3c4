"""MiniLM, and what is made of it, trained by one recipe: what the benches of that have in common."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nmgen.bench.training_runs import Report, Run
from rtl.params import InputError

BATCH, LR = 64, 5e-4
TRAINED_ON = ("sst2/train.txt", "sts/2012", "sts/2013")
MEASURED_ON = ("sts/2014", "sts/2015")


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


def recipe(data: Path, *, steps: int, seed: int) -> tuple[str, ...]:
    """Options of `nmgen prune`: how a model is trained, on what, and scored. steps : of a candidate"""
    return (
        *("--seed", str(seed), "--steps", str(steps), "--batch", str(BATCH), "--lr", str(LR)),
        *("--data", *(str(data / name) for name in TRAINED_ON)),
        *("--sts", *(str(data / name) for name in MEASURED_ON)),
    )


def minilm(name: str, options: Sequence[str], data: Path, *, candidates: int, steps: int, seed: int) -> Run:
    """A run of the recipe on MiniLM. options : of `nmgen prune`, what is made"""
    return Run(name=name, words=("minilm", *options, *recipe(data, steps=steps, seed=seed)), candidates=candidates)


def scores_of(report: Report, form: str = "int8") -> list[float]:
    """Of each candidate, in int8 or float: 100 · Spearman, mean of the files."""
    return [one[form]["mean"] for one in report["candidates"]]
