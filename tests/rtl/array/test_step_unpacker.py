"""The unpacker of steps, of both depths: weights and positions of every lane and column, whatever the coding."""

from random import Random
from typing import Any

import pytest

from rtl.array.selection import BitmapDecoder
from rtl.array.step_unpacker import StepUnpacker
from rtl.params import Config
from rtl.product import Pattern
from tests.rtl.simulate import seeded, trace

CONFIGURATIONS = {
    "2:8": Config(n=2, m=8, cols=3),
    "3:16": Config(n=3, m=16, cols=2),
    "4:4": Config(n=4, m=4, cols=1),
    "1:32": Config(n=1, m=32, cols=2),
}
STEPS = 30


def patterns(config: Config) -> list[Pattern]:
    """The sparsest and the densest of each coding."""
    every = [Pattern(config=config, n=n) for n in range(1, config.m + 1)]
    ends = [of for coding in ("index", "bitmap", "counted") if (of := [one for one in every if one.coding == coding])]
    return [one for of in ends for one in (of[0], of[-1])]


def step_of(config: Config, pattern: Pattern, rng: Random) -> tuple[dict[str, int], list[tuple[list[int], list[int]]]]:
    """Units of a step, and weights and positions of each column. Bits that are no part of it are set at random."""
    c, lanes = config, pattern.lanes
    step = rng.randrange(pattern.steps)
    weights = [[rng.randint(-128, 127) for _ in range(lanes)] for _ in range(c.cols)]
    values = rng.getrandbits(8 * c.cols * (c.n - lanes)) << 8 * c.cols * lanes
    selections = rng.getrandbits(c.cols * c.index_bits * c.n)
    indices = []
    if pattern.coding == "bitmap":
        bitmaps = [sum(1 << p for p in rng.sample(range(c.m), pattern.n)) for _ in range(c.cols)]
        selections = sum(bitmap << c.m * column for column, bitmap in enumerate(bitmaps))
        indices = [BitmapDecoder.compute(bitmap, step, c.n, c.m) for bitmap in bitmaps]
    for column in range(c.cols):
        for lane in range(lanes):
            values |= (weights[column][lane] & 0xFF) << 8 * (lane * c.cols + column)
        if pattern.coding == "index":
            unit = [selections >> c.index_bits * (lane * c.cols + column) for lane in range(c.n)]
            indices.append([position % c.m for position in unit])
        elif pattern.coding == "counted":
            indices.append([(step * c.n + lane) % c.m for lane in range(c.n)])
    idle = [0] * (c.n - lanes)
    return {"value_unit": values, "selection_unit": selections, "step": step}, [
        (own + idle, positions) for own, positions in zip(weights, indices, strict=True)
    ]


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_pattern(name: str, pipelined: bool) -> None:
    """A step every cycle. Of a pipeline, positions of a counted selection are somebody else's."""
    config = CONFIGURATIONS[name]
    rng = seeded(name, pipelined)
    latency = 3 if pipelined else 1
    for pattern in patterns(config):
        coding: dict[str, Any] = {one: pattern.coding == one for one in ("bitmap", "counted")}
        steps = [step_of(config, pattern, rng) for _ in range(STEPS)]
        dut = StepUnpacker(config, pipelined=pipelined)
        inputs = [{**units, **coding, "lanes": pattern.lanes} for units, _ in steps]
        record = trace(dut, [*inputs, *[{}] * latency], dut.columns)
        layout = dut.columns.shape()
        for (_, columns), (found,) in zip(steps, record[latency:], strict=False):
            for column, (weights, positions) in enumerate(columns):
                one = layout.from_bits(found)[column]
                assert [one.weights[lane] for lane in range(config.n)] == weights
                if pattern.coding != "counted" or not pipelined:
                    used = range(pattern.lanes)
                    assert [one.indices[lane] for lane in used] == [positions[lane] for lane in used]
