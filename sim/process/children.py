"""Programs that this one starts: none, and nothing that they start in turn, outlives its block."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sim.process.interrupts import LOOK_S, held, scratch_folder


@contextmanager
def started(
    command: Sequence[str], *, folder: Path, output: IO[Any] | None, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A program, in a folder, to the end of the block; what it prints, errors too, goes to output.

    It leads a process group of its own, all of which is killed when the block ends, for whatever reason: make would
    leave its compilers behind. A killed compiler leaves temporary files behind; they lie in a folder that goes too.
    """
    child = None
    with scratch_folder() as scratch:
        try:
            with held():
                child = subprocess.Popen(
                    command,
                    cwd=folder,
                    env={**(os.environ if env is None else env), "TMPDIR": str(scratch)},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                )
            yield child
        finally:
            if child is not None:
                with held():
                    with suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
                    child.wait()


def run(command: Sequence[str], *, folder: Path, output: IO[Any] | None, env: Mapping[str, str] | None = None) -> int:
    """Run a program to its end; returns its exit status, negative of a signal."""
    with started(command, folder=folder, output=output, env=env) as child:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return child.wait(LOOK_S)


def cpu_seconds(child: "subprocess.Popen[bytes]") -> float | None:
    """That a program has worked so far; None where the system does not tell.

    Of itself, not of what it started: the tools that are watched start nothing.
    """
    try:
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system = fields[11:13]  # utime and stime, see proc(5)
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def check_room(folder: Path) -> None:
    """OSError where a folder takes no more bytes: then that is what a program in it died of.

    Raises
    ------
    OSError : it names the folder.
    """
    probe = folder / ".room"
    try:
        probe.write_bytes(bytes(1 << 14))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None
    finally:
        probe.unlink(missing_ok=True)
