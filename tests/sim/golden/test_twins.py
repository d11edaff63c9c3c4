"""What is computed on whole arrays equals the integer twins beside the hardware's units."""

import numpy as np
import pytest

from rtl.sta.operands import softmax
from rtl.sta.params import EXP_ONE, StaConfig
from rtl.sta.results import layer_norm as norm
from rtl.sta.results import requantise, rescale
from sim.golden import twins

CONFIG = StaConfig(max_tokens=200, hidden=400)


def test_requantise_and_rescale() -> None:
    rng = np.random.default_rng(0)
    acc = np.concatenate([rng.integers(-(1 << 38), 1 << 38, 300), rng.integers(-999, 999, 300), [0, -1, 1]])
    bias, mult = rng.integers(-(1 << 31), 1 << 31, len(acc)), rng.integers(0, 1 << 16, len(acc))
    shift, negate = rng.integers(1, 48, len(acc)), rng.integers(0, 2, len(acc))
    for bits in (8, 16):
        got = twins.requantise(np.where(negate, -acc, acc), bias, mult, shift, bits)
        columns = zip(acc.tolist(), bias.tolist(), mult.tolist(), shift.tolist(), negate.tolist(), strict=True)
        assert got.tolist() == [requantise.requantise(*row, bits) for row in columns]
    assert not twins.requantise(acc, 0, 0, 0, 16).any()
    y = rng.integers(-32768, 32768, 500)
    factor = rng.integers(0, 512, 500)
    for places in (1, 8, 15, 24, 31):
        pairs = zip(y.tolist(), factor.tolist(), strict=True)
        assert twins.rescale(y, factor, places).tolist() == [rescale.rescale(a, b, places) for a, b in pairs]


@pytest.mark.parametrize("scale", [0.0005, 0.02, 0.3])
@pytest.mark.parametrize("keys", [1, 2, 17, 190])
def test_exponentials_and_reciprocal(scale: float, keys: int) -> None:
    rng = np.random.default_rng(keys)
    table = np.array(softmax.exponential_table(scale))
    assert np.array_equal(table, twins.exponential_table(scale))
    assert table[0] == EXP_ONE
    scores = rng.integers(-128, 128, (20, keys + 3))
    emitted = twins.emit(scores, scores[:, :keys].max(axis=1), table, keys)
    assert emitted.tolist() == [softmax.emit(row, keys, table.tolist()) for row in scores.tolist()]
    totals = np.concatenate([emitted.sum(axis=1), [0, 1, 255, 256, 255 * 200]])
    for mult in (0, 1 << 15, 40000, (1 << 16) - 1):
        q, shift = twins.reciprocal(CONFIG, totals, mult, 9)
        wanted = [softmax.reciprocal(total, mult, 9, CONFIG.sum_bits) for total in totals.tolist()]
        some = totals > 0
        assert q.tolist() == [pair[0] for pair in wanted]
        assert shift[some].tolist() == [pair[1] for pair, there in zip(wanted, some, strict=True) if there]


@pytest.mark.parametrize("hidden", [1, 3, 400])
@pytest.mark.parametrize("epsilon", [0, 1, (1 << 32) - 1])
def test_normalisation(hidden: int, epsilon: int) -> None:
    rng = np.random.default_rng(hidden)
    spread = np.array([0, 1, 5, 900, 32767])[:, np.newaxis]
    r = np.clip(rng.integers(-spread, spread + 1, (5, hidden)) + rng.integers(-9, 9, (5, 1)), -32768, 32767)
    r = np.concatenate([r, np.full((1, hidden), -32768), np.where(np.arange(hidden) % 2, -32768, 32767)[np.newaxis]])
    total, squares = r.sum(axis=1), (r * r).sum(axis=1)
    squares[1] -= squares[1] // 2  # sums of another row: a variance below zero counts as zero
    z = twins.normalise(CONFIG, r, hidden, twins.root_of(total, squares, hidden, epsilon))
    for row, s, q, got in zip(r.tolist(), total.tolist(), squares.tolist(), z.tolist(), strict=True):
        root = norm.reciprocal_square_root(s, q, hidden, epsilon)
        assert got == [norm.normalise(x, *root, hidden) for x in row]
