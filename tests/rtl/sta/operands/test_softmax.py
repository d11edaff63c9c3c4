"""The softmax of a row equals its twin, for any pattern of lanes; and the twin is as close to exp as promised."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import exp, floor
from typing import Any

import pytest

from rtl.array.requantise import requantise
from rtl.params import ceil_div
from rtl.sta.latencies import SOFTMAX_LATENCY
from rtl.sta.operands.softmax import Reciprocal, RowSoftmax, emit, exponential_table, reciprocal
from rtl.sta.params import EXP_ONE, TABLE_ENTRIES, StaConfig
from tests.nightly import but
from tests.rtl.simulate import seeded, trace

READY = 22  # cycles after a row's last step in which 1 / sum may be read at the latest

CONFIGURATIONS = {
    "base": StaConfig(max_tokens=512),
    "n = 1": StaConfig(n=1, m=4, rows=3, max_tokens=50),
    "n = m": StaConfig(n=4, m=4, rows=4, max_tokens=64),
    "n does not divide m": StaConfig(n=3, m=16, rows=2, max_tokens=100),
    "n is half of m": StaConfig(n=4, m=8, rows=8, max_tokens=4096),
    "many lanes": StaConfig(n=31, m=32, rows=1, max_tokens=70),
    "two of two": StaConfig(n=2, m=2, rows=1, max_tokens=9),
    "one token": StaConfig(n=1, m=2, rows=1, max_tokens=1),
}


@dataclass(frozen=True)
class Row:
    """A row of scores, keys of which weigh; or, without keys, of activations."""

    elements: list[int]
    keys: int = 0


# --- kinds of scores: (keys, a random sequence) → scores
def anything(keys: int, rng: random.Random) -> list[int]:
    return [rng.randint(-128, 127) for _ in range(keys)]


def close(keys: int, rng: random.Random) -> list[int]:
    return [rng.randint(80, 127) for _ in range(keys)]


def equal(keys: int, rng: random.Random) -> list[int]:
    return [rng.randint(-128, 127)] * keys


def ends(keys: int, rng: random.Random) -> list[int]:
    return [rng.choice([-128, 127]) for _ in range(keys)]


def peak(keys: int, rng: random.Random) -> list[int]:
    """One high score; each other one's exponential is just under half a unit of what is emitted."""
    scores = [127 - PEAK_DISTANCE] * keys
    scores[rng.randrange(keys)] = 127
    return scores


KINDS: dict[str, Callable[[int, random.Random], list[int]]] = {
    "anything": anything,
    "close": close,
    "equal": equal,
    "ends": ends,
    "peak": peak,
}
PEAK_DISTANCE = 60
PEAK_SCALE = 0.10415  # exp(−60 · 0.10415) · 255 = 0.4926


def row_of(config: StaConfig, kind: str, keys: int, rng: random.Random) -> Row:
    """Scores of so many keys, then anything up to the end of the last group."""
    scores = KINDS[kind](keys, rng)
    groups = ceil_div(keys, config.m)
    return Row(scores + [rng.randint(-128, 127) for _ in range(groups * config.m - keys)], keys)


class Bench:
    """Collects rows as cycles of inputs, and what has to come out."""

    def __init__(self, config: StaConfig, rng: random.Random, table: Sequence[int], idle: float = 0.0) -> None:
        self.config, self.rng, self.table, self.idle = config, rng, table, idle
        self.cycles: list[dict[str, Any]] = [
            {"table": {"enable": 1, "address": at, "data": entry}} for at, entry in enumerate(table)
        ]
        self.cycles.append({"table": {"enable": 0, "address": rng.randrange(TABLE_ENTRIES), "data": 0}})
        self.steps: dict[int, tuple[list[int | None], int, int]] = {}  # group (None: may be anything), first, last
        self.sums: dict[int, tuple[int, int]] = {}  # factors, by the cycle of the last step

    def add(self, row: Row) -> None:
        c, rng = self.config, self.rng
        mult, shift = rng.choice([0x8000, 0xFFFF, rng.randint(0x8000, 0xFFFF)]), rng.randint(1, 47 - c.sum_bits)
        tile = rng.randrange(c.maxima_tiles)
        given: dict[str, Any] = {"keys": row.keys}
        emitted = row.elements
        if row.keys:
            given |= {"mult": mult, "shift": shift}
            emitted = emit(row.elements, row.keys, self.table)
            # What is written last counts.
            for top in (rng.randint(-128, 127), max(row.elements[: row.keys])):
                self._idle({"maximum": {"enable": 1, "tile": tile, "value": top}})
            self._idle({"maximum": {"enable": 0, "tile": tile, "value": rng.randint(-128, 127)}})
        else:
            given["keys"] = rng.randint(0, c.max_tokens)
        subs = c.steps_a_group
        steps = len(row.elements) // c.m * subs
        for number in range(steps):
            while rng.random() < self.idle:
                self._idle({})
            if self.idle and number == steps - 1:  # the last step waits until the drain is free
                for _ in range(rng.choice([0, 2 * READY])):
                    self._idle({})
            position, sub = divmod(number, subs)
            whole = slice(position * c.m, (position + 1) * c.m)
            marks = {"first": int(number == 0), "last": int(number == steps - 1)}
            step = {"group": row.elements[whole], "valid": 1, "sub": sub, "position": position, "tile": tile, **marks}
            if not row.keys:
                step |= {"position": rng.randrange(ceil_div(c.max_tokens, c.m)), "sub": rng.randrange(subs)}
            step["softmax"] = int(row.keys > 0)
            group: list[int | None] = list(emitted[whole])
            if row.keys:
                lanes = {i: group[i] for i in range(sub * c.n, min(sub * c.n + c.n, c.m))}
                group = [lanes.get(sub * c.n + i % c.n) for i in range(c.m)]
            self.steps[len(self.cycles) + SOFTMAX_LATENCY] = (group, step["softmax"], marks["first"], marks["last"])
            self.cycles.append({**given, "row": step})
        if row.keys:
            self.sums[len(self.cycles) - 1 + SOFTMAX_LATENCY] = reciprocal(sum(emitted), mult, shift, c.sum_bits)
            # mult and shift stay until the division is made; other rows may come in meanwhile.
            if rng.random() < 0.5:
                self.add(Row([rng.randint(-128, 127) for _ in range(c.m * rng.randint(1, 4))]))
            for _ in range(READY + SOFTMAX_LATENCY):
                self._idle({})

    def _idle(self, inputs: dict[str, Any]) -> None:
        c, rng = self.config, self.rng
        step = {"group": [rng.randint(-128, 127) for _ in range(c.m)], "valid": 0, "sub": 0, "position": 0, "tile": 0}
        marks = {mark: rng.getrandbits(1) for mark in ("first", "last", "softmax")}
        self.cycles.append({**inputs, "row": {**step, **marks}})

    def check(self) -> None:
        unit = RowSoftmax(self.config)
        step = unit.step
        watch = [step.valid, step.unsigned, step.first, step.last, unit.factor.mult, unit.factor.shift, *step.group]
        self._idle({})
        record = trace(unit, self.cycles + [self.cycles[-1]] * READY, *watch)
        quotients = list(self.sums.items())
        known = None
        for cycle, (valid, unsigned, first, last, mult, shift, *group) in enumerate(record):
            assert valid == (cycle in self.steps), f"cycle {cycle}"
            if valid:
                want, *marks = self.steps[cycle]
                assert [unsigned, first, last] == marks, f"cycle {cycle}"
                checked = [got if wanted is None else wanted & 0xFF for got, wanted in zip(group, want, strict=True)]
                assert group == checked, f"cycle {cycle}"
            if quotients and cycle == quotients[0][0] + RowSoftmax.RECIPROCAL_LATENCY:
                known = quotients.pop(0)[1]
            if known:
                assert (mult, shift) == known, f"cycle {cycle}"
        assert not quotients


@pytest.mark.parametrize(
    ("name", "idle"),
    but(product(CONFIGURATIONS, [0.0, 0.4]), [("many lanes", 0.4)]),
    ids=lambda one: {0.0: "free", 0.4: "gaps"}.get(one, one),
)
def test_equals_its_twin(name: str, idle: float) -> None:
    """Scores of every kind among activations, of one key up to as many as there may be."""
    config = CONFIGURATIONS[name]
    rng = seeded(name, idle)
    assert RowSoftmax.LATENCY == SOFTMAX_LATENCY
    assert RowSoftmax.RECIPROCAL_LATENCY <= READY
    bench = Bench(config, rng, exponential_table(rng.uniform(0.01, 0.1)), idle)
    longest = min(config.max_tokens, 120)
    rows = [row_of(config, kind, keys, rng) for kind in KINDS for keys in {1, longest, rng.randint(1, longest)}]
    rows += [row_of(config, "anything", rng.randint(1, longest), rng) for _ in range(12)]
    rows += [Row([rng.choice([-128, -1, 127]) for _ in range(config.m * rng.randint(1, 5))]) for _ in range(5)]
    rng.shuffle(rows)
    for row in rows:
        bench.add(row)
    bench.check()


@pytest.mark.parametrize("entries", ["anything", "highest"])
def test_any_table(entries: str) -> None:
    """Not only exponentials: the sums are as large as they can be, or as uneven."""
    config = StaConfig(n=2, m=8, max_tokens=128)
    rng = seeded(entries)
    table = [EXP_ONE if entries == "highest" else rng.randint(0, EXP_ONE) for _ in range(TABLE_ENTRIES)]
    bench = Bench(config, rng, table)
    for keys in (128, 127, 121, 1):
        bench.add(row_of(config, "anything", keys, rng))
    bench.check()


def test_a_peak_among_many() -> None:
    config = CONFIGURATIONS["base"]
    rng = seeded("peak")
    bench = Bench(config, rng, exponential_table(PEAK_SCALE))
    bench.add(row_of(config, "peak", 512, rng))
    bench.check()


def test_nothing_emitted() -> None:
    """A table of zeros: no sum, a product of nothing."""
    config = StaConfig(max_tokens=16)
    rng = seeded("nothing")
    bench = Bench(config, rng, [0] * TABLE_ENTRIES)
    for keys in (16, 1):
        bench.add(row_of(config, "anything", keys, rng))
    bench.check()
    assert reciprocal(0, 0xFFFF, 9, 12) == (0, 9)


@pytest.mark.parametrize("max_tokens", [1, 2, 128, 300, 4096])
def test_reciprocal_equals_its_twin(max_tokens: int) -> None:
    config = StaConfig(max_tokens=max_tokens)
    rng = seeded(max_tokens)
    most = 255 * max_tokens
    totals = {1, 2, 3, 255, 256, most, most - 1, *(1 << i for i in range(most.bit_length())), 0}
    totals |= {rng.randint(1, most) >> rng.randrange(most.bit_length()) for _ in range(25)}
    unit = Reciprocal(config)
    cycles: list[dict[str, int]] = []
    want = {}
    for total in sorted(total for total in totals if total <= most):
        for mult in (0x8000, 0xFFFF, rng.randint(0x8000, 0xFFFF), rng.randint(0, 0x7FFF)):
            shift = rng.randint(1, 47 - config.sum_bits)
            begin = len(cycles)
            want[begin + Reciprocal.LATENCY] = reciprocal(total, mult, shift, config.sum_bits)
            cycles.append({"start": 1, "total": total, "mult": mult, "shift": shift})
            cycles += [{"start": 0, "total": rng.randint(0, most)}] * rng.randint(Reciprocal.LATENCY - 1, READY)
    record = trace(unit, cycles + cycles[-1:], unit.factor.mult, unit.factor.shift)
    known = None
    for cycle, got in enumerate(record):
        known = want.get(cycle, known)
        if known:
            assert got == known, f"cycle {cycle}"


def test_reciprocal_begins_anew() -> None:
    """In any cycle of a division."""
    config = StaConfig()
    unit = Reciprocal(config)
    rng = seeded("anew")
    for after in range(1, Reciprocal.LATENCY):
        first, second = rng.randint(1, 30000), rng.randint(1, 30000)
        cycles = [{"start": 1, "total": first, "mult": 50000, "shift": 20}] + [{"start": 0}] * (after - 1)
        cycles += [{"start": 1, "total": second}] + [{"start": 0}] * Reciprocal.LATENCY
        shown = [(0, 0), *(reciprocal(total, 50000, 20, config.sum_bits) for total in (first, second))]
        record = trace(unit, cycles, unit.factor.mult, unit.factor.shift)
        assert record[-1] == shown[-1], f"after {after}"
        assert set(record) <= set(shown), f"after {after}"


def test_reciprocal_is_rounded() -> None:
    """mult / 2^shift ÷ total, to the nearest number of 16 bits at that shift."""
    rng = seeded("rounded")
    for _ in range(5000):
        bits = rng.randint(8, 20)
        total = rng.randint(1, (1 << bits) - 1)
        mult, shift = rng.randint(0x8000, 0xFFFF), rng.randint(1, 27)
        q, shift_t = reciprocal(total, mult, shift, bits)
        exact = Fraction(mult, total) * Fraction(1 << shift_t, 1 << shift)
        assert q == min(65535, floor(exact + Fraction(1, 2))), f"{total}, {mult}, {shift}, {bits}"
        assert 1 << 14 <= q < 1 << 16


@pytest.mark.parametrize("scale", [0.0, 0.001, 0.05, 0.7, 50.0])
def test_table(scale: float) -> None:
    table = exponential_table(scale)
    assert len(table) == TABLE_ENTRIES
    assert table[0] == EXP_ONE
    assert all(0 <= after <= before for before, after in pairwise(table))
    assert table[1] == pytest.approx(EXP_ONE * exp(-scale), abs=0.5)


# --- accuracy, against exp in floating point -----------------------------------------------------
def probabilities(scores: Sequence[int], scale: float) -> list[float]:
    top = max(scores)
    exponentials = [exp((score - top) * scale) for score in scores]
    return [one / sum(exponentials) for one in exponentials]


def shares(scores: Sequence[int], scale: float) -> list[float]:
    """What each key weighs in a product: of what was emitted, its sum divided by."""
    emitted = emit(scores, len(scores), exponential_table(scale))
    total = sum(emitted)
    return [one / total for one in emitted]


def draw(rng: random.Random, keys: int, scale: float) -> list[int]:
    """Scores of a normal distribution, the highest at the upper end of int8 as calibration would have it."""
    spread = rng.uniform(0.5, 2.5) / scale
    drawn = [rng.gauss(0.0, spread) for _ in range(keys)]
    top = max(drawn)
    return [max(-128, round(127 - (top - one))) for one in drawn]


def test_accuracy_of_the_weights() -> None:
    """Mean error at most 0.1 %, that of any row at most 0.2 %, no weight by more than 0.5 points: as the rivals count,
    in points of probability."""
    rng = seeded("accuracy")
    means = []
    worst = 0.0
    for _ in range(400):
        keys = rng.choice([8, 16, 32, 64, 128, 256, 512])
        scale = rng.uniform(0.02, 0.12)
        scores = draw(rng, keys, scale)
        errors = [abs(a - b) for a, b in zip(shares(scores, scale), probabilities(scores, scale), strict=True)]
        means.append(sum(errors) / keys)
        worst = max(worst, *errors)
    assert sum(means) / len(means) <= 0.001
    assert max(means) <= 0.002
    assert worst <= 0.005


@pytest.mark.parametrize("keys", [32, 128, 512])
def test_accuracy_of_a_peak(keys: int) -> None:
    """One peak among keys that plain rounding to 8 bits would lose: with 511 of them it would be off by 50 points."""
    scores = peak(keys, seeded(keys))
    exact = probabilities(scores, PEAK_SCALE)
    if keys == 512:
        assert max(exact) < 0.52
    assert max(abs(a - b) for a, b in zip(shares(scores, PEAK_SCALE), exact, strict=True)) <= 0.005


def context(scores: Sequence[int], values: Sequence[int], scale: float, mult: int, shift: int) -> int:
    """A result of VALUES, 16 bits wide so that rounding it does not hide the sum's error."""
    sum_bits = (255 * len(scores)).bit_length()
    emitted = emit(scores, len(scores), exponential_table(scale))
    q, shift_t = reciprocal(sum(emitted), mult, shift, sum_bits)
    return requantise(sum(p * v for p, v in zip(emitted, values, strict=True)), 0, q, shift_t, 16)


def test_sums_of_rows() -> None:
    """Weights sum to 1 within 0.1 %, division included: V of nothing but 1."""
    rng = seeded("sums")
    for _ in range(300):
        keys, scale = rng.randint(1, 512), rng.uniform(0.02, 0.12)
        scores = draw(rng, keys, scale)
        mult = rng.randint(0x8000, 0xFFFF)
        exact = 100 * mult / (1 << 8)
        got = context(scores, [100] * keys, scale, mult, 8)
        assert got == pytest.approx(min(exact, 32767), rel=0.001, abs=0.5)


@pytest.mark.parametrize("tokens", [1, 2, 9, 128, 129, 4096])
def test_the_largest_sum_fits(tokens: int) -> None:
    """Of a row whose scores are all its maximum; and no bit is left over."""
    bits = StaConfig(max_tokens=tokens).sum_bits
    emitted = emit([5] * tokens, tokens, exponential_table(0.1))
    assert 1 << (bits - 1) <= sum(emitted) < 1 << bits


@pytest.mark.parametrize("value", [-128, -1, 0, 1, 127])
def test_constant_values_stay(value: int) -> None:
    """With a scale of 1, V that is the same for every key comes out as it is."""
    rng = seeded("constant", value)
    for _ in range(200):
        keys, scale = rng.randint(1, 512), rng.uniform(0.02, 0.12)
        assert context(draw(rng, keys, scale), [value] * keys, scale, 0x8000, 15) == value


def test_rounding_begins_half_way() -> None:
    """By hand: 128 + 65280, + 100, + 100 are 65408, 65508, 65608, and 256ths of them 255, 255, 256."""
    table = [65280, 100, *[0] * 254]
    assert emit([5, 4, 4], 3, table) == [255, 0, 1]
    assert emit([5, 4, 4], 2, table) == [255, 0, 0]
