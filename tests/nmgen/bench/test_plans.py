"""The bench of plans: its runs, its tables and its plot. Scores it measures."""

from pathlib import Path
from typing import Any

import pytest

from nmgen.bench.plans import (
    DRAWN,
    SENSITIVITIES,
    STEPS,
    UNIFORM,
    Point,
    budgets_of,
    chance,
    drawn,
    main,
    plot,
    points,
    ranks,
    runs,
    tables,
)
from nmgen.bench.training_runs import command
from nmgen.cli import parser
from pruning.masks.plan import Plan

CYCLES = {1: 1000, 2: 1000, 4: 2000, 8: 4000, 16: 8000}
BUDGETS = (4000, 2000, 1500)


def report(*scores: float, steps: int = STEPS) -> dict[str, Any]:
    candidates = [{"int8": {"mean": score}, "plan": {"a": "4:16", "b": "2:16"}} for score in scores]
    return {"candidates": candidates, "recipe": {"steps": steps}}


def plan(*scores: float) -> dict[str, Any]:
    layers = {"a": {"2:16": 0.5, "4:16": 0.25, "8:16": 0.125}, "b": {"2:16": 0.75, "4:16": 0.5, "8:16": 0.25}}
    budgets = [{"cycles": cycles - 1} for cycles in BUDGETS]
    return report(*scores) | {"budgets": budgets, "sensitivity": {"layers": layers}}


def found() -> list[Point]:
    reports = {}
    for seed in range(2):
        reports |= {
            f"nof8-{seed}": report(79.0, 78.0 + seed, steps=STEPS * 3 // 2),
            f"nof16-{seed}": report(79.5, 78.75, 77.0),
            f"one-shot-{seed}": plan(79.5, 78.5 + seed, 78.0),
            f"trained-{seed}": plan(79.5, 79.25 + seed, 79.5 + seed),
        }
    return points(reports, 2, CYCLES)


def test_runs(tmp_path: Path) -> None:
    """Each kind and seed once; plans and what they are compared with take as many steps."""
    asked = runs(2, BUDGETS, tmp_path)
    assert len({one.name for one in asked}) == len(asked) == 2 * (len(UNIFORM) + len(SENSITIVITIES))
    for one in asked:
        args = parser().parse_args(command(one, tmp_path / "out")[3:])
        assert args.seed == int(one.name.rpartition("-")[2])
        assert args.method is None  # idp
        if args.budget:
            assert (args.budget, args.m, args.seq, args.steps) == ("4000,2000,1500", "16", "128", STEPS)
        else:
            assert args.steps * len(args.patterns.split(",")) == STEPS * 3


def test_points() -> None:
    """Cycles of groups of 8 are those of the same density in groups of 16."""
    by_name = {(one.kind, one.pattern): one for one in found()}
    assert by_name["n:8", "2:8"] == Point(kind="n:8", pattern="2:8", steps=900, cycles=2000, scores=(78.0, 79.0))
    assert by_name["n:16", "2:16"].cycles == 1000
    assert by_name["trained", "plan 3"] == Point(
        kind="trained", pattern="plan 3", steps=900, cycles=1499, scores=(79.5, 80.5)
    )


def test_tables() -> None:
    lines = tables(found(), {"one-shot": 0.5, "trained": -0.25}, [77.0, 78.25]).splitlines()
    assert "| one pattern, groups of 8 | 2:8 | 900 | 2,000 | 100.0% | 78.50 ± 0.50 |  |" in lines
    assert "| a plan, one-shot sensitivity | plan 3 | 900 | 1,499 | 75.0% | 78.00 ± 0.00 | -0.50 ± 0.50 |" in lines
    start = lines.index("| aimed at | a plan, one-shot sensitivity | a plan, trained sensitivity |")
    assert lines[start + 2 : start + 6] == [
        "| as many cycles as 2:8, gain over it ≥ +1 | +0.50 ± 0.00, missed | +1.25 ± 0.00, met |",
        "| as many cycles as 4:16, gain over it ≥ +1 | +0.25 ± 0.50, missed | +1.00 ± 0.50, met |",
        "| 75% of the cycles of 2:8, gain over it ≥ +0 | -0.50 ± 0.50, missed | +1.50 ± 0.00, met |",
        "| 75% of the cycles of 4:16, gain over it ≥ +0 | -0.75 ± 0.00, missed | +1.25 ± 0.50, met |",
    ]
    assert "with the points lost: one-shot +0.50, trained -0.25. Of 2 plans whose order is chance, one in twenty" in (
        " ".join(lines)
    )


def test_chance() -> None:
    """As tables of Spearman's correlation have it, of both directions."""
    assert chance(8) == pytest.approx(0.74, abs=0.03)
    assert chance(12) == pytest.approx(0.59, abs=0.03)


def test_drawn_plans(tmp_path: Path) -> None:
    """Each has its own file; all are within the cycles of 4:16, and alike in every run."""
    asked: list[tuple[int, dict[str, dict[int, float]]]] = []

    class Drawn:
        names, options, uniform = ["a", "b"], [2, 4, 8, 16], CYCLES

        def within(self, budget: int, harm: dict[str, dict[int, float]]) -> Any:
            asked.append((budget, harm))
            plan = Plan({name: (max(rises, key=lambda n: rises[n]), 16) for name, rises in harm.items()})
            return type("Budgeted", (), {"plan": plan})

    first = drawn(Drawn(), 3, tmp_path, tmp_path)
    assert first == drawn(Drawn(), 3, tmp_path, tmp_path)
    assert [budget for budget, _ in asked] == [2000] * 6
    harms = [harm for _, harm in asked[:3]]
    assert all(harm["a"][16] == 0 < harm["a"][8] < harm["a"][2] for harm in harms)
    assert len({harm["a"][2] for harm in harms}) == 3
    for one in first:
        args = parser().parse_args(command(one, tmp_path / "out")[3:])
        assert (one.candidates, args.steps) == (1, STEPS)
        assert Plan.read(args.plan).layers == {"a": (2, 16), "b": (2, 16)}


def test_budgets() -> None:
    assert budgets_of(CYCLES) == BUDGETS


def test_ranks() -> None:
    """+1 where the plan that is expected to harm more loses more."""
    reports = {f"{kind}-0": plan(0.0) for kind in SENSITIVITIES}
    patterns = ("2:16", "4:16", "8:16")
    for number in range(DRAWN):
        one = report(70.0 + number)
        one["candidates"][0]["plan"] = {"a": patterns[min(number // 3, 2)], "b": patterns[min(number // 2, 2)]}
        reports[f"drawn-{number}"] = one
    assert all(value > 0.9 for value in ranks(reports, DRAWN).values())
    reports["trained-0"]["sensitivity"]["layers"]["a"] = {"2:16": 0, "4:16": 5, "8:16": 9}
    assert ranks(reports, DRAWN)["trained"] < -0.8


def test_plot(tmp_path: Path) -> None:
    plot(found(), [77.0, 78.25], tmp_path / "plans.png")
    assert (tmp_path / "plans.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--data", "nowhere"], "bench-plans: nowhere/sst2/train.txt is missing\n"),
        (["--data", "nowhere", "--seeds", "0"], "bench-plans: --seeds is 0, must be at least 1\n"),
    ],
)
def test_bad_input(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    assert capsys.readouterr().err == message
