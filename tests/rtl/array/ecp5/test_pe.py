"""The elements of DSP slices for every number of lanes and every group, and the widest sum that a slice holds."""

import random

import pytest

from rtl.array.ecp5.pe import SliceProcessingElement
from rtl.array.ecp5.slice import LOW
from rtl.params import Config
from tests.rtl.simulate import seeded
from tests.rtl.steps import Step, idle, make_sum, results_of
from tests.rtl.verilog import trace


def check(config: Config, steps: list[Step], rng: random.Random) -> list[int | None]:
    """Drives the steps and what follows; returns the results, checked in every cycle."""
    steps = [*steps, *idle(config, rng, config.pe_latency + 2)]
    pe = SliceProcessingElement(config)
    record = trace(pe, [{"row_in": step.row(0), "column_in": step.columns[0]} for step in steps], pe.result)
    want = results_of(steps, 0, 0, config.pe_latency, len(steps))
    for cycle, (result,) in enumerate(record):
        if want[cycle] is not None:
            assert result == want[cycle], f"cycle {cycle}"
    return [result for (result,) in record]


@pytest.mark.parametrize(("n", "m"), [(n, m) for m in (2, 4, 8, 16, 32) for n in range(1, min(m, 5) + 1)])
def test_every_number_of_lanes_and_every_group(n: int, m: int) -> None:
    """Sums of one step after another without a gap, with gaps anywhere, and the longest at both ends."""
    config = Config(n=n, m=m, rows=1, cols=1, max_tokens=4, max_k=64, pe="ecp5")
    rng = seeded(n, m)
    steps: list[Step] = []
    for share in (0.0, 0.4):
        for _ in range(12):
            steps += make_sum(config, rng, rng.choice(["random", "ends"]), n * rng.choice([1, 1, 2, 5]), share)
        steps += idle(config, rng, rng.randrange(9))
        for kind in ("highest", "lowest"):
            steps += [*make_sum(config, rng, kind, 64, share), *make_sum(config, rng, "random", 1)]
    results = check(config, steps, rng)
    assert {64 * 255 * 127, -64 * 255 * 128} <= set(results)


def test_the_widest_sum() -> None:
    """65536 times 255 * -128 has 32 bits, of the 33 of a slice that are there above the operands' zeros."""
    config = Config(n=2, m=2, rows=1, cols=1, max_tokens=4, max_k=1 << 16, pe="ecp5")
    assert config.accumulator_bits == 51 - LOW
    rng = seeded("widest")
    assert check(config, list(make_sum(config, rng, "lowest", 1 << 16)), rng)[-1] == -255 << 23
