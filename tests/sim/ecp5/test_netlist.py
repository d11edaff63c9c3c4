"""What yosys makes of arrays, and at night of engines and cores, for an ECP5 computes what the Verilog does, by the
primitives' models.
"""

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from nmgen.bench.estimate import deviation
from nmgen.verilog.writer import emit
from rtl.array.grid import Array
from rtl.engine.accelerator import Accelerator
from rtl.engine.cycles import product_cycles
from rtl.params import Config
from rtl.product import Product
from rtl.sta.operands.store import ActivationStore
from rtl.sta.params import StaConfig
from rtl.sta.results.requantise import Requantiser
from rtl.sta.top import Sta
from sim.bench.programs import run_programs
from sim.bench.runner import run_products
from sim.ecp5 import primitives
from sim.golden.layer import compare, linear
from tests.nightly import but
from tests.rtl.simulate import seeded, trace
from tests.rtl.steps import Step, idle, make_sum, results_of
from tests.rtl.verilog import trace_text
from tests.sim.bench.test_programs import checked_jobs, sentences, wanted
from tests.sim.ecp5.netlist import TOP, synthesised
from tests.sim.operands import extreme_job, random_job

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"


def cells(text: str) -> set[str]:
    return set(re.findall(r"^  ([A-Z][A-Z0-9_]+) ", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("pe", "n", "m", "rows", "cols", "soft_rows", "packed"),
    but(
        [
            ("ecp5", 2, 8, 2, 2, 0, False),
            ("ecp5", 3, 4, 3, 2, 2, False),
            ("ecp5", 2, 16, 2, 2, 1, False),
            ("ecp5", 2, 16, 2, 2, 1, True),
            ("portable", 2, 8, 2, 2, 0, False),
            ("portable", 2, 8, 3, 2, 0, True),
            ("portable", 3, 4, 2, 2, 0, True),
        ],
        [("ecp5", 2, 16, 2, 2, 1, False), ("portable", 2, 8, 3, 2, 0, True)],
    ),
)
def test_array(pe: str, n: int, m: int, rows: int, cols: int, soft_rows: int, packed: bool, tmp_path: Path) -> None:
    """The steps that the Verilog passes: one step after another, gaps anywhere, the longest sums at both ends."""
    config = Config(n=n, m=m, rows=rows, cols=cols, max_tokens=rows, max_k=32, pe=pe, soft_rows=soft_rows)
    array = Array(config)
    netlist = synthesised(emit(array), tmp_path, packed=packed).read_text()
    assert "MULT18X18D" in cells(netlist)
    assert ("ALU54B" in cells(netlist)) == (pe == "ecp5")
    rng = seeded(pe, n, m)
    steps: list[Step] = idle(config, rng, rows + cols)
    for _ in range(10):
        steps += make_sum(
            config, rng, rng.choice(["random", "ends"]), n * rng.choice([1, 1, 2, 5]), rng.choice([0, 0.3])
        )
    steps += [*make_sum(config, rng, "highest", 32), *make_sum(config, rng, "lowest", 32)]
    steps += idle(config, rng, config.pe_latency + rows + cols)
    inputs = [
        {
            "rows": [steps[max(cycle - r, 0)].row(r) for r in range(rows)],
            "columns": [steps[max(cycle - c, 0)].columns[c] for c in range(cols)],
        }
        for cycle in range(len(steps))
    ]
    watch = [array.results[r][c] for r, c in product(range(rows), range(cols))]
    record = trace_text(netlist, TOP, array, inputs, *watch, folder=tmp_path)
    for number, (r, c) in enumerate(product(range(rows), range(cols))):
        want = results_of(steps, r, c, config.pe_latency + r + c, len(steps))
        for cycle, results in enumerate(record):
            if want[cycle] is not None:
                assert results[number] == want[cycle], f"element ({r}, {c}) in cycle {cycle}"


@pytest.mark.nightly
@pytest.mark.parametrize(("pe", "packed"), [("ecp5", True), ("ecp5", False), ("portable", True), ("portable", False)])
def test_products(pe: str, packed: bool, tmp_path: Path) -> None:
    """Of the whole engine around an array: results, bytes and cycles."""
    config = Config(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=5, max_k=24, pe=pe)
    netlist = synthesised(emit(Accelerator(config)), tmp_path, packed=packed)
    assert "DP16KD" in cells(netlist.read_text())
    shapes = [(5, 23, 5, 2, 8), (5, 24, 3, 4, 16), (2, 4, 2, 1, 8)]
    products = [
        Product(config=config, tokens=tokens, k=k, channels=channels, pattern_n=pattern, out_bits=bits)
        for tokens, k, channels, pattern, bits in shapes
    ]
    every = [*(random_job(product, 7) for product in products), extreme_job(products[1], 7)]
    for stall, jobs in ((False, every), (True, every[1:])):
        results = run_products(
            [netlist],
            TOP,
            config,
            jobs,
            simulator="icarus",
            latency=5,
            seed=3,
            stall=stall,
            build_dir=BUILDS,
        )
        for job, result in zip(jobs, results, strict=True):
            p = job.product
            comparison = compare(result.y, linear(job.x, job.w, job.bias, job.mult, job.shift, p.out_bits))
            assert comparison.first is None, f"{p}: {comparison}"
            assert result.bytes_written == p.bytes_written
            if not stall:
                cycles = product_cycles(config, p.tokens, p.k, p.channels, p.pattern_n, 5, out_bits=p.out_bits)
                assert result.cycles == cycles, p


def test_a_store_with_registers_in_block_ram(tmp_path: Path) -> None:
    """Words that were written, read by rows and copied: what Amaranth's simulator shows, in every cycle."""
    config = StaConfig(n=2, m=8, rows=2, cols=2, max_tokens=4, max_k=64, store_words=2048)
    rng = seeded("store")
    words = [rng.randrange(config.store_words) for _ in range(12)]
    writes = [
        {
            "step": {},
            "write": {"enable": 1, "bank": bank, "address": word, "data": rng.getrandbits(128), "strobe": 65535},
        }
        for bank in range(config.rows)
        for word in words
    ]
    reads = [
        {
            "write": {"enable": 0},
            "step": {"valid": valid, "read": valid and rng.getrandbits(1), "word": rng.choice(words)}
            | {"group": rng.getrandbits(1)},
            "copy.request": {"valid": 1, "bank": rng.getrandbits(1), "address": rng.choice(words)},
        }
        for valid in [1] * 8
        + [rng.getrandbits(1) for _ in range(300)]  # at first in every row, whose registers start anyhow
    ]
    store = ActivationStore(config)
    watch = [*store.rows, store.copy.next_cycle_busy, store.copy.valid, store.copy.data]
    netlist = synthesised(emit(store), tmp_path, packed=True).read_text()
    assert 'REGMODE_B("OUTREG")' in netlist
    got = trace_text(netlist, TOP, store, [*writes, *reads], *watch, folder=tmp_path)
    want = trace(store, [*writes, *reads], *watch)
    skipped = len(writes) + 16  # until what is read was written, and every row has had a step
    assert got[skipped:] == want[skipped:]
    assert len(set(want[skipped:])) > 100


def test_a_requantiser_with_registers_in_multipliers(tmp_path: Path) -> None:
    """Of two multipliers, one is signed and one is not; a result every cycle, sums and factors of any size."""
    config = StaConfig(n=2, m=8, rows=2, cols=2, max_tokens=4, max_k=64)
    requantiser = Requantiser(config)
    rng = seeded("requantiser")
    most = 1 << (config.accumulator_bits - 1)
    cycles = [
        {
            "acc": rng.choice([-most, most - 1, -1, 0, 1, rng.randrange(-most, most), rng.randrange(-most, most)]),
            "parameters": {
                "bias": rng.randrange(-(1 << 31), 1 << 31),
                "mult": rng.choice([0, 1, 65535, rng.getrandbits(16), rng.getrandbits(16)]),
                "shift": rng.choice([1, 47, *(rng.randint(30, 46) for _ in range(6))]),
                "negate": rng.getrandbits(1),
            },
            "wide": rng.getrandbits(1),
        }
        for _ in range(400)
    ]
    netlist = synthesised(emit(requantiser), tmp_path, packed=True).read_text()
    assert netlist.count('REG_OUTPUT_CLK("CLK0")') == netlist.count("MULT18X18D #(") == 2
    with_reset = re.sub(rf"module {TOP}\(([^;]*);", rf"module {TOP}(rst, \1; input rst;", netlist)  # it has none
    got = trace_text(with_reset, TOP, requantiser, cycles, requantiser.result, folder=tmp_path)
    want = trace(requantiser, cycles, requantiser.result)
    assert got[Requantiser.LATENCY :] == want[Requantiser.LATENCY :]
    assert len(set(want)) > 60


@pytest.mark.nightly  # synthesis takes minutes
def test_an_encoder(tmp_path: Path) -> None:
    """A whole core: what each instruction leaves, with stalls of the memory too; and the cycles that are estimated."""
    config = StaConfig(
        n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=16, hidden=8, store_words=64, pe="ecp5"
    )
    sizes = {"hidden": 8, "heads": 1, "inner": 12, "layers": 1, "pattern": "2:4"}
    netlist = synthesised(emit(Sta(config)), tmp_path)
    assert {"ALU54B", "DP16KD", "TRELLIS_DPR16X4", "CCU2C"} <= cells(netlist.read_text()) <= primitives()
    program, image = sentences(sizes, [3, 2], config)
    jobs, compared = checked_jobs(config, program, image)
    for stall in (False, True):
        results = run_programs(
            [netlist],
            TOP,
            config,
            jobs,
            simulator="icarus",
            latency=7,
            seed=2,
            stall=stall,
            build_dir=BUILDS,
        )
        for job, result, (_, dumps) in zip(jobs, results, compared, strict=True):
            right = wanted(config, job, seed=3)
            for dump in dumps or ():
                where = f"instruction {dump.number}, {program.names[dump.number]}, in the {dump.where}"
                assert np.array_equal(dump.rows(result.memory), dump.rows(right)), where
            for part in program.results:
                assert np.array_equal(program.result(part.name, result.memory), program.result(part.name, right))
        if not stall:
            off = deviation(program, results[0].spans, results[0].cycles, 7)
            assert (off.exact, off.whole) == (off.instructions, 0)
