"""Whole encoders on the generated Verilog of STA: what every instruction leaves behind, and every byte of memory."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nmgen.compiler.program import Program
from nmgen.compiler.random_instructions import random_instructions
from nmgen.estimate.cycles import estimate, total
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.vit.compiler import compile_vit
from nmgen.verilog.kept import kept
from pruning.families.bert.integer import IntegerEncoder
from pruning.families.vit.calibrate import patches_of
from pruning.families.vit.shape import ViTShape
from rtl.sta.params import StaConfig
from sim.bench.programs import ProgramJob, ProgramResult, run_programs
from sim.golden.checked import with_dumps
from sim.golden.machine import Machine
from tests.nightly import but
from tests.nmgen.encoders import artefact, random_ids
from tests.pruning.vits import parameters, random_images

BUILDS = Path(__file__).parents[3] / "build" / "test-sim"
LIMIT = 1_200_000  # cycles, twice what the longest program takes

Loaded = tuple[Program, NDArray[np.uint8]]  # and the memory with what the host writes in it


def sentences(sizes: dict, lengths: list[int], config: StaConfig, seed: int = 1) -> Loaded:
    program = compile_encoder(IntegerEncoder(artefact(**sizes)).parameters, config, lengths)
    return program, program.image(random_ids(seed, lengths))


def pictures(shape: ViTShape, images: int, pattern: str, config: StaConfig) -> Loaded:
    program = compile_vit(parameters(shape, pattern), config, images)
    return program, program.image_of_patches(list(patches_of(shape, random_images(shape, images)).numpy()))


SMALL = StaConfig(n=2, m=8, rows=4, cols=4, drain=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=512)
CASES: dict[str, tuple[StaConfig, list[Callable[..., Loaded]]]] = {
    "small": (
        SMALL,
        [
            partial(sentences, {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8", "classes": 3}, [9, 1, 6]),
            partial(pictures, ViTShape(image=12, patch=4, hidden=24, layers=2, heads=3, intermediate=40), 2, "2:8"),
        ],
    ),
    "groups of rows": (  # of three each, and activations in memory
        replace(SMALL, rows=6, store_words=30, groups=2),
        [
            partial(sentences, {"hidden": 24, "heads": 3, "inner": 40, "pattern": "2:8"}, [25]),
            partial(pictures, ViTShape(image=12, patch=4, hidden=24, layers=2, heads=3, intermediate=40), 2, "2:8"),
            lambda config: random_instructions(random.Random(3), config, 30),
        ],
    ),
    "wide": (
        StaConfig(
            n=2, m=4, rows=2, cols=8, drain=8, port_bytes=16, max_tokens=40, max_k=64, hidden=48, store_words=512
        ),
        [
            partial(sentences, {"hidden": 48, "heads": 4, "inner": 64, "pattern": "2:4"}, [16, 15]),
            partial(sentences, {"hidden": 16, "heads": 2, "inner": 33, "pattern": "3:8", "classes": 5}, [1]),
        ],
    ),
    "odd": (
        StaConfig(
            n=3, m=16, rows=3, cols=6, drain=4, port_bytes=2, max_tokens=32, max_k=80, hidden=41, store_words=512
        ),
        [
            partial(sentences, {"hidden": 40, "heads": 4, "inner": 56, "pattern": "3:16"}, [10, 2]),
            partial(
                pictures,
                ViTShape(image=8, patch=4, channels=3, hidden=18, layers=1, heads=2, intermediate=23, labels=0),
                1,
                "",
            ),
        ],
    ),
    "N = M": (
        StaConfig(
            n=2, m=2, rows=1, cols=4, drain=4, port_bytes=1, max_tokens=20, max_k=48, hidden=24, store_words=1500
        ),
        [partial(sentences, {"hidden": 16, "heads": 2, "inner": 24, "pattern": "1:2", "layers": 1}, [4, 3])],
    ),
    "one of each": (
        StaConfig(
            n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=20, max_k=48, hidden=24, store_words=1500
        ),
        [partial(sentences, {"hidden": 18, "heads": 3, "inner": 20, "pattern": "1:2", "layers": 1}, [5, 3])],
    ),
}


def checked_jobs(config: StaConfig, program: Program, image: NDArray[np.uint8]) -> tuple[list[ProgramJob], list]:
    """The program as it is, and with dumps; what to compare of each."""
    writable = np.zeros(len(image), np.bool_)
    for span in program.written:
        writable[span.start : span.stop] = True
    code, dumps, end = with_dumps(config, program.instructions, len(image))
    start = -(-end // 64) * 64
    memory = np.zeros(-(-(start + len(code)) // 64) * 64, np.uint8)
    memory[: len(image)] = image
    memory[start : start + len(code)] = np.frombuffer(code, np.uint8)
    allowed = np.zeros(len(memory), np.bool_)
    allowed[: len(image)] = writable
    allowed[len(image) : end] = True
    cycles = total(program, estimate(program))["cycles"]
    jobs = [
        ProgramJob(memory=image, address=program.address, writable=writable, limit=LIMIT, cycles=cycles),
        ProgramJob(memory=memory, address=start, writable=allowed, limit=2 * LIMIT, cycles=2 * cycles),
    ]
    return jobs, [(program, None), (program, dumps)]


def wanted(config: StaConfig, job: ProgramJob, seed: int) -> np.ndarray:
    machine = Machine(config, job.memory, fill=np.random.default_rng(seed), address=job.address)
    for _ in machine.run():
        pass
    return machine.memory


def check(
    config: StaConfig,
    loaded: list[Loaded],
    stalls: tuple[bool, ...],
    latency: int = 7,
    seed: int = 2,
    *,
    each: bool = True,
) -> list[list[ProgramResult]]:
    """Every instruction of some programs, one after another in one simulation.

    The results of each simulation: of every program as it is, and with dumps of what each instruction leaves behind,
    unless only the end is compared.
    """
    design = kept(config, BUILDS)
    jobs, compared, found = [], [], []
    for program, image in loaded:
        own, what = checked_jobs(config, program, image)
        jobs += own if each else own[:1]
        compared += what if each else what[:1]
    for stall in stalls:
        results = run_programs(
            design.sources,
            design.top,
            config,
            jobs,
            simulator="verilator",
            latency=latency,
            seed=seed,
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
        found.append(results)
    return found


@pytest.mark.parametrize("name", but(CASES, {"small", "N = M"}))
def test_every_instruction(name: str) -> None:
    config, models = CASES[name]
    check(config, [make(config=config) for make in models], (False, True))


@pytest.mark.nightly
def test_the_small_vit_of_the_benchmarks() -> None:
    config = StaConfig(max_tokens=24, max_k=512, hidden=128, store_words=512)
    check(config, [pictures(ViTShape(), 1, "2:8", config)], (False,))


LONG = StaConfig(
    n=2, m=8, rows=4, cols=8, drain=4, port_bytes=8, max_tokens=136, max_k=160, hidden=24, store_words=1024
)
SIZES = {"hidden": 16, "heads": 2, "inner": 24, "layers": 1, "pattern": "2:8", "positions": 128}


@pytest.mark.parametrize(
    "lengths",
    [[33, 1, 7, 2], pytest.param([127], marks=pytest.mark.nightly), pytest.param([128], marks=pytest.mark.nightly)],
)
def test_lengths_together_and_each_alone(lengths: list[int]) -> None:
    ids = random_ids(1, lengths)
    programs = [(sentences(SIZES, lengths, LONG)[0], ids)]
    if len(lengths) > 1:
        programs += [(sentences(SIZES, [len(row)], LONG)[0], [row]) for row in ids]
    (results,) = check(LONG, [(program, program.image(rows)) for program, rows in programs], (False,))
    encoder = IntegerEncoder(artefact(**SIZES))
    means = np.stack([encoder.means(torch.tensor(row)).numpy() for row in ids])
    # Of each program the first result is the one without dumps.
    found = [
        program.result("embedding", result.memory) for (program, _), result in zip(programs, results[::2], strict=True)
    ]
    assert np.array_equal(found[0], means)
    assert len(found) == 1 or np.array_equal(np.concatenate(found[1:]), means)
