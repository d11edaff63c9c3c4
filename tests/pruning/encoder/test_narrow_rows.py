"""Tables of words in 8 bits: as the accelerator computes them, and near to those in 16 bits."""

import numpy as np
import pytest

from pruning.encoder.narrow_rows import MOST, narrow_rows
from rtl.array.requantise import requantise


@pytest.mark.parametrize("most", [1, 2, 100, 127, 128, 5000, 32767])
def test_near(most: int) -> None:
    """Each element within half a step of what it was, and a rounding."""
    rng = np.random.default_rng(most)
    rows = rng.integers(-most, most + 1, (20, 31)).astype(np.int16)
    rows[:, 3] = most
    found = narrow_rows("table", rows)
    assert (np.abs(found.elements.astype(int)).max(axis=1) == MOST).all()
    assert np.abs(found.wide().astype(int) - rows).max() <= most / MOST / 2 + 1
    if most <= MOST:
        np.testing.assert_array_equal(found.wide(), rows)


def test_as_requantised() -> None:
    """Each row by its own scale, from the least to the largest that 16 bits hold."""
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((40, 9)) * 2.0 ** rng.uniform(0, 15, (40, 1))).clip(-32768, 32767).astype(np.int16)
    rows[0], rows[1] = 0, -32768
    found = narrow_rows("table", rows)
    want = [
        [requantise(int(x), 0, int(mult), int(shift), 16) for x in row]
        for row, mult, shift in zip(found.elements, found.mult, found.shift, strict=True)
    ]
    np.testing.assert_array_equal(found.wide(), want)
    assert not found.wide()[0].any()
    assert (found.wide()[1] <= -32767).all()


def test_rows_have_scales_of_their_own() -> None:
    """A row of small elements loses nothing beside one of large ones."""
    rows = np.array([[3, -5, 100, 0], [30000, -4, 7, 1]], np.int16)
    np.testing.assert_array_equal(narrow_rows("table", rows).wide()[0], rows[0])
