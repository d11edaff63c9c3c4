"""MiniLM at 4:8, 2:8 and 1:8, trained in several ways, over seeds: ``make bench-minilm DATA=…``.

A series takes `STEPS` steps for each candidate, an elastic model as many as the whole series, each of three densities:
so it reads the text as often, and computes three times as much. The scores are those of `nmgen prune --sts`:
100 · Spearman, mean of the files, in int8 and in float.

Every run is kept in build/bench-minilm/: one that was stopped goes on where it was. The table goes into
docs/training.md, the numbers into build/bench-minilm/scores.json.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from nmgen.bench.command import bench
from nmgen.bench.minilm_runs import BATCH, asked, minilm, scores_of
from nmgen.bench.pruning import with_error
from nmgen.bench.sections import replace_section
from nmgen.bench.training_runs import ROOT, Report, Run, run_all
from nmgen.console.ending import process
from nmgen.console.files import written_whole

PATTERNS = ("4:8", "2:8", "1:8")
FORMS = ("int8", "float")
SEEDS, STEPS = 3, 450


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
    "scaled": Kind(
        title="a model each, by idp-scaled",
        options=("--patterns", ",".join(PATTERNS), "--method", "idp-scaled"),
        aims={"1:8": 0.5},
    ),
    "elastic": Kind(
        title="one elastic model, by idp-weighed",
        options=("--elastic", ",".join(PATTERNS)),
        steps=len(PATTERNS) * STEPS,
        aims=dict.fromkeys(PATTERNS, -0.3),
    ),
}

Scores = dict[str, float]  # by pattern


def runs(seeds: int, data: Path) -> list[Run]:
    return [
        minilm(f"{name}-{seed}", kind.options, data, candidates=len(PATTERNS), steps=kind.steps, seed=seed)
        for seed in range(seeds)
        for name, kind in KINDS.items()
    ]


def scores(reports: Mapping[str, Report], seeds: int, form: str) -> dict[str, list[Scores]]:
    """Of all seeds by kind."""
    return {
        name: [dict(zip(PATTERNS, scores_of(reports[f"{name}-{seed}"], form), strict=True)) for seed in range(seeds)]
        for name in KINDS
    }


def section(found: Mapping[str, dict[str, list[Scores]]]) -> str:
    """Markdown: a table of each form."""
    seeds = len(found[FORMS[0]][SERIES])
    text = [
        f"`make bench-minilm` writes these tables; last run on {time.strftime('%Y-%m-%d')}; seeds: {seeds}. Mean ±",
        f"standard error; differences seed by seed. {STEPS} steps of {BATCH} sentences for each candidate of a series,",
        f"{len(PATTERNS) * STEPS:,} of three densities each for an elastic model. 100 · Spearman, mean of the files of",
        "STS 2014 and 2015.",
    ]
    for form, of_form in found.items():
        text += ["", *table(form, of_form)]
    return "\n".join(text)


def table(form: str, found: Mapping[str, list[Scores]]) -> list[str]:
    """Lines of Markdown."""
    text = [f"| in {form} | {' | '.join(PATTERNS)} |", "|---|" + "---|" * len(PATTERNS)]
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
    return text


def run(argv: Sequence[str] | None) -> int:
    data, seeds = asked("bench-minilm", "MiniLM trained in several ways, over seeds: four hours.", SEEDS, argv)
    cache = ROOT / "build" / "bench-minilm"
    reports = run_all(runs(seeds, data), cache)
    found = {form: scores(reports, seeds, form) for form in FORMS}
    with written_whole(cache / "scores.json") as path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    replace_section(ROOT / "docs" / "training.md", "bench-minilm", section(found))
    print(f"{seeds} seeds: docs/training.md, {(cache / 'scores.json').relative_to(ROOT)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-minilm")


if __name__ == "__main__":
    sys.exit(process(main, "bench-minilm"))
