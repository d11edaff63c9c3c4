"""The configuration and what follows from it, each number against a count made the slow way."""

import dataclasses
from hashlib import sha256
from typing import Any

import pytest

from rtl.params import (
    BIAS_BITS,
    BURST_BEATS,
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
from tests.rtl.configurations import CONFIGS

# --- bounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n is 0, must be an integer from 1 to 8"),
        ({"n": 9}, "n is 9, must be at most m = 8"),
        ({"n": 2.0}, "n is 2.0, must be an integer from 1 to 8"),
        ({"n": True}, "n is True, must be an integer from 1 to 8"),
        ({"m": 6}, "m is 6, must be 2, 4, 8, 16 or 32"),
        ({"m": 64}, "m is 64, must be 2, 4, 8, 16 or 32"),
        ({"m": 1, "n": 1}, "m is 1, must be 2, 4, 8, 16 or 32"),
        ({"rows": 0}, "rows is 0, must be an integer from 1 to 32"),
        ({"rows": 33}, "rows is 33, must be an integer from 1 to 32"),
        ({"cols": -1}, "cols is -1, must be an integer from 1 to 32"),
        ({"cols": 33}, "cols is 33, must be an integer from 1 to 32"),
        ({"m": 8.0}, "m is 8.0, must be 2, 4, 8, 16 or 32"),
        ({"drain": 0}, "drain is 0, must be 1, 2, 4 or 8"),
        ({"drain": "4"}, "drain is '4', must be 1, 2, 4 or 8"),
        ({"soft_rows": 1}, "soft_rows is 1, which portable PEs do not have; give pe ecp5"),
        ({"drain": 3}, "drain is 3, must be 1, 2, 4 or 8"),
        ({"drain": 16}, "drain is 16, must be 1, 2, 4 or 8"),
        ({"port_bytes": 12}, "port_bytes is 12, must be 1, 2, 4, 8, 16, 32 or 64"),
        ({"port_bytes": 128}, "port_bytes is 128, must be 1, 2, 4, 8, 16, 32 or 64"),
        ({"max_tokens": 4097}, "max_tokens is 4097, must be an integer from 1 to 4096"),
        ({"max_k": 7}, "max_k is 7, must be an integer from 8 to 65536"),
        ({"max_k": 65537}, "max_k is 65537, must be an integer from 8 to 65536"),
        ({"max_k": "1"}, "max_k is '1', must be an integer from 8 to 65536"),
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
    largest = max(c.max_groups * c.m, groups_of_tokens) * 255 * 128
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


def test_bursts_fit_the_beat_fifo() -> None:
    assert FIFO_BEATS % BURST_BEATS == 0


def test_units_in_beats() -> None:
    for unit in range(1, 200):
        for port in (8, 16, 64, 128):
            units = next(count for count in range(port + 1) if (count + 1) * unit > port)
            beats = next(count for count in range(1, 200) if count * port >= unit)
            assert units_in_beats(unit, port) == (units or 1, beats)
