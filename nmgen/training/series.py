"""A series of trained N:M candidates of any family, each with its artefact, its folder and its scores.

    OUT/NofM.safetensors   the artefact of a candidate          OUT/run/N-M.pt     its checkpoint
    OUT/NofM/              the same in float, a Hugging Face folder      N-M.jsonl   its metrics, a line a step
    OUT/report.json, OUT/accuracy.png                           OUT/dense/         a dense model that got its head here

What is written depends on the model, the data, the recipe and the seed alone, so a run that was killed and resumed
gives the same bytes. (The report has no times in it for the same reason.)

Of several processes (pruning/training/processes.py) all train, and the first one measures and writes.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import check_writable, written_whole
from nmgen.console.threads import one_thread
from nmgen.families.interface import Goal, Scores
from nmgen.families.known import Halves, halves_of
from nmgen.families.recipe import Progress, Recipe
from nmgen.models.dense import chosen, one_shot
from nmgen.training.candidates import facts_of, write_candidate, write_folder, write_report
from nmgen.training.report import PLOT, plot
from pruning.files.folders import folder_of
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.families.interface import Form, Model
    from pruning.masks.plan import Plan
    from pruning.training.series import Candidate

QAT = -3  # draws a seed of its own; the candidates of a series have 0, 1, …, and a goal −1 and −2


def prune_and_train(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Write all of the above; returns the report, which only the first process has whole.

    progress : of (what, step, steps, loss), called after each training step

    Raises
    ------
    InputError, OSError : whatever is wrong with the model, the data, the recipe or the folder. What is complete by then
        stays, checkpoints too.
    """
    from pruning.training.processes import world

    series = _Series(recipe, out)
    first = world()[0] == 0
    if first:
        progress = noting(recipe, series.run, progress)
    series.begin(progress, first)
    goal = series.goal
    report: dict[str, Any] = {
        "recipe": recipe.facts,
        **goal.facts,
        "dense": {"float": series.scores(goal.dense)} if first else {},
        "candidates": [],
    }
    if goal.calibration.unfit:
        report["warning"] = goal.calibration.unfit
    for candidate in series.candidates(progress):
        model, scales = series.calibrated(candidate, progress)
        if first:
            report["candidates"].append(series.export(model, scales, candidate))
            write_report(report, out)
    if first:
        plot(report, out / PLOT)
    return report


class _Series:
    """A recipe, its model and its data; all is read and checked."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        from pruning.masks.methods import method_of

        self._recipe, self._out = recipe, out
        self.run = out / "run"  # checkpoints and metrics
        self._method = method_of(recipe.method, nested=recipe.nested)
        self._patterns = patterns_of(recipe, self._method.inherits)
        folder = folder_of(recipe.model)
        self._family: Halves = halves_of(recipe.model)
        model = self._family.prunes.load(folder)
        if recipe.qat and self._family.prunes.rounding is None:
            raise InputError(f"{recipe.model} is {self._family.compiles.TITLE}: it takes no --qat")
        self.goal: Goal = self._family.compiles.goal(recipe, model)
        self._names = set(chosen(model.linears(), recipe.layers))
        self._check(model)

    def _filter(self, _layer: object, name: str) -> bool:
        return name in self._names

    def _check(self, model: "Model") -> None:
        """What would be refused only after hours: a layer that a pattern does not fit."""
        from pruning.masks.plan import Plan
        from pruning.training.train import check_numbers

        check_numbers(self._recipe.steps, self._recipe.batch, self._recipe.lr)
        for pattern in self._patterns:
            if isinstance(pattern, Plan):
                pattern.checked(model, self._recipe.ragged)
            else:
                Plan.uniform(model, pattern, self._filter, self._recipe.ragged)

    def begin(self, progress: Progress, first: bool) -> None:
        """Trains the dense model where its goal wants that; weighs inputs where the method does."""
        from pruning.masks.methods import calibrated

        if self.goal.begin(self.run, progress) and first:
            write_folder(self._family.prunes.save, self.goal.dense, self._out / "dense")
        self._method = calibrated(self._method, self.goal.dense, sorted(self._names), self.goal.look)

    def candidates(self, progress: Progress) -> "Iterator[Candidate]":
        from pruning.training.series import series

        recipe = self._recipe
        return series(
            self._family.prunes.trainable(self.goal.dense),
            self._patterns,
            self.goal.task,
            method=self._method,
            filter_fn=self._filter,
            ragged=recipe.ragged,
            folder=self.run,
            on_step=lambda name, step, line: progress(name, step, recipe.steps, line["loss"]),
            steps=recipe.steps,
            lr=recipe.lr,
            bf16=self.goal.bf16,
            **self._loop,
            seed=recipe.seed,
        )

    @property
    def _loop(self) -> dict[str, Any]:
        """What all training of a series has in common, as `pruning.training.train.train` takes it."""
        recipe = self._recipe
        return {
            "batch": recipe.batch,
            "checkpoint_every": recipe.checkpoint_every,
            "resume": recipe.resume,
            "about": self.goal.about(),
        }

    # --- one candidate -------------------------------------------------------------------------
    def calibrated(self, candidate: "Candidate", progress: Progress) -> "tuple[Model, Mapping[str, Tensor]]":
        """(model, int8 scales) of a candidate, trained in int8 where the recipe says so."""
        model = candidate.model.eval().requires_grad_(False)
        with one_thread():
            scales = self._family.prunes.calibrate(model, self.goal.calibration.inputs)
        return (self._trained_in_int8(model, candidate, scales, progress) if self._recipe.qat else model), scales

    def _trained_in_int8(
        self, model: "Model", candidate: "Candidate", scales: "Mapping[str, Tensor]", progress: Progress
    ) -> "Model":
        """The candidate after recipe.qat steps in which it computes as int8 will; its masks stay as they are."""
        from pruning.masks.masked import masked_layers
        from pruning.masks.sparsify import finalize, sparsify
        from pruning.training.train import mixed, train

        recipe, rounding = self._recipe, self._family.prunes.rounding
        assert rounding  # __init__ says so otherwise
        model = self._family.prunes.trainable(model)
        sparsify(model, candidate.plan, method="asp", ragged=recipe.ragged)
        for name, (_, masked) in masked_layers(model).items():
            masked.mask.copy_(candidate.masks[name])
        rounding.quantise(model, scales)
        train(
            model,
            self.goal.task,
            steps=recipe.qat,
            lr=recipe.lr / 10,
            seed=mixed(recipe.seed, QAT),
            checkpoint=self.run / f"{candidate.name}-qat.pt",
            metrics=self.run / f"{candidate.name}-qat.jsonl",
            on_step=lambda step, line: progress(f"{candidate.name} int8", step, recipe.qat, line["loss"]),
            **self._loop,
        )
        rounding.dequantise(model)
        finalize(model)
        return model.requires_grad_(False)

    def export(self, model: "Model", scales: "Mapping[str, Tensor]", candidate: "Candidate") -> dict[str, Any]:
        """Write a candidate's artefact and folder; returns its entry in the report."""
        from pruning.masks.sparsify import verify

        recipe, plan, prunes = self._recipe, candidate.plan, self._family.prunes
        verify(model, plan)
        name = "dense" if recipe.method == "dense" else candidate.name.replace("-", "of") if recipe.patterns else "plan"
        about = {"model": recipe.model, "method": recipe.method, "pattern": str(plan), "seed": recipe.seed}
        artefact = prunes.to_artefact(model, plan.layers, scales, about)
        write_candidate(self._out, name, model, artefact, prunes.save)
        entry = facts_of(name, plan, model, artefact)
        entry |= {"float": self.scores(model), "int8": self.scores(prunes.integers(artefact))}
        if plan.layers:
            entry["one-shot"] = self.scores(one_shot(self.goal.dense, plan, recipe.ragged))
        return entry

    def scores(self, form: "Form") -> Scores:
        import torch

        with one_thread(), torch.no_grad():
            return self.goal.scores(form)


def noting(recipe: Recipe, run: Path, progress: Progress) -> Progress:
    """progress, which writes run/recipe.json when the first step is done: a run that is refused leaves nothing.

    Raises
    ------
    InputError, OSError : the folder takes no files; better now than after hours.
    """
    path = run / "recipe.json"
    check_writable(path)
    noted = False

    def on_step(name: str, step: int, steps: int, loss: float) -> None:
        nonlocal noted
        if not noted:
            with written_whole(path) as file:
                file.write_text(json.dumps(recipe.facts, indent=2) + "\n", encoding="utf-8")
            noted = True
        progress(name, step, steps, loss)

    return on_step


def patterns_of(recipe: Recipe, inherits: bool) -> "list[str | Plan]":
    """What a series is made of, from dense to sparse."""
    from pruning.masks.plan import Plan
    from rtl.format import parse_pattern

    if recipe.method == "dense":
        return ["8:8"]
    if recipe.plan:
        return [Plan.read(recipe.plan) if isinstance(recipe.plan, Path) else recipe.plan]
    parsed = [parse_pattern(pattern) for pattern in recipe.patterns]
    for (n, m), (fewer, of) in pairwise(parsed):
        if inherits and fewer * m > n * of:
            raise InputError(
                f"patterns step from {n}:{m} up to {fewer}:{of}, must step down where a candidate inherits"
            )
        if recipe.nested and m != of:
            raise InputError(f"pattern {fewer}:{of} cannot be nested in {n}:{m}, must have groups of {m}")
    return list(recipe.patterns)
