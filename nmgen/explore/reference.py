"""The design that most people begin with, and whether there is a better one: notes of a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from nmgen.explore.front import OBJECTIVES, costs

USUAL = {"n": 2, "m": 8, "rows": 8, "cols": 8}
WORDS = {"accuracy": "accuracy", "latency": "ms", "cycles": "cycles", "area": "LUTs", "traffic": "bytes moved"}


def notes(found: Mapping[str, Any]) -> list[str]:
    """A line for each candidate that is there on 8×8 elements, N = 2, M = 8: a design that is at least as good in
    every objective, or that there is none.

    found : points, front, objectives
    """
    objectives = found["objectives"]
    usual: dict[str, Mapping[str, Any]] = {}
    for one in found["points"]:
        if all(one["configuration"][name] == value for name, value in USUAL.items()):
            best = usual.get(one["candidate"])
            if best is None or costs(one, ["latency"]) < costs(best, ["latency"]):
                usual[one["candidate"]] = one
    return [_note(one, found["points"], objectives) for one in usual.values()]


def _note(usual: Mapping[str, Any], points: Sequence[Mapping[str, Any]], objectives: Sequence[str]) -> str:
    own = costs(usual, objectives)
    better = [
        one
        for one in points
        if (theirs := costs(one, objectives)) != own
        and all(other <= mine for other, mine in zip(theirs, own, strict=True))
    ]
    begin = f"{usual['label']}, {usual['candidate']}"
    if not better:
        return f"{begin}: no design is at least as good in {', '.join(objectives)}."
    best = min(better, key=lambda one: (costs(one, ["latency"]), one["id"]))
    gains = [_gain(usual, best, name) for name in objectives]
    return f"{begin}: {best['label']}, {best['candidate']} is at least as good in all: {', '.join(gains)}."


def _gain(usual: Mapping[str, Any], best: Mapping[str, Any], name: str) -> str:
    key = OBJECTIVES[name].key
    return f"{best[key]:,.6g} {WORDS.get(name, name.replace('_', ' '))} beside {usual[key]:,.6g}"
