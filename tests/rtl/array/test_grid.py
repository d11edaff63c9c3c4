"""The array: each element sums its own row and column, r + behind(c) cycles after the first."""

import random

import pytest

from rtl.array.grid import Array
from rtl.params import Config, ceil_div
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.rtl import simulate, verilog
from tests.rtl.simulate import seeded
from tests.rtl.steps import Step, idle, make_sum, results_of

SIZES = [(1, 1, 1, 2), (3, 5, 3, 16), (1, 4, 2, 4), (4, 1, 1, 32), (2, 3, 4, 4)]


@pytest.mark.parametrize(("rows", "cols", "n", "m"), SIZES)
@pytest.mark.parametrize(
    ("pe", "soft", "share"),
    [("portable", False, 0.0), ("portable", False, 0.3), ("ecp5", False, 0.3), ("ecp5", True, 0.3)],
)
def test_elements(rows: int, cols: int, n: int, m: int, pe: str, soft: bool, share: float) -> None:
    """Short sums follow one another, so several are on their way through the array at once."""
    soft_rows = ceil_div(rows, 2) if soft else 0
    config = Config(n=n, m=m, rows=rows, cols=cols, max_tokens=rows, max_k=64, pe=pe, soft_rows=soft_rows)
    check(config, seeded(rows, cols, n, m, share), share)


@pytest.mark.parametrize(("rows", "cols", "soft"), but([(1, 3, 0), (2, 4, 1), (3, 8, 2)], [(3, 8, 2)]))
def test_columns_abreast(rows: int, cols: int, soft: int) -> None:
    config = StaConfig(n=2, m=16, rows=rows, cols=cols, max_tokens=rows, max_k=64, pe="ecp5", soft_rows=soft)
    assert [config.behind(c) for c in range(cols)] == [0, 0, 0, 1, 1, 1, 2, 2][:cols]
    check(config, seeded(rows, cols), 0.3)


@pytest.mark.parametrize(
    ("m", "rows", "cols", "pe", "abreast"),
    [
        (8, 8, 8, "ecp5", 1),
        (8, 9, 8, "ecp5", 3),
        (4, 5, 13, "ecp5", 3),
        (16, 1, 3, "ecp5", 3),
        (16, 8, 16, "portable", 1),
    ],
)
def test_columns_are_abreast_where_registers_are_many(m: int, rows: int, cols: int, pe: str, abreast: int) -> None:
    assert StaConfig(m=m, rows=rows, cols=cols, pe=pe).columns_abreast == abreast


def check(config: Config, rng: random.Random, share: float) -> None:
    rows, cols = config.rows, config.cols
    steps: list[Step] = []
    for _ in range(7):
        steps += make_sum(config, rng, rng.choice(["random", "ends"]), config.n * rng.choice([1, 1, 2, 5]), share)
    latency = config.pe_latency
    before = idle(config, rng, rows + cols)
    steps += idle(config, rng, latency + rows + cols)

    def late(cycles: int, behind: int) -> Step:
        return steps[cycles - behind] if cycles >= behind else before[cycles]

    array = Array(config)
    inputs = [
        {
            "rows": [late(cycle, r).row(r) for r in range(rows)],
            "columns": [late(cycle, config.behind(c)).columns[c] for c in range(cols)],
        }
        for cycle in range(len(steps))
    ]
    trace = verilog.trace if config.pe == "ecp5" else simulate.trace
    record = trace(array, inputs, *(array.results[r][c] for r in range(rows) for c in range(cols)))
    for r in range(rows):
        for c in range(cols):
            want = results_of(steps, r, c, latency + r + config.behind(c), len(steps))
            for cycle, results in enumerate(record):
                if want[cycle] is not None:
                    assert results[r * cols + c] == want[cycle], f"element ({r}, {c}) in cycle {cycle}"
