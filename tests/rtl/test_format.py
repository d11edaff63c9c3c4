"""The definition of a packed group: what it says holds for every pattern, and every wrong code is refused."""

import re
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtl.format import (
    GROUP_SIZES,
    bits_per_group,
    check_pattern,
    decode,
    encode,
    pack_group,
    parse_pattern,
    unpack_group,
)
from rtl.params import InputError

PATTERNS = [(n, m) for m in GROUP_SIZES for n in range(1, m + 1)]


@st.composite
def groups(draw: st.DrawFn) -> tuple[list[int], int]:
    """(weights, n) of a group with at most n non-zero weights."""
    n, m = draw(st.sampled_from(PATTERNS))
    places = draw(st.sets(st.integers(0, m - 1), max_size=n))
    return [draw(st.integers(-127, 127)) if place in places else 0 for place in range(m)], n


@given(groups())
def test_a_group_is_its_pairs(given: tuple[list[int], int]) -> None:
    weights, n = given
    values, positions = pack_group(weights, n)
    assert len(values) == len(positions) == n
    assert positions == sorted(set(positions))
    assert [weights[p] for p in positions] == values
    assert unpack_group(values, positions, len(weights)) == weights
    zeros = [p for p, weight in enumerate(weights) if weight == 0]
    padding = [p for p in positions if weights[p] == 0]
    assert padding == zeros[: len(padding)]


@given(groups())
def test_code_and_back(given: tuple[list[int], int]) -> None:
    weights, n = given
    m = len(weights)
    _, positions = pack_group(weights, n)
    code = encode(positions, n, m)
    assert 0 <= code < 1 << bits_per_group(n, m)
    assert decode(code, n, m) == positions


@pytest.mark.parametrize(("n", "m"), [(n, m) for n, m in PATTERNS if bits_per_group(n, m) <= 16])
def test_each_code_is_of_one_choice_or_of_none(n: int, m: int) -> None:
    found = 0
    for code in range(1 << bits_per_group(n, m)):
        try:
            positions = decode(code, n, m)
        except InputError:
            continue
        found += 1
        assert encode(positions, n, m) == code
    assert found == comb(m, n)


@pytest.mark.parametrize(
    ("n", "m", "bits"),
    [
        (1, 2, 1),
        (2, 2, 0),
        (2, 4, 4),
        (3, 4, 4),
        (2, 8, 6),
        (3, 8, 8),
        (8, 8, 0),
        (4, 16, 16),
        (6, 32, 30),
        (7, 32, 32),
    ],
)
def test_bits_of_a_group(n: int, m: int, bits: int) -> None:
    assert bits_per_group(n, m) == bits


def test_first_index_and_first_position_are_the_lowest_bits() -> None:
    assert encode([1, 4], 2, 8) == 1 | 4 << 3
    assert encode([0, 1, 4], 3, 8) == 0b10011
    assert encode(list(range(8)), 8, 8) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack_group([1, 2, 3, 0], 2), "group has 3 non-zero weights, must be at most 2 for 2:4"),
        (lambda: encode([4, 1], 2, 8), "positions are [4, 1], must be 2 ascending ones from 0 to 7"),
        (lambda: encode([1, 8], 2, 8), "positions are [1, 8], must be 2 ascending ones from 0 to 7"),
        (lambda: encode([1, 1], 2, 8), "positions are [1, 1], must be 2 ascending ones from 0 to 7"),
        (lambda: encode([1], 2, 8), "positions are [1], must be 2 ascending ones from 0 to 7"),
        (lambda: decode(0b001100, 2, 8), "indices are [4, 1], must be ascending"),
        (lambda: decode(0b001001, 2, 8), "indices are [1, 1], must be ascending"),
        (lambda: decode(0x0F, 3, 8), "bitmap 0xf has 4 bits set, must have 3"),
        (lambda: check_pattern(2, 6), "pattern 2:6 has groups of 6, must be 2, 4, 8, 16 or 32"),
        (lambda: check_pattern(0, 8), "pattern 0:8 keeps 0 of 8, must be 1 to 8"),
        (lambda: check_pattern(9, 8), "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
        (lambda: parse_pattern("9:8"), "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
        (lambda: parse_pattern("2/8"), "pattern is '2/8', must be N:M such as 2:8"),
        (lambda: parse_pattern("2:"), "pattern is '2:', must be N:M such as 2:8"),
        (lambda: parse_pattern("-2:8"), "pattern is '-2:8', must be N:M such as 2:8"),
        (lambda: parse_pattern("²:8"), "pattern is '²:8', must be N:M such as 2:8"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()


def test_parse_pattern() -> None:
    assert parse_pattern("2:8") == (2, 8)
    assert parse_pattern("32:32") == (32, 32)
