"""`nmgen estimate` beside the RTL, on random configurations and programs: ``make bench-estimate``.

Ten random configurations, ten random programs on each: they run on the emitted Verilog in Verilator, before a memory
that never stalls, and every instruction's cycles are compared. What ran is kept in build/bench-estimate/ under a hash
of Verilog and programs. The table goes into docs/results.md, row by row.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from nmgen.bench.command import bench
from nmgen.bench.random_programs import Loaded, random_configuration, random_program
from nmgen.bench.sections import replace_section
from nmgen.compiler.program import Program
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.estimate.cycles import Constants, estimate, total
from nmgen.verilog.bundle import Generated, generate
from rtl.params import InputError
from rtl.sta.params import StaConfig
from sim.bench.programs import ProgramJob, run_programs
from sim.golden.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "bench-estimate"
LATENCY = 30


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far the estimate of a program is off, relative to what the RTL took.

    Parameters
    ----------
    cycles : of the RTL, from start to done; whole : of the estimate of these
    worst : of any single instruction, from its execute to the next one's, and taken : cycles of that one
    exact, instructions : how many are estimated to the cycle, of how many
    """

    cycles: int
    whole: float
    worst: float
    name: str
    taken: int
    exact: int
    instructions: int


def deviation(program: Program, spans: Sequence[Sequence[int]], cycles: int, latency: int) -> Deviation:
    """Of a program that ran before a memory without stalls; spans, cycles: as of `sim.bench.programs.ProgramResult`."""
    found = estimate(program, Constants(memory=latency))
    begins = [begin for begin, _ in spans] + [cycles]
    taken = [late - early for early, late in pairwise(begins)]
    off = [one.cycles / took - 1 for one, took in zip(found, taken, strict=True)]
    worst = max(range(len(off)), key=lambda i: abs(off[i]))
    return Deviation(
        cycles=cycles,
        whole=total(program, found)["cycles"] / cycles - 1,
        worst=off[worst],
        name=program.names[worst],
        taken=taken[worst],
        exact=sum(not one for one in off),
        instructions=len(off),
    )


def drawn(seed: str, number: int, count: int, side: int = 4) -> tuple[StaConfig, list[Loaded], random.Random]:
    """The configuration of that number, so many programs for it, and the generator for more. Few seeds fit nothing."""
    rng = random.Random(f"{seed} {number}")
    while True:
        config = random_configuration(rng, side)
        try:
            return config, [random_program(rng, config) for _ in range(count)], rng
        except InputError:
            continue


def measure(config: StaConfig, loaded: Sequence[Loaded]) -> list[Deviation]:
    """Run programs on the RTL of a configuration, unless this Verilog has run these before.

    Raises
    ------
    InputError : a result is not the golden machine's.
    """
    design = generate(config, CACHE / "verilog" / f"{config.identification:08x}")
    digest = sha256(b"".join(source.read_bytes() for source in design.sources))
    for _, image in loaded:
        digest.update(image.tobytes())
    kept = CACHE / f"{digest.hexdigest()[:16]}.json"
    if not kept.exists():
        found = json.dumps(_run(config, loaded, design))
        with written_whole(kept) as path:
            path.write_text(found)
    ran = json.loads(kept.read_text())
    return [
        deviation(program, spans, cycles, LATENCY) for (program, _), (spans, cycles) in zip(loaded, ran, strict=True)
    ]


def _run(config: StaConfig, loaded: Sequence[Loaded], design: Generated) -> list[tuple[list[tuple[int, int]], int]]:
    """Spans and cycles of each program."""
    jobs = []
    for program, image in loaded:
        writable = np.zeros(len(image), np.bool_)
        for span in program.written:
            writable[span.start : span.stop] = True
        cycles = total(program, estimate(program, Constants(memory=LATENCY)))["cycles"]
        jobs.append(ProgramJob(image, program.address, writable, 10_000 + 4 * cycles, program.names, cycles))
    results = run_programs(
        design.sources,
        design.top,
        config,
        jobs,
        simulator="verilator",
        latency=LATENCY,
        seed=0,
        stall=False,
        build_dir=CACHE / "simulation",
    )
    for (program, image), ran in zip(loaded, results, strict=True):
        machine = Machine(config, image, address=program.address)
        machine.finish()
        for result in program.results:
            if not np.array_equal(program.result(result.name, ran.memory), program.result(result.name, machine.memory)):
                raise InputError(f"{result.name} is not the golden machine's, on {config}")
    return [(result.spans, result.cycles) for result in results]


def row(config: StaConfig, found: Sequence[Deviation]) -> str:
    """Of the table."""
    c = config
    whole = max((one.whole for one in found), key=abs)
    worst = max(found, key=lambda one: abs(one.worst))
    exact, instructions = sum(one.exact for one in found), sum(one.instructions for one in found)
    return (
        f"| {c.rows}×{c.cols} | {c.n}:{c.m} | {c.drain} | {c.port_bytes} | {len(found)} "
        f"| {sum(one.cycles for one in found):,} | {whole:+.2%} | {worst.worst:+.1%} of {worst.taken:,} "
        f"| {exact:,} of {instructions:,} |"
    )


def table(rows: Sequence[str], seed: str) -> str:
    """Markdown."""
    columns = ("PEs", "N:M", "drain", "bytes a cycle", "programs", "cycles", "whole program", "instruction", "exact")
    return "\n".join(
        [
            f"`make bench-estimate` writes this table; last run on {time.strftime('%Y-%m-%d')}, seed {seed}. Random",
            "configurations and programs: encoders of any heads, sizes and lengths with a pattern for every layer, and",
            f"instructions in any order. On the emitted Verilog; the memory has latency {LATENCY} and never stalls.",
            "*Whole program* and *instruction*: how far `nmgen estimate` is off, at the worst program and at the worst",
            "of all instructions, with the cycles that this one takes; *exact*: instructions estimated to the cycle.",
            "",
            "| " + " | ".join(columns) + " |",
            "|---" * len(columns) + "|",
            *rows,
        ]
    )


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-estimate", description="The estimate beside the RTL.")
    parser.add_argument("--seed", default="1", help="of configurations and programs (1)")
    parser.add_argument("--configurations", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--programs", type=int, default=10, metavar="N", help="of each (10)")
    args = parser.parse_args(argv)
    rows = []
    for number in range(args.configurations):
        config, loaded, _ = drawn(args.seed, number, args.programs)
        rows.append(row(config, measure(config, loaded)))
        print(rows[-1], file=sys.stderr, flush=True)
        replace_section(ROOT / "docs" / "results.md", "bench-estimate", table(rows, args.seed))
    print(f"{len(rows)} configurations: docs/results.md")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-estimate")


if __name__ == "__main__":
    sys.exit(process(main, "bench-estimate"))
