"""Some designs of a front in full: their Verilog in simulation, synthesised, placed and routed over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.progress import Say
from nmgen.explore.candidates import Candidate
from nmgen.explore.counting import Work, pattern_on
from nmgen.explore.front import costs
from nmgen.explore.space import KINDS
from nmgen.explore.workers import Workers
from nmgen.fpga.place_and_route import measure
from nmgen.fpga.report import design_of, report
from nmgen.fpga.targets import Target
from rtl.params import Config
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from sim.bench.runner import Job

SEEDS = 3  # of place and route
SIMULATION, PLACEMENT = "simulation", "placement"  # folders


def best(found: Mapping[str, Any], count: int) -> list[int]:
    """Numbers of so many points of the front, of different configurations: those of the least product of all costs.

    An accuracy counts as what is missing to the best one.
    """
    points = [found["points"][number] for number in found["front"]]
    least = [min(column) for column in zip(*(costs(one, found["objectives"]) for one in points), strict=True)]

    def product(one: Mapping[str, Any]) -> float:
        total = 0.0
        for cost, lowest in zip(costs(one, found["objectives"]), least, strict=True):
            total += log(cost / lowest) if lowest > 0 else (cost - lowest) / max(abs(lowest), 1e-9)
        return total

    chosen: list[int] = []
    seen: list[Any] = []
    for one in sorted(points, key=lambda one: (product(one), one["id"])):
        if one["configuration"] not in seen and len(chosen) < count:
            seen.append(one["configuration"])
            chosen.append(one["id"])
    return chosen


def verify(
    found: Mapping[str, Any],
    numbers: Sequence[int],
    candidates: Mapping[str, Candidate],
    work: Work,
    target: Target,
    out: Path,
    workers: Workers,
    say: Say,
) -> list[dict[str, Any]]:
    """What the simulator, here, and the tools, where the workers are, say of these points, for JSON.

    Raises
    ------
    InputError : a tool is missing
    ToolError, SimulationError : one failed
    """
    kind = KINDS[found["kind"]]
    points = [found["points"][number] for number in numbers]
    configs = [kind(**one["configuration"]) for one in points]
    cycles = []
    for one, config in zip(points, configs, strict=True):
        say(f"simulating {one['label']}, {one['candidate']}")
        cycles.append(simulated(candidates[one["candidate"]], config, work, out, say))
    say("synthesis, place and route")
    engine = found["kind"] == "engine"
    designs = [design_of(config, target, tuple(range(1, SEEDS + 1)), engine=engine) for config in configs]
    measured = measure(designs, out / PLACEMENT, jobs=workers.at_a_time, tools=workers.tools())
    verified = []
    for number, config, (counted, right), one in zip(numbers, configs, cycles, measured, strict=True):
        numbers_of = report(config, target, one, engine=engine).numbers()
        verified.append(
            {
                "id": number,
                "cycles": counted,
                "right": right,
                "luts": numbers_of["lut_equivalents"],
                "registers": numbers_of["registers"],
                "block_rams": numbers_of["memories"],
                "multipliers": numbers_of["slices"],
                "mhz": numbers_of["fmax_mhz"],
            }
        )
    return verified


def simulated(candidate: Candidate, config: Config, work: Work, out: Path, say: Say) -> tuple[int, bool]:
    """(cycles on the Verilog, whether every result is the golden model's): of the program, or of all linear layers."""
    if isinstance(config, StaConfig):
        return _simulated_program(candidate, config, work, out, say)
    return _simulated_layers(candidate, config, work, out, say)


def _simulated_program(candidate: Candidate, config: StaConfig, work: Work, out: Path, say: Say) -> tuple[int, bool]:
    """With random ids, or pixels."""
    import numpy as np

    from nmgen.models.model_program import compiled
    from nmgen.simulate.run_program import run
    from nmgen.verilog.bundle import generate
    from pruning.files.artefact import read

    program = compiled(read(candidate.file), str(candidate.file), config, list(work.lengths), work.batch)
    rng = np.random.default_rng(0)
    if program.takes_pictures:
        pixels = program.about["patch"]
        image = program.image_of_patches(
            [rng.integers(-127, 128, (one.tokens, pixels), np.int8) for one in program.sequences]
        )
    else:
        vocabulary = program.about["vocabulary"]
        image = program.image([rng.integers(0, vocabulary, one.tokens).tolist() for one in program.sequences])
    design = generate(config, out / SIMULATION / f"verilog-{config.identification:08x}")
    ran = run(
        program,
        image,
        sources=design.sources,
        top=design.top,
        simulator="verilator",
        latency=work.mem_latency,
        seed=0,
        stall=False,
        build_dir=out / SIMULATION,
        check_each=False,
        progress=say,
    )
    return (ran.result.cycles if ran.result else 0), not ran.wrong


def _simulated_layers(candidate: Candidate, config: Config, work: Work, out: Path, say: Say) -> tuple[int, bool]:
    """One after another, with random activations."""
    from nmgen.verilog.bundle import generate
    from sim.bench.runner import run_products
    from sim.golden.layer import linear

    design = generate(config, out / SIMULATION / f"verilog-{config.identification:08x}")
    jobs = list(_jobs(candidate, config, sum(work.lengths) * work.batch))
    results = run_products(
        design.sources,
        design.top,
        config,
        jobs,
        simulator="verilator",
        latency=work.mem_latency,
        seed=0,
        stall=False,
        build_dir=out / SIMULATION,
        progress=say,
    )
    right = all(
        (one.y == linear(job.x, job.w, job.bias, job.mult, job.shift, job.product.out_bits)).all()
        for one, job in zip(results, jobs, strict=True)
    )
    return sum(one.cycles for one in results), right


def _jobs(candidate: Candidate, config: Config, tokens: int) -> "Iterator[Job]":
    import numpy as np

    from pruning.files.artefact import read
    from rtl.product import Product
    from sim.bench.runner import Job

    rng = np.random.default_rng(0)
    for layer in read(candidate.file).layers.values():
        product = Product(
            config=config,
            tokens=tokens,
            k=layer.k,
            channels=layer.channels,
            pattern_n=pattern_on(layer.n, layer.m, config.m),
            out_bits=layer.out_bits,
        )
        x = rng.integers(-127, 128, (tokens, layer.k), np.int8)
        yield Job(product, x, layer.weights, layer.bias, layer.mult, layer.shift)
