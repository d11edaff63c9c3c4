"""The requantiser equals its twin for every kind of operand, a result every cycle; and the twin equals the rule."""

import random
from collections.abc import Callable
from fractions import Fraction
from math import floor

import pytest

from rtl.array.requantise import Requantiser, requantise
from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX, Config
from tests.rtl.simulate import seeded, trace

LATENCY = 5
CONFIGURATIONS = {
    "narrow accumulator": Config(n=1, m=2, rows=1, cols=1, max_tokens=1, max_k=2),
    "base": Config(),
    "wide accumulator": Config(max_k=65536),
}
BIAS = (-(1 << (BIAS_BITS - 1)), (1 << (BIAS_BITS - 1)) - 1)
MULT = (1 << MULT_BITS) - 1
SHIFTS = [1, 2, 15, 16, 31, 32, 33, 46, SHIFT_MAX]

Operands = tuple[int, int, int, int, int]  # acc, bias, mult, shift, bits


def by_the_rule(acc: int, bias: int, mult: int, shift: int, bits: int) -> int:
    """Round to the nearest, half upwards, in exact fractions; then saturate."""
    exact = Fraction((acc + bias) * mult, 1 << shift)
    nearest = floor(exact + Fraction(1, 2))
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, nearest))


def split(total: int, half: int, rng: random.Random) -> tuple[int, int] | None:
    """acc and bias of that sum, within their ranges; None where there are none."""
    low, high = max(-half, total - BIAS[1]), min(half - 1, total - BIAS[0])
    if low > high:
        return None
    acc = rng.randint(low, high)
    return acc, total - acc


def extremes(half: int, rng: random.Random) -> list[Operands]:
    """Every operand at its ends, in all combinations."""
    return [
        (acc, bias, mult, shift, bits)
        for acc in (-half, -1, 0, 1, half - 1)
        for bias in (BIAS[0], -1, 0, 1, BIAS[1])
        for mult in (0, 1, 2, MULT - 1, MULT)
        for shift in SHIFTS
        for bits in (8, 16)
    ]


def edges(half: int, rng: random.Random) -> list[Operands]:
    """Sums around those at which the result reaches an end of its range, and goes beyond it."""
    made = []
    for mult in (1, 2, 3, 255, 4096, 50001, MULT):
        for shift in range(1, SHIFT_MAX + 1):
            for bits in (8, 16):
                top = (1 << (bits - 1)) - 1
                for end in (top, top + 1, -top - 1, -top - 2):
                    nearest = ((2 * end - 1) << shift) // (2 * mult)
                    for total in (nearest, nearest + 1):
                        pair = split(total, half, rng)
                        if pair:
                            made.append((*pair, mult, shift, bits))
    return made


def ties(half: int, rng: random.Random) -> list[Operands]:
    """Products that lie half way between two results, of both signs, and their neighbours."""
    made = []
    for shift in range(1, SHIFT_MAX + 1):
        for _ in range(6):
            mult = 1 << rng.randint(0, min(MULT_BITS - 1, shift - 1))
            halves = 2 * rng.randint(-130, 129) + 1
            tie = (halves << (shift - 1)) // mult
            for total in (tie - 1, tie, tie + 1):
                pair = split(total, half, rng)
                if pair:
                    made.append((*pair, mult, shift, rng.choice([8, 16])))
    return made


def anything(half: int, rng: random.Random) -> list[Operands]:
    """Of any magnitude."""
    made = []
    for _ in range(1500):
        acc, bias = rng.randint(-half, half - 1), rng.randint(*BIAS)
        if rng.random() < 0.7:
            acc, bias = acc >> rng.randrange(32), bias >> rng.randrange(32)
        made.append((acc, bias, rng.randint(0, MULT), rng.randint(1, SHIFT_MAX), rng.choice([8, 16])))
    return made


KINDS: dict[str, Callable[[int, random.Random], list[Operands]]] = {
    "extremes": extremes,
    "edges": edges,
    "ties": ties,
    "anything": anything,
}


def check(config: Config, operands: list[Operands]) -> None:
    inputs = [
        {"acc": acc, "parameters": {"bias": bias, "mult": mult, "shift": shift}, "wide": bits == 16}
        for acc, bias, mult, shift, bits in operands
    ]
    unit = Requantiser(config)
    assert Requantiser.LATENCY == LATENCY
    record = trace(unit, inputs + inputs[-1:] * LATENCY, unit.result)
    for given, (result,) in zip(operands, record[LATENCY:], strict=True):
        assert result == Requantiser.compute(*given), f"acc {given[0]}, bias, mult, shift, bits {given[1:]}"


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_equals_its_twin(name: str) -> None:
    """All kinds mixed, so that neighbours in the pipeline differ in every operand, 8 and 16 bits among them."""
    config = CONFIGURATIONS[name]
    half = 1 << (config.accumulator_bits - 1)
    rng = seeded(name)
    operands = [given for kind in KINDS.values() for given in kind(half, rng)]
    rng.shuffle(operands)
    check(config, operands)


@pytest.mark.parametrize("kind", KINDS)
def test_twin_follows_the_rule(kind: str) -> None:
    for given in KINDS[kind](1 << 30, seeded(kind)):
        assert requantise(*given) == by_the_rule(*given), f"{given}"


@pytest.mark.parametrize(
    ("operands", "want"),
    [
        ((253, 0, 1, 1, 8), 127),  # 126.5 rounds up
        ((254, 0, 1, 1, 8), 127),
        ((255, 0, 1, 1, 8), 127),  # 128 saturates
        ((-255, 0, 1, 1, 8), -127),  # −127.5 rounds up
        ((-256, 0, 1, 1, 8), -128),
        ((-259, 0, 1, 1, 8), -128),  # −129 saturates
        ((65533, 0, 1, 1, 16), 32767),
        ((65535, 0, 1, 1, 16), 32767),
        ((-65537, 0, 1, 1, 16), -32768),
        ((-65539, 0, 1, 1, 16), -32768),
        ((1, 0, 1, 1, 8), 1),
        ((-1, 0, 1, 1, 8), 0),
        ((-3, 0, 1, 1, 8), -1),
        ((5, -5, 65535, 1, 16), 0),
        ((0, -(1 << 31), 65535, 47, 16), -1),  # −0.99998
        ((0, (1 << 31) - 1, 65535, 47, 16), 1),
        ((100, 0, 0, 1, 8), 0),
    ],
)
def test_by_hand(operands: Operands, want: int) -> None:
    assert requantise(*operands) == want
    check(CONFIGURATIONS["base"], [operands])


def test_the_width_belongs_to_its_result() -> None:
    """And not to the one before or after it."""
    operands = [(acc, 0, 1, 1, bits) for acc in (10**6, -(10**6)) for bits in (8, 16, 8, 8, 16, 16)]
    check(CONFIGURATIONS["base"], operands)
