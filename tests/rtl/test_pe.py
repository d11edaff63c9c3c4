"""The processing element against its twin: each sum in its cycle, operands passed on, the largest sums held."""

import pytest

from rtl.params import Config
from rtl.pe import ProcessingElement
from tests.rtl.simulate import seeded, trace
from tests.rtl.steps import Step, idle, make_sum, results_of

SIZES = [(1, 2), (1, 32), (2, 4), (2, 8), (4, 4), (5, 16)]


def inputs(steps: list[Step]) -> list[dict[str, object]]:
    return [{"row_in": step.row(0), "column_in": step.columns[0]} for step in steps]


@pytest.mark.parametrize("kind", ["random", "ends", "highest", "lowest"])
@pytest.mark.parametrize("share", [0.0, 0.4])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_sums(n: int, m: int, share: float, kind: str) -> None:
    """Sums of one step and of several, with cycles between that are marked first or last and are no steps."""
    config = Config(n=n, m=m, rows=1, cols=1, max_tokens=1, max_k=64)
    rng = seeded(n, m, share, kind)
    steps: list[Step] = []
    for _ in range(30):
        steps += make_sum(config, rng, kind, rng.choice([1, n, n + 1, 3 * n]), share)
    latency = ProcessingElement.latency(config)
    steps += idle(config, rng, latency + 1)
    pe = ProcessingElement(config)
    record = trace(pe, inputs(steps), pe.result)
    for cycle, want in enumerate(results_of(steps, 0, 0, latency, len(steps))):
        assert want is None or record[cycle][0] == want, f"cycle {cycle}"


def test_operands_go_on_to_the_neighbours() -> None:
    """Steps and what is none, a cycle later, to the right and downwards."""
    config = Config(n=3, m=8, rows=1, cols=1)
    steps = list(make_sum(config, seeded("neighbours"), "random", 120, 0.5))
    pe = ProcessingElement(config)
    row, column = pe.row_out, pe.column_out
    watched = (row.valid, row.first, row.last, *(row.group[i] for i in range(8)))
    weights = tuple(column.weights[lane] for lane in range(3))
    indices = tuple(column.indices[lane] for lane in range(3))
    record = trace(pe, inputs(steps), *watched, *weights, *indices)
    for cycle in range(1, len(steps)):
        before = steps[cycle - 1]
        marks = (before.valid, before.first, before.last)
        want = (*marks, *before.groups[0], *before.columns[0]["weights"], *before.columns[0]["indices"])
        assert record[cycle] == want, f"cycle {cycle}"


def test_accumulator_holds_the_largest_sums() -> None:
    """The longest sums of the most extreme operands, of either sign: no bit overflows, and none is spare."""
    config = Config(n=2, m=4, rows=1, cols=1, max_tokens=1, max_k=64)
    largest = config.max_groups * config.m * 256 * 128
    assert largest < 1 << (config.accumulator_bits - 1)
    assert largest >= 1 << (config.accumulator_bits - 2)
    terms = config.max_groups * config.m
    rng = seeded("largest")
    latency = ProcessingElement.latency(config)
    steps = [step for kind in ("highest", "lowest", "highest") for step in make_sum(config, rng, kind, terms)]
    steps += idle(config, rng, latency + 1)
    pe = ProcessingElement(config)
    results = [value for (value,) in trace(pe, inputs(steps), pe.result)]
    assert results[-1] == largest
    assert -terms * 256 * 127 in results
