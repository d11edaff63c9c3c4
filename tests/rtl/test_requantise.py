"""The requantiser against its twin, and the twin against the formula in exact fractions."""

import random
from fractions import Fraction
from math import floor
from typing import Any

import pytest
from amaranth.sim import Simulator, SimulatorContext
from hypothesis import given
from hypothesis import strategies as st

from rtl.params import PRESETS, Config
from rtl.requantise import Requantiser, requantise

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(st.integers(-(1 << 36), 1 << 36), INT32, st.integers(0, 65535), st.integers(1, 47), st.sampled_from([8, 16]))
def test_twin_rounds_to_the_nearest_and_saturates(acc: int, bias: int, mult: int, shift: int, bits: int) -> None:
    exact = Fraction((acc + bias) * mult, 1 << shift)
    nearest = floor(exact + Fraction(1, 2))
    top = (1 << (bits - 1)) - 1
    assert requantise(acc, bias, mult, shift, bits) == max(-top - 1, min(top, nearest))


def operands(config: Config, rng: random.Random) -> list[tuple[int, int, int, int, int]]:
    """(acc, bias, mult, shift, bits): every combination of the ends, each edge of saturation, random ones."""
    top = 1 << (config.accumulator_bits - 1)
    accs = (-top, -top + 1, -1, 0, 1, top - 1)
    biases = (-(1 << 31), -1, 0, (1 << 31) - 1)
    made = [
        (acc, bias, mult, shift, bits)
        for acc in accs
        for bias in biases
        for mult in (0, 1, 32768, 65535)
        for shift in (1, 2, 31, 46, 47)
        for bits in (8, 16)
    ]
    for bits in (8, 16):
        for edge in (-(1 << (bits - 1)), (1 << (bits - 1)) - 1):
            # Halves around each edge of the range, and around zero.
            made += [(value, 0, 1, 1, bits) for at in (edge, 0) for value in range(2 * at - 5, 2 * at + 6)]
    for _ in range(2000):
        shift = rng.randint(1, 47)
        scale = min(top - 1, (1 << shift + 9) // 65535 + 1)
        bias = rng.choice([0, rng.randint(-scale, scale), rng.randint(-(1 << 31), (1 << 31) - 1)])
        bias = max(-(1 << 31), min((1 << 31) - 1, bias))
        made.append((rng.randint(-scale, scale), bias, rng.randint(0, 65535), shift, rng.choice([8, 16])))
    rng.shuffle(made)
    return made


@pytest.mark.parametrize("config", [PRESETS["small"], PRESETS["base"]], ids=["small", "base"])
def test_hardware(config: Config) -> None:
    """Other operands every cycle; each result LATENCY cycles after its own."""
    sequence = operands(config, random.Random(3))
    dut = Requantiser(config)
    idle: list[Any] = [(0, 0, 0, 1, 8)] * dut.LATENCY

    async def testbench(ctx: SimulatorContext) -> None:
        for cycle, (acc, bias, mult, shift, bits) in enumerate(sequence + idle):
            ctx.set(dut.acc, acc)
            ctx.set(dut.parameters, {"bias": bias, "mult": mult, "shift": shift})
            ctx.set(dut.wide, bits == 16)
            _, _, result = await ctx.tick().sample(dut.result)
            if cycle >= dut.LATENCY:
                given_operands = sequence[cycle - dut.LATENCY]
                assert result == requantise(*given_operands), f"cycle {cycle}: {given_operands}"

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()


def test_widths_exclude_overflow() -> None:
    """The biased sum holds every accumulator with every bias, and no narrower one would."""
    for config in PRESETS.values():
        largest = (1 << (config.accumulator_bits - 1)) + (1 << 31)
        assert largest <= 1 << (config.biased_bits - 1)
        assert largest > 1 << (config.biased_bits - 2)
