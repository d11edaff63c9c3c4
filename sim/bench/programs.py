"""Runs programs on the Verilog of an STA: the images go in, the memories come back."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rtl.sta.params import StaConfig
from sim.bench.memory import content_file, image_number, write_image
from sim.bench.runner import Bench, Build, SimulationError, run_folder, watched

Bytes = NDArray[np.uint8]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class ProgramJob:
    """A program in memory.

    Attributes
    ----------
    memory : uint8 [bytes], the whole memory before the start
    address : byte address of the first instruction
    writable : bool [bytes], where the program may write
    limit : cycles after which it is given up
    names : of its instructions in order, for messages
    cycles : that it takes, about; 0 where nobody knows
    """

    memory: Bytes
    address: int
    writable: NDArray[np.bool_]
    limit: int
    names: Sequence[str] = ()
    cycles: int = 0


@dataclass(frozen=True)
class ProgramResult:
    """What the design did.

    Attributes
    ----------
    memory : after the run
    spans : of each instruction, what the counter `cycles` is when it begins to execute and when it is finished
    cycles, steps, waits_memory, waits_drain : of the design's own counters
    bytes_read, bytes_written : through the memory port
    """

    memory: Bytes
    spans: list[tuple[int, int]]
    cycles: int
    steps: int
    waits_memory: int
    waits_drain: int
    bytes_read: int
    bytes_written: int


class ProgramError(SimulationError):
    """A program did not end as it must.

    Attributes
    ----------
    number : of the program; results : of those before it
    finished : its instructions that were finished
    memory : as it left it
    """

    def __init__(self, message: str, number: int, results: list[ProgramResult], finished: int, memory: Bytes) -> None:
        super().__init__(message)
        self.number, self.results, self.finished, self.memory = number, results, finished, memory


def run_programs(
    sources: Sequence[Path],
    top: str,
    config: StaConfig,
    jobs: Sequence[ProgramJob],
    *,
    simulator: str,
    latency: int,
    seed: int,
    stall: bool,
    build_dir: Path,
    strict: bool = True,
    progress: Progress = lambda text: None,
) -> list[ProgramResult]:
    """Run programs one after another, without a reset in between, in one simulation; see `runner.run_products`.

    Raises
    ------
    InputError : the simulator is missing, or cannot read the design.
    ProgramError : the design hung, stopped with an error, or broke a rule of the port.
    SimulationError : the simulator failed.
    """
    bench = Bench(config.port_bytes, sta=True)
    cycles = [job.cycles for job in jobs]
    total = sum(cycles) if all(cycles) else 0
    build = Build(sources, top, simulator, build_dir.resolve(), strict=strict, bench=bench, cycles=total)
    progress(f"building {top} with {simulator}")
    build.make()
    with run_folder(build.build_dir) as folder:
        for number, job in enumerate(jobs):
            write_image(folder, image_number(number), job.memory, job.writable, config.port_bytes)
        run = {
            "identification": config.identification,
            "port_bytes": config.port_bytes,
            "latency": latency,
            "seed": seed,
            "stall": stall,
            "jobs": [
                {"address": job.address, "size": len(job.memory), "limit": job.limit, "names": list(job.names)}
                for job in jobs
            ],
        }
        (folder / "run.json").write_text(json.dumps(run))
        with watched(folder / "progress", cycles, progress, what="program"):
            build.run(folder, seed, "sim.bench.tb_program")
        return _results(folder, jobs)


def _results(folder: Path, jobs: Sequence[ProgramJob]) -> list[ProgramResult]:
    if not (folder / "results.json").exists():
        raise SimulationError(f"the simulator ended early: {(folder / 'run.log').read_text()[-300:]}")
    found = json.loads((folder / "results.json").read_text())

    def memory(number: int) -> Bytes:
        return np.fromfile(content_file(folder, image_number(number)), np.uint8)[: len(jobs[number].memory)]

    results = []
    for number, counts in enumerate(found["results"]):
        spans = [(begin, end) for begin, end in counts.pop("spans")]
        results.append(ProgramResult(memory=memory(number), spans=spans, **counts))
    if found["error"] is not None:
        number = len(results)
        which = f"program {number + 1} of {len(jobs)}: " if len(jobs) > 1 else ""
        raise ProgramError(f"{which}{found['error']}", number, results, found["finished"], memory(number))
    return results
