"""The golden layer against the requantiser's twin, one number at a time, and the comparison's report."""

import numpy as np
import pytest

from rtl.array.requantise import requantise
from rtl.params import Config
from rtl.product import Product
from sim.golden import layer as golden
from tests.sim.operands import extreme_job, random_job

CONFIG = Config(n=3, m=16, rows=3, cols=5, port_bytes=4, max_tokens=16, max_k=256)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("out_bits", [8, 16])
@pytest.mark.parametrize("make", [random_job, extreme_job])
def test_equals_the_formula(make, out_bits, per_row):
    product = Product(config=CONFIG, tokens=6, k=50, channels=7, pattern_n=5, out_bits=out_bits, per_row=per_row)
    job = make(product, seed=out_bits + per_row)
    got = golden.linear(job.x, job.w, job.bias, job.mult, job.shift, out_bits, per_row)
    assert got.dtype == (np.int8 if out_bits == 8 else np.int16)
    want = np.zeros_like(got)
    for token in range(product.tokens):
        for channel in range(product.channels):
            acc = sum(int(a) * int(b) for a, b in zip(job.x[token], job.w[channel], strict=True))
            i = token if per_row else channel
            want[token, channel] = requantise(acc, int(job.bias[i]), int(job.mult[i]), int(job.shift[i]), out_bits)
    assert np.array_equal(got, want)
    assert len(np.unique(want)) > 2


def test_the_largest_sum_is_exact():
    x = np.full((1, 1 << 16), -128, np.int8)
    w = np.full((1, 1 << 16), -127, np.int8)
    assert golden.product(x, w)[0, 0] == (1 << 16) * 128 * 127


def test_operands_of_jobs_reach_their_ends():
    product = Product(config=CONFIG, tokens=16, k=256, channels=40, pattern_n=16)
    job = extreme_job(product, seed=0)
    assert {-128, 127} == set(job.x.flat)
    assert {-127, 127} <= set(job.w.flat)
    assert {-(2**31), 2**31 - 1} <= set(job.bias)
    assert {0, 65535} <= set(job.mult)
    assert {1, 47} <= set(job.shift)
    y = golden.linear(job.x, job.w, job.bias, job.mult, job.shift, 8)
    assert {-128, 127} <= set(y.flat)


def test_no_mismatch():
    same = np.arange(12, dtype=np.int8).reshape(3, 4)
    found = golden.compare(same, same.copy())
    assert (found.outputs, found.mismatches, found.first) == (12, 0, None)
    assert str(found) == "12 outputs, 0 mismatches"


def test_first_mismatch_is_named():
    want = np.zeros((3, 4), np.int16)
    got = want.copy()
    got[2, 0] = 5
    got[1, 3] = -300
    found = golden.compare(got, want)
    assert found.mismatches == 2
    assert found.first == (1, 3, -300, 0)
    assert str(found) == "2 of 12 outputs differ, first at token 1, channel 3: got -300, want 0"


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"got shape \[3, 4\], want \[4, 3\]"):
        golden.compare(np.zeros((3, 4), np.int8), np.zeros((4, 3), np.int8))
