"""A BERT of chemistry at 4:8, 2:8 and 1:8, trained by IDP over seeds: ``make bench-reactions``.

The model and its reactions are those of `pruning/data/reactions.py`, which are downloaded once. The head, which tells
50 classes of reactions apart, is trained with the model, then a series of candidates. The cycles are those of a program
of 128 tokens on 8×8 PEs with N = 2, M = 8.

Every run is kept in build/bench-reactions/: one that was stopped goes on where it was. The table goes into
docs/training.md, the numbers into build/bench-reactions/scores.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nmgen.bench.command import bench
from nmgen.bench.pruning import with_error
from nmgen.bench.sections import replace_section
from nmgen.bench.training_runs import ROOT, TOKENS, Report, Run, cycles, folder_of, run_all
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import say
from rtl.params import InputError

FOLDER = ROOT / "build" / "bench-reactions"
PATTERNS = ("4:8", "2:8", "1:8")
SEEDS, HEAD_STEPS, STEPS, BATCH, LR = 3, 300, 150, 32, 5e-4
DENSE = "dense"
ROWS = {"float": "trained, float", "int8": "trained, int8", "one-shot": "magnitude, one-shot, float"}

Scores = dict[str, dict[str, float]]  # by form (as ROWS), by pattern; the dense model under DENSE


def runs(seeds: int, folder: Path) -> list[Run]:
    """folder : as pruning.data.reactions writes it"""
    words = (
        *(str(folder / "model"), "--classify", "--data", str(folder / "text"), "--patterns", ",".join(PATTERNS)),
        *("--method", "idp", "--head-steps", str(HEAD_STEPS), "--steps", str(STEPS)),
        *("--batch", str(BATCH), "--lr", str(LR)),
    )
    return [
        Run(name=f"idp-{seed}", words=(*words, "--seed", str(seed)), candidates=len(PATTERNS)) for seed in range(seeds)
    ]


def scores(report: Report) -> Scores:
    """Of a run: accuracy on test.txt in per cent."""
    found: Scores = {form: {} for form in ROWS}
    found["float"][DENSE] = report["dense"]["float"]["accuracy"]["test"]
    for pattern, candidate in zip(PATTERNS, report["candidates"], strict=True):
        for form in ROWS:
            found[form][pattern] = candidate[form]["accuracy"]["test"]
    return found


def table(found: Sequence[Scores], taken: Mapping[str, int]) -> str:
    """Markdown. found : of each seed; taken : cycles by pattern, the dense model's under DENSE"""
    columns = (DENSE, *PATTERNS)
    text = [
        f"`make bench-reactions` writes this table; last run on {time.strftime('%Y-%m-%d')}; seeds: {len(found)}.",
        f"Mean ± standard error, in per cent. The head has {HEAD_STEPS} steps of {BATCH} reactions, each candidate",
        f"{STEPS} more. Cycles are of {TOKENS} tokens on 8×8 PEs with N = 2 and M = 8.",
        "",
        f"| | {' | '.join(columns)} |",
        "|---|" + "---|" * len(columns),
    ]
    for form, name in ROWS.items():
        cells = [with_error([one[form][p] for one in found]) if p in found[0][form] else "" for p in columns]
        text.append(f"| {name} | " + " | ".join(cells) + " |")
    text.append("| cycles | " + " | ".join(f"{taken[column]:,}" for column in columns) + " |")
    return "\n".join(text)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-reactions", description="A BERT of chemistry, pruned: an hour.")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"seeds 0 to N − 1, default {SEEDS}")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}, must be at least 1")
    given = FOLDER / "given"
    if not given.exists():
        from pruning.data.reactions import write

        say("downloading the model and the reactions")
        with written_whole(given) as folder:
            write(folder)
    asked = runs(args.seeds, given)
    reports = run_all(asked, FOLDER)
    found = [scores(reports[one.name]) for one in asked]
    made = folder_of(asked[0], FOLDER)
    files = {DENSE: made / DENSE} | {p: made / f"{p.replace(':', 'of')}.safetensors" for p in PATTERNS}
    taken = cycles(files, given / "text" / "train.txt")
    with written_whole(FOLDER / "scores.json") as path:
        path.write_text(json.dumps({"scores": found, "cycles": taken}, indent=1) + "\n")
    replace_section(ROOT / "docs" / "training.md", "bench-reactions", table(found, taken))
    print(f"{args.seeds} seeds: docs/training.md, {(FOLDER / 'scores.json').relative_to(ROOT)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-reactions")


if __name__ == "__main__":
    sys.exit(process(main, "bench-reactions"))
