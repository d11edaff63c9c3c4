"""Random and extreme operands of products, made from a seed."""

import numpy as np
from numpy.typing import NDArray

from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX
from rtl.product import Product
from sim.bench.runner import Job


def pruned(rng: np.random.Generator, w: NDArray[np.int8], n: int, m: int) -> NDArray[np.int8]:
    """w with at most n random positions of each group of m kept. Some groups keep fewer, some none."""
    channels, k = w.shape
    groups = -(-k // m)
    rank = rng.permuted(np.broadcast_to(np.arange(m), (channels, groups, m)), axis=-1)
    keep = rng.choice([n, n, n, max(n - 1, 0), 0], size=(channels, groups, 1))
    mask = (rank < keep).reshape(channels, groups * m)[:, :k]
    return (w * mask).astype(np.int8)


def random_job(product: Product, seed: int) -> Job:
    """Full-range operands whose results spread over the output's range and past its ends."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (product.tokens, product.k)).astype(np.int8)
    w = rng.integers(-127, 128, (product.channels, product.k)).astype(np.int8)
    w = pruned(rng, w, product.pattern_n, product.config.m)
    count = product.tokens if product.per_row else product.channels
    # The accumulator's spread decides which mult and shift bring results near the range of the output.
    spread = max(int(np.sqrt(product.k * product.pattern_n / product.config.m) * 74 * 74), 1)
    bias = rng.integers(-2 * spread, 2 * spread + 1, count)
    mult = rng.integers(1 << 8, 1 << MULT_BITS, count)
    wanted = np.log2(mult * float(spread)) - (product.out_bits - 2)
    shift = np.clip(np.round(wanted), 1, SHIFT_MAX)
    return Job(product, x, w, bias.astype(np.int32), mult.astype(np.uint16), shift.astype(np.uint8))


def extreme_job(product: Product, seed: int) -> Job:
    """Every operand at an end of its range: x −128 or 127, w ±127, bias ±2^31, mult 0 or 65535, shift 1 or 47.

    Rows of x and channels of w are of one sign here and there, so that sums reach their largest magnitude.
    """
    rng = np.random.default_rng(seed)
    half = 1 << (BIAS_BITS - 1)
    x = rng.choice([-128, 127], (product.tokens, product.k))
    x[::3] = -128
    x[1::3] = 127
    w = rng.choice([-127, 127], (product.channels, product.k))
    w[::4] = 127
    w[1::4] = -127
    w = pruned(rng, w.astype(np.int8), product.pattern_n, product.config.m)
    count = product.tokens if product.per_row else product.channels
    bias = rng.choice([-half, -half + 1, -1, 0, 1, half - 1], count)
    mult = rng.choice([0, 1, (1 << MULT_BITS) - 1, (1 << MULT_BITS) - 1], count)
    shift = rng.choice([1, 2, 15, 46, SHIFT_MAX], count)
    return Job(
        product,
        x.astype(np.int8),
        w,
        bias.astype(np.int64).astype(np.int32),
        mult.astype(np.uint16),
        shift.astype(np.uint8),
    )
