"""Steps as they enter the array, random and extreme, and the sums that they make."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rtl.array.pe import ProcessingElement
from rtl.params import Config

ACTIVATIONS = {False: (-128, 127), True: (0, 255)}  # by whether they are unsigned
WEIGHTS = (-128, 127)


@dataclass(frozen=True)
class Step:
    """One step of every row and column; where not valid, operands are arbitrary and must not matter."""

    valid: bool
    first: bool
    last: bool
    groups: list[list[int]]
    unsigned: list[bool]
    columns: list[dict[str, list[int]]]

    def row(self, r: int) -> dict[str, Any]:
        group = [activation & 0xFF for activation in self.groups[r]]
        marks = {"valid": self.valid, "first": self.first, "last": self.last, "unsigned": self.unsigned[r]}
        return {"group": group, **marks}


def make_step(
    config: Config, rng: random.Random, kind: str, *, valid: bool = True, first: bool, last: bool, lanes: int
) -> Step:
    """kind: 'random' full-range operands, 'ends' both ends mixed, 'highest' or 'lowest' products throughout."""

    def pick(ends: tuple[int, int]) -> int:
        return {"random": rng.randint(*ends), "ends": rng.choice(ends)}.get(kind, ends[1])

    weight = {"lowest": WEIGHTS[0]}.get(kind)
    columns = []
    for _ in range(config.cols):
        weights = [pick(WEIGHTS) if weight is None else weight for _ in range(lanes)] + [0] * (config.n - lanes)
        columns.append({"weights": weights, "indices": [rng.randrange(config.m) for _ in range(config.n)]})
    unsigned = [kind in ("highest", "lowest") or rng.random() < 0.5 for _ in range(config.rows)]
    groups = [[pick(ACTIVATIONS[exponentials]) for _ in range(config.m)] for exponentials in unsigned]
    return Step(valid, first, last, groups, unsigned, columns)


def make_sum(config: Config, rng: random.Random, kind: str, terms: int, idle: float = 0.0) -> Iterator[Step]:
    """A sum of so many terms, N a step, with a share of idle cycles in between."""
    lanes = [config.n] * (terms // config.n) + ([terms % config.n] if terms % config.n else [])
    for i, count in enumerate(lanes):
        while rng.random() < idle:
            yield make_step(config, rng, "random", valid=False, first=False, last=False, lanes=config.n)
        yield make_step(config, rng, kind, first=i == 0, last=i == len(lanes) - 1, lanes=count)


def idle(config: Config, rng: random.Random, cycles: int) -> list[Step]:
    return [make_step(config, rng, "ends", valid=False, first=False, last=False, lanes=config.n) for _ in range(cycles)]


def sums_of(steps: Sequence[Step], r: int, c: int) -> dict[int, int]:
    """Element (r, c)'s sums, each at the number of its last step, by the processing element's twin."""
    sums = {}
    begin = 0
    for number, step in enumerate(steps):
        if step.valid and step.first:
            begin = number
        if step.valid and step.last:
            done = [one for one in steps[begin : number + 1] if one.valid]
            sums[number] = ProcessingElement.compute(
                [one.groups[r] for one in done],
                [one.columns[c]["weights"] for one in done],
                [one.columns[c]["indices"] for one in done],
            )
    return sums


def results_of(steps: Sequence[Step], r: int, c: int, latency: int, cycles: int) -> list[int | None]:
    """What element (r, c) shows in each cycle, None before its first sum, if step i enters at cycle i."""
    changes = {number + latency: value for number, value in sums_of(steps, r, c).items()}
    shown: list[int | None] = []
    for cycle in range(cycles):
        shown.append(changes.get(cycle, shown[-1] if shown else None))
    return shown
