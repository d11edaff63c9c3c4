"""A series of trained N:M candidates of any family, each with its artefact, its folder and its scores.

    OUT/NofM.safetensors   the artefact of a candidate          OUT/run/N-M.pt     its checkpoint
    OUT/NofM/              the same in float, a Hugging Face folder      N-M.jsonl   its metrics, a line a step
    OUT/planN.safetensors  of a plan; alone it is plan          OUT/run/sensitivity.json   what it is chosen by
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

from nmgen.console.files import check_writable, remove_unfinished, written_whole
from nmgen.console.threads import one_thread
from nmgen.families.interface import Goal, Scores
from nmgen.families.known import Halves, halves_of
from nmgen.families.recipe import Progress, Recipe
from nmgen.models.dense import chosen, one_shot
from nmgen.training.candidates import facts_of, write_candidate, write_folder, write_report
from nmgen.training.planning import Planning
from nmgen.training.report import PLOT, plot
from pruning.files.folders import folder_of
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from pruning.families.interface import Form, Model
    from pruning.masks.plan import Plan
    from pruning.training.series import Candidate

QAT = -3  # draws a seed of its own; the candidates of a series have 0, 1, …, a goal −1 and −2, sensitivities −4


def prune_and_train(recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
    """Write all of the above; returns the report, which only the first process has whole.

    progress : of (what, step, steps, loss), called after each training step

    Raises
    ------
    InputError, OSError : whatever is wrong with the model, the data, the recipe or the folder. What is complete by then
        stays, checkpoints too.
    """
    series = Series(recipe, out)
    progress = series.begin(progress)
    first, report = series.first, series.report()
    for candidate in series.candidates(progress):
        model, scales = series.calibrated(candidate, progress)
        if first:
            report["candidates"].append(series.export(model, scales, candidate))
            write_report(report, out)
    if first:
        plot(report, out / PLOT)
    return report


class Series:
    """A recipe, its model and its data; all is read and checked.

    Attributes
    ----------
    first : this is the process that measures and writes
    start : the model that training starts from, from `begin` on
    method : knows what it has to know of the inputs from `begin` on
    patterns : of each candidate; those within budgets are chosen by `begin`
    """

    def __init__(self, recipe: Recipe, out: Path) -> None:
        from pruning.masks.methods import method_of
        from pruning.training.processes import world

        self.first = world()[0] == 0

        self.recipe, self.out = recipe, out
        self.run = out / "run"  # checkpoints and metrics
        self.method = method_of(recipe.method, nested=recipe.nested)
        self.patterns = patterns_of(recipe, self.method.inherits)
        folder = folder_of(recipe.model)
        self.family: Halves = halves_of(recipe.model)
        model = self.family.prunes.load(folder)
        if recipe.qat and self.family.prunes.rounding is None:
            raise InputError(f"{recipe.model} is {self.family.compiles.TITLE}: it takes no --qat")
        self.goal: Goal = self.family.compiles.goal(recipe, model)
        self._names = chosen(model.linears(), recipe.layers)
        self._check()
        self._planning: Planning | None = None
        if recipe.budgets:
            self._planning = Planning(recipe, recipe.budgets, self.goal, self.method, first=self.first)

    def _filter(self, _layer: object, name: str) -> bool:
        return name in self._names

    def _check(self) -> None:
        """What would be refused only after hours: a layer that a pattern does not fit."""
        from pruning.masks.plan import Plan
        from pruning.training.train import check_numbers

        check_numbers(self.recipe.steps, self.recipe.batch, self.recipe.lr)
        plans, model = self.plans(), self.goal.dense
        if self.recipe.budgets and self.method.learns:
            m = self.recipe.budgets.target.config.m
            densest = f"{m // 2}:{m}"  # of the sparse patterns of a plan
            plans = [Plan.uniform(model, densest, self._filter, self.recipe.ragged)]
        for plan in plans:
            self.method.check_patterns(model.linears(), plan.layers)

    def begin(self, progress: Progress) -> Progress:
        """Trains the dense model where its goal wants that; weighs inputs where the method does; chooses the plans
        within budgets.

        Returns what is called after each step.
        """
        from pruning.masks.methods import calibrated

        if self.first:
            progress = noting(self.recipe, self.run, progress)
        headed = self.goal.begin(self.run, progress)
        if headed and self.first:
            write_folder(self.family.prunes.save, self.goal.dense, self.out / "dense")
        self.method = calibrated(self.method, self.goal.dense, sorted(self._names), self.goal.look)
        self.start = self.family.prunes.trainable(self.goal.dense)
        if self._planning:
            self.patterns = [
                *self._planning.plans(self.goal, self.method, self.start, self.run, progress, headed=headed)
            ]
        if self.recipe.permute:
            self._permute(self.start)
        return progress

    def report(self) -> dict[str, Any]:
        """What a report begins with."""
        goal = self.goal
        dense = {"float": self.scores(goal.dense)} if self.first else {}
        found: dict[str, Any] = {"recipe": self.recipe.facts, **goal.facts, "dense": dense, "candidates": []}
        if self._planning:
            found |= self._planning.facts
        if goal.calibration.unfit:
            found["warning"] = goal.calibration.unfit
        return found

    def plans(self) -> "list[Plan]":
        """The patterns of each candidate by layer, checked for the model."""
        from pruning.masks.plan import Plan

        model, ragged = self.goal.dense, self.recipe.ragged
        return [
            one.checked(model, ragged) if isinstance(one, Plan) else Plan.uniform(model, one, self._filter, ragged)
            for one in self.patterns
        ]

    def _permute(self, model: "Model") -> None:
        """One order for all candidates, by the sparsest."""
        from pruning.masks.permutation import permute

        plan = min(self.plans(), key=self._density)
        with one_thread():
            orders = permute(model, self.family.prunes.exchanges(model), plan, self.method.input_norms)
        self.method = self.method.reordered(orders)

    def _density(self, plan: "Plan") -> float:
        """Of the layers that the recipe names, their mean."""
        patterns = [plan.layers.get(name, (1, 1)) for name in self._names]
        return sum(n / m for n, m in patterns) / len(patterns)

    def candidates(self, progress: Progress) -> "Iterator[Candidate]":
        from pruning.training.series import series

        recipe = self.recipe
        return series(
            self.start,
            self.patterns,
            self.goal.task,
            method=self.method,
            filter_fn=self._filter,
            ragged=recipe.ragged,
            folder=self.run,
            on_step=lambda name, step, line: progress(name, step, recipe.steps, line["loss"]),
            steps=recipe.steps,
            lr=recipe.lr,
            bf16=self.goal.bf16,
            **self.loop,
            seed=recipe.seed,
        )

    @property
    def loop(self) -> dict[str, Any]:
        """What all training of a series has in common, as `pruning.training.train.train` takes it."""
        recipe = self.recipe
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
            scales = self.family.prunes.calibrate(model, self.goal.calibration.inputs)
        return (self._trained_in_int8(model, candidate, scales, progress) if self.recipe.qat else model), scales

    def _trained_in_int8(
        self, model: "Model", candidate: "Candidate", scales: "Mapping[str, Tensor]", progress: Progress
    ) -> "Model":
        """The candidate after recipe.qat steps in which it computes as int8 will; its masks stay as they are."""
        from pruning.masks.masked import masked_layers
        from pruning.masks.sparsify import finalize, sparsify
        from pruning.training.train import mixed, train

        recipe, rounding = self.recipe, self.family.prunes.rounding
        assert rounding  # __init__ says so otherwise
        model = self.family.prunes.trainable(model)
        sparsify(model, candidate.plan, method="asp", ragged=recipe.ragged)
        for name, (_, masked) in masked_layers(model).items():
            masked.mask = candidate.masks[name]
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
            **self.loop,
        )
        rounding.dequantise(model)
        finalize(model)
        return model.requires_grad_(False)

    def export(self, model: "Model", scales: "Mapping[str, Tensor]", candidate: "Candidate") -> dict[str, Any]:
        """Write a candidate's artefact and folder; returns its entry in the report."""
        from pruning.masks.sparsify import verify

        recipe, plan, prunes = self.recipe, candidate.plan, self.family.prunes
        verify(model, plan)
        name = _name(recipe, candidate)
        about = {"model": recipe.model, "method": recipe.method, "pattern": str(plan), "seed": recipe.seed}
        with one_thread():  # a model that has trained in int8 has such biases
            rounds = model if recipe.qat else prunes.compensated(model, scales, self.goal.calibration.inputs)
        artefact = prunes.to_artefact(rounds, plan.layers, scales, about)
        write_candidate(self.out, name, model, artefact, prunes.save)
        entry = facts_of(name, plan, model, artefact)
        entry |= {"float": self.scores(model), "int8": self.scores(prunes.integers(artefact))}
        if plan.layers:
            entry["one-shot"] = self.scores(one_shot(self.goal.dense, plan, recipe.ragged))
        return entry

    def scores(self, form: "Form") -> Scores:
        import torch

        with one_thread(), torch.no_grad():
            return self.goal.scores(form)


def _name(recipe: Recipe, candidate: "Candidate") -> str:
    """Of a candidate's files."""
    if recipe.method == "dense":
        return "dense"
    if recipe.patterns:
        return candidate.name.replace("-", "of")
    several = recipe.budgets and len(recipe.budgets.cycles) > 1
    return candidate.name.replace("-", "") if several else "plan"


def noting(recipe: Recipe, run: Path, progress: Progress) -> Progress:
    """progress, which writes run/recipe.json when the first step is done: a run that is refused leaves nothing.

    Raises
    ------
    InputError, OSError : the folder takes no files; better now than after hours.
    """
    path = run / "recipe.json"
    check_writable(path)
    if recipe.resume:
        for folder in (run.parent, run):
            remove_unfinished(folder)
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
        return [Plan.read(recipe.plan)]
    parsed = [parse_pattern(pattern) for pattern in recipe.patterns]
    for (n, m), (fewer, of) in pairwise(parsed):
        if inherits and fewer * m > n * of:
            raise InputError(
                f"patterns step from {n}:{m} up to {fewer}:{of}, must step down where a candidate inherits"
            )
        if recipe.nested and m != of:
            raise InputError(f"pattern {fewer}:{of} cannot be nested in {n}:{m}, must have groups of {m}")
    return list(recipe.patterns)
