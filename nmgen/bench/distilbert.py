"""A DistilBERT made of MiniLM, trained by it and pruned, over seeds: ``make bench-distilbert DATA=…``.

The DistilBERT is every second block of MiniLM (`pruning/families/bert/halved.py`). It is trained dense, then as a
series of candidates by IDP; MiniLM is the teacher of both. Scores are those of `nmgen prune --sts`: 100 · Spearman,
mean of the files. The cycles are those of a program of 128 tokens on 8×8 PEs with N = 2, M = 8.

Every run is kept in build/bench-distilbert/: one that was stopped goes on where it was. The table goes into
docs/training.md, the numbers into build/bench-distilbert/scores.json.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nmgen.bench.command import bench
from nmgen.bench.minilm_runs import BATCH, asked, recipe, scores_of
from nmgen.bench.pruning import with_error
from nmgen.bench.sections import replace_section
from nmgen.bench.training_runs import ROOT, TOKENS, Report, Run, cycles, folder_of, run_all
from nmgen.console.ending import process
from nmgen.console.files import written_whole

FOLDER = ROOT / "build" / "bench-distilbert"
PATTERNS = ("4:8", "2:8", "1:8")
SEEDS, DENSE_STEPS, STEPS = 3, 900, 450
TEACHER, CUT, DENSE = "minilm", "as cut", "dense"

Scores = dict[str, float]  # of MiniLM, of the DistilBERT before and after its training, and by pattern


def dense_runs(seeds: int, given: Path, data: Path) -> list[Run]:
    """Of the dense models; given : the DistilBERT as it was cut"""
    options = ("--method", "dense", "--teacher", TEACHER)
    return [
        Run(
            name=f"dense-{seed}",
            words=(str(given), *options, *recipe(data, steps=DENSE_STEPS, seed=seed)),
            candidates=1,
        )
        for seed in range(seeds)
    ]


def runs(dense: Sequence[Run], cache: Path, data: Path) -> list[Run]:
    """Of the series, each from a dense model."""
    options = ("--patterns", ",".join(PATTERNS), "--method", "idp", "--teacher", TEACHER)
    return [
        Run(
            name=f"idp-{seed}",
            words=(str(folder_of(one, cache) / DENSE), *options, *recipe(data, steps=STEPS, seed=seed)),
            candidates=len(PATTERNS),
        )
        for seed, one in enumerate(dense)
    ]


def scores(dense: Report, series: Report, teacher: float) -> Scores:
    """Of a seed, in int8 but for the teacher and the DistilBERT as it was cut."""
    found = {TEACHER: teacher, CUT: dense["dense"]["float"]["mean"], DENSE: scores_of(dense)[0]}
    return found | dict(zip(PATTERNS, scores_of(series), strict=True))


def teacher_score(data: Path) -> float:
    """Of MiniLM in float."""
    from nmgen.bench.minilm_runs import MEASURED_ON
    from nmgen.console.threads import one_thread
    from nmgen.families.interface import ScoredOn
    from nmgen.families.known import Named

    model = Named(TEACHER)
    on = ScoredOn(sts=tuple(data / name for name in MEASURED_ON))
    with one_thread():
        score: float = model.family.compiles.scoring(TEACHER, model.float_model, on).score(model.float_model)["mean"]
    return score


def table(found: Sequence[Scores], taken: Mapping[str, int]) -> str:
    """Markdown. found : of each seed; taken : cycles of all but the DistilBERT as it was cut"""
    columns = (TEACHER, CUT, DENSE, *PATTERNS)
    titles = ("MiniLM, float", "the DistilBERT as it was cut, float", "trained, dense", *PATTERNS)
    scored = [f"{found[0][name]:.2f}" if name in (TEACHER, CUT) else with_error([one[name] for one in found])
              for name in columns]  # fmt: skip
    counted = [f"{taken[name]:,}" if name in taken else "" for name in columns]
    return "\n".join(
        [
            f"`make bench-distilbert` writes this table; last run on {time.strftime('%Y-%m-%d')}; seeds: {len(found)}.",
            f"Mean ± standard error, in int8 where not told otherwise. {DENSE_STEPS} steps of {BATCH} sentences for",
            f"the dense model, {STEPS} more for each candidate. 100 · Spearman, mean of the files of STS 2014 and",
            f"2015; cycles of {TOKENS} tokens on 8×8 PEs with N = 2 and M = 8.",
            "",
            f"| | {' | '.join(titles)} |",
            "|---|" + "---|" * len(columns),
            f"| score | {' | '.join(scored)} |",
            f"| cycles | {' | '.join(counted)} |",
        ]
    )


def run(argv: Sequence[str] | None) -> int:
    data, seeds = asked("bench-distilbert", "A DistilBERT made of MiniLM, trained by it, pruned: an hour.", SEEDS, argv)
    given = FOLDER / "given"
    if not given.exists():
        from pruning.families.bert.halved import write

        with written_whole(given) as folder:
            write(folder, TEACHER)
    dense = dense_runs(seeds, given, data)
    reports = run_all(dense, FOLDER)
    series = runs(dense, FOLDER, data)
    reports |= run_all(series, FOLDER)
    teacher = teacher_score(data)
    found = [scores(reports[one.name], reports[other.name], teacher) for one, other in zip(dense, series, strict=True)]
    taken = cycles({TEACHER: Path(TEACHER), DENSE: given} | artefacts(folder_of(series[0], FOLDER)))
    with written_whole(FOLDER / "scores.json") as path:
        path.write_text(json.dumps({"scores": found, "cycles": taken}, indent=1) + "\n")
    replace_section(ROOT / "docs" / "training.md", "bench-distilbert", table(found, taken))
    print(f"{seeds} seeds: docs/training.md, {(FOLDER / 'scores.json').relative_to(ROOT)}")
    return 0


def artefacts(made: Path) -> dict[str, Path]:
    """Of a series, by pattern."""
    return {pattern: made / f"{pattern.replace(':', 'of')}.safetensors" for pattern in PATTERNS}


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-distilbert")


if __name__ == "__main__":
    sys.exit(process(main, "bench-distilbert"))
