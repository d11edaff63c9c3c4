"""N:M pruning methods on a small vision transformer, over seeds: ``make bench-pruning``.

A ViT of 4 layers and width 128 learns Fashion-MNIST for 2,000 steps. From there each method makes N:M models of its
blocks' linear layers: with equal steps for every candidate, and with the total that a whole family takes. The control
is dense training with the same steps. One recipe serves all methods; ``--choose`` shows how its learning rate was
chosen, on images and with a seed that the bench does not use.

Every run is kept in build/bench-pruning/, so a bench that was stopped goes on where it was. The table goes into
docs/results.md, the plot into docs/pruning.png, all numbers into build/bench-pruning/accuracies.json.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import say
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import nn

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 5
DENSE_STEPS = 2000
STEPS = 150  # a candidate
LONGEST = ("4:8", "2:8", "1:8")
CHAINS = (("2:4", "1:4"), LONGEST)

# The recipe of all methods.
BATCH = 64
DENSE_LR = 1e-3
LR = 3e-4
WEIGHT_DECAY = 0.01
RATES = (2e-4, 3e-4, 6e-4, 1e-3)  # tried for LR, on
CHOOSING_SEED = 100
SPLIT = 55_000  # training images; the other 5,000 are for choosing the recipe
WORKERS = 2  # runs at a time
CALIBRATION = 512  # training images that Wanda's norms are of


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is made of one dense model: candidates by one method, one after another."""

    name: str
    method: str
    patterns: tuple[str, ...]
    steps: int = STEPS
    nested: bool = False
    rescales: bool | None = None  # None: as the method does
    distils: bool = False  # the dense model's logits, too
    lr: float = LR


@dataclass(frozen=True, kw_only=True)
class Result:
    """The accuracies of one candidate, one a seed."""

    run: Run
    pattern: str
    accuracies: tuple[float, ...]


# Rows of the table and lines of the plot.
ROWS = {
    "magnitude": "magnitude, one-shot",
    "wanda": "Wanda score, one-shot",
    "sparsegpt": "SparseGPT, one-shot",
    "asp": "ASP",
    "sr-ste": "SR-STE",
    "idp": "**IDP**",
    "idp-distilled": "IDP, distilled",
    "idp-update": "IDP, SparseGPT at each step down",
    "idp-update-distilled": "the same, distilled",
    "idp-weighed": "IDP, masks by Wanda's score",
    "idp-weighed-distilled": "the same, distilled",
    "idp-decay": "IDP, masked weights shrink",
    "idp-learnt": "IDP, masks learnt by gradient",
    "idp-nested": "IDP, nested masks",
    "idp-unscaled": "IDP without keeping norms",
    "sr-ste-faster": "SR-STE at twice the learning rate",
    "sr-ste-scaled": "SR-STE with IDP's keeping of norms",
}
TRAINED = ("asp", "sr-ste", "idp")
PLOTTED = ("magnitude", "wanda", *TRAINED, "sparsegpt")


def runs() -> list[Run]:
    """What the comparisons need most comes first."""
    every = tuple(pattern for chain in CHAINS for pattern in chain)
    found = [Run(name="dense", method="dense", patterns=("dense",))]
    for chain in CHAINS[::-1]:
        last = chain[-1].replace(":", "-")
        found.append(Run(name=f"idp-{last}", method="idp", patterns=chain))
    found += [
        Run(name="idp-distilled", method="idp", patterns=LONGEST, distils=True),
        Run(name="idp-update", method="idp-update", patterns=LONGEST),
        Run(name="idp-update-distilled", method="idp-update", patterns=LONGEST, distils=True),
        Run(name="idp-weighed", method="idp-weighed", patterns=LONGEST),
        Run(name="idp-weighed-distilled", method="idp-weighed", patterns=LONGEST, distils=True),
        Run(name="idp-decay", method="idp-decay", patterns=LONGEST),
        Run(name="idp-learnt", method="idp-learnt", patterns=LONGEST),
        Run(name="dense-distilled", method="dense", patterns=("dense",), distils=True),
        Run(name="sr-ste", method="sr-ste", patterns=every),
    ]
    for chain in CHAINS[::-1]:
        name = f"sr-ste-total-{chain[-1].replace(':', '-')}"
        found.append(Run(name=name, method="sr-ste", patterns=chain[-1:], steps=len(chain) * STEPS))
    return [
        *found,
        Run(name="asp", method="asp", patterns=every),
        Run(name="magnitude", method="magnitude", patterns=every),
        Run(name="wanda", method="wanda", patterns=every),
        Run(name="sparsegpt", method="sparsegpt", patterns=every),
        Run(name="idp-nested", method="idp", patterns=LONGEST, nested=True),
        Run(name="idp-unscaled", method="idp", patterns=LONGEST, rescales=False),
        Run(name="sr-ste-faster", method="sr-ste", patterns=LONGEST[-1:], lr=2 * LR),
        Run(name="sr-ste-scaled", method="sr-ste", patterns=LONGEST[-1:], rescales=True),
        Run(name="dense-total", method="dense", patterns=("dense",), steps=len(LONGEST) * STEPS),
    ]


def runs_to_choose() -> list[Run]:
    """The control and two methods at several learning rates."""
    return [
        Run(name=f"{method}-{lr:g}", method=method, patterns=patterns, lr=lr)
        for lr in RATES
        for method, patterns in (("dense", ("dense",)), ("sr-ste", LONGEST[-1:]), ("idp", LONGEST))
    ]


# --- one run, in a process of its own --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _task(data: Path, choosing: bool) -> Any:
    """The ImageTask: measured on the test images or, to choose a recipe, on the validation images."""
    from pruning.data.datasets import fashion_mnist
    from pruning.training.image_task import ImageTask

    training, test = fashion_mnist(data)
    return ImageTask(training.part(0, SPLIT), training.part(SPLIT, len(training.labels)) if choosing else test)


def dense_model(seed: int, folder: Path, task: Any) -> "nn.Module":
    """The model that all runs of a seed start from; trained once, then read from its checkpoint."""
    from pruning.families.vit.model import small_vit
    from pruning.training.train import train

    model = small_vit(seed)
    train(
        model,
        task,
        steps=DENSE_STEPS,
        batch=BATCH,
        lr=DENSE_LR,
        seed=seed,
        weight_decay=WEIGHT_DECAY,
        bf16=False,
        checkpoint=folder / "dense.pt",
        checkpoint_every=500,
        resume=True,
    )
    return model


def accuracies(run: Run, seed: int, folder: Path, task: Any) -> dict[str, float]:
    """Per cent of the images that each candidate of a run gets right, by pattern."""
    from pruning.families.vit.model import encoder_layers
    from pruning.masks.methods import calibrated, method_of
    from pruning.masks.plan import Plan
    from pruning.training.series import series

    model = dense_model(seed, folder, task)
    names = list(Plan.uniform(model, "1:2", encoder_layers).layers)
    pixels = task.inputs(task.training.pixels[:CALIBRATION])
    method = calibrated(method_of(run.method, nested=run.nested), model, names, lambda: model(pixels))
    if run.rescales is not None:
        method = replace(method, rescales=run.rescales)
    # Dense training takes the place of a candidate: its pattern masks nothing.
    patterns = ["8:8" if pattern == "dense" else pattern for pattern in run.patterns]
    candidates = series(
        model,
        patterns,
        task.distilled(model) if run.distils else task,
        method=method,
        filter_fn=encoder_layers,
        seed=seed,
        steps=run.steps,
        batch=BATCH,
        lr=run.lr,
        weight_decay=WEIGHT_DECAY,
        bf16=False,
    )
    return {pattern: one.metrics["accuracy"] for pattern, one in zip(run.patterns, candidates, strict=True)}


def job(run: Run | None, seed: int, data: Path, cache: Path, choosing: bool) -> tuple[str, float]:
    """One run of one seed, or the dense model alone; leaves a file with the accuracies. (what it was, seconds)"""
    import torch

    torch.set_num_threads(1)
    start = time.monotonic()
    folder, task = cache / f"seed-{seed}", _task(data, choosing)
    if run is None:
        dense_model(seed, folder, task)
    else:
        found = accuracies(run, seed, folder, task)
        with written_whole(result_path(run, seed, cache)) as path:
            path.write_text(json.dumps(found) + "\n")
    return f"seed {seed} {run.name if run else 'dense model'}", time.monotonic() - start


def result_path(run: Run, seed: int, cache: Path) -> Path:
    """A file that only this run with this recipe has."""
    from pruning.masks.methods import METHODS

    recipe = (run, METHODS[run.method], DENSE_STEPS, BATCH, DENSE_LR, WEIGHT_DECAY, SPLIT, CALIBRATION)
    return cache / f"seed-{seed}" / f"{run.name}-{sha256(repr(recipe).encode()).hexdigest()[:12]}.json"


def run_all(wanted: Sequence[Run], seeds: Sequence[int], data: Path, cache: Path, choosing: bool) -> list[Result]:
    """All runs of all seeds, two at a time with one thread each; what is there already is not run again."""
    missing = [(run, seed) for run in wanted for seed in seeds if not result_path(run, seed, cache).exists()]
    first = sorted({seed for _, seed in missing})
    done, start = 0, time.monotonic()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        # Every seed's dense model, then what starts from it.
        for stage in ([(None, seed) for seed in first], missing):
            futures = [pool.submit(job, run, seed, data, cache, choosing) for run, seed in stage]
            for future in as_completed(futures):
                name, seconds = future.result()
                done += 1
                passed = time.monotonic() - start
                say(f"{done:3}/{len(first) + len(missing)} {name}: {seconds:.0f} s, {passed:.0f} s in all")
    results = []
    for run in wanted:
        found = [json.loads(result_path(run, seed, cache).read_text()) for seed in seeds]
        for pattern in run.patterns:
            results.append(Result(run=run, pattern=pattern, accuracies=tuple(one[pattern] for one in found)))
    return results


# --- what is written -------------------------------------------------------------------------------------------------


def with_error(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard error of the mean."""
    error = f" ± {stdev(values) / math.sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.2f}{error}"


class Accuracies:
    """Looks accuracies up by the name of a run and the pattern."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._by_key = {(one.run.name, one.pattern): one.accuracies for one in results}

    def of(self, method: str, pattern: str = "dense") -> tuple[float, ...]:
        """Of a run by its name; of a chain's candidate also by the name without the chain's end. () where none is."""
        chains = ["", *(f"-{chain[-1].replace(':', '-')}" for chain in CHAINS)]
        return next((self._by_key[key] for end in chains if (key := (method + end, pattern)) in self._by_key), ())

    def cell(self, method: str, pattern: str = "dense") -> str:
        found = self.of(method, pattern)
        return with_error(found) if found else "–"

    def difference(self, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
        """Seed by seed: both start from the same dense model."""
        return [a - b for a, b in zip(self.of(*one), self.of(*other), strict=True)]


def tables(results: Sequence[Result], seeds: int) -> str:
    """Markdown."""
    found = Accuracies(results)
    columns = [pattern for chain in CHAINS for pattern in chain]
    chains = " and ".join(" → ".join(chain) for chain in CHAINS)
    text = [
        f"`make bench-pruning` writes these tables and the plot; last run on {time.strftime('%Y-%m-%d')}. A ViT of 4",
        f"layers and width 128, Fashion-MNIST, {DENSE_STEPS:,} dense steps, then N:M in all linear layers of its",
        f"blocks. Accuracy on the test images in per cent, mean ± standard error over {seeds} seeds; differences are",
        f"taken seed by seed. One recipe for all: AdamW, batch {BATCH}, learning rate {LR:g} (dense {DENSE_LR:g}), a",
        f"half cosine after a tenth of warm-up, weight decay {WEIGHT_DECAY:g}, gradients clipped to norm 1, float32.",
        "`--choose` tries learning rates on images that are kept back.",
        "",
        f"**Equal steps a candidate.** {STEPS} steps each; the one-shot methods take none. IDP's chains are {chains}.",
        "",
        "| method | dense | " + " | ".join(columns) + " |",
        "|---|" + "---|" * (len(columns) + 1),
        f"| dense + {STEPS} | {found.cell('dense')} |" + " – |" * len(columns),
        f"| dense + {STEPS}, distilled | {found.cell('dense-distilled')} |" + " – |" * len(columns),
    ]
    for method, title in ROWS.items():
        text.append(f"| {title} | – | " + " | ".join(found.cell(method, pattern) for pattern in columns) + " |")
    text += [
        "",
        "**Equal total.** What a family costs in all, spent otherwise. SR-STE for every candidate out of the same",
        f"total is {STEPS} steps each, the row SR-STE above; dense + {len(LONGEST) * STEPS} steps is",
        f"{found.cell('dense-total')}.",
        "",
        "| total | IDP, the whole family | SR-STE, every candidate | SR-STE, all steps on the sparsest |",
        "|---|---|---|---|",
    ]
    for chain in CHAINS:
        family, each = (
            ", ".join(f"{pattern} {found.cell(method, pattern)}" for pattern in chain) for method in ("idp", "sr-ste")
        )
        alone = f"{chain[-1]} {found.cell('sr-ste-total', chain[-1])}"
        text.append(f"| {len(chain) * STEPS} | {family} | {each} | {alone} |")
    text += ["", "| comparison | aim | measured | |", "|---|---|---|---|"]
    for name, bound, one, other in comparisons():
        values = found.difference(one, other)
        aim = f"≥ {bound:+.1f}" if bound else "–"
        text.append(f"| {name} | {aim} | {with_error(values, '+')} | {verdict(values, bound)} |")
    return "\n".join([*text, "", "![accuracy against density](pruning.png)"])


def table_of_choice(results: Sequence[Result]) -> str:
    """Markdown: rows are methods, columns learning rates."""
    found = Accuracies(results)
    titles = {"dense": f"dense + {STEPS}", "sr-ste": "SR-STE 1:8", "idp": "IDP 1:8"}
    text = [
        f"**The learning rate**, tried on seed {CHOOSING_SEED} and the last {60_000 - SPLIT:,} training images, which",
        "no model here is trained on (`python -m nmgen.bench.pruning --choose`).",
        "",
        "| learning rate | " + " | ".join(f"{lr:g}" for lr in RATES) + " |",
        "|---|" + "---|" * len(RATES),
    ]
    for method, title in titles.items():
        pattern = "dense" if method == "dense" else LONGEST[-1]
        text.append(f"| {title} | " + " | ".join(found.cell(f"{method}-{lr:g}", pattern) for lr in RATES) + " |")
    return "\n".join(text)


def verdict(values: Sequence[float], bound: float | None) -> str:
    """What seed-by-seed differences say; without a bound, two standard errors decide."""
    if bound is not None:
        return "met" if mean(values) >= bound else "missed"
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    if abs(mean(values)) <= 2 * error:
        return "even"
    return "won" if mean(values) > 0 else "lost"


def comparisons() -> Iterator[tuple[str, float | None, tuple[str, str], tuple[str, str]]]:
    """(what, the aim if there is one, a candidate, the one it is compared with)"""
    dense = "dense", "dense"
    yield f"IDP 2:4 − dense + {STEPS}", -0.5, ("idp", "2:4"), dense
    yield f"IDP 1:4 − dense + {STEPS}", -1.5, ("idp", "1:4"), dense
    yield f"IDP 1:8 − dense + {STEPS}", -3.0, ("idp", "1:8"), dense
    yield f"IDP 1:8 − SR-STE 1:8, {STEPS} steps each", 1.0, ("idp", "1:8"), ("sr-ste", "1:8")
    for chain in CHAINS:
        last, steps = chain[-1], len(chain) * STEPS
        yield f"IDP {last} − SR-STE {last} with all {steps} steps", None, ("idp", last), ("sr-ste-total", last)
        for pattern in chain[:-1]:
            yield f"IDP {pattern} − SR-STE {pattern}", None, ("idp", pattern), ("sr-ste", pattern)
    yield "IDP, distilled, 1:8 − IDP 1:8", 0.3, ("idp-distilled", "1:8"), ("idp", "1:8")
    for name in ("idp-update", "idp-weighed", "idp-decay", "idp-learnt"):
        yield f"{ROWS[name]}, 1:8 − IDP 1:8", None, (name, "1:8"), ("idp", "1:8")
    yield (
        f"IDP, distilled, 1:8 − dense + {STEPS}, distilled",
        None,
        ("idp-distilled", "1:8"),
        ("dense-distilled", "dense"),
    )
    for other in ("sr-ste-faster", "sr-ste-scaled", "idp-unscaled", "idp-nested"):
        yield f"IDP 1:8 − {ROWS[other]}, 1:8", None, ("idp", "1:8"), (other, "1:8")


def plot(results: Sequence[Result], path: Path) -> None:
    """Accuracy against density, the candidates of the longest chain's patterns: of all methods, and once more of those
    that train, which are so near to one another that the others hide how they differ."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = Accuracies(results)
    densities = [int(n) / int(m) for n, m in (pattern.split(":") for pattern in LONGEST)]
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
    for axes, methods, title in zip(
        panels, (PLOTTED, TRAINED), ("all methods", "those that train, enlarged"), strict=True
    ):
        for method in methods:
            values = [found.of(method, pattern) for pattern in LONGEST]
            errors = [stdev(one) / math.sqrt(len(one)) if len(one) > 1 else 0.0 for one in values]
            colour = f"C{PLOTTED.index(method)}"  # the same in both
            axes.errorbar(
                densities,
                [mean(one) for one in values],
                errors,
                marker="o",
                capsize=3,
                color=colour,
                label=ROWS[method].strip("*"),
            )
        axes.axhline(mean(found.of("dense")), color="grey", linestyle="--", label=f"dense + {STEPS} steps")
        axes.set_xscale("log", base=2)
        axes.set_xticks(densities, LONGEST)
        axes.set_xlabel("pattern")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    panels[0].set_ylabel("test accuracy, per cent")
    with written_whole(path) as written:
        figure.savefig(written, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench-pruning", description="N:M pruning methods on a small ViT, over seeds."
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"seeds 0 to N − 1, default {SEEDS}")
    parser.add_argument("--data", type=Path, metavar="DIR", help="Fashion-MNIST's four files; default: Debian's place")
    parser.add_argument("--choose", action="store_true", help="try learning rates instead, on images kept back")
    parser.add_argument("--json", action="store_true", help="print the numbers, and nothing else; write no page")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        raise InputError(f"--seeds is {args.seeds}, must be at least 1")
    from pruning.data.datasets import FASHION_MNIST, fashion_mnist

    data = args.data or FASHION_MNIST
    fashion_mnist(data)  # complains here, in one line, and not in a process
    cache = ROOT / "build" / "bench-pruning"
    if args.choose:
        wanted, seeds, cache = runs_to_choose(), [CHOOSING_SEED], cache / "choosing"
    else:
        wanted, seeds = runs(), list(range(args.seeds))
    results = run_all(wanted, seeds, data, cache, args.choose)
    rows = [
        {"run": one.run.name, "pattern": one.pattern, "steps": one.run.steps, "accuracies": one.accuracies}
        for one in results
    ]
    numbers = json.dumps(rows, indent=1)
    if args.json:
        print(numbers)
        return 0
    with written_whole(cache / "accuracies.json") as path:
        path.write_text(numbers + "\n")
    if args.choose:
        replace_section(ROOT / "docs" / "results.md", "bench-pruning-choice", table_of_choice(results))
    else:
        plot(results, ROOT / "docs" / "pruning.png")
        replace_section(ROOT / "docs" / "results.md", "bench-pruning", tables(results, args.seeds))
    print(f"{len(results)} candidates, {len(seeds)} seeds: docs/results.md, {cache.relative_to(ROOT)}/accuracies.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-pruning")


if __name__ == "__main__":
    sys.exit(process(main, "bench-pruning"))
