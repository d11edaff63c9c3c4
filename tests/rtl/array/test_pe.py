"""The processing element: sums over full-range operands, in the cycle they are promised for, kept until the next."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from rtl.array.ecp5.pe import SliceProcessingElement
from rtl.array.ecp5.soft import SoftProcessingElement
from rtl.array.pe import ProcessingElement
from rtl.params import Config, round_up
from tests.rtl import simulate, verilog
from tests.rtl.simulate import seeded
from tests.rtl.steps import Step, idle, make_sum, results_of


def configuration(n: int, m: int, soft_rows: int = 0, **more: Any) -> Config:
    return Config(n=n, m=m, rows=1, cols=1, max_tokens=4, max_k=max(64, m), soft_rows=soft_rows, **more)


# What has primitives of an FPGA in it runs as Verilog, with models of them.
CONFIGURATIONS = [
    *(configuration(n, m) for n, m in ((1, 2), (2, 2), (2, 8), (3, 16), (4, 4), (1, 32), (5, 32))),
    *(configuration(n, m, pe="ecp5") for n, m in ((1, 2), (2, 8), (3, 4), (4, 16), (5, 32))),
    *(configuration(n, m, 1, pe="ecp5") for n, m in ((1, 4), (2, 8), (3, 4))),
]
EVERY = pytest.mark.parametrize(
    "config", CONFIGURATIONS, ids=lambda c: f"{'soft' if c.soft_rows else c.pe}-{c.n}:{c.m}"
)
PORTABLE, SLICES = 8, {1: 5, 2: 5, 3: 6, 4: 6, 5: 7}  # latency, of slices by lanes; of more than eight positions 1 more


def terms_of_longest(config: Config) -> int:
    """What the accumulator is made for."""
    return max(config.max_groups * config.m, round_up(config.max_tokens, config.m))


def check(config: Config, steps: Sequence[Step], rng: random.Random) -> list[int | None]:
    """Drives the steps and some idle cycles. Returns the results that came, checked."""
    latency = PORTABLE if config.pe == "portable" else SLICES[config.n] + (config.m > 8)
    assert config.pe_latency == latency
    steps = [*steps, *idle(config, rng, latency + 2)]
    kind = SoftProcessingElement if config.soft_rows else SliceProcessingElement
    pe = kind(config) if config.pe == "ecp5" else ProcessingElement(config)
    trace = verilog.trace if config.pe == "ecp5" else simulate.trace
    inputs = [{"row_in": step.row(0), "column_in": step.columns[0]} for step in steps]
    record = trace(pe, inputs, pe.result, pe.row_out, pe.column_out, pe.row_in, pe.column_in)

    want = results_of(steps, 0, 0, latency, len(steps))
    for cycle, (result, row_out, column_out, _, _) in enumerate(record):
        if want[cycle] is not None:
            assert result == want[cycle], f"cycle {cycle}"
        if cycle:
            assert row_out == record[cycle - 1][3], f"cycle {cycle}: what goes on to the right"
            assert column_out == record[cycle - 1][4], f"cycle {cycle}: what goes on downwards"
    assert want[-1] is not None
    return want


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_random_sums(config: Config, share: float) -> None:
    """Of one step and of several, back to back and with idle cycles anywhere."""
    rng = seeded(config.n, config.m, share)
    steps: list[Step] = []
    for _ in range(40):
        steps += make_sum(config, rng, rng.choice(["random", "ends"]), config.n * rng.choice([1, 1, 2, 3, 7]), share)
        if rng.random() < share:
            steps += idle(config, rng, rng.randrange(9))
    check(config, steps, rng)


@EVERY
def test_longest_sums(config: Config) -> None:
    """The largest and the smallest sum there can be, and short ones after them."""
    rng = seeded(config.n, config.m)
    terms = terms_of_longest(config)
    steps: list[Step] = []
    for kind in ("highest", "lowest", "ends", "highest", "random"):
        steps += [*make_sum(config, rng, kind, terms), *make_sum(config, rng, "random", 1)]
    results = check(config, steps, rng)
    assert terms * 255 * 127 in results
    assert -terms * 255 * 128 in results


@pytest.mark.parametrize(("max_tokens", "max_k"), [(4, 64), (500, 64), (65, 32)])
def test_accumulator_is_as_wide_as_the_longest_sum_needs(max_tokens: int, max_k: int) -> None:
    """Tokens count too: they are the terms of P·V."""
    config = Config(n=4, m=8, rows=1, cols=1, max_tokens=max_tokens, max_k=max_k)
    largest = terms_of_longest(config) * 255 * 128
    assert largest < 1 << (config.accumulator_bits - 1)
    assert largest >= 1 << (config.accumulator_bits - 2), "and no bit is spare"
    rng = seeded(max_tokens, max_k)
    assert check(config, [*make_sum(config, rng, "lowest", terms_of_longest(config))], rng)[-1] == -largest


@pytest.mark.parametrize(("pe", "soft_rows"), [("portable", 0), ("ecp5", 0), ("ecp5", 1)])
def test_every_position_of_the_group_can_be_selected(pe: str, soft_rows: int) -> None:
    config = Config(n=2, m=32, rows=1, cols=1, max_k=64, pe=pe, soft_rows=soft_rows)
    group = [8 * position - 124 for position in range(32)]
    steps = [
        Step(True, True, True, [group], [False], [{"weights": [1, 100], "indices": [position, 31 - position]}])
        for position in range(32)
    ]
    check(config, steps, seeded("positions"))


@pytest.mark.parametrize(
    ("groups", "weights", "indices", "want"),
    [
        ([[1, 2, 3, 4]], [[10, 100]], [[3, 0]], 140),
        ([[-128, 255]], [[-128, -128]], [[0, 0]], 32768),
        ([[0, 255], [7, -9]], [[-128, 127], [1, 1]], [[1, 1], [1, 1]], -255 - 18),
        ([], [], [], 0),
    ],
)
def test_twin(groups: Any, weights: Any, indices: Any, want: int) -> None:
    assert ProcessingElement.compute(groups, weights, indices) == want
