"""Whole encoders on the generated Verilog of STA: what every instruction leaves behind, and every byte of memory."""

from pathlib import Path

import numpy as np
import pytest

from nmgen.compiler import compile_encoder
from nmgen.verilog import emit
from pruning.integer import IntegerEncoder
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta
from sim.checked import with_dumps
from sim.machine import Machine
from sim.programs import ProgramJob, run_programs
from tests.nmgen.encoders import artefact, random_ids

BUILDS = Path(__file__).parents[2] / "build" / "test-sim"

SMALL = StaConfig(n=2, m=8, rows=4, cols=4, drain=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=512)
CASES = {
    "small": (SMALL, [({"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8", "classes": 3}, [9, 1, 6])]),
    "wide": (
        StaConfig(
            n=2, m=4, rows=2, cols=8, drain=8, port_bytes=16, max_tokens=40, max_k=64, hidden=48, store_words=512
        ),
        [
            ({"hidden": 48, "heads": 4, "inner": 64, "pattern": "2:4"}, [16, 15]),
            ({"hidden": 16, "heads": 2, "inner": 33, "pattern": "3:8", "classes": 5}, [1]),
        ],
    ),
    "odd": (
        StaConfig(
            n=3, m=16, rows=3, cols=6, drain=4, port_bytes=2, max_tokens=32, max_k=80, hidden=41, store_words=512
        ),
        [({"hidden": 40, "heads": 4, "inner": 56, "pattern": "3:16"}, [10, 2])],
    ),
    "one of each": (
        StaConfig(
            n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=20, max_k=48, hidden=24, store_words=1500
        ),
        [({"hidden": 18, "heads": 3, "inner": 20, "pattern": "1:2", "layers": 1}, [5, 3])],
    ),
}


def checked_jobs(config: StaConfig, sizes: dict, lengths: list[int], seed: int) -> tuple[list[ProgramJob], list]:
    """The program as it is, and with dumps; what to compare of each."""
    program = compile_encoder(IntegerEncoder(artefact(**sizes)).parameters, config, lengths)
    image = program.image(random_ids(seed, lengths))
    writable = np.zeros(len(image), np.bool_)
    for result in program.results:
        writable[result.address : result.address + result.pitch * len(lengths)] = True
    code, dumps, end = with_dumps(config, program.instructions, len(image))
    start = -(-end // 64) * 64
    memory = np.zeros(-(-(start + len(code)) // 64) * 64, np.uint8)
    memory[: len(image)] = image
    memory[start : start + len(code)] = np.frombuffer(code, np.uint8)
    allowed = np.zeros(len(memory), np.bool_)
    allowed[: len(image)] = writable
    allowed[len(image) : end] = True
    jobs = [
        ProgramJob(memory=image, address=program.address, writable=writable, limit=200_000),
        ProgramJob(memory=memory, address=start, writable=allowed, limit=400_000),
    ]
    return jobs, [(program, None), (program, dumps)]


def wanted(config: StaConfig, job: ProgramJob, seed: int) -> np.ndarray:
    machine = Machine(config, job.memory, fill=np.random.default_rng(seed), address=job.address)
    for _ in machine.run():
        pass
    return machine.memory


@pytest.mark.parametrize("name", CASES)
def test_every_instruction(name: str, tmp_path: Path) -> None:
    config, models = CASES[name]
    source = tmp_path / "sta.v"
    source.write_text(emit(Sta(config)))
    jobs, compared = [], []
    for sizes, lengths in models:
        found, what = checked_jobs(config, sizes, lengths, seed=1)
        jobs += found
        compared += what
    for stall in (False, True):
        results = run_programs(
            [source],
            "nmgen_top",
            config,
            jobs,
            simulator="verilator",
            latency=7,
            seed=2,
            stall=stall,
            build_dir=BUILDS,
        )
        for job, result, (program, dumps) in zip(jobs, results, compared, strict=True):
            right = wanted(config, job, seed=3)
            for dump in dumps or ():
                got, want = dump.rows(result.memory), dump.rows(right)
                where = f"instruction {dump.number}, {program.names[dump.number]}, in the {dump.where}"
                assert np.array_equal(got, want), f"{where}: {np.argwhere(got != want)[:4].tolist()}"
            for part in program.results:
                assert np.array_equal(program.result(part.name, result.memory), program.result(part.name, right))
