"""Whole products on the generated Verilog, in both simulators: every result, every byte, and every cycle.

A configuration is built once a simulator and runs its products one after another, without a reset in between: first
without stalls, where the cycles are those that rtl.engine.cycles.product_cycles says, then with random back-pressure.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from nmgen.verilog.writer import emit
from rtl.engine.accelerator import Accelerator
from rtl.engine.cycles import product_cycles
from rtl.params import Config
from rtl.product import Product
from sim.bench.runner import SIMULATORS, run_products
from sim.golden.layer import compare, linear
from tests.nightly import but
from tests.sim.operands import extreme_job, random_job

BUILDS = Path(__file__).parents[2] / "build" / "test-sim"
SEED = 20260

CONFIGURATIONS = {
    "odd": Config(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=4, max_tokens=16, max_k=96),
    "n is m": Config(n=4, m=4, rows=2, cols=3, drain=2, port_bytes=8, max_tokens=9, max_k=40),
    "one lane, large groups": Config(n=1, m=32, rows=2, cols=2, drain=8, port_bytes=16, max_tokens=5, max_k=96),
    "one element": Config(n=2, m=8, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=4, max_k=24),
    "one row": Config(n=1, m=4, rows=1, cols=32, drain=8, port_bytes=32, max_tokens=3, max_k=24),
    "one column": Config(n=2, m=4, rows=32, cols=1, drain=1, port_bytes=8, max_tokens=70, max_k=24),
    "drain 1": Config(n=2, m=8, rows=4, cols=3, drain=1, port_bytes=16, max_tokens=9, max_k=40),
    "drain 2, wide port": Config(n=2, m=8, rows=2, cols=7, drain=2, port_bytes=64, max_tokens=9, max_k=40),
    "drain 8": Config(n=2, m=8, rows=4, cols=8, drain=8, port_bytes=16, max_tokens=10, max_k=32),
    "groups of two": Config(n=2, m=2, rows=3, cols=4, drain=4, port_bytes=2, max_tokens=8, max_k=22),
    "five lanes, narrow port": Config(n=5, m=8, rows=5, cols=2, drain=4, port_bytes=1, max_tokens=11, max_k=16),
    "DSP slices": Config(n=3, m=8, rows=2, cols=3, drain=2, port_bytes=8, max_tokens=5, max_k=40, pe="ecp5"),
    "DSP slices, short": Config(n=2, m=4, rows=3, cols=2, drain=1, port_bytes=8, max_tokens=7, max_k=12, pe="ecp5"),
    "DSP slices, large groups": Config(
        n=2, m=16, rows=3, cols=2, port_bytes=8, max_tokens=7, max_k=48, pe="ecp5", soft_rows=1
    ),
    "LUTs too": Config(n=1, m=4, rows=3, cols=2, port_bytes=4, max_tokens=7, max_k=20, pe="ecp5", soft_rows=2),
}


def products(config: Config) -> list[Product]:
    """Sizes that divide nothing, whole ones, the smallest and the largest; patterns of every coding and density."""
    k_max = config.max_groups * config.m
    odd = {"tokens": min(config.max_tokens, config.rows + 1), "k": k_max - 1, "channels": 2 * config.cols + 1}
    whole = {"tokens": config.rows, "k": config.m, "channels": config.cols}
    patterns = sorted({1, config.n, min(config.n + 1, config.m), config.m // 2, config.m - 1, config.m} - {0})
    found = [Product(config=config, pattern_n=n, out_bits=8 + 8 * (n % 2), **odd) for n in patterns]
    dense = Product(config=config, pattern_n=config.m, **odd)
    return [
        *found,
        replace(found[0], out_bits=16),
        replace(found[0], per_row=True),
        replace(dense, per_row=True, out_bits=16),
        replace(found[0], **whole),  # a step or a few: it drains longer than it computes
        replace(dense, **whole),
        replace(dense, tokens=1, k=1, channels=1),
        replace(dense, tokens=config.max_tokens, k=k_max),
        replace(found[len(found) // 2], tokens=config.max_tokens, channels=3 * config.cols - 1),
    ]


@pytest.fixture(scope="module")
def design(request, tmp_path_factory):
    config = CONFIGURATIONS[request.param]
    verilog = tmp_path_factory.mktemp("verilog") / "top.v"
    verilog.write_text(emit(Accelerator(config)))
    return config, verilog


# Each in one simulator, nightly in both; these in Icarus, which is slow.
IN_ICARUS = {"n is m", "one element", "drain 2, wide port", "groups of two", "DSP slices, short", "LUTs too"}
BOTH = list(product(CONFIGURATIONS, SIMULATORS))
OTHERS = [(name, simulator) for name, simulator in BOTH if (simulator == "icarus") != (name in IN_ICARUS)]
LONG = list(product(["drain 1", "one row", "DSP slices", "DSP slices, large groups"], SIMULATORS))


@pytest.mark.parametrize(("design", "simulator"), but(BOTH, [*OTHERS, *LONG]), indirect=["design"])
def test_products(design, simulator):
    config, verilog = design
    wanted = products(config)
    of_each = [[make(product, SEED + i) for i, product in enumerate(wanted)] for make in (random_job, extreme_job)]
    jobs = [*of_each[0], *of_each[1]]
    # Each simulator has a memory of its own distance; with stalls there is every other product. Icarus, which takes
    # fifty times as long, has each product once.
    latency = {"verilator": 30, "icarus": 3}[simulator]
    runs = {"verilator": (jobs, jobs[::2]), "icarus": (of_each[1][::2], of_each[0][1::2])}[simulator]
    for stall, some in zip((False, True), runs, strict=True):
        results = run_products(
            [verilog],
            "nmgen_top",
            config,
            some,
            simulator=simulator,
            latency=latency,
            seed=SEED,
            stall=stall,
            build_dir=BUILDS,
        )
        for job, result in zip(some, results, strict=True):
            p = job.product
            where = f"{simulator}, {'stalled' if stall else 'free'}, {p}"
            want = linear(job.x, job.w, job.bias, job.mult, job.shift, p.out_bits, p.per_row)
            comparison = compare(result.y, want)
            assert comparison.first is None, f"{where}: {comparison}"
            assert result.bytes_written == p.bytes_written, where
            assert result.bytes_read == p.bytes_read, where
            assert result.cycles == result.cycles_measured, where
            if not stall:
                estimate = product_cycles(
                    config, p.tokens, p.k, p.channels, p.pattern_n, latency, out_bits=p.out_bits, per_row=p.per_row
                )
                assert result.cycles == estimate, where


def test_every_pattern_of_the_odd_configuration():
    """1:16 to 16:16 in one simulation, each on operands of its own."""
    config = CONFIGURATIONS["odd"]
    jobs = [random_job(Product(config=config, tokens=5, k=37, channels=7, pattern_n=n), SEED + n) for n in range(1, 17)]
    verilog = BUILDS / "odd.v"
    BUILDS.mkdir(parents=True, exist_ok=True)
    verilog.write_text(emit(Accelerator(config)))
    results = run_products(
        [verilog], "nmgen_top", config, jobs, simulator="icarus", latency=30, seed=SEED, stall=False, build_dir=BUILDS
    )
    for n, (job, result) in enumerate(zip(jobs, results, strict=True), 1):
        comparison = compare(result.y, linear(job.x, job.w, job.bias, job.mult, job.shift, 8))
        assert comparison.first is None, f"{n}:16: {comparison}"
        assert result.cycles == product_cycles(config, 5, 37, 7, n, 30)


def test_products_cover_what_they_should():
    """The configurations above have every case that the verification plan names."""
    configs = CONFIGURATIONS.values()
    assert {c.m for c in configs} == {2, 4, 8, 16, 32}
    assert {c.drain for c in configs} == {1, 2, 4, 8}
    assert {(1, 1), (1, 32), (32, 1)} <= {(c.rows, c.cols) for c in configs}
    codings = {p.pattern.coding for c in configs for p in products(c)}
    assert codings == {"index", "bitmap", "counted"}
