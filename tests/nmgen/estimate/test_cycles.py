"""The estimate beside the RTL. tests/sim/test_nightly.py does the same on many more configurations and programs."""

import ast
import os
import random
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest

import rtl.engine.cycles
from nmgen.bench import estimate as bench_estimate
from nmgen.bench.estimate import Deviation, deviation, drawn
from nmgen.bench.random_programs import random_configuration
from nmgen.compiler.program import Program
from nmgen.compiler.random_instructions import random_instructions
from nmgen.estimate import cycles
from nmgen.estimate.cycles import estimate
from nmgen.estimate.fetch import FetchTimes
from rtl.sta.isa import Op
from rtl.sta.latencies import CHOICE_LATENCY
from rtl.sta.params import StaConfig
from rtl.sta.results.activation import Activation
from rtl.sta.results.layer_norm import Normaliser
from rtl.sta.results.norm_source import NormSource
from rtl.sta.results.pipeline import ResultPipeline
from rtl.sta.results.requantise import Requantiser
from rtl.sta.results.rescale import Rescaler
from rtl.sta.results.residual import Residual
from rtl.sta.results.writer import ActivationStoreWriter, Maxima, ResidualWriter, Writer
from sim.bench.programs import ProgramResult
from tests.nightly import but
from tests.sim.bench.test_programs import CASES, LONG, check

LATENCY = 30
ESTIMATE = Path(cycles.__file__).parent
ENGINE = Path(rtl.engine.cycles.__file__)


@pytest.mark.parametrize("path", [*sorted(ESTIMATE.glob("*.py")), ENGINE], ids=lambda path: path.stem)
def test_the_estimate_has_no_latency_of_its_own(path: Path) -> None:
    """All are those of `rtl.sta.latencies`, of the engine `rtl.array.latencies`, which the Components use too.

    What is added has a name, or is the cycle after.
    """
    tree = ast.parse(path.read_text())
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name != "Constants"]
    assigned = [
        node for owner in (tree, *classes) for node in owner.body if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    numbers = [
        node for node in assigned if any(isinstance(n, ast.Constant) and type(n.value) is int for n in ast.walk(node))
    ]
    assert [ast.unparse(node) for node in numbers] == ["LONG_AGO = -(1 << 12)"] * (path.stem == "states")
    sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp | ast.AugAssign)]
    terms = [(node, term) for node in sums for term in ast.iter_child_nodes(node) if isinstance(term, ast.Constant)]
    assert not [
        ast.unparse(node) for node, term in terms if isinstance(node.op, ast.Add | ast.Sub) and term.value not in (0, 1)
    ]


def test_components_that_are_sums_of_others() -> None:
    assert ResultPipeline.LATENCY == CHOICE_LATENCY + Requantiser.LATENCY + Activation.LATENCY + Rescaler.LATENCY
    assert max(ActivationStoreWriter.LATENCY, ResidualWriter.LATENCY, Maxima.LATENCY) == Writer.LATENCY
    assert NormSource.LATENCY == 1 + Residual.LATENCY + Normaliser.LATENCY


def exact(program: Program, result: ProgramResult, latency: int) -> None:
    """The estimate is, of a program that ran before a memory that did not stall."""
    off = deviation(program, result.spans, result.cycles, latency)
    print(off)
    assert off.exact == off.instructions
    assert off.whole == 0


@pytest.mark.nightly  # without groups of rows, and with back-pressure; the next one is in make test
def test_random_programs() -> None:
    """Of a small configuration: every instruction bit-exact, and as long as the estimate says."""
    config, loaded, _ = drawn("small", 0, count=2, side=2)
    print(config)
    results, _ = check(config, loaded, (False, True), LATENCY)
    for (program, _), result in zip(loaded, results[::2], strict=True):
        exact(program, result, LATENCY)
    (results,) = check(config, loaded, (False,), 150)
    for (program, _), result in zip(loaded, results[::2], strict=True):
        exact(program, result, 150)


def test_random_programs_of_groups() -> None:
    """Of rows, which copy keys and values from several banks at a time, and gather in turns."""
    config, loaded, rng = drawn("small", 7, count=2, side=2)
    assert config.groups > 1
    assert config.copy_lanes > 1
    loaded.append(random_instructions(rng, config, 30, ("gather", "attention", "norm", "pool")))
    print(config)
    for latency, some in ((LATENCY, loaded), (150, loaded[:2])):
        (results,) = check(config, some, (False,), latency)
        for (program, _), result in zip(some, results[::2], strict=True):
            exact(program, result, latency)


@pytest.mark.parametrize(
    ("name", "latency"),
    but(
        [("wide", 1), ("odd", 60), ("odd", 200), *product(CASES, [30])],
        product(CASES, [30]),
    ),
)
def test_random_fields(name: str, latency: int) -> None:
    """Of all but products, which encoders use in few ways: results to the store, the residual or both, of any size."""
    config, _ = CASES[name]
    seed = f"{os.environ.get('NMGEN_SEED', '0')} {name} {latency}"
    print(f"seed {seed!r}")
    kinds = ("norm", "norm", "norm", "pool", "gather", "load", "store", "store", "table")
    loaded = [random_instructions(random.Random(seed), config, 60, kinds)]
    (results,) = check(config, loaded, (False,), latency)
    for (program, _), result in zip(loaded, results[::2], strict=True):
        forms = {(one.get("to_store", 0), one.get("to_residual", 0)) for one in program.instructions}
        assert forms == {(0, 0), (0, 1), (1, 0), (1, 1)}
        behind = {(Op(one["opcode"]).name, Op(two["opcode"]).name) for one, two in pairwise(program.instructions)}
        assert "NMGEN_SEED" in os.environ or ("STORE", "GATHER") in behind
        exact(program, result, latency)


@pytest.mark.parametrize("latency", but([100, 161], [100]))
def test_instructions_behind_several_tables(latency: int) -> None:
    """Short ones, so that the fetch is what they wait for: a TABLE's first beat waits for the TABLE before."""
    config = LONG
    loaded = [random_instructions(random.Random(latency), config, 40, ("table", "table", "pool"))]
    (results,) = check(config, loaded, (False,), latency)
    exact(loaded[0][0], results[0], latency)


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_that_take_longer_than_their_beats(groups: int) -> None:
    """A beat has many words: the next row is there when one is cut, and each of its beats takes its time.

    In groups of rows, beats wait in a FIFO until there is no room.
    """
    config = StaConfig(
        n=2,
        m=8,
        rows=2,
        cols=2,
        drain=1,
        port_bytes=16,
        max_tokens=16,
        max_k=64,
        hidden=100 if groups == 1 else 300,
        store_words=256,
        groups=groups,
    )
    loaded = [random_instructions(random.Random(LATENCY), config, 12, ("gather",))]
    assert {one.get("narrow", 0) for one in loaded[0][0].instructions} == {0, 1}
    for latency in (1, LATENCY):
        (results,) = check(config, loaded, (False,), latency)
        exact(loaded[0][0], results[0], latency)


def test_a_slower_memory_or_a_narrower_port_takes_longer() -> None:
    _, loaded, _ = drawn("small", 0, count=2, side=2)
    for program, _ in loaded:
        near, far = (estimate(program, cycles.Constants(memory=latency)) for latency in (1, 200))
        assert all(one.cycles <= other.cycles for one, other in zip(near, far, strict=True) if one.op.name != "NORM")
        assert cycles.total(program, near)["cycles"] < cycles.total(program, far)["cycles"]


def test_configurations_are_legal_and_of_every_kind() -> None:
    rng = random.Random(0)
    found = [random_configuration(rng) for _ in range(200)]
    assert {config.m for config in found} == {2, 4, 8, 16, 32}
    assert {config.n for config in found} == {1, 2, 3, 4}
    assert {config.rows for config in found} == set(range(1, 9)) == {config.cols for config in found}
    assert len({replace(config, store_words=1) for config in found}) > 190


def test_programs_repeat_and_differ() -> None:
    (config, loaded, _), (again, repeated, _) = (drawn("seed", 1, count=2) for _ in range(2))
    assert config == again
    assert [program.memory for program, _ in loaded] == [program.memory for program, _ in repeated]
    assert loaded[0][0].memory != loaded[1][0].memory
    patterns = {one.get("pattern_n", 0) for program, _ in loaded for one in program.instructions}
    assert len(patterns) > 2, "patterns are mixed"


def test_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    off = Deviation(cycles=1000, whole=-0.001, worst=0.02, name="norm", taken=200, exact=9, instructions=10)
    monkeypatch.setattr(bench_estimate, "drawn", lambda seed, number, count: (StaConfig(rows=3), [], None))
    monkeypatch.setattr(bench_estimate, "measure", lambda config, loaded: [off, replace(off, worst=-0.01, whole=0.0)])
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text("<!-- bench-estimate: begin -->\nold\n<!-- bench-estimate: end -->\n")
    monkeypatch.setattr(bench_estimate, "ROOT", tmp_path)
    assert bench_estimate.main(["--configurations", "2", "--seed", "7"]) == 0
    assert "old" not in page.read_text()
    assert page.read_text().count("| 3×8 | 2:8 | 4 | 16 | 2 | 2,000 | -0.10% | +2.0% of 200 | 18 of 20 |") == 2
    assert "seed 7" in page.read_text()
    page.write_text("nothing\n")
    assert bench_estimate.main(["--configurations", "1"]) == 2
    assert "bench-estimate: begin" in capsys.readouterr().err


@pytest.mark.parametrize("latency", [1, 30, 1000])
def test_a_state_that_was_met_before_goes_on_in_the_same_way(latency: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that repeat themselves: each instruction gone through gives what the estimate says."""
    execute, calls = cycles._Machine.execute, []

    def counted(machine: cycles._Machine, f: dict[str, int]) -> int:
        calls.append(f)
        return execute(machine, f)

    programs = []
    for number in range(8):
        once = drawn("again", number, count=2)[1][0][0]
        programs.append(replace(once, names=once.names * 4))
        programs[-1].__dict__["instructions"] = once.instructions * 4  # cached: not what its memory holds
    monkeypatch.setattr(cycles._Machine, "execute", counted)
    found = [estimate(program, cycles.Constants(memory=latency)) for program in programs]
    once_each = len(calls)
    monkeypatch.setattr(cycles._Machine, "execute_once", counted)
    monkeypatch.setattr(FetchTimes, "take", FetchTimes._take)
    assert found == [estimate(program, cycles.Constants(memory=latency)) for program in programs]
    instructions = sum(len(program.names) for program in programs)
    assert (len(calls) - once_each, once_each < 0.9 * instructions) == (instructions, True)
