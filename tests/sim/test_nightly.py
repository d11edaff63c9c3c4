"""Random configurations × random products on both simulators, for hours if wanted: `make nightly`.

NMGEN_SEED is the seed, the day unless given; NMGEN_RUNS the number of configurations. `make nightly NMGEN_SEED=… ` with
the seed that a failing night printed repeats it.
"""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from nmgen.verilog import emit
from rtl.params import Config, Product, product_cycles
from rtl.top import Accelerator
from sim.golden import linear
from sim.runner import SIMULATORS, Job, run_products
from tests.sim.operands import extreme_job, random_job

SEED = os.environ.get("NMGEN_SEED", "0")
RUNS = int(os.environ.get("NMGEN_RUNS", "12"))


def some_configuration(rng: random.Random) -> Config:
    """Any group size, any lanes, small arrays: an 8×8 one takes minutes to build on two simulators."""
    m = rng.choice([2, 4, 8, 16, 32])
    return Config(
        n=rng.choice([1, rng.randint(1, m), m]) if m <= 8 else rng.randint(1, 4),
        m=m,
        rows=rng.choice([1, 2, 3, 4, 7]),
        cols=rng.choice([1, 2, 3, 5, 6]),
        drain=rng.choice([1, 2, 4, 8]),
        port_bytes=rng.choice([1, 2, 4, 8, 16, 32, 64]),
        max_tokens=rng.randint(1, 24),
        max_k=rng.randint(m, 8 * m),
    )


def some_job(config: Config, rng: random.Random) -> Job:
    product = Product(
        config=config,
        tokens=rng.randint(1, config.max_tokens),
        k=rng.randint(1, config.max_groups * config.m),
        channels=rng.randint(1, 4 * config.cols),
        pattern_n=rng.choice([config.n, config.m, rng.randint(1, config.m)]),
        out_bits=rng.choice([8, 16]),
        per_row=rng.random() < 0.25,
    )
    return rng.choice([random_job, random_job, extreme_job])(product, rng.getrandbits(32))


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(RUNS))
def test_random_configuration(number: int, tmp_path: Path) -> None:
    print(f"NMGEN_SEED={SEED}, configuration {number}")
    rng = random.Random(f"{SEED} {number}")
    config = some_configuration(rng)
    print(config)
    verilog = tmp_path / "top.v"
    verilog.write_text(emit(Accelerator(config)))
    for stall in (False, True):
        jobs = [some_job(config, rng) for _ in range(6)]
        latency = rng.choice([1, 2, 7, 30, 100])
        for simulator in SIMULATORS:
            results = run_products(
                [verilog],
                "nmgen_top",
                config,
                jobs,
                simulator=simulator,
                latency=latency,
                seed=rng.getrandbits(32),
                stall=stall,
                build_dir=tmp_path / simulator,
            )
            for job, result in zip(jobs, results, strict=True):
                p = job.product
                print(simulator, "stalls" if stall else "free", p)
                want = linear(job.x, job.w, job.bias, job.mult, job.shift, p.out_bits, p.per_row)
                np.testing.assert_array_equal(result.y, want)
                if not stall:
                    cycles = product_cycles(
                        config, p.tokens, p.k, p.channels, p.pattern_n, latency, out_bits=p.out_bits, per_row=p.per_row
                    )
                    assert result.cycles == cycles
