"""Layer-wise plans of MiniLM beside one pattern for all layers, trained: ``make bench-plans DATA=…``.

On 8×8 PEs with N = 2 and M = 16, 128 tokens. A series of three plans within budgets of cycles: those of 8:16 in all
layers, those of 4:16, which 2:8 takes as well, and three quarters of these. It is made by both sensitivities, and
compared with series of one pattern for all layers: in groups of 16, and in groups of 8 with as many steps in all. Then
plans that were drawn, all within the cycles of 4:16 and trained from the dense model: how well do the sensitivities
rank them?

Every run is kept in build/bench-plans/: one that was stopped goes on where it was. The tables go into
docs/training.md, the plot into docs/plans.png, the numbers into build/bench-plans/points.json.
"""

import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from nmgen.bench.command import bench
from nmgen.bench.minilm_runs import BATCH, asked, minilm, scores_of
from nmgen.bench.pruning import with_error
from nmgen.bench.sections import replace_section
from nmgen.bench.training_runs import ROOT, Report, Run, run_all
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import stages
from nmgen.console.threads import one_thread
from nmgen.families.recipe import SENSITIVITIES, Target
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.training.budget import Planner

FOLDER = ROOT / "build" / "bench-plans"
SEEDS, STEPS, DRAWN = 2, 300, 8
M, TOKENS = 16, 128
SHARE = 0.75  # of the cycles of 2:8 that the last plan takes
FEWER, GAIN = 0.0, 1.0  # points over 2:8 that are aimed at: with SHARE of its cycles, with as many

EIGHTS, SIXTEENS = "n:8", "n:16"
TITLES = {
    EIGHTS: "one pattern, groups of 8",
    SIXTEENS: "one pattern, groups of 16",
    **{kind: f"a plan, {kind} sensitivity" for kind in SENSITIVITIES},
}
UNIFORM = {EIGHTS: ("4:8", "2:8"), SIXTEENS: ("8:16", "4:16", "2:16")}  # as many steps in all: 2:8 has those of plan 3


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate of a kind of series.

    scores : 100 · Spearman in int8, of each seed
    """

    kind: str
    pattern: str
    steps: int  # from the dense model on
    cycles: int
    scores: tuple[float, ...]


def budgets_of(uniform: Mapping[int, int]) -> tuple[int, int, int]:
    """Of the plans; uniform : cycles with all layers at n:M, by n"""
    return uniform[M // 2], uniform[M // 4], round(SHARE * uniform[M // 4])


def runs(seeds: int, budgets: Sequence[int], data: Path) -> list[Run]:
    """Of the series; budgets : of the plans, from many cycles to few"""
    found = []
    for seed in range(seeds):
        for kind, patterns in UNIFORM.items():
            steps = STEPS * len(budgets) // len(patterns)
            what: tuple[str, ...] = ("--patterns", ",".join(patterns))
            found.append(minilm(_name(kind, seed), what, data, candidates=len(patterns), steps=steps, seed=seed))
        for kind in SENSITIVITIES:
            what = ("--budget", ",".join(map(str, budgets)), "--sensitivity", kind, "--m", str(M), "--seq", str(TOKENS))
            found.append(minilm(_name(kind, seed), what, data, candidates=len(budgets), steps=STEPS, seed=seed))
    return found


def _name(kind: str, seed: int) -> str:
    return f"{kind.replace(', ', '-').replace(':', 'of')}-{seed}"


def drawn(planner: "Planner", count: int, folder: Path, data: Path) -> list[Run]:
    """Plans of the cycles of 4:16, each the best by harms that are drawn; folder : gets their files"""
    found = []
    for number in range(count):
        draw = random.Random(number)
        weight = {name: draw.lognormvariate(0, 1) for name in planner.names}
        harm = {name: {n: weight[name] * (M / n - 1) for n in planner.options} for name in planner.names}
        text = planner.within(budgets_of(planner.uniform)[1], harm).plan.to_toml()
        path = folder / f"drawn-{number}-{sha256(text.encode()).hexdigest()[:8]}.toml"
        with written_whole(path) as file:
            file.write_text(text)
        found.append(minilm(f"drawn-{number}", ("--plan", str(path)), data, candidates=1, steps=STEPS, seed=0))
    return found


def points(reports: Mapping[str, Report], seeds: int, uniform: Mapping[int, int]) -> list[Point]:
    """Of all series; uniform : cycles with all layers at n:M, by n"""
    found = []
    for kind in TITLES:
        of_kind = [reports[_name(kind, seed)] for seed in range(seeds)]
        scores = list(zip(*map(scores_of, of_kind), strict=True))
        for i, one in enumerate(scores):
            if kind in UNIFORM:
                pattern = UNIFORM[kind][i]
                n, m = map(int, pattern.split(":"))
                cycles = uniform[n * M // m]
            else:
                pattern, cycles = f"plan {i + 1}", round(mean(report["budgets"][i]["cycles"] for report in of_kind))
            steps = of_kind[0]["recipe"]["steps"] * (i + 1)
            found.append(Point(kind=kind, pattern=pattern, steps=steps, cycles=cycles, scores=one))
    return found


def ranks(reports: Mapping[str, Report], count: int) -> dict[str, float]:
    """Of each sensitivity, Spearman's correlation of the harm that it expects of the plans that were drawn with the
    score that they lose; of seed 0."""
    import numpy as np

    from pruning.training.scores import spearman

    plans = [reports[f"drawn-{number}"] for number in range(count)]
    lost = np.array([-score for report in plans for score in scores_of(report)])
    found = {}
    for kind in SENSITIVITIES:
        table = reports[_name(kind, 0)]["sensitivity"]["layers"]
        harms = [
            sum(table[name][pattern] for name, pattern in report["candidates"][0]["plan"].items()) for report in plans
        ]
        found[kind] = spearman(np.array(harms), lost)
    return found


def tables(found: Sequence[Point], correlations: Mapping[str, float], drawn_scores: Sequence[float]) -> str:
    """Markdown."""
    base = _of(found, EIGHTS, 1)
    text = [
        "`make bench-plans` writes these tables and the plot; last run on",
        f"{time.strftime('%Y-%m-%d')}; seeds: {len(base.scores)}. Mean ± standard error; gains seed by seed. Steps are",
        f"of {BATCH} sentences, from the dense model on; beside them the trained sensitivity takes steps of its own.",
        "100 · Spearman in int8, mean of the files of STS 2014 and 2015; cycles of",
        f"{TOKENS} tokens on 8×8 PEs with N = 2 and M = {M}.",
        "",
        "| series | candidate | steps | cycles | of 2:8's | score | gain over 2:8 |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for one in found:
        share, score = f"{one.cycles / base.cycles:.1%}", with_error(one.scores)
        gain = "" if one is base else with_error(_gains(one, base), "+")
        text.append(
            f"| {TITLES[one.kind]} | {one.pattern} | {one.steps:,} | {one.cycles:,} | {share} | {score} | {gain} |"
        )
    text += ["", "| aimed at | " + " | ".join(TITLES[kind] for kind in SENSITIVITIES) + " |", "|---|---|---|"]
    sixteens = _of(found, SIXTEENS, 1)
    aims = (
        ("as many cycles as 2:8", 1, base, GAIN),
        ("as many cycles as 4:16", 1, sixteens, GAIN),
        (f"{SHARE:.0%} of the cycles of 2:8", 2, base, FEWER),
        (f"{SHARE:.0%} of the cycles of 4:16", 2, sixteens, FEWER),
    )
    for aim, number, other, least in aims:
        cells = []
        for kind in SENSITIVITIES:
            gained = _gains(_of(found, kind, number), other)
            cells.append(f"{with_error(gained, '+')}, {'met' if mean(gained) >= least else 'missed'}")
        text.append(f"| {aim}, gain over it ≥ {least:+g} | " + " | ".join(cells) + " |")
    told = ", ".join(f"{kind} {value:+.2f}" for kind, value in correlations.items())
    text += [
        "",
        f"Of {len(drawn_scores)} plans that were drawn, all within the cycles of 4:16 and trained for {STEPS} steps,",
        f"scores go from {min(drawn_scores):.2f} to {max(drawn_scores):.2f}. Spearman's correlation of the expected",
        f"harm with the points lost: {told}. Of {len(drawn_scores)} plans whose order is chance, one in twenty has a",
        f"correlation beyond ±{chance(len(drawn_scores)):.2f}.",
        "",
        "![score against cycles](plans.png)",
    ]
    return "\n".join(text)


def _gains(one: Point, other: Point) -> list[float]:
    """Seed by seed."""
    return [a - b for a, b in zip(one.scores, other.scores, strict=True)]


def chance(count: int) -> float:
    """The correlation that one of twenty random orders of so many is beyond, in one direction or the other."""
    import numpy as np

    from pruning.training.scores import spearman

    rng, order = np.random.default_rng(0), np.arange(count)
    return float(np.quantile([abs(spearman(order, rng.permutation(count))) for _ in range(10_000)], 0.95))


def _of(found: Sequence[Point], kind: str, number: int) -> Point:
    return [one for one in found if one.kind == kind][number]


def plot(found: Sequence[Point], drawn_scores: Sequence[float], path: Path) -> None:
    """Score against cycles."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.5, 4.2), layout="constrained")
    for kind, title in TITLES.items():
        of_kind = [one for one in found if one.kind == kind]
        axes.plot([one.cycles / 1e6 for one in of_kind], [mean(one.scores) for one in of_kind], marker="o", label=title)
    cycles = _of(found, SIXTEENS, 1).cycles / 1e6
    axes.plot([cycles] * len(drawn_scores), drawn_scores, "x", color="grey", label="plans that were drawn")
    axes.set(xlabel=f"million cycles, {TOKENS} tokens", ylabel="100 · Spearman, int8")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    with written_whole(path) as written:
        figure.savefig(written, format="png", dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def run(argv: Sequence[str] | None) -> int:
    data, seeds = asked(
        "bench-plans", "Layer-wise plans of MiniLM beside one pattern for all layers: three hours.", SEEDS, argv
    )
    from nmgen.models.dense import Dense
    from nmgen.training.budget import Planner

    with one_thread(), stages() as say:
        planner = Planner(Dense("minilm"), "all", Target(config=StaConfig(m=M), lengths=[TOKENS]), say)
        plans = drawn(planner, DRAWN, FOLDER, data)
    every = [*runs(seeds, budgets_of(planner.uniform), data), *plans]
    reports = run_all(every, FOLDER)
    found = points(reports, seeds, planner.uniform)
    correlations = ranks(reports, DRAWN)
    drawn_scores = [score for number in range(DRAWN) for score in scores_of(reports[f"drawn-{number}"])]
    numbers = {"points": [asdict(one) for one in found], "ranks": correlations, "drawn": drawn_scores}
    with written_whole(FOLDER / "points.json") as path:
        path.write_text(json.dumps(numbers, indent=1) + "\n")
    plot(found, drawn_scores, ROOT / "docs" / "plans.png")
    replace_section(ROOT / "docs" / "training.md", "bench-plans", tables(found, correlations, drawn_scores))
    print(f"{seeds} seeds: docs/training.md, docs/plans.png, {FOLDER.relative_to(ROOT)}/points.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-plans")


if __name__ == "__main__":
    sys.exit(process(main, "bench-plans"))
