"""Layer normalisation equals its twins, from the sums to the elements; and the twins are close to the real one."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import floor, sqrt
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.requantise import requantise
from rtl.sta.params import ROOT_BITS, Z_FRACTION, StaConfig
from rtl.sta.results.layer_norm import Z_TOP, Normaliser, Statistics, normalise, reciprocal_square_root, statistics
from rtl.sta.results.reciprocal_square_root import scaling
from tests.nightly import but
from tests.rtl.simulate import drive, run, seeded, trace

LOW, HIGH = -32768, 32767
EPSILON_MOST = (1 << 32) - 1

CONFIGURATIONS = {
    "base": StaConfig(max_tokens=19),
    "one channel, one token": StaConfig(n=1, m=2, rows=1, cols=1, drain=1, hidden=1, max_tokens=1),
    "one lane": StaConfig(drain=1, hidden=37, max_tokens=5),
    "two lanes": StaConfig(drain=2, hidden=33, max_tokens=2),
    "eight lanes": StaConfig(drain=8, hidden=100, max_tokens=7),
    "largest": StaConfig(drain=8, hidden=4096, max_tokens=4),
    "less than a word": StaConfig(drain=8, hidden=3, max_tokens=3),
}


# --- kinds of rows: (elements, a random sequence) → elements
def anything(count: int, rng: random.Random) -> list[int]:
    return [rng.randint(LOW, HIGH) for _ in range(count)]


def ends(count: int, rng: random.Random) -> list[int]:
    return [rng.choice([LOW, HIGH]) for _ in range(count)]


def constant(count: int, rng: random.Random) -> list[int]:
    return [rng.choice([LOW, -1, 0, 1, HIGH, rng.randint(LOW, HIGH)])] * count


def lowest(count: int, rng: random.Random) -> list[int]:
    return [LOW] * count


def nearly(count: int, rng: random.Random) -> list[int]:
    """One element differs, by as little as can be."""
    row = [rng.randint(LOW, HIGH - 1)] * count
    row[rng.randrange(count)] += 1
    return row


def outlier(count: int, rng: random.Random) -> list[int]:
    row = [rng.randint(-3, 3) for _ in range(count)]
    row[rng.randrange(count)] = rng.choice([LOW, HIGH])
    return row


def small(count: int, rng: random.Random) -> list[int]:
    spread = 1 << rng.randrange(15)
    return [rng.randint(-spread, spread) for _ in range(count)]


def aside(count: int, rng: random.Random) -> list[int]:
    """Far from zero, close to one another."""
    centre = rng.choice([LOW + 50, HIGH - 50])
    return [centre + rng.randint(-50, 50) for _ in range(count)]


KINDS: dict[str, Callable[[int, random.Random], list[int]]] = {
    kind.__name__: kind for kind in (anything, ends, constant, lowest, nearly, outlier, small, aside)
}


def scaled(row: Sequence[int], channels: int, epsilon: int) -> dict[str, int]:
    """What the hardware makes of a token's sums, by the twins."""
    S, R, e = reciprocal_square_root(*statistics(row), channels, epsilon)
    return {"factor": channels * R, "offset": S * R, "shift": 20 + e}


# --- sums, and what they are made into -----------------------------------------------------------
@dataclass
class Requests:
    """What happens to `Statistics` in which order, and the answers that it must give."""

    config: StaConfig
    rng: random.Random
    channels: int
    epsilon: int
    rows: dict[int, list[int]] = field(default_factory=dict)
    actions: list[dict[str, Any]] = field(default_factory=list)  # words to write, tokens to ask for, or idle cycles
    answers: list[tuple[int, dict[str, int]]] = field(default_factory=list)

    def words(self, row: list[int]) -> Iterator[list[int]]:
        lanes = self.config.drain_lanes
        padded = row + [0] * (-len(row) % lanes)
        for at in range(0, len(padded), lanes):
            yield padded[at : at + lanes]

    def write(self, rows: dict[int, list[int]], *, mixed: bool, idle: float) -> None:
        """Rows of tokens, one after another or their words in turn."""
        pending = {
            token: [
                {"enable": 1, "token": token, "first": int(i == 0), "values": word}
                for i, word in enumerate(self.words(row))
            ]
            for token, row in rows.items()
        }
        while pending:
            token = self.rng.choice(list(pending)) if mixed else next(iter(pending))
            while self.rng.random() < idle:
                self.actions.append({})
            self.actions.append({"write": pending[token].pop(0)})
            if not pending[token]:
                del pending[token]
        self.rows |= rows

    def ask(self, token: int) -> None:
        self.actions.append({"ask": token})
        self.answers.append((token, scaled(self.rows[token], self.channels, self.epsilon)))

    def idle(self, cycles: int) -> None:
        self.actions += [{}] * cycles


def answers_of(bench: Requests) -> tuple[list[tuple[int, int, dict[str, int]]], list[int]]:
    """(cycle, token, scaling) of each answer, and the cycles in which requests were accepted."""
    unit = Statistics(bench.config)
    accepted: list[int] = []
    rng = bench.rng
    cycle = 0

    async def testbench(ctx: SimulatorContext) -> None:
        nonlocal cycle

        async def tick() -> None:
            nonlocal cycle
            await ctx.tick()
            cycle += 1

        drive(ctx, unit, {"channels": bench.channels, "epsilon": bench.epsilon})
        behind_word = False
        for action in bench.actions:
            lanes = [rng.randint(LOW, HIGH) for _ in range(bench.config.drain_lanes)]
            token = rng.randrange(bench.config.max_tokens)
            nothing = {"enable": 0, "token": token, "first": rng.getrandbits(1), "values": lanes}
            wishes = "ask" in action or ("write" in action and behind_word)
            wish = {"request.valid": int(wishes), "request.payload": token}
            drive(ctx, unit, {"write": action.get("write", nothing), **wish})
            if behind_word:
                assert not ctx.get(unit.request.ready)
            behind_word = "write" in action
            if "ask" in action:
                drive(ctx, unit, {"request.payload": action["ask"]})
                while not ctx.get(unit.request.ready):
                    await tick()
                accepted.append(cycle)
            await tick()
        drive(ctx, unit, {"request.valid": 0, "write.enable": 0})
        for _ in range(Statistics.LATENCY + 2):
            await tick()

    answer = unit.answer
    limit = len(bench.actions) + (len(bench.answers) + 6) * Statistics.INTERVAL
    watch = [answer.valid, answer.token, *(answer.scaling[name] for name in ("factor", "offset", "shift"))]
    record = run(unit, testbench, limit=limit, watch=watch)
    names = ("factor", "offset", "shift")
    given = [
        (at, token, dict(zip(names, fields, strict=True))) for at, (valid, token, *fields) in enumerate(record) if valid
    ]
    return given, accepted


def check(bench: Requests) -> list[int]:
    """Answers are right; returns the cycles of the answers."""
    given, accepted = answers_of(bench)
    assert [(token, fields) for _, token, fields in given] == bench.answers
    for (at, _, _), asked in zip(given, accepted, strict=True):
        assert at - asked <= Statistics.LATENCY
    return [at for at, _, _ in given]


def channels_of(config: StaConfig, rng: random.Random) -> set[int]:
    return {1, config.hidden, rng.randint(1, config.hidden)}


@pytest.mark.parametrize("mixed", [False, True], ids=["in order", "mixed"])
@pytest.mark.parametrize("name", but(CONFIGURATIONS, {"largest"}))
def test_statistics_equal_their_twins(name: str, mixed: bool) -> None:
    config = CONFIGURATIONS[name]
    rng = seeded(name, mixed)
    for channels in sorted(channels_of(config, rng)):
        bench = Requests(config, rng, channels, rng.choice([0, 1, EPSILON_MOST, rng.randint(0, EPSILON_MOST)]))
        kinds = list(KINDS)
        while kinds:
            some, kinds = kinds[: config.max_tokens], kinds[config.max_tokens :]
            tokens = rng.sample(range(config.max_tokens), len(some))
            rows = {token: KINDS[kind](channels, rng) for token, kind in zip(tokens, some, strict=True)}
            bench.write(rows, mixed=mixed, idle=rng.choice([0.0, 0.5]))
            bench.idle(rng.randrange(6))
            for token in tokens:
                bench.ask(token)
        check(bench)


@pytest.mark.parametrize("epsilon", [0, 1, 2, 3, 4, EPSILON_MOST])
def test_variance_of_nothing(epsilon: int) -> None:
    """Constant rows, of 0 too; where epsilon is 0 the token is normalised to 0."""
    config = StaConfig(hidden=16, max_tokens=4)
    bench = Requests(config, seeded(epsilon), 16, epsilon)
    for values in ([0, LOW, HIGH, 1], [0, 0, 0, 0]):
        bench.write({token: [value] * 16 for token, value in enumerate(values)}, mixed=False, idle=0.0)
        for token in range(4):
            bench.ask(token)
    check(bench)
    assert reciprocal_square_root(16, 16, 16, 0) == (16, 0, 0)


@pytest.mark.parametrize("bits", range(1, 55))
def test_every_size_of_variance(bits: int) -> None:
    """The lowest and the highest number of so many bits, and powers of two with their neighbours: all of e."""
    for variance in {1 << bits - 1, (1 << bits) - 1, (1 << bits - 1) + 1}:
        S, R, e = reciprocal_square_root(0, variance, 1, 0)
        assert S == 0
        assert 1 << 16 <= R < 1 << ROOT_BITS
        assert -19 <= e <= 8
        assert R * 2.0 ** -(36 + e) == pytest.approx(1 / sqrt(variance), rel=2.0**-16)


def test_roots_of_small_variances() -> None:
    """Variances that only epsilon makes."""
    config = StaConfig(hidden=4, drain=4, max_tokens=1)
    rng = seeded("roots")
    for epsilon in (1, 2, 3, 15, 16, 0x4000, 0x7FFF, 1 << 31, EPSILON_MOST):
        bench = Requests(config, rng, 4, epsilon)
        bench.write({0: [rng.randint(LOW, HIGH)] * 4}, mixed=False, idle=0.0)
        bench.ask(0)
        check(bench)


@pytest.mark.parametrize("apart", range(8))
def test_a_request_right_behind_words(apart: int) -> None:
    """It counts all of them, however few cycles ago they were written, of its token and of others between."""
    config = StaConfig(hidden=12, drain=4, max_tokens=3)
    bench = Requests(config, seeded(apart), 12, 5)
    for token in (2, 0, 1, 1, 2, 2):
        bench.write({token: anything(12, bench.rng)}, mixed=False, idle=0.0)
        bench.idle(apart)
        bench.ask(token)
        bench.write({(token + 1) % 3: anything(12, bench.rng)}, mixed=False, idle=0.0)
    check(bench)


def test_words_go_on_while_roots_are_computed() -> None:
    """Rows written behind a request do not change its answer, and those of the same token begin anew."""
    config = StaConfig(hidden=8, drain=4, max_tokens=2)
    bench = Requests(config, seeded("go on"), 8, 0)
    bench.write({0: anything(8, bench.rng), 1: anything(8, bench.rng)}, mixed=True, idle=0.0)
    for _ in range(10):
        bench.ask(0)
        for _ in range(12):
            bench.write({0: anything(8, bench.rng)}, mixed=False, idle=0.0)
    check(bench)


@pytest.mark.parametrize("token", [0, 1])
def test_a_word_in_the_cycle_of_a_request(token: int) -> None:
    """The word is behind the request: of the token that is asked for, or of another."""
    config = StaConfig(hidden=8, drain=4, max_tokens=2)
    bench = Requests(config, seeded("beside", token), 8, 0)
    bench.write({0: anything(8, bench.rng), 1: anything(8, bench.rng)}, mixed=False, idle=0.0)
    for _ in range(4):
        bench.idle(Statistics.LATENCY)  # so the request is taken at once
        bench.ask(0)
        beside = len(bench.actions) - 1
        bench.write({token: anything(8, bench.rng)}, mixed=False, idle=0.0)
        bench.actions[beside] |= bench.actions.pop(beside + 1)
    bench.ask(token)
    check(bench)


@pytest.mark.parametrize("name", ["base", "largest", "less than a word"])
def test_a_token_every_26_cycles(name: str) -> None:
    config = CONFIGURATIONS[name]
    bench = Requests(config, seeded("interval"), config.hidden, 1)
    kinds = ["anything", "small", "nearly", "aside"]
    for token, kind in enumerate(kinds):
        bench.write({token % config.max_tokens: KINDS[kind](config.hidden, bench.rng)}, mixed=False, idle=0.0)
    for _ in range(4):
        for token in bench.rows:
            bench.ask(token)
    answers = check(bench)
    assert (answers[-1] - answers[0]) / (len(answers) - 1) <= Statistics.INTERVAL


# --- elements ------------------------------------------------------------------------------------
def operands(config: StaConfig, rng: random.Random) -> Iterator[tuple[list[int], tuple[int, int, int], int]]:
    """Words of elements, (S, R, e) and H, of rows and of sums that no row has."""
    for kind in KINDS:
        for channels in channels_of(config, rng):
            row = KINDS[kind](channels, rng)
            for epsilon in (0, 1, rng.randint(0, EPSILON_MOST)):
                made = reciprocal_square_root(*statistics(row), channels, epsilon)
                yield [rng.choice(row) for _ in range(config.drain_lanes)], made, channels
    for _ in range(300):
        channels = rng.randint(1, config.hidden)
        S = rng.choice([LOW * channels, HIGH * channels, rng.randint(LOW * channels, HIGH * channels)])
        R = rng.choice([0, 1 << 16, (1 << ROOT_BITS) - 1, rng.randint(1 << 16, (1 << ROOT_BITS) - 1)])
        yield (
            [rng.choice([LOW, HIGH, rng.randint(LOW, HIGH)]) for _ in range(config.drain_lanes)],
            (S, R, rng.randint(-19, 8)),
            channels,
        )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_normaliser_equals_its_twin(name: str) -> None:
    """Neighbours in the pipeline differ in all operands; some pass as they are."""
    config = CONFIGURATIONS[name]
    rng = seeded(name)
    given = list(operands(config, rng))
    rng.shuffle(given)
    cycles = []
    want = []
    for elements, (S, R, e), channels in given:
        plain = rng.random() < 0.2
        scale = {"factor": channels * R, "offset": S * R, "shift": 20 + e}
        cycles.append({"r": elements, "scaling": scale, "normalise": int(not plain)})
        want.append(tuple(elements if plain else (normalise(r, S, R, e, channels) for r in elements)))
    unit = Normaliser(config)
    record = trace(unit, cycles + cycles[-1:] * Normaliser.LATENCY, *unit.z)
    for number, (got, wanted) in enumerate(zip(record[Normaliser.LATENCY :], want, strict=True)):
        assert got == wanted, f"{given[number]}"


def test_saturation() -> None:
    """Where it begins and ends, at either end."""
    config = CONFIGURATIONS["base"]
    rng = seeded("saturation")
    cycles = []
    want = []
    for end in (Z_TOP, -Z_TOP - 1):
        for z in range(end - 3, end + 4):
            for half in (0, 1):
                r = rng.randint(LOW, HIGH)
                scale = {"factor": 3, "offset": 3 * r - 2 * z + half, "shift": 1}
                cycles.append({"r": [r] * config.drain_lanes, "scaling": scale, "normalise": 1})
                want.append(max(-Z_TOP - 1, min(Z_TOP, z)))
    unit = Normaliser(config)
    record = trace(unit, cycles + cycles[-1:] * Normaliser.LATENCY, *unit.z)
    assert record[Normaliser.LATENCY :] == [(z,) * config.drain_lanes for z in want]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_scaling_holds_what_rows_need(name: str) -> None:
    """The widest products of any row, with their sign."""
    config = CONFIGURATIONS[name]
    elements = config.residual_words * config.drain_lanes
    most = (1 << ROOT_BITS) - 1
    layout = scaling(config)
    assert elements * most < 1 << layout["factor"].width
    assert elements * -LOW * most <= 1 << layout["offset"].width - 1


def test_elements_do_not_saturate() -> None:
    """√H is the largest magnitude, of an outlier among 4096."""
    for channels in (1, 2, 3, 384, 4096):
        row = [0] * (channels - 1) + [HIGH]
        made = reciprocal_square_root(*statistics(row), channels, 0)
        assert all(abs(normalise(r, *made, channels)) <= 1.001 * sqrt(channels) * (1 << Z_FRACTION) for r in row)
    assert normalise(HIGH, LOW * 4096, 1 << 16, -19, 4096) == Z_TOP
    assert normalise(LOW, HIGH * 4096, 1 << 16, -19, 4096) == -Z_TOP - 1


# --- accuracy, against floating point ------------------------------------------------------------
def parameters(gamma: float, beta: float, unit: float) -> tuple[int, int, int]:
    """(bias, mult, shift) for y = (gamma · z + beta) / unit, gamma > 0, as the compiler would choose them."""
    factor = gamma / unit / (1 << Z_FRACTION)
    shift = 0
    while round(factor * 2.0 ** (shift + 1)) < 1 << 16:
        shift += 1
    mult = round(factor * 2.0**shift)
    return round(beta / unit * 2.0**shift / mult), mult, shift


@pytest.mark.parametrize("hidden", [128, 384, 768])
@pytest.mark.parametrize("spread", [300.0, 3000.0, 9000.0])
def test_accuracy(hidden: int, spread: float) -> None:
    """16-bit results within one unit of float64's, 0.26 in the mean, where they reach 16000 of 32767."""
    rng = seeded(hidden, spread)
    epsilon = 1e-5
    residual_unit = 1 / 4096  # of the real numbers that the residual stands for
    unit = 5.0 / 16000
    real = [(rng.uniform(0.6, 1.4), rng.uniform(-0.3, 0.3)) for _ in range(hidden)]
    channels = [(*parameters(gamma, beta, unit), gamma, beta) for gamma, beta in real]
    errors = []
    largest = 0.0
    for _ in range(20):
        offset = rng.uniform(-1000, 1000)
        row = [max(LOW, min(HIGH, round(rng.gauss(offset, spread)))) for _ in range(hidden)]
        row[rng.randrange(hidden)] = round(offset + 4.0 * spread) if spread < 8000 else HIGH
        mean = sum(row) / hidden
        variance = sum((r - mean) ** 2 for r in row) / hidden * residual_unit**2
        S, R, e = reciprocal_square_root(*statistics(row), hidden, round(epsilon / residual_unit**2 * hidden**2))
        for r, (bias, mult, shift, gamma, beta) in zip(row, channels, strict=True):
            exact = ((r - mean) * residual_unit / sqrt(variance + epsilon) * gamma + beta) / unit
            got = requantise(normalise(r, S, R, e, hidden), bias, mult, shift, 16)
            errors.append(abs(got - exact))
            largest = max(largest, abs(exact))
    assert largest > 12000
    assert max(errors) <= 1.0
    assert sum(errors) / len(errors) <= 0.26


def test_rounding_by_hand() -> None:
    """Two elements, 1 and −1: the deviation is 1, up to the last bit of R."""
    S, R, e = reciprocal_square_root(*statistics([1, -1]), 2, 0)
    assert (S, R, e) == (0, (1 << ROOT_BITS) - 1, -18)
    assert normalise(1, S, R, e, 2) == floor(2 * R / 4 + 0.5)
    assert normalise(1, S, R, e, 2) + normalise(-1, S, R, e, 2) in (0, 1)
