"""The configuration and what follows from it, each number against a count made the slow way."""

import dataclasses
import random
from hashlib import sha256
from typing import Any

import pytest

from rtl.array.latencies import drain_start, drain_window
from rtl.engine.register_table import REGISTERS, register_values
from rtl.format import selection_coding
from rtl.params import (
    BIAS_BITS,
    BURST_BEATS,
    CHANNELS_MAX,
    FIFO_BEATS,
    PRESETS,
    VERSION,
    Config,
    InputError,
    ceil_div,
    power_of_two_at_least,
    round_up,
    signed_bits,
    units_in_beats,
)
from rtl.product import Pattern, Product
from tests.rtl.simulate import seeded

SIZES = (2, 4, 8, 16, 32)


def random_config(rng: random.Random) -> Config:
    m = rng.choice(SIZES)
    return Config(
        n=rng.randint(1, m),
        m=m,
        rows=rng.randint(1, 32),
        cols=rng.randint(1, 32),
        drain=rng.choice([1, 2, 4, 8]),
        port_bytes=rng.choice([1, 2, 4, 8, 16, 32, 64]),
        max_tokens=rng.choice([1, rng.randint(1, 200), 4096]),
        max_k=rng.choice([m, rng.randint(m, 300)]),
    )


def random_product(config: Config, rng: random.Random) -> Product:
    return Product(
        config=config,
        tokens=rng.choice([1, config.max_tokens, rng.randint(1, config.max_tokens)]),
        k=rng.choice([1, config.max_k, rng.randint(1, config.max_k)]),
        channels=rng.choice([1, config.cols, rng.randint(1, 100)]),
        pattern_n=rng.choice([config.n, config.m, rng.randint(1, config.m)]),
        out_bits=rng.choice([8, 16]),
        per_row=rng.random() < 0.5,
    )


CONFIGS = [random_config(seeded("configurations", i)) for i in range(60)]
PRODUCTS = [random_product(config, seeded("products", i)) for i, config in enumerate(CONFIGS)]


# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n is 0, must be an integer from 1 to 65536"),
        ({"n": 9}, "n is 9, must be at most m = 8"),
        ({"n": 2.0}, "n is 2.0, must be an integer from 1 to 65536"),
        ({"n": True}, "n is True, must be an integer from 1 to 65536"),
        ({"m": 6}, "m is 6, must be 2, 4, 8, 16 or 32"),
        ({"m": 64}, "m is 64, must be 2, 4, 8, 16 or 32"),
        ({"m": 1, "n": 1}, "m is 1, must be 2, 4, 8, 16 or 32"),
        ({"rows": 0}, "rows is 0, must be an integer from 1 to 65536"),
        ({"rows": 33}, "rows is 33, must be an integer from 1 to 32"),
        ({"cols": -1}, "cols is -1, must be an integer from 1 to 65536"),
        ({"cols": 33}, "cols is 33, must be an integer from 1 to 32"),
        ({"drain": 3}, "drain is 3, must be 1, 2, 4 or 8"),
        ({"drain": 16}, "drain is 16, must be 1, 2, 4 or 8"),
        ({"port_bytes": 12}, "port_bytes is 12, must be 1, 2, 4, 8, 16, 32 or 64"),
        ({"port_bytes": 128}, "port_bytes is 128, must be 1, 2, 4, 8, 16, 32 or 64"),
        ({"max_tokens": 4097}, "max_tokens is 4097, must be an integer from 1 to 4096"),
        ({"max_k": 7}, "max_k is 7, must be an integer from 8 to 65536"),
        ({"max_k": 65537}, "max_k is 65537, must be an integer from 1 to 65536"),
        ({"max_k": "1"}, "max_k is '1', must be an integer from 1 to 65536"),
    ],
)
def test_bounds_of_a_configuration(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        Config(**change)


def test_the_bounds_themselves_are_fine() -> None:
    for change in (
        {"rows": 32, "cols": 32},
        {"rows": 1, "cols": 1},
        {"n": 32, "m": 32},
        {"n": 1, "m": 2},
        {"max_tokens": 4096},
        {"max_tokens": 1},
        {"max_k": 65536},
        {"max_k": 8},
        {"port_bytes": 64, "drain": 8},
        {"port_bytes": 1, "drain": 1},
    ):
        Config(**change)


def test_a_configuration_is_frozen_and_names_its_fields() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().n = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Config(2, 8)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 0}, "tokens is 0, must be an integer from 1 to 128"),
        ({"tokens": 129}, "tokens is 129, must be an integer from 1 to 128"),
        ({"k": 1537}, "k is 1537, must be an integer from 1 to 1536"),
        ({"k": 0}, "k is 0, must be an integer from 1 to 1536"),
        ({"channels": 65536}, "channels is 65536, must be an integer from 1 to 65535"),
        ({"pattern_n": 9}, "pattern_n is 9, must be an integer from 1 to 8"),
        ({"pattern_n": 0}, "pattern_n is 0, must be an integer from 1 to 8"),
        ({"out_bits": 32}, "out_bits is 32, must be 8 or 16"),
    ],
)
def test_bounds_of_a_product(change: dict[str, Any], message: str) -> None:
    shape = {"tokens": 1, "k": 1, "channels": 1, "pattern_n": 1, **change}
    with pytest.raises(InputError, match=f"^{message}$"):
        Product(config=Config(), **shape)


def test_largest_product() -> None:
    Product(config=Config(max_k=1530), tokens=128, k=1536, channels=CHANNELS_MAX, pattern_n=8)


# --- a configuration's numbers -------------------------------------------------------------------


def test_small_functions() -> None:
    for a in range(1, 40):
        for b in range(1, 40):
            assert ceil_div(a, b) == len(range(0, a, b))
            assert round_up(a, b) == next(x for x in range(a, a + b) if x % b == 0)
        assert power_of_two_at_least(a) == next(1 << i for i in range(9) if 1 << i >= a)
        bits = next(bits for bits in range(1, 9) if a < 1 << (bits - 1))
        assert signed_bits(a) == bits, f"{a} fits, as do {-a} and all between"


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_derived(config: Config) -> None:
    c = config
    assert 2**c.index_bits == c.m
    assert c.max_groups * c.m >= c.max_k > (c.max_groups - 1) * c.m
    steps_a_group = next(steps for steps in range(1, 33) if steps * c.n >= c.m)
    assert c.max_steps == c.max_groups * steps_a_group
    assert c.store_word_bytes % c.m == c.store_word_bytes % c.port_bytes == 0
    assert c.store_word_bytes in (c.m, c.port_bytes)
    assert c.row_words * c.store_word_bytes >= c.max_groups * c.m > (c.row_words - 1) * c.store_word_bytes
    assert c.max_token_tiles == len(range(0, c.max_tokens, c.rows))
    assert c.store_depth == c.max_token_tiles * c.row_words
    assert c.drain_lanes == (c.cols if c.cols < c.drain else c.drain)
    assert c.slots_a_row == len(range(0, c.cols, c.drain_lanes))
    for out_bytes in (1, 2):
        pitch = c.pitch(out_bytes)
        assert pitch in (1, 2, 4, 8, 16, 32, 64)
        assert pitch >= c.cols * out_bytes > pitch // 2
    groups_of_tokens = len(range(0, c.max_tokens, c.m)) * c.m
    largest = max(c.max_groups * c.m, groups_of_tokens) * 256 * 128
    assert 1 << (c.accumulator_bits - 2) <= largest < 1 << (c.accumulator_bits - 1)
    with_bias = (1 << (c.accumulator_bits - 1)) + (1 << (BIAS_BITS - 1))
    assert 1 << (c.biased_bits - 2) <= with_bias < 1 << (c.biased_bits - 1)


def test_identification() -> None:
    """Another one for each change of each field, the same one for equal configurations, in every process."""
    base = Config()
    text = f"nmgen {VERSION} {base.architecture}"
    assert base.identification == int.from_bytes(sha256(text.encode()).digest()[:4], "little")
    changes = {"n": 1, "m": 16, "rows": 7, "cols": 7, "drain": 2, "port_bytes": 8, "max_tokens": 64, "max_k": 768}
    technology = {"pe", "device", "soft_rows"}  # programs and packed weights are the same for all of it
    assert set(changes) == set(base.architecture) == {field.name for field in dataclasses.fields(Config)} - technology
    assert Config(pe="ecp5", device="LFE5U-85F", soft_rows=1).identification == base.identification
    others = {dataclasses.replace(base, **{name: value}).identification for name, value in changes.items()}
    assert len({base.identification, *others}) == 1 + len(changes)


def test_presets() -> None:
    assert PRESETS["base"] == Config()
    assert len({config.identification for config in PRESETS.values()}) == len(PRESETS)


def test_registers_have_places_of_their_own() -> None:
    offsets = [register.offset for register in REGISTERS.values()]
    assert offsets == list(range(0, 4 * len(offsets), 4))
    assert max(offsets) < 1 << 8


def test_bursts_fit_the_beat_fifo() -> None:
    assert FIFO_BEATS % BURST_BEATS == 0


# --- patterns and units --------------------------------------------------------------------------


@pytest.mark.parametrize("m", SIZES)
def test_patterns(m: int) -> None:
    for n in range(1, m + 1):
        index, bitmap = n * (m.bit_length() - 1), m
        coding = selection_coding(n, m)
        assert coding == ("counted" if n == m else "index" if index <= bitmap else "bitmap")
        for lanes in range(1, m + 1):
            pattern = Pattern(config=Config(n=lanes, m=m), n=n)
            assert pattern.coding == coding
            assert pattern.dense == (n == m)
            assert pattern.lanes == (lanes if lanes < n else n)
            assert pattern.steps == len(range(0, n, lanes))


def test_patterns_of_eight() -> None:
    codings = [selection_coding(n, 8) for n in range(1, 9)]
    assert codings == ["index"] * 2 + ["bitmap"] * 5 + ["counted"]


def test_units_in_beats() -> None:
    for unit in range(1, 200):
        for port in (8, 16, 64, 128):
            units = next(count for count in range(port + 1) if (count + 1) * unit > port)
            beats = next(count for count in range(1, 200) if count * port >= unit)
            assert units_in_beats(unit, port) == (units or 1, beats)


# --- a product's numbers -------------------------------------------------------------------------

EVERY_PRODUCT = pytest.mark.parametrize("product", PRODUCTS, ids=range(len(PRODUCTS)))


def beats_and_users(count: int, unit_bits: int, port_bits: int, users: int) -> list[int]:
    """Of each beat of a plane of `count` units, each for so many users: the first one that needs it."""
    first: list[int] = []
    used = port_bits  # bits of the last beat
    for unit in range(count):
        if unit_bits > port_bits:
            first += [unit * users] * len(range(0, unit_bits, port_bits))
        else:
            if used + unit_bits > port_bits:
                first.append(unit * users)
                used = 0
            used += unit_bits
    return first


@EVERY_PRODUCT
def test_tile_plan(product: Product) -> None:
    """Parameters, then every beat as late as can be, selection before values."""
    p, c = product, product.config
    port = 8 * c.port_bytes
    parameters = beats_and_users(c.slots_a_row, c.drain_lanes * 64, port, 1)
    due = [(step, 1, i) for i, step in enumerate(beats_and_users(p.steps, p.pattern.lanes * c.cols * 8, port, 1))]
    if p.pattern.coding == "index":
        users = beats_and_users(p.steps, p.pattern.lanes * c.cols * c.index_bits, port, 1)
    else:
        users = beats_and_users(p.groups, c.cols * c.m, port, p.pattern.steps) if p.pattern.coding == "bitmap" else []
    due += [(step, 0, i) for i, step in enumerate(users)]
    plan = [("parameters", i) for i in range(len(parameters))]
    plan += [(("selection", "values")[kind], i) for _, kind, i in sorted(due)]
    assert p.tile_plan() == plan
    assert p.w_tile_beats == len(plan)


@EVERY_PRODUCT
def test_product(product: Product) -> None:
    p, c = product, product.config
    padded = len(range(0, p.k, c.m)) * c.m
    assert p.groups == padded // c.m
    assert p.steps == p.groups * len(range(0, p.pattern_n, c.n))
    assert p.token_tiles == len(range(0, p.tokens, c.rows))
    assert p.column_tiles == len(range(0, p.channels, c.cols))
    assert p.x_row_beats == len(range(0, padded, c.port_bytes))
    r_beats = beats_and_users(p.tokens, 64, 8 * c.port_bytes, 1) if p.per_row else []
    assert p.r_beats == len(r_beats)

    needed = sum(min(p.pattern_n, p.k - first) for first in range(0, p.k, c.m))
    assert p.multiplies == p.tokens * p.channels * needed
    assert p.utilisation(1000) == pytest.approx(p.multiplies / 1000 / (c.rows * c.cols * c.n))

    row = p.column_tiles * c.pitch(p.out_bits // 8)
    assert p.y_stride == next(x for x in range(row, row + c.port_bytes) if x % c.port_bytes == 0)
    assert p.bytes_written == p.tokens * p.channels * (p.out_bits // 8)
    beats = p.tokens * p.x_row_beats + p.column_tiles * len(p.tile_plan()) + p.r_beats
    assert p.bytes_read == beats * c.port_bytes
    assert register_values(p, x_address=1, w_address=2, y_address=3, r_address=4) == {
        "tokens": p.tokens,
        "groups": p.groups,
        "channels": p.channels,
        "mode": p.pattern_n + (256 if p.out_bits == 16 else 0) + (512 if p.per_row else 0),
        "x_address": 1,
        "x_beats": p.tokens * p.x_row_beats,
        "w_address": 2,
        "w_tile_beats": len(p.tile_plan()),
        "w_beats": p.column_tiles * len(p.tile_plan()),
        "r_address": 4,
        "r_beats": p.r_beats,
        "y_address": 3,
        "y_stride": p.y_stride,
    }


# --- timing --------------------------------------------------------------------------------------


def reads(config: Config, begins: int) -> dict[tuple[int, int], int]:
    """When each element's result is looked at if a tile's drain begins in that cycle, all rows in use."""
    slots = len(range(0, config.cols, config.drain_lanes))
    return {
        (r, i): begins + r * slots + i // config.drain_lanes + 1 + i
        for r in range(config.rows)
        for i in range(config.cols)
    }


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_drain_begins_as_soon_as_it_may(config: Config) -> None:
    """Counted from the decision to issue the last step: 3 cycles to the first element, 8 through an element."""
    ready = {(r, i): 3 + r + i + 8 for r in range(config.rows) for i in range(config.cols)}
    fits = [
        all(cycle >= ready[element] for element, cycle in reads(config, begins).items())
        for begins in (drain_start(config), drain_start(config) - 1)
    ]
    assert fits == [True, False]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_next_tile_ends_as_soon_as_it_may(config: Config) -> None:
    """Its results must not come before those of the tile before are read."""
    last_reads = reads(config, 0)
    fits = [
        all(last_reads[r, i] < issued + 3 + r + i + 8 for r in range(config.rows) for i in range(config.cols))
        for issued in (drain_window(config), drain_window(config) - 1)
    ]
    assert fits == [True, False]
