"""The Pareto front beside its definition."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from nmgen.explore.front import OBJECTIVES, costs, front, parse_objectives
from rtl.params import InputError

KEYS = tuple(one.key for one in OBJECTIVES.values())


def beats(one: Mapping[str, Any], other: Mapping[str, Any], objectives: Sequence[str]) -> bool:
    """By the definition: no worse in any, better in one."""
    better, worse = False, False
    for name in objectives:
        mine, theirs = one[OBJECTIVES[name].key], other[OBJECTIVES[name].key]
        if name == "accuracy":
            mine, theirs = -mine, -theirs
        better |= mine < theirs
        worse |= mine > theirs
    return better and not worse


@pytest.mark.parametrize("seed", range(60))
def test_as_it_is_defined(seed: int) -> None:
    """With values of so few kinds that ties, and points that are equal, are many."""
    rng = random.Random(seed)
    objectives = rng.sample(list(OBJECTIVES), rng.randint(1, 4))
    kinds = rng.choice((2, 3, 5, 100))
    points = [{key: rng.randrange(kinds) for key in KEYS} for _ in range(rng.choice((1, 2, 7, 60)))]
    best = [
        i for i, one in enumerate(points)
        if not any(beats(other, one, objectives) for other in points)
        and costs(one, objectives) not in [costs(other, objectives) for other in points[:i]]
    ]  # fmt: skip
    assert front(points, objectives) == best


def test_of_equal_points_the_first() -> None:
    point = dict.fromkeys(KEYS, 1)
    assert front([point, point, point], ["accuracy", "latency"]) == [0]
    assert front([], ["area"]) == []


def test_what_is_better() -> None:
    """More of accuracy, less of all else."""
    point = {"accuracy": 0.5, "ms": 1.0, "cycles": 2, "luts": 3, "block_rams": 4, "multipliers": 5, "bytes": 6}
    assert costs(point, ["accuracy", *OBJECTIVES]) == (-0.5, -0.5, 1.0, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed", "objective is 'speed', must be one of accuracy, latency, cycles, area, block_rams, multipliers, tra"),
        ("", "objective is ''"),
        ("area,", "objective is ''"),
        ("area,latency, area", "objective area is there twice, must be once"),
    ],
)
def test_objectives_that_are_none(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_objectives(text)


def test_objectives() -> None:
    assert parse_objectives("accuracy, latency,area") == ["accuracy", "latency", "area"]
