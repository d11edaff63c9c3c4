"""The requantiser with a sign equals its twin, a result every cycle; rescaling and the activation table theirs."""

import random
from collections.abc import Callable
from fractions import Fraction
from math import floor

import pytest

from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import Activation, activate
from rtl.sta.results.requantise import Requantiser, requantise
from rtl.sta.results.rescale import Rescaler, rescale
from tests.rtl.simulate import seeded, trace

CONFIGURATIONS = {
    "narrow accumulator": StaConfig(n=1, m=2, rows=1, cols=1, max_tokens=1, max_k=2, hidden=1),
    "base": StaConfig(),
    "wide accumulator": StaConfig(max_k=65536),
}
BIAS = (-(1 << (BIAS_BITS - 1)), (1 << (BIAS_BITS - 1)) - 1)
MULT = (1 << MULT_BITS) - 1
SHIFTS = [1, 2, 15, 16, 31, 32, 33, 46, SHIFT_MAX]

Operands = tuple[int, int, int, int, int, int]  # acc, bias, mult, shift, negate, bits


def by_the_rule(acc: int, bias: int, mult: int, shift: int, negate: int, bits: int) -> int:
    exact = Fraction(((-acc if negate else acc) + bias) * mult, 1 << shift)
    nearest = floor(exact + Fraction(1, 2))
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, nearest))


def extremes(half: int, rng: random.Random) -> list[Operands]:
    return [
        (acc, bias, mult, shift, negate, bits)
        for acc in (-half, -1, 0, 1, half - 1)
        for bias in (BIAS[0], -1, 0, BIAS[1])
        for mult in (0, 1, MULT)
        for shift in SHIFTS
        for negate in (0, 1)
        for bits in (8, 16)
    ]


def edges(half: int, rng: random.Random) -> list[Operands]:
    """Sums around those at which the result reaches an end of its range."""
    made = []
    for mult in (1, 3, 4096, 50001, MULT):
        for shift in range(1, SHIFT_MAX + 1):
            for bits in (8, 16):
                top = (1 << (bits - 1)) - 1
                for end in (top, top + 1, -top - 1, -top - 2):
                    nearest = ((2 * end - 1) << shift) // (2 * mult)
                    for total in (nearest, nearest + 1):
                        if -half < total < half:
                            negate = rng.randrange(2)
                            made.append((-total if negate else total, 0, mult, shift, negate, bits))
    return made


def anything(half: int, rng: random.Random) -> list[Operands]:
    made = []
    for _ in range(1500):
        acc, bias = rng.randint(-half, half - 1), rng.randint(*BIAS)
        if rng.random() < 0.7:
            acc, bias = acc >> rng.randrange(32), bias >> rng.randrange(32)
        shift = rng.randint(1, SHIFT_MAX)
        made.append((acc, bias, rng.randint(0, MULT), shift, rng.randrange(2), rng.choice([8, 16])))
    return made


KINDS: dict[str, Callable[[int, random.Random], list[Operands]]] = {
    "extremes": extremes,
    "edges": edges,
    "anything": anything,
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_requantiser_equals_its_twin(name: str) -> None:
    """All kinds mixed, so that neighbours in the pipeline differ in every operand."""
    config = CONFIGURATIONS[name]
    half = 1 << (config.accumulator_bits - 1)
    rng = seeded(name)
    operands = [given for kind in KINDS.values() for given in kind(half, rng)]
    rng.shuffle(operands)
    inputs = [
        {
            "acc": acc,
            "parameters": {"bias": bias, "mult": mult, "shift": shift, "negate": negate, "rescale": rng.randrange(512)},
            "wide": bits == 16,
        }
        for acc, bias, mult, shift, negate, bits in operands
    ]
    unit = Requantiser(config)
    record = trace(unit, inputs + inputs[-1:] * Requantiser.LATENCY, unit.result)
    for given, (result,) in zip(operands, record[Requantiser.LATENCY :], strict=True):
        assert result == Requantiser.compute(*given), f"acc {given[0]}, bias, mult, shift, negate, bits {given[1:]}"


@pytest.mark.parametrize("kind", KINDS)
def test_requantiser_follows_the_rule(kind: str) -> None:
    for given in KINDS[kind](1 << 30, seeded(kind)):
        assert requantise(*given) == by_the_rule(*given), f"{given}"


def test_rescaler_equals_its_twin() -> None:
    """Every shift with every kind of operands; values that are passed among them."""
    rng = seeded("rescale")
    given = [(v, f, s) for v in (-32768, -1, 0, 1, 32767) for f in (0, 1, 255, 511) for s in range(1, 32)]
    for shift in range(1, 32):
        for _ in range(40):
            factor = rng.randint(1, 511)
            # Half of them near an end of the range, or a tie.
            halves = (2 * rng.choice([127, -129, rng.randint(-130, 130)]) + 1) << (shift - 1)
            near = max(-32768, min(32767, halves // factor + rng.randint(-1, 1)))
            given += [(near, factor, shift), (rng.randint(-32768, 32767), factor, shift)]
    rng.shuffle(given)
    narrow = [rng.random() < 0.2 for _ in given]
    inputs = [
        {"value": v if not passed else (v & 0xFF) - 256 * (v >> 7 & 1), "factor": f, "shift": s, "narrow": passed}
        for (v, f, s), passed in zip(given, narrow, strict=True)
    ]
    unit = Rescaler()
    record = trace(unit, inputs + inputs[-1:] * Rescaler.LATENCY, unit.result)
    for (v, f, s), passed, (result,) in zip(given, narrow, record[Rescaler.LATENCY :], strict=True):
        want = (v & 0xFF) - 256 * (v >> 7 & 1) if passed else Rescaler.compute(v, f, s)
        assert result == want, f"value {v}, factor {f}, shift {s}, passed {passed}"
        exact = Fraction(v * f, 1 << s)
        assert rescale(v, f, s) == max(-128, min(127, floor(exact + Fraction(1, 2))))


@pytest.mark.parametrize("cols", [1, 6, 8])
def test_activation(cols: int) -> None:
    """Every entry on every lane, mixed with 16-bit results that are passed."""
    config = StaConfig(cols=cols, drain=4)
    lanes = config.drain_lanes
    rng = seeded("activation", cols)
    table = [rng.randint(-32768, 32767) for _ in range(256)]
    load = [
        {"write": {"enable": 1, "address": i, "data": value & 0xFFFF}, "look_up": 0, "inputs": [0] * lanes}
        for i, value in enumerate(table)
    ]
    given = [(1, [(i + 37 * lane) % 256 - 128 for lane in range(lanes)]) for i in range(256)]
    given += [(rng.randrange(2), [rng.randint(-128, 127) for _ in range(lanes)]) for _ in range(300)]
    given = [(t, values if t else [rng.randint(-32768, 32767) for _ in range(lanes)]) for t, values in given]
    inputs = [{"write": {"enable": 0, "address": 0, "data": 5}, "look_up": t, "inputs": values} for t, values in given]
    unit = Activation(config)
    record = trace(unit, load + inputs + inputs[-1:] * Activation.LATENCY, *unit.outputs)
    for (t, values), outputs in zip(given, record[len(load) + Activation.LATENCY :], strict=True):
        assert list(outputs) == [activate(table, value) if t else value for value in values]
