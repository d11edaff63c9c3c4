"""Runs a case in a forked child, bounded in memory and time, and says what is wrong with what it did.

Everything heavy is imported once, before the fork. What a command may do: end with 0 or 2, or by the signal that was
sent, with 130 or 143; say one line on stderr beside its progress; leave whole outputs or none, and no process.
"""

import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from tests.fuzz.lines import LINKS, Case

EVERY = 0.02  # seconds between looks at a child
GRACE = 1.0  # seconds in which its processes may end

# What the commands say while they work.
PROGRESS = re.compile(
    r"generating .* \.\.\.|.* (…|\\u2026)|\S.* +\d+ s *|.*: step \d+ of \d+, loss .*"
    r"|(\[\d+/\d+\] |synthesis|place and route|written).*|(simulate|build|golden|cycle|product|instruction).*"
)
CUT = "cut: the simulator would be built"
NO_BOARD = "gone: no such port"  # of commands that would go on with one

# Programs that only pretend, for build and report: they leave what the real ones would.
REPORT = (
    '{"fmax": {"clk": {"achieved": 60, "constraint": 50}}, "utilization": {'
    '"TRELLIS_COMB": {"used": 9, "available": 99},'
    ' "TRELLIS_FF": {"used": 9, "available": 99}, "DP16KD": {"used": 9, "available": 99},'
    ' "MULT18X18D": {"used": 9, "available": 99}}}'
)
CELLS = '{"design": {"num_cells_by_type": {"$scopeinfo": 7}}}'  # of no family, so that all know them
TOP = {"attributes": {"top": "1"}, "ports": {"clk": {"bits": [2]}}, "cells": {}}
NETLIST = json.dumps({"modules": {"t": TOP}})
TOOLS = {
    "yosys": f"echo '{CELLS}' > cells.json; cp cells.json selftest.stat.json; echo '{NETLIST}' > design.json; "
    "cp design.json selftest.json; touch selftest.rpt",
    "nextpnr-ecp5": "while [ $# -gt 0 ]; do case $1 in --report) report=$2;; esac; shift; done\n"
    f"echo '{REPORT}' > $report; touch selftest.tim selftest.config",
    "ecppack": "echo bits > selftest.bit",
}


@dataclass(frozen=True)
class Bounds:
    """What a case may take."""

    seconds: float = 60.0
    memory: int = 2 << 30  # bytes


BOUNDS = Bounds()


@dataclass(kw_only=True)
class Outcome:
    """What a case did, and what is wrong with it.

    status : exit status, 128 + signal of what a signal ended
    died : whether a signal ended it outright
    memory : bytes, the most that it and its children had at a time
    """

    status: int
    died: bool
    out: bytes
    err: bytes
    seconds: float
    memory: int
    problems: list[str] = field(default_factory=list)


def prepare() -> None:
    """Import what commands import while they run."""
    from nmgen.cli import COMMANDS

    for name in COMMANDS.values():
        import_module(f"nmgen.commands.{name}")
    for name in (
        "torch", "tokenizers", "safetensors.torch", "PIL.Image", "matplotlib.pyplot", "rich.table",
        "rich.progress", "nmgen.training.series", "nmgen.training.one_shot", "nmgen.compiler.program",
        "nmgen.estimate.cycles", "nmgen.explore.search", "nmgen.explore.result", "nmgen.explore.verify", "optuna",
        "distributed", "nmgen.cost.model",
        "nmgen.families.bert.family", "nmgen.families.vit.family", "nmgen.verilog.bundle",
        "nmgen.training.layers_alone", "nmgen.simulate.run_program", "nmgen.simulate.timeline", "nmgen.fpga.report",
        "nmgen.fpga.place_and_route", "pruning.families.bert.family", "pruning.families.vit.family",
        "pruning.training.series", "pruning.training.tasks",
        "pruning.training.image_task", "pruning.integers.layer", "pruning.masks.sensitivity",
        "sim.bench.runner", "sim.golden.machine", "boards.known", "boards.selftest", "fractions",
        "serial.tools.list_ports", "nmgen.driver.board", "nmgen.simulate.board_sim",
        "cocotb_tools.runner",
    ):  # fmt: skip
        import_module(name)
    import torch

    torch.set_num_threads(1)  # beside other jobs, threads that wait for each other take more than the work does
    _become_subreaper()
    gc.freeze()  # so that a child's collection looks at what is its own


def pretend(folder: Path) -> None:
    """Write the pretended tools."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in TOOLS.items():
        (folder / name).write_text(f'#!/bin/sh\ncase "$*" in -V|--version) echo pretended 1; exit;; esac\n{script}\n')
        (folder / name).chmod(0o755)


def lay_out(case: Case, folder: Path) -> None:
    """Write a case's files into a new folder."""
    folder.mkdir(parents=True)
    for name, to in LINKS.items():
        (folder / name).symlink_to(to)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    for name, data in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    for name, what in case.special.items():
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if what in ("folder", "empty"):
            path.mkdir() if what == "folder" else path.touch()
        elif what == "pipe":
            os.mkfifo(path)
        elif what.startswith("link:"):
            path.symlink_to(what[5:])


def run(case: Case, place: Path, tools: Path, bounds: Bounds = BOUNDS) -> Outcome:
    """Run a case in a folder that is made for it: its files go to in/ there, what it says to out and err."""
    files, scratch = place / "in", place / "tmp"
    lay_out(case, files)
    scratch.mkdir()
    before = _contents(files)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        _be_the_command(case, place, tools, tell)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    if case.signal:
        time.sleep(case.after)
        with suppress(ProcessLookupError):
            os.kill(child, case.signal)
    code, seconds, memory, problems = _wait(child, bounds)
    outcome = Outcome(
        status=code if code >= 0 else 128 - code,
        died=code < 0,
        out=(place / "out").read_bytes() if case.stdout == "file" else b"",
        err=(place / "err").read_bytes(),
        seconds=seconds,
        memory=memory,
        problems=problems + _leftovers(child),
    )
    outcome.problems += _said(case, outcome) + _left(case, outcome, files, before)
    if found := [path.name for path in scratch.iterdir() if not path.name.startswith("torchinductor")]:  # torch's own
        outcome.problems.append(f"left in the folder for temporary files: {', '.join(found)}")
    return outcome


# --- the child -------------------------------------------------------------------------------------------------------


def _be_the_command(case: Case, place: Path, tools: Path, tell: int) -> NoReturn:
    """In the child: what the interpreter would do around `nmgen`'s main."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    status = 99
    try:
        os.setsid()
        os.environ.update(TMPDIR=str(place / "tmp"), MPLBACKEND="agg", PYTHONIOENCODING=case.encoding, COLUMNS="132")
        for name in TOOLS:
            os.environ[name.upper().replace("-", "_")] = str(tools / name)
        import tempfile

        tempfile.tempdir = None
        _streams(case, place)
        os.chdir(place / "in")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = (
            _address_space() + 2 * BOUNDS.memory
        )  # a guard for the machine; what is judged is the memory that is truly used
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if case.room is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            _bound_files(case.room)
        _cut_simulators()
        _cut_processes()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.argv = ["nmgen", *case.argv]
        from nmgen.cli import command

        os.write(tell, b"x")
        os.close(tell)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        status = command()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except KeyboardInterrupt as interrupted:
        status = 130
        if _ours(interrupted):  # the interpreter's business, which would end without a word
            print("nmgen: interrupted", file=sys.stderr)
        else:
            traceback.print_exc()
    except BaseException:
        status = 1
        traceback.print_exc()
    try:
        gc.collect()  # what complains when it is collected does it now
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        status = 120  # as the interpreter's, where the last flush fails
        with suppress(BaseException):
            traceback.print_exc()
            sys.stderr.flush()
    os._exit(status & 255)


def _ours(interrupted: KeyboardInterrupt) -> bool:
    """Whether the signal came before the command began or after it ended."""
    found = traceback.extract_tb(interrupted.__traceback__)
    return all(frame.filename in (__file__, signal.__file__) for frame in found)


def _streams(case: Case, place: Path) -> None:
    for number, path, flags in (
        (0, "/dev/null", os.O_RDONLY),
        (1, "/dev/full" if case.stdout == "full" else str(place / "out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, str(place / "err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=case.encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=case.encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    if case.stdout == "closed":
        os.close(1)
        sys.stdout = None  # type: ignore[assignment]
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]


def _bound_files(most: int) -> None:
    """No file may grow beyond so many bytes but what is said, which may grow by as much again as a line takes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(most, 0), resource.RLIM_INFINITY))
    reader, writer = os.pipe()  # what is said goes through a process of its own, which has no bound
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.close(writer)
        while data := os.read(reader, 1 << 16):
            os.write(2, data)
        os._exit(0)
    os.close(reader)
    os.dup2(writer, 2)
    os.close(writer)


def _cut_simulators() -> None:
    """No simulator is built for a case: the compiler alone takes a minute. What is before and behind it happens."""
    from nmgen.simulate import board_sim
    from rtl.params import InputError
    from sim.bench import runner

    def make(self: Any, *_: Any) -> None:
        raise InputError(CUT)

    runner.Build.make = make  # type: ignore[method-assign]
    board_sim.BoardSimulation._build = make  # type: ignore[method-assign]
    board_sim.files_of = lambda *_: {".v": ""}  # which takes seconds; `generate` makes the same designs


def _cut_processes() -> None:
    """An exploration counts in its own process: another one would import all that this one has."""
    from nmgen.explore import workers

    class Here:
        def __init__(self, jobs: int | None) -> None:
            pass

        def count(self, tasks: Any, work: Any) -> Any:
            return ((number, workers.count(*task, work)) for number, task in enumerate(tasks))

        def close(self) -> None:
            pass

    workers.Processes = Here  # type: ignore[misc, assignment]


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# --- the parent ------------------------------------------------------------------------------------------------------


def _become_subreaper() -> None:
    """Children of children that lose their parent become ours, so that we see them."""
    import ctypes

    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _wait(child: int, bounds: Bounds) -> tuple[int, float, int, list[str]]:
    """(exit status, negative of what a signal ended; seconds; most memory; problems) of a child, which is ended where
    it takes too much. Seconds are those in which it computes or sleeps, not those in which others have the cores."""
    memory, before, slept, computed = 0, 0, 0.0, 0.0
    problems: list[str] = []
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), computed + slept, memory, problems
        processes = _of_session(child)
        now = sum(resident(process) for process in processes)
        memory = max(memory, min(before, now))  # a process between fork and exec has its parent's, too
        before = now
        computed = max(computed, sum(seconds for _, seconds in processes.values()))
        if processes and all(state == "S" for state, _ in processes.values()):
            slept += EVERY
        late, large = computed + slept > bounds.seconds, memory > bounds.memory
        if (late or large) and not problems:
            problems.append(f"not done after {bounds.seconds:.0f} s" if late else f"{memory >> 20} MB of memory")
            _end(child)
        time.sleep(EVERY)


def _of_session(leader: int) -> dict[int, tuple[str, float]]:
    """The processes of a session: their states, and the seconds for which they have computed."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    ticks = sum(map(int, fields[11:15]))  # its children's that it has waited for are among them
                    found[int(entry)] = fields[0], ticks / os.sysconf("SC_CLK_TCK")
    return found


def resident(process: int) -> int:
    """Bytes of a process's own: what it shares with the parent that it was forked from is none of it."""
    try:
        fields = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize()


def _end(leader: int) -> None:
    for process in _of_session(leader):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _leftovers(leader: int) -> list[str]:
    """What still runs of a session, by name; it is ended."""
    until = time.monotonic() + GRACE
    while (left := _of_session(leader)) and time.monotonic() < until:
        time.sleep(EVERY)
    names = []
    for process in left:
        with suppress(OSError):
            names.append(Path(f"/proc/{process}/comm").read_text().strip())
    _end(leader)
    with suppress(ChildProcessError):  # those that became ours
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [f"left running: {', '.join(names)}"] if names else []


# --- the verdict -----------------------------------------------------------------------------------------------------


def _said(case: Case, outcome: Outcome) -> list[str]:
    """What is wrong with the exit status and what was printed."""
    problems = []
    right = {0, 2} | ({128 + case.signal} if case.signal else set())
    if outcome.status not in right:
        problems.append(f"exit status {outcome.status}")
    err = outcome.err.decode(case.encoding, errors="replace")
    if "Traceback (most recent call last)" in err:
        last = [line for line in err.splitlines() if line.strip()][-1]
        problems.append(f"traceback: {last[:200]}")
    lines = [line for line in re.split(r"[\n\r]", err) if line.strip()]
    others = [line for line in lines if not PROGRESS.fullmatch(line)]
    if len(others) > 1:
        problems.append(f"{len(others)} lines on stderr")
    if outcome.status not in (0, 1) and not outcome.died and not (others and others[-1].startswith("nmgen: ")):
        problems.append("no line on stderr says what is wrong")
    strays = [line for line in others if not line.startswith(("nmgen: ", "warning: "))]
    if strays and not problems:
        problems.append(f"a stray line on stderr: {strays[0][:200]}")
    if outcome.status == 2 and outcome.out.strip() and case.room is None:
        problems.append("printed on stdout, then refused")
    if outcome.status == 0 and "--json" in case.argv and "--help" not in case.argv and case.stdout == "file":
        try:
            json.loads(outcome.out.decode(case.encoding), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            if "--version" not in case.argv:
                problems.append(f"--json prints no JSON: {error}")
    return problems


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _contents(folder: Path) -> dict[str, bytes | None]:
    """path: contents of a regular file, None of anything else."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def _left(case: Case, outcome: Outcome, folder: Path, before: dict[str, bytes | None]) -> list[str]:
    """What is wrong with what lies in the folder now."""
    after = _contents(folder)
    new = [path for path in after if path not in before or after[path] != before[path]]
    problems = [f"left behind: {path}" for path in new if any(part.startswith(".") for part in Path(path).parts)]
    problems += [f"gone: {path}" for path in before if path not in after]
    builds = [path for path in new if path.split("/")[0] == "build" and "simulate" in case.argv[:1]]
    problems += [f"left behind: {path}" for path in builds if "/run-" in path]
    new = [path for path in new if path not in builds]
    if "explore" in case.argv[:1] and outcome.status == 2:  # what took long to make, another search goes on with
        kept = [path for path in new if {"candidates", "cycles.db"} & {*Path(path).parts}]
        new = [path for path in new if path not in kept and not any(one.startswith(f"{path}/") for one in kept)]
    if outcome.status == 2 and not case.writes and new and "--data" not in case.argv:
        problems.append(f"refused, but wrote {', '.join(new[:3])}")
    for path in new:
        if fault := _incomplete(folder / path):
            problems.append(f"{path} is not whole: {fault}")
    return problems


def _incomplete(path: Path) -> str:
    """Why an output is not whole, "" where it is."""
    import numpy as np

    from nmgen.compiler.program import load
    from pruning.files.artefact import read
    from rtl.params import InputError

    if path.is_dir() or path.is_symlink():
        return ""
    try:
        match path.suffix:
            case ".json":
                json.loads(path.read_text(), parse_constant=_no_constant)
            case ".npy":
                np.load(path)
            case ".nmp":
                load(path)
            case ".safetensors" if path.name != "model.safetensors":
                read(path)
            case ".html" if not path.read_text(encoding="utf-8").endswith("</html>\n"):
                return "it does not end"
            case ".v" | ".bit" | ".pt" | ".png" | ".h":
                return "" if path.stat().st_size else "it is empty"
    except (ValueError, InputError, RecursionError) as error:
        return str(error)[:200]
    return ""
