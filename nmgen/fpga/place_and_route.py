"""Synthesis, then place and route over seeds, of many designs: as many tools at a time as asked for, none twice.

What a tool made is kept in a folder under a hash of all that it was made of: the Verilog, the options, the tool's
version. So a run that was stopped, or in which a tool died, goes on where it was.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from threading import Event, Lock
from typing import Any, Protocol

from nmgen.console.files import written_whole
from nmgen.fpga.floorplan import Placement
from nmgen.fpga.router_watchdog import Routing, UnroutedError
from nmgen.fpga.tools import StoppedError, ToolError, find_tool, run_tool, tool_version
from rtl.params import InputError
from sim.process.interrupts import finished

VERILOG, SCRIPT, NETLIST, CELLS = "design.v", "synth.ys", "design.json", "cells.json"
OUTPUT = "yosys.txt"  # warnings: YoWASP's yosys prints nothing more once it has called abc, so it writes a log itself
FLOORED, PLACED, DELAYS = "floored.json", "placed.json", "delays.sdf"
PINS, CHIP = "pins.lpf", "chip.config"  # what ecppack makes a bitstream of


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is measured.

    Attributes
    ----------
    title : for messages
    verilog : all modules
    script : of yosys, which finds the Verilog in `VERILOG`; it writes the numbers of cells (`stat -json`) to `CELLS`
        and, where place is given, the netlist to `NETLIST`
    place : arguments of nextpnr-ecp5: device, clock, router; None of what is only synthesised
    placement : what the placer is told of sites and rows; None for nothing
    delays : whether those of every cell and wire are kept, for `nmgen.fpga.timing_paths`
    pins : of an image: sites and clocks of its pins, as an .lpf says them; the chip's configuration is kept in `CHIP`
    seeds : of place and route
    """

    title: str
    verilog: str
    script: str
    place: tuple[str, ...] | None = None
    placement: Placement | None = None
    delays: bool = False
    pins: str = ""
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a design takes, and how fast it is.

    Attributes
    ----------
    cells : number of each kind in the flat netlist
    mhz : of each seed, in their order; 0 of one that does not route
    synthesised, placed : folders of what the tools made, of each seed
    """

    cells: dict[str, int]
    mhz: tuple[float, ...]
    synthesised: Path
    placed: tuple[Path, ...]

    @property
    def median_mhz(self) -> float | None:
        return median(self.mhz) if self.mhz else None


class Store:
    """What tools have made, a folder for each thing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)  # here, lest one that fails takes it away from under another

    def made(self, key: Sequence[str], make: Callable[[Path], None]) -> tuple[Path, bool]:
        """The folder of what is made of all that key says, and whether make was called for it, with a new folder."""
        digest = sha256(json.dumps(key).encode()).hexdigest()
        path = self._folder / digest[:24]
        if path.is_dir():
            return path, False
        try:
            with written_whole(path) as folder:
                folder.mkdir()
                make(folder)
        except InputError:
            if not path.is_dir():  # made by another run meanwhile: as good
                raise
        return path, True


class Tools(Protocol):
    """Where yosys and nextpnr run."""

    def version(self, program: str) -> str:
        """What it says of its version. InputError where it is missing."""

    def run(self, program: str, arguments: Sequence[str], folder: Path, what: str, stop: Event) -> None:
        """Run it on the files of a folder, to its end: all that it writes is in the folder then.

        Raises
        ------
        ToolError, UnroutedError : it failed
        StoppedError : stop was set
        """


class OwnTools:
    """Of this machine.

    named : programs to run instead of those that are found
    """

    def __init__(self, named: Mapping[str, str] | None = None) -> None:
        self._named = named or {}

    def _found(self, program: str) -> str:
        return self._named.get(program) or find_tool(program)

    def version(self, program: str) -> str:
        return tool_version(self._found(program), program)

    def run(self, program: str, arguments: Sequence[str], folder: Path, what: str, stop: Event) -> None:
        log = f"{program}.log"
        routing = Routing(folder / log, lambda text: say(f"{what}: {text}"))
        output = OUTPUT if program == "yosys" else log
        command = [self._found(program), *arguments]
        try:
            run_tool(command, folder, what, output=output, log=log, tick=lambda _, cpu: routing.tick(cpu), stop=stop)
        except ToolError:
            routing.check_placed()
            raise


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(
    designs: Sequence[Design], folder: Path, *, jobs: int | None = None, tools: Tools | None = None
) -> list[Measured]:
    """Measure designs, in their order; progress goes to stderr.

    Parameters
    ----------
    folder : for what the tools make
    jobs : tools at a time, else one a core
    tools : where they run; else here

    Raises
    ------
    InputError : a tool is missing
    ToolError : tools failed, each with its last lines; what the others made is kept
    """
    return _Run(designs, folder, tools or OwnTools()).measure(jobs or cores())


class _Run:
    def __init__(self, designs: Sequence[Design], folder: Path, tools: Tools) -> None:
        self._designs = designs
        self._store = Store(folder)
        self._stop = Event()
        self._lock = Lock()
        self._done = 0
        self._all = sum(1 + len(design.seeds) for design in designs)
        placed = any(design.place is not None for design in designs)
        programs = ["yosys", "nextpnr-ecp5"] if placed else ["yosys"]
        self._tools = tools
        self._versions = {program: tools.version(program) for program in programs}

    def measure(self, jobs: int) -> list[Measured]:
        netlists: dict[int, Path] = {}
        places: dict[tuple[int, int], Path] = {}
        errors: list[ToolError] = []
        with ThreadPoolExecutor(jobs) as pool:
            try:
                synthesised = {pool.submit(self._synthesise, design): i for i, design in enumerate(self._designs)}
                placed: dict[Future[Path], tuple[int, int]] = {}
                left: set[Future[Any]] = set(synthesised)
                while left:
                    done, left = finished(left)
                    for future in done:
                        try:
                            result = future.result()
                        except ToolError as error:  # the others go on: what they make is kept
                            errors.append(error)
                            continue
                        if future in placed:
                            places[placed[future]] = result
                            continue
                        i = synthesised[future]
                        netlists[i] = result
                        for seed in self._designs[i].seeds:
                            one = pool.submit(self._place, self._designs[i], result, seed)
                            placed[one] = i, seed
                            left.add(one)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        if errors:
            raise ToolError("\n".join(map(str, errors)))
        measured = []
        for i, design in enumerate(self._designs):
            folders = tuple(places[i, seed] for seed in design.seeds)
            measured.append(
                Measured(
                    cells=_cells(netlists[i], design.title),
                    mhz=tuple(slowest_clock(folder / PLACED, design.title) for folder in folders),
                    synthesised=netlists[i],
                    placed=folders,
                )
            )
        return measured

    def _tell(self, what: str, found: str) -> None:
        with self._lock:
            self._done += 1
            say(f"[{self._done}/{self._all}] {what}: {found}")

    def _run(self, program: str, arguments: Sequence[str], folder: Path, what: str) -> None:
        if self._stop.is_set():
            raise StoppedError
        say(f"{what} …")
        self._tools.run(program, arguments, folder, what, self._stop)

    def _synthesise(self, design: Design) -> Path:
        """Returns the folder of the netlist."""
        what = f"synthesis of {design.title}"
        began = time.monotonic()

        def make(folder: Path) -> None:
            (folder / VERILOG).write_text(design.verilog)
            (folder / SCRIPT).write_text(design.script)
            self._run("yosys", ["-q", "-l", "yosys.log", "-s", SCRIPT], folder, what)
            _cells(folder, what)

        key = ["yosys", self._versions["yosys"], design.script, design.verilog]
        path, new = self._store.made(key, make)
        self._tell(what, f"{time.monotonic() - began:.0f} s" if new else "kept")
        return path

    def _place(self, design: Design, netlist: Path, seed: int) -> Path:
        """Returns the folder of a seed's placement."""
        assert design.place is not None
        what = f"place and route of {design.title}, seed {seed}"
        options = [*design.place, "--timing-allow-fail", "--seed", str(seed)]
        if design.delays:
            options = ["--sdf", DELAYS, *options]
        if design.pins:
            options = ["--lpf", PINS, "--textcfg", CHIP, *options]
        began = time.monotonic()

        def make(folder: Path) -> None:
            if design.pins:
                (folder / PINS).write_text(design.pins)
            if design.placement:
                design.placement.write(netlist / NETLIST, folder / FLOORED)
            else:
                shutil.copyfile(netlist / NETLIST, folder / FLOORED)
            files = ["--json", FLOORED, "--report", PLACED]  # YoWASP's tools have a /tmp of their own
            try:
                self._run("nextpnr-ecp5", [*files, *options], folder, what)
            except UnroutedError as error:
                (folder / PLACED).write_text(json.dumps({"fmax": {"none": {"achieved": 0}}, "unrouted": str(error)}))
            (folder / FLOORED).unlink(missing_ok=True)
            slowest_clock(folder / PLACED, what)

        key = [
            "nextpnr-ecp5",
            self._versions["nextpnr-ecp5"],
            netlist.name,
            *options,
            design.placement.key if design.placement else "",
            *([design.pins] if design.pins else []),
        ]
        path, new = self._store.made(key, make)
        found = slowest_clock(path / PLACED, what)
        speed = f"{found:.1f} MHz" if found else f"does not route, {_unrouted(path)}"
        self._tell(what, f"{speed}, " + (f"{time.monotonic() - began:.0f} s" if new else "kept"))
        return path


def _cells(folder: Path, what: str) -> dict[str, int]:
    try:
        cells: dict[str, int] = json.loads((folder / CELLS).read_text())["design"]["num_cells_by_type"]
    except (OSError, ValueError, KeyError) as error:
        raise ToolError(f"{what} counted no cells: {error}") from None
    return cells


def _unrouted(folder: Path) -> str:
    """Why a seed has no clock."""
    return str(json.loads((folder / PLACED).read_text())["unrouted"])


def slowest_clock(report: Path, what: str) -> float:
    """MHz of the slowest clock in a report of nextpnr.

    Raises
    ------
    ToolError : there is none.
    """
    try:
        return float(min(clock["achieved"] for clock in json.loads(report.read_text())["fmax"].values()))
    except (OSError, ValueError, KeyError) as error:
        raise ToolError(f"{what} reports no clock: {error}") from None


def seeds(number: int) -> tuple[int, ...]:
    """So many seeds.

    Raises
    ------
    InputError : fewer than one.
    """
    if number < 1:
        raise InputError(f"seeds is {number}, must be at least 1")
    return tuple(range(1, number + 1))
