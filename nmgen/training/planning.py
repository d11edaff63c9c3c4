"""The plans of a series within its budgets of cycles: what harm patterns do is measured, or was before a stop."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.files import written_whole
from nmgen.console.progress import Say, stages
from nmgen.console.threads import one_thread
from nmgen.families.interface import Goal
from nmgen.families.recipe import Budgets, Progress, Recipe
from nmgen.models.dense import Dense
from nmgen.training.budget import Planner, check_step_down, sensitivity_facts
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.families.interface import Model
    from pruning.masks.methods import Method
    from pruning.masks.plan import Plan
    from pruning.masks.sensitivity import Table

SEED = -4  # draws seeds of its own; the candidates of a series have 0, 1, …, a goal −1 and −2, and int8 −3
KEPT = "sensitivity.json"  # in the folder of checkpoints


class Planning:
    """Chooses the plans of a series.

    Parameters
    ----------
    recipe, budgets : the budgets are the recipe's
    first : this is the process that writes

    Attributes
    ----------
    facts : for the report, from `plans` on

    Raises
    ------
    InputError : budgets that no plan keeps; what does not fit the method, the model or the target.
    """

    def __init__(self, recipe: Recipe, budgets: Budgets, goal: Goal, method: "Method", *, first: bool) -> None:
        self._recipe, self._budgets, self._first = recipe, budgets, first
        self.facts: dict[str, Any] = {}
        if not method.prunes:
            raise InputError("method dense prunes nothing, so it takes no --budget")
        if budgets.sensitivity == "trained" and not method.trains:
            raise InputError(f"method {method.name} trains nothing: --sensitivity must be one-shot")
        if method.inherits:
            check_step_down(budgets.cycles)
        self._planner = self._planner_of(goal)

    def plans(
        self, goal: Goal, method: "Method", start: "Model", run: Path, progress: Progress, *, headed: bool
    ) -> "list[Plan]":
        """The plan of each budget, the same in all processes.

        Parameters
        ----------
        goal, method, start : as they train
        run : the folder of checkpoints
        headed : the dense model got a head since this was made, which takes cycles, too
        """
        from pruning.training.processes import of_first

        planner = self._planner_of(goal) if headed else self._planner
        kind, harm = self._budgets.sensitivity, None
        if kind == "trained":
            harm = of_first(self._kept_harm(planner, goal, method, start, run, progress))
        with self._saying() as say:
            harm = harm or of_first(planner.harm(say))
            say("choosing patterns")
            if method.inherits:
                found = planner.series(self._budgets.cycles, harm)
            else:
                found = [planner.within(cycles, harm) for cycles in self._budgets.cycles]
        self.facts = {"budgets": [one.facts for one in found], "sensitivity": sensitivity_facts(kind, harm, planner.m)}
        return [one.plan for one in found]

    def _planner_of(self, goal: Goal) -> Planner:
        recipe = self._recipe
        with self._saying() as say:
            dense = Dense(recipe.model, given=(goal.dense, goal.calibration))
            planner = Planner(dense, recipe.layers, self._budgets.target, say, ragged=recipe.ragged)
            for cycles in self._budgets.cycles:
                planner.check(cycles)
        return planner

    @contextmanager
    def _saying(self) -> Iterator[Say]:
        with one_thread():
            if not self._first:
                yield lambda _text: None
                return
            with stages() as say:
                yield say

    def _kept_harm(
        self, planner: Planner, goal: Goal, method: "Method", start: "Model", run: Path, progress: Progress
    ) -> "Table":
        """After a few steps of training; the folder keeps it for a run that goes on."""
        path, of = run / KEPT, self._of(planner, goal, method, start)
        if self._recipe.resume and (kept := _kept(path, of)) is not None:
            return kept
        harm = self._trained_harm(planner, goal, method, start, progress)
        if self._first:
            with written_whole(path) as file:
                file.write_text(json.dumps({"of": of, "layers": harm}) + "\n", encoding="utf-8")
        return harm

    def _of(self, planner: Planner, goal: Goal, method: "Method", start: "Model") -> str:
        """A digest of all that they depend on."""
        from pruning.training.checkpoint import digest
        from pruning.training.sensitivity import MEASURED, STEPS

        recipe, total = self._recipe, sha256()
        layers = (planner.names, planner.options, planner.m, recipe.ragged)
        training = (method.name, recipe.batch, recipe.lr, recipe.seed, goal.bf16, STEPS, MEASURED)
        total.update(repr((digest(start), goal.about(), layers, training)).encode())
        for name, tensor in sorted([*method.norms.items(), *method.products.items()]):
            total.update(name.encode() + tensor.numpy().tobytes())
        return total.hexdigest()

    def _trained_harm(
        self, planner: Planner, goal: Goal, method: "Method", start: "Model", progress: Progress
    ) -> "Table":
        from pruning.training.sensitivity import STEPS, trained_sensitivities
        from pruning.training.train import mixed

        recipe = self._recipe
        steps = (1 + len(planner.names) * (len(planner.options) - 1)) * STEPS
        return trained_sensitivities(
            start,
            goal.task,
            planner.names,
            planner.options,
            planner.m,
            method=method,
            ragged=recipe.ragged,
            on_step=lambda step, loss: progress("each layer alone", step, steps, loss),
            batch=recipe.batch,
            lr=recipe.lr,
            bf16=goal.bf16,
            seed=mixed(recipe.seed, SEED),
        )


def _kept(path: Path, of: str) -> "Table | None":
    """The sensitivities in a file; None where it has none, or others."""
    from pruning.files.reading import parse_json, read_text

    try:
        found = parse_json(read_text(path))
    except (OSError, InputError):
        return None
    layers = found.get("layers") if isinstance(found, dict) and found.get("of") == of else None
    if not isinstance(layers, Mapping) or not all(isinstance(one, Mapping) for one in layers.values()):
        return None
    return {name: {int(n): rise for n, rise in one.items()} for name, one in layers.items()}
