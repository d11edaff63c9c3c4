"""The memory image against the slow packer, and its refusals."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.params import Config, InputError
from rtl.product import Product
from sim.image import product as image
from tests.sim import plain_image
from tests.sim.operands import extreme_job, random_job

ODD = Config(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=4, max_tokens=16, max_k=256)


@st.composite
def products(draw):
    m = draw(st.sampled_from([2, 4, 8, 16, 32]))
    config = Config(
        n=draw(st.integers(1, m)),
        m=m,
        rows=draw(st.integers(1, 4)),
        cols=draw(st.integers(1, 11)),
        drain=draw(st.sampled_from([1, 2, 4, 8])),
        port_bytes=draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64])),
        max_tokens=8,
        max_k=128,
    )
    return Product(
        config=config,
        tokens=draw(st.integers(1, 4)),
        k=draw(st.integers(1, 70)),
        channels=draw(st.integers(1, 2 * config.cols + 1)),
        pattern_n=draw(st.integers(1, m)),
        out_bits=draw(st.sampled_from([8, 16])),
        per_row=draw(st.booleans()),
    )


def check_equal(product, seed):
    job = random_job(product, seed)
    memory = image.build(product, job.x, job.w, job.bias, job.mult, job.shift).tobytes()
    place = image.layout(product)
    three = (job.bias.tolist(), job.mult.tolist(), job.shift.tolist())
    assert memory[place.x.address : place.x.end] == plain_image.activations(product, job.x.tolist())
    assert memory[place.w.address : place.w.end] == plain_image.weights(product, job.w.tolist(), *three)
    assert memory[place.r.address : place.r.end] == plain_image.row_parameters(product, *three)
    assert not any(memory[place.y.address :])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(product=products(), seed=st.integers(0, 2**32 - 1))
def test_equals_the_slow_packer(product, seed):
    check_equal(product, seed)


@pytest.mark.parametrize("n", range(1, 17))
def test_every_pattern_of_the_odd_configuration(n):
    check_equal(Product(config=ODD, tokens=7, k=75, channels=13, pattern_n=n), seed=n)


def test_regions_are_aligned_and_apart():
    product = Product(config=ODD, tokens=7, k=75, channels=13, pattern_n=3, per_row=True)
    place = image.layout(product)
    end = 0
    for region in (place.x, place.w, place.r, place.y):
        assert region.address % ODD.port_bytes == 0
        assert region.address >= end + image.GUARD_BEATS * ODD.port_bytes
        end = region.end
    assert place.size >= end + image.GUARD_BEATS * ODD.port_bytes
    assert place.registers(product)["w_address"] == place.w.address


@settings(max_examples=100, deadline=None, derandomize=True)
@given(product=products(), seed=st.integers(0, 2**32 - 1))
def test_results_are_read_where_they_are_written(product, seed):
    rng = np.random.default_rng(seed)
    limit = 1 << (product.out_bits - 1)
    want = rng.integers(-limit, limit, (product.tokens, product.channels))
    memory = rng.integers(0, 256, product.tokens * product.y_stride).astype(np.uint8)
    written = np.zeros(len(memory), bool)
    for token in range(product.tokens):
        for channel in range(product.channels):
            for i, address in enumerate(plain_image.result_addresses(product, token, channel)):
                memory[address] = int(want[token, channel]) >> (8 * i) & 0xFF
                written[address] = True
    got = image.unpack_results(product, memory)
    assert got.dtype == (np.int8 if product.out_bits == 8 else np.int16)
    assert np.array_equal(got, want)
    assert np.array_equal(image.result_bytes(product), written)
    assert written.sum() == product.bytes_written


def test_a_whole_layer_packs_in_a_second():
    product = Product(config=Config(), tokens=32, k=384, channels=1536, pattern_n=8)
    job = random_job(product, 1)
    begin = time.process_time()
    image.build(product, job.x, job.w, job.bias, job.mult, job.shift)
    assert time.process_time() - begin < 1.0


PRODUCT = Product(config=ODD, tokens=2, k=20, channels=7, pattern_n=3)
GOOD = random_job(PRODUCT, 0)


def changed(array, index, value):
    array = array.astype(np.int64)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GOOD.x.astype(np.int16)}, "x is of dtype int16, must be int8"),
        ({"x": GOOD.x[:, 1:]}, r"x has shape \[2, 19\], must be \[2, 20\]"),
        ({"w": GOOD.w[1:]}, r"w has shape \[6, 20\], must be \[7, 20\]"),
        ({"bias": GOOD.bias[1:]}, r"bias has shape \[6\], must be \[7\]"),
        ({"mult": GOOD.mult.astype(float)}, "mult is of dtype float64, must be an integer"),
        ({"bias": changed(GOOD.bias, 3, 2**31)}, "bias of channel 3 is 2147483648, must be from -2147483648 to"),
        ({"mult": changed(GOOD.mult, 6, 65536)}, "mult of channel 6 is 65536, must be from 0 to 65535"),
        ({"shift": changed(GOOD.shift, 0, 0)}, "shift of channel 0 is 0, must be from 1 to 47"),
        ({"shift": changed(GOOD.shift, 1, 48)}, "shift of channel 1 is 48, must be from 1 to 47"),
        (
            {"w": np.ones((7, 20), np.int8)},
            "weights of channel 0, group 0 have more than 3 non-zeros: they break the pattern 3:16",
        ),
    ],
)
def test_refusals(change, message):
    job = replace(GOOD, **change)
    with pytest.raises(InputError, match=message):
        image.build(PRODUCT, job.x, job.w, job.bias, job.mult, job.shift)


def test_refusal_names_the_token_per_row():
    product = replace(PRODUCT, per_row=True)
    job = extreme_job(product, 0)
    with pytest.raises(InputError, match="mult of token 1 is -1, must be from 0 to 65535"):
        image.build(product, job.x, job.w, job.bias, changed(job.mult, 1, -1), job.shift)
