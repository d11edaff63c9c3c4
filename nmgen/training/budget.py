"""A plan within a budget of cycles: those that `nmgen estimate` says of the whole program, to the cycle.

What a layer costs at each N' is counted in programs of one pattern for all layers. An instruction's cycles hang on its
neighbours' a little, since weights are fetched ahead, so the plan's own program is counted too, and what it is over the
budget is taken off before another plan is chosen.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nmgen.compiler.memory_map import Unfilled
from nmgen.console.progress import Say
from nmgen.families.recipe import Target
from nmgen.models.dense import Dense
from nmgen.models.model_program import compiled
from rtl.params import InputError

if TYPE_CHECKING:
    from pruning.masks.plan import Plan
    from pruning.masks.sensitivity import Table

FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_budget(text: str) -> int:
    """Cycles of a text such as 2.6M-cycles, 2.6M, 2600k or 2600000; InputError where it is none."""
    form = r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([kmg]?)(?:[- ]?cycles?)?"
    found = re.fullmatch(form, text.strip(), re.IGNORECASE)
    cycles = int(Decimal(found[1]) * FACTORS[found[2].lower()]) if found else 0
    if cycles < 1:
        raise InputError(f"budget is {text!r}, must be a number of cycles such as 2.6M-cycles, 2.6M or 2600000")
    return cycles


def parse_budgets(text: str) -> list[int]:
    """Of a text such as 3.5M,2.6M; InputError where one is none, or there twice."""
    budgets = [parse_budget(part) for part in text.split(",")]
    for budget in budgets:
        if budgets.count(budget) > 1:
            raise InputError(f"budget {budget} is there twice, must be once")
    return budgets


@dataclass(frozen=True, kw_only=True)
class Budgeted:
    """A plan, and what it and its bounds take."""

    plan: "Plan"
    budget: int
    cycles: int
    least: int
    dense: int
    target: Target

    @property
    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        numbers = {key: getattr(self, key) for key in ("budget", "cycles", "least", "dense")}
        patterns = {"patterns": str(self.plan)}
        target = {"sequences": self.target.lengths, "mem_latency": self.target.mem_latency}
        return numbers | patterns | target | {"configuration": asdict(self.target.config)}


class Planner:
    """Plans within budgets of cycles, of one model on one target.

    Parameters
    ----------
    layers : which linear layers are pruned, by name
    say : gets what is done now
    ragged : what becomes of layers whose inputs are no multiple of M, as `Plan.checked` has it

    Attributes
    ----------
    names : of these layers
    m, options : of groups, and the N' that are worth a choice: those below take no fewer cycles in any layer
    uniform : cycles with all layers at n:m, by N'
    least, dense : cycles of the sparsest patterns, and of none

    Raises
    ------
    InputError : no such layers; what does not fit the configuration.
    """

    def __init__(self, dense: Dense, layers: str, target: Target, say: Say, ragged: str = "pad") -> None:
        from pruning.masks.plan import Plan

        self._model, self._target = dense, target
        self.m = m = target.config.m
        sparsest = Plan(dict.fromkeys(dense.chosen(layers), (1, m))).checked(dense.model, ragged)
        self.names, options = list(sparsest.layers), [1 << i for i in range(m.bit_length())]
        if not self.names:
            raise InputError(f"no layer is left to prune: none has a multiple of {m} inputs")
        say("calibrating")
        self._counter = _Counter(dense, target, m)
        table: dict[str, dict[int, int]] = {name: {} for name in self.names}
        self._rest, self.uniform = 0, dict[int, int]()
        for n in options:
            say(f"counting cycles at {n}:{m}")
            self.uniform[n], by_layer = self._counter.count(dict.fromkeys(self.names, n))
            for name in self.names:
                table[name][n] = by_layer[name]
            self._rest = max(self._rest, self.uniform[n] - sum(by_layer.values()))
        # Of the patterns that take the fewest cycles the densest: an array of N multipliers gains nothing below N'.
        self._fewest = {name: max(n for n in one if one[n] == min(one.values())) for name, one in table.items()}
        self._table = {name: {n: one[n] for n in options if n >= self._fewest[name]} for name, one in table.items()}
        self.options = [n for n in options if n >= min(self._fewest.values())]
        self.least, self.dense = self._counter.count(self._fewest)[0], self.uniform[m]

    def check(self, budget: int) -> None:
        """InputError : a budget below the least."""
        if budget < self.least:
            raise InputError(
                f"budget is {budget:,} cycles, must be at least {self.least:,}, which the sparsest patterns take; "
                f"dense takes {self.dense:,}"
            )

    def series(self, budgets: Sequence[int], harm: "Table") -> list[Budgeted]:
        """A plan for each budget, from many cycles to few: no layer is denser than in the plan before it."""
        found: list[Budgeted] = []
        for budget in budgets:
            found.append(self.within(budget, harm, found[-1].plan if found else None))
        return found

    def within(self, budget: int, harm: "Table", at_most: "Plan | None" = None) -> Budgeted:
        """The plan of least harm whose program takes at most so many cycles.

        Parameters
        ----------
        harm : of each layer at each N' of the options; harms add up
        at_most : no layer is denser than in this plan

        Raises
        ------
        InputError : a budget below the least.
        """
        from pruning.masks.plan import Plan
        from pruning.masks.sensitivity import choose

        self.check(budget)
        table: Mapping[str, Mapping[int, int]] = self._table
        if at_most:
            table = {
                name: {n: cycles for n, cycles in one.items() if n <= at_most.layers[name][0]}
                for name, one in table.items()
            }
        room = budget - self._rest
        while True:
            try:
                chosen: Mapping[str, int] = choose(harm, table, room)
            except InputError:  # no room is left beside what the neighbours cost
                chosen = self._fewest
            cycles = self._counter.count(chosen)[0]
            if cycles <= budget:
                break
            room -= cycles - budget
        plan = Plan({name: (n, self.m) for name, n in chosen.items()})
        return Budgeted(
            plan=plan, budget=budget, cycles=cycles, least=self.least, dense=self.dense, target=self._target
        )

    def harm(self, say: Say) -> "Table":
        """How much further from the dense model's the outputs are with each layer alone at n:m, in one shot."""
        from pruning.masks.sensitivity import sensitivities

        asked, count = 0, 1 + len(self.names) * (len(self.options) - 1)

        def loss(model: Any) -> float:
            nonlocal asked
            asked += 1
            say(f"pruning each layer alone: {asked} of {count}")
            return 1 - self._model.cosine(model)

        return sensitivities(self._model.model, self.names, self.options, self.m, loss)


def check_step_down(budgets: Sequence[int]) -> None:
    """InputError where they do not, as they have to where a candidate inherits."""
    for budget, less in pairwise(budgets):
        if less > budget:
            raise InputError(f"budgets step from {budget:,} up to {less:,}, must step down where a candidate inherits")


def sensitivity_facts(kind: str, harm: "Table", m: int) -> dict[str, Any]:
    """Ready for JSON; kind : one of SENSITIVITIES"""
    layers = {name: {f"{n}:{m}": rise for n, rise in one.items()} for name, one in harm.items()}
    return {"kind": kind, "layers": layers}


class _Counter:
    """Counts the cycles of plans' programs. The values of weights have no part in them, so the scales are the dense
    model's."""

    def __init__(self, dense: Dense, target: Target, m: int) -> None:
        self._dense, self._target, self._m = dense, target, m
        self._scales = dense.scales(dense.model)

    def count(self, chosen: Mapping[str, int]) -> tuple[int, dict[str, int]]:
        """(cycles of the program, those of each layer's instructions); chosen : N' by layer."""
        from nmgen.estimate.cycles import Constants, estimate, total
        from pruning.masks.plan import Plan

        plan = Plan({name: (n, self._m) for name, n in chosen.items()})
        artefact = self._dense.artefact(self._dense.pruned(plan), plan.layers, {}, self._scales)
        target = self._target
        program = compiled(artefact, self._dense.name, target.config, target.lengths, 1, memory=Unfilled())
        found = estimate(program, Constants(memory=self._target.mem_latency))
        by_layer = dict.fromkeys(chosen, 0)
        for one in found:
            layer = one.name.partition(" ")[0]  # behind it stand the tokens, where a layer is computed in parts
            if layer in by_layer:
                by_layer[layer] += one.cycles
        return int(total(program, found)["cycles"]), by_layer
