"""A program on the Verilog of STA, and what it gave against the golden machine: the result, or every instruction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.program import Program
from nmgen.estimate.cycles import Constants, Estimate, estimate, total
from rtl.params import ceil_div, round_up
from rtl.sta.isa import BYTES
from sim.bench.programs import ProgramError, ProgramJob, ProgramResult, run_programs
from sim.golden.checked import Dump, with_dumps
from sim.golden.machine import Machine

Bytes = NDArray[np.uint8]
DUMP_CYCLES = 100  # about what a dump takes beside its beats, for the progress


@dataclass(frozen=True)
class Run:
    """A program that ran.

    Attributes
    ----------
    program : as it ran
    estimated : of its instructions
    result : of the run that gives the cycles; None where a run did not end as it must
    outputs : what each of the program's results is, integers [sequences, channels]; of the golden machine likewise
    compared : instructions whose effects were compared, values of them, and of the results
    wrong : one line for each thing that is wrong; of the instructions the first
    """

    program: Program
    estimated: list[Estimate]
    result: ProgramResult | None
    outputs: dict[str, NDArray[np.int16]]
    golden: dict[str, NDArray[np.int16]]
    compared: int
    values: int
    wrong: list[str]

    @property
    def utilisation(self) -> float:
        """Multiplies that the patterns need, over those that all multipliers could do from start to done."""
        assert self.result
        c = self.program.config
        multiplies = total(self.program, self.estimated)["multiplies"]
        return float(multiplies / (self.result.cycles * c.rows * c.cols * c.n))


def run(
    program: Program,
    image: Bytes,
    *,
    sources: Sequence[Path],
    top: str,
    simulator: str,
    latency: int,
    seed: int,
    stall: bool,
    build_dir: Path,
    check_each: bool,
    strict: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """Run a program, first with dumps behind each instruction where each is checked, then as it is.

    Parameters
    ----------
    image : the memory, with what the host has to write

    Raises
    ------
    InputError : the simulator is missing, or cannot read the design.
    SimulationError : the simulator failed.
    """
    progress("estimate of the cycles")
    estimated = estimate(program, Constants(memory=latency))
    cycles = total(program, estimated)["cycles"]
    plain = _Prepared(program, image, seed, cycles, latency, dumped=False)
    prepared = [_Prepared(program, image, seed, cycles, latency, dumped=True), plain] if check_each else [plain]
    for one in prepared if stall else ():
        one.patience *= 4
    progress("golden machine")
    golden = prepared[0].golden()
    wrong: list[str] = []
    try:
        results = run_programs(
            sources,
            top,
            program.config,
            [one.job() for one in prepared],
            simulator=simulator,
            latency=latency,
            seed=seed,
            stall=stall,
            build_dir=build_dir,
            strict=strict,
            progress=progress,
        )
    except ProgramError as error:
        wrong.append(str(error))
        results = error.results
        if error.number == 0 and check_each:
            finished = prepared[0].originals(error.finished)
            wrong += prepared[0].differences(error.memory, golden, finished)[:1]
    progress("checks")
    compared = values = 0
    if check_each and results:
        compared, values = len(program.names), prepared[0].values
        wrong += prepared[0].differences(results[0].memory, golden, len(program.names))[:1]
    outputs: dict[str, NDArray[np.int16]] = {}
    wanted = {result.name: program.result(result.name, golden) for result in program.results}
    result = results[-1] if len(results) == len(prepared) else None
    for name, want in wanted.items() if result else ():
        assert result
        outputs[name] = got = program.result(name, result.memory)
        values += got.size
        if difference := _difference(got, want, "sequence"):
            wrong.append(f"{name}: {difference}")
    return Run(program, estimated, result, outputs, wanted, compared, values, wrong)


class _Prepared:
    """A program's memory, as it is or with dumps, for the design and for the golden machine."""

    def __init__(self, program: Program, image: Bytes, seed: int, cycles: int, latency: int, *, dumped: bool) -> None:
        self._program = program
        self._address, self._dumps, end = program.address, list[Dump](), len(image)
        self.image = image
        if dumped:
            code, self._dumps, end = with_dumps(program.config, program.instructions, len(image))
            self._address = round_up(end, BYTES)
            self.image = np.zeros(round_up(self._address + len(code), BYTES), np.uint8)
            self.image[: len(image)] = image
            self.image[self._address :][: len(code)] = np.frombuffer(code, np.uint8)
        self._noise = np.random.default_rng([seed, dumped])
        self.writable = np.zeros(len(self.image), np.bool_)
        for span in program.written:
            self.writable[span.start : span.stop] = True
        self.writable[len(image) : end] = True
        beats = sum(dump.tokens * ceil_div(dump.pitch, program.config.port_bytes) for dump in self._dumps)
        self._cycles = cycles + beats + DUMP_CYCLES * len(self._dumps)
        rows = beats + 8 * sum(dump.tokens for dump in self._dumps)
        self.patience = 2 * (cycles + 2 * rows + (2 * latency + 40) * len(self._dumps)) + 5000

    @property
    def values(self) -> int:
        return sum(dump.tokens * dump.size // (2 if dump.where == "residual" else 1) for dump in self._dumps)

    def job(self) -> ProgramJob:
        """Noise where results go: what is never written does not pass for a result."""
        memory = self.image.copy()
        memory[self.writable] = self._noise.integers(0, 256, int(self.writable.sum()), np.uint8)
        return ProgramJob(memory, self._address, self.writable, self.patience, self._names(), self._cycles)

    def golden(self) -> Bytes:
        machine = Machine(self._program.config, self.image, address=self._address)
        machine.finish()
        return machine.memory

    def _names(self) -> list[str]:
        names = []
        for number, name in enumerate(self._program.names):
            names += [name, *[f"dump of {name}"] * self._behind(number)]
        return names

    def _behind(self, number: int) -> int:
        """Dumps behind an instruction."""
        return sum(dump.number == number for dump in self._dumps)

    def originals(self, finished: int) -> int:
        """How many instructions of the program are finished, with their dumps, where so many of all are."""
        ends = accumulate(1 + self._behind(number) for number in range(len(self._program.names)))
        return sum(end <= finished for end in ends)

    def differences(self, memory: Bytes, golden: Bytes, instructions: int) -> list[str]:
        """A line for each of the first instructions that left anything but what it must."""
        found = []
        for dump in self._dumps:
            if dump.number < instructions and len(memory):
                difference = _difference(dump.rows(memory), dump.rows(golden), "token")
                if difference:
                    name = self._program.names[dump.number]
                    found.append(f"instruction {dump.number}, {name}, in the {dump.where}: {difference}")
        return found


def _difference(got: NDArray[Any], want: NDArray[Any], rows: str) -> str:
    """What differs of [rows, channels], empty where nothing does."""
    wrong = np.argwhere(got != want)
    if not len(wrong):
        return ""
    row, channel = wrong[0]
    return (
        f"{len(wrong)} of {got.size} values differ, first at {rows} {row}, channel {channel}: "
        f"got {got[row, channel]}, want {want[row, channel]}"
    )
