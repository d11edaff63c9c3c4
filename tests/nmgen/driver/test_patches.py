"""Instructions that change, as fills."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmgen.driver.host import Fill
from nmgen.driver.patches import PLACES_MAX, fills, grids, runs
from rtl.sta.isa import BYTES

SEED = int(os.environ.get("NMGEN_SEED", "2026"))


def filled(memory: np.ndarray, fill: Fill, beat: int) -> None:
    for row in range(fill.rows):
        for i in range(fill.count):
            at = fill.address + beat * (row * fill.pitch + i * fill.stride)
            memory[at : at + 2] = np.frombuffer(fill.value.to_bytes(2, "little"), np.uint8)


@pytest.mark.parametrize("beat", [2, 8, 64])
def test_fills_make_what_is_wanted(beat: int) -> None:
    """And nothing beside it; regular changes and single ones, in values that others have, too."""
    rng = np.random.default_rng(SEED + beat)
    address, count = 3 * BYTES, 300
    for _ in range(20):
        before = rng.integers(0, 256, count * BYTES).astype(np.uint8)
        wanted = before.copy().view("<u2").reshape(count, -1)
        for _ in range(4):
            first, step = rng.integers(0, 40), rng.integers(1, 30)
            wanted[first : rng.integers(60, count) : step, rng.integers(32)] = rng.integers(1 << 16)
        for _ in range(3):
            wanted[rng.integers(count), rng.integers(32)] ^= 1
        after = wanted.reshape(-1).view(np.uint8)
        memory = np.concatenate([np.zeros(address, np.uint8), before, np.zeros(9, np.uint8)])
        patches = fills(after, before, address, beat)
        for fill in patches:
            filled(memory, fill, beat)
        np.testing.assert_array_equal(memory[address:-9], after, err_msg=f"NMGEN_SEED={SEED}")
        assert not memory[:address].any()
        assert not memory[-9:].any()


def test_what_is_the_same_takes_nothing() -> None:
    code = np.arange(4 * BYTES).astype(np.uint8)
    assert fills(code, code.copy(), 0, 8) == []


def test_heads_of_layers_are_one_grid() -> None:
    """Also where layers are as far apart as heads."""
    assert list(grids([10 + 34 * layer + 2 * head for layer in range(6) for head in range(12)], 99)) == [
        (10, 12, 2, 6, 34)
    ]
    assert list(grids([2 * head for head in range(72)], 99)) == [(0, 72, 2, 1, 0)]
    assert list(grids([7], 99)) == [(7, 1, 0, 1, 0)]


def test_steps_that_no_request_holds_are_none() -> None:
    assert list(runs([0, 100], 256, 99)) == [(0, 1, 0), (100, 1, 0)]
    assert list(runs([0, 99], 256, 99)) == [(0, 2, 99)]


@given(st.lists(st.integers(0, 2000), min_size=1, unique=True).map(sorted), st.integers(1, 400))
def test_grids_hold_each_number_once(numbers: list[int], farthest: int) -> None:
    found = []
    for first, count, step, rows, pitch in grids(numbers, farthest):
        assert max(step, pitch) <= farthest
        assert 1 <= count * rows <= PLACES_MAX
        found += [first + row * pitch + i * step for row in range(rows) for i in range(count)]
    assert sorted(found) == numbers
