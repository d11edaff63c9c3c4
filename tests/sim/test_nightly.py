"""Random configurations × random products and programs, for hours if wanted: `make nightly`.

Products on both simulators, NMGEN_RUNS configurations; whole encoders on STA in Verilator, NMGEN_STA_RUNS
configurations × 10 programs. NMGEN_SEED is the seed, the day unless given: `make nightly NMGEN_SEED=…` with the seed
that a failing night printed repeats it.
"""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from nmgen.bench.estimate import drawn
from nmgen.verilog.writer import emit
from rtl.engine.accelerator import Accelerator
from rtl.engine.cycles import product_cycles
from rtl.params import Config
from rtl.product import Product
from sim.bench.runner import SIMULATORS, Job, run_products
from sim.golden.layer import linear
from tests.nmgen.estimate.test_cycles import exact
from tests.sim.bench.test_programs import check
from tests.sim.operands import extreme_job, random_job

SEED = os.environ.get("NMGEN_SEED", "0")
RUNS = int(os.environ.get("NMGEN_RUNS", "12"))
STA_RUNS = int(os.environ.get("NMGEN_STA_RUNS", "20"))
PROGRAMS = 10  # of each configuration of STA


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


def some_latency(rng: random.Random) -> int:
    """Cycles of the memory: the shortest, the usual one, those about which the fetch falls behind, any."""
    latency = rng.choice([1, 30, rng.randint(40, 50), rng.randint(1, 200)])
    print(f"latency {latency}")
    return latency


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
        latency = some_latency(rng)
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


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(STA_RUNS))
def test_random_programs(number: int) -> None:
    """Every instruction is the golden machine's, with stalls of the memory too; the estimate where it never stalls."""
    print(f"NMGEN_SEED={SEED}, configuration {number}")
    config, loaded, rng = drawn(SEED, number, PROGRAMS)
    print(config)
    for program, _ in loaded:
        print(dict(program.about), [place.tokens for place in program.sequences])
    latency = some_latency(rng)
    results, _ = check(config, loaded, (False, True), latency, rng.getrandbits(32))
    for (program, _), result in zip(loaded, results[::2], strict=True):
        exact(program, result, latency)
