"""Configurations and products at random, the same in every run."""

import random

from rtl.params import Config
from rtl.product import Product
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
