"""What counts: objectives, and the points that none beats in all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rtl.params import InputError


@dataclass(frozen=True)
class Objective:
    """key : of a point; most : whether more is better"""

    key: str
    most: bool = False


OBJECTIVES = {
    "accuracy": Objective("accuracy", most=True),
    "latency": Objective("ms"),
    "cycles": Objective("cycles"),
    "area": Objective("luts"),
    "block_rams": Objective("block_rams"),
    "multipliers": Objective("multipliers"),
    "traffic": Objective("bytes"),
}


def parse_objectives(text: str) -> list[str]:
    """Names of a text such as accuracy,latency,area.

    Raises
    ------
    InputError : an unknown one, or one twice.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if name not in OBJECTIVES:
            raise InputError(f"objective is {name!r}, must be one of {', '.join(OBJECTIVES)}")
        if names.count(name) > 1:
            raise InputError(f"objective {name} is there twice, must be once")
    return names


def costs(point: Mapping[str, Any], objectives: Sequence[str]) -> tuple[float, ...]:
    """Of each objective, less is better."""
    wanted = [OBJECTIVES[name] for name in objectives]
    return tuple(-point[one.key] if one.most else point[one.key] for one in wanted)


def front(points: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> list[int]:
    """Numbers of the points that no other is at least as good as in every objective and better in one.

    Of several that are equal in all, the first.
    """
    order = sorted(range(len(points)), key=lambda i: (costs(points[i], objectives), i))
    kept: list[int] = []
    values: list[tuple[float, ...]] = []
    for i in order:
        own = costs(points[i], objectives)
        # What beats it comes before it in this order.
        if not any(all(theirs <= mine for theirs, mine in zip(other, own, strict=True)) for other in values):
            kept.append(i)
            values.append(own)
    return sorted(kept)
