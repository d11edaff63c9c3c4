"""The accelerator: random small products, each result and, where memory never stalls, each cycle."""

import random

import pytest

from rtl.params import BURST_BEATS, Config, Product
from tests.rtl.product_bench import Bench
from tests.rtl.simulate import seeded
from tests.sim.operands import extreme_job, random_job

SEEDS = range(24)


def random_config(rng: random.Random) -> Config:
    m = rng.choice([2, 4, 8, 8, 16, 32])
    return Config(
        n=rng.randint(1, min(m, 4)),
        m=m,
        rows=rng.randint(1, 4),
        cols=rng.randint(1, 5),
        drain=rng.choice([1, 2, 4, 8]),
        port_bytes=rng.choice([1, 2, 4, 8, 16, 32, 64]),
        max_tokens=rng.randint(6, 14),
        max_k=max(m, rng.choice([20, 48])),
    )


def random_product(config: Config, rng: random.Random) -> Product:
    m = config.m
    return Product(
        config=config,
        tokens=rng.choice([1, config.rows, rng.randint(1, config.max_tokens)]),
        k=rng.choice([rng.randint(1, m), rng.randint(1, config.max_k), config.max_k]),
        channels=rng.choice([1, 2 * config.cols, rng.randint(1, 5 * config.cols)]),
        pattern_n=rng.choice([1, config.n, rng.randint(1, m), m]),
        out_bits=rng.choice([8, 16]),
        per_row=rng.random() < 0.3,
    )


@pytest.mark.parametrize("stalls", [False, True], ids=["free", "stalls"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_products(seed: int, stalls: bool) -> None:
    """Two on the same instance. Without stalls the cycles are those of product_cycles; the bench compares them."""
    rng = seeded("products", seed)
    config = random_config(rng)
    products = [random_product(config, rng) for _ in range(2)]
    jobs = [random_job(products[0], seed), extreme_job(products[1], seed)]
    bench = Bench(config, latency=rng.choice([1, 2, 10, 30, 75]), seed=seed if stalls else None)
    for job, outcome in zip(jobs, bench.run(jobs), strict=True):
        p = job.product
        assert max(beats for _, _, beats in outcome.read_requests) <= BURST_BEATS
        assert outcome.beats_read * config.port_bytes == p.bytes_read
        assert len(outcome.write_requests) == p.tokens * p.column_tiles
