"""How a program ends, whatever happens to it: with the exit status that says so, and one line where all is not well."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

from rtl.params import InputError
from sim.process.interrupts import came, ignore_from_now_on, interruptible

BAD_INPUT = 2
SIGNALLED = 128  # and the number of the signal, as shells report it
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal is gone"}
COLLECT_AFTER = 100_000  # allocations between garbage collections: with 700 they took a third of the time of generate
CLEAR = "\r\x1b[K"  # a line of progress that is not finished


def ended(work: Callable[[], int], name: str = "nmgen") -> int:
    """The exit status of a program, after the line that says what was wrong.

    Parameters
    ----------
    work : returns its exit status, or raises InputError or OSError
    name : of the program, which begins the line

    Raises
    ------
    SystemExit : as work did. What else work raises is a fault of ours.
    """
    try:
        with interruptible():
            try:
                return _worked(work)
            except BaseException as error:
                _silence_amaranth()
                return _status(error, name)
    except KeyboardInterrupt as error:  # before the block, between the two, or behind it
        return _status(error, name)


def _worked(work: Callable[[], int]) -> int:
    """The exit status of work, whose output has gone where it belongs."""
    output = open_streams()
    try:
        return work()
    finally:
        sys.stdout.flush()
        if output and output.refused:
            raise output.refused


def process(work: Callable[[], int], name: str = "nmgen") -> int:
    """As `ended`, of work that is all that its process is for: once it is over, a signal would give but a traceback."""
    gc.set_threshold(COLLECT_AFTER)
    status = ended(work, name)
    ignore_from_now_on()
    gc.freeze()  # the collection at exit has nothing to traverse then
    return status


class Output(FileIO):
    """A standard stream. It refuses once, by its name, and remembers it; what is printed after that goes nowhere.

    For libraries make something else of the error: rich ends the program by SystemExit, argparse goes on. Standard
    error never refuses: work that nobody looks at is done.
    """

    refused: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return len(data) if self.refused else super().write(data)
        except OSError as error:
            self.refused = OSError(error.errno, error.strerror, "stdout")
            if self.fileno() == 1:
                raise self.refused from None
            return len(data)


def open_streams() -> Output | None:
    """Make the standard streams take what is printed; returns standard output, unless somebody has put another there.

    A closed stream would be None, which has no methods, and its number would be that of the next file: it goes nowhere
    instead. A character that an encoding lacks, and a byte of a name that is none, are written by their numbers.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)
    os.close(free)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    outputs = []
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):  # somebody's own, as in tests
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
            continue
        output = Output(number, "w", closefd=False)
        encoding = stream.encoding if stream else "utf-8"
        line_buffering = number == 2 or output.isatty()
        text = TextIOWrapper(BufferedWriter(output), encoding, "backslashreplace", line_buffering=line_buffering)
        setattr(sys, name, text)
        outputs.append(output)
    return outputs[0] if outputs and outputs[0].fileno() == 1 else None


def _status(error: BaseException, name: str) -> int:
    if (number := came()) is not None:  # whatever its exception has become on the way
        _say(f"{name}: {SAID[signal.Signals(number)]}")
        return SIGNALLED + number
    if isinstance(error, KeyboardInterrupt):
        _say(f"{name}: interrupted")
        return SIGNALLED + signal.SIGINT
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        return SIGNALLED + signal.SIGPIPE
    if isinstance(error, InputError | OSError):
        _say(f"{name}: {_one_line(error)}")
        return BAD_INPUT
    if isinstance(error, MemoryError | RecursionError):  # the last resort: readers have bounds before these
        _say(f"{name}: more memory, or a deeper nesting, is needed than there is")
        return BAD_INPUT
    raise error


def _one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        return " ".join(f"{error.filename}: {error.strerror}".split()) if error.filename else error.strerror
    return " ".join(str(error).split())


def _say(line: str) -> None:
    """Print the line, in place of what is left of progress."""
    print(f"{CLEAR if sys.stderr.isatty() else ''}{line}", file=sys.stderr, flush=True)


def _silence_amaranth() -> None:
    """Parts of a design that was given up are not used, of course."""
    if "amaranth" in sys.modules:
        import warnings

        from amaranth.hdl import UnusedElaboratable

        warnings.simplefilter("ignore", UnusedElaboratable)
