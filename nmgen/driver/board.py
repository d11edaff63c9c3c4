"""A board that runs programs: load one, run it with one input after another."""

import time
from collections.abc import Callable, Iterator
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from boards.link import BOARD_REGISTERS, Hello
from nmgen.compiler.program import Program
from nmgen.driver.host import Host, LinkError, Wire
from rtl.params import InputError
from rtl.sta.legality import Cause
from rtl.sta.registers import REGISTERS, version_number

Bytes = NDArray[np.uint8]
RANGE = 64 << 10  # bytes that one checksum covers: a question takes a few ms, as many bytes to send 0.2 s
RUN_SECONDS = 60.0
READY_SECONDS = 2.0  # after power-on
POLL_SECONDS = 0.002

STATUS = REGISTERS["status"]
CONTROL = REGISTERS["control"]


class Board:
    """A board with an image that runs programs.

    Parameters
    ----------
    wire : to the board
    name : of the port, for messages

    Attributes
    ----------
    hello : what the board is

    Raises
    ------
    InputError : nothing answers, or no image that runs programs
    """

    def __init__(self, wire: Wire, name: str) -> None:
        self._name = name
        self.host = Host(wire)
        try:
            self.hello: Hello = self.host.hello()
            self._wait_for_memory()
        except LinkError as error:
            raise LinkError(f"{name}: {error}") from None
        self._memory: Bytes | None = None  # what the board's memory is known to hold
        self._program: Program | None = None

    def _wait_for_memory(self) -> None:
        end = time.monotonic() + READY_SECONDS
        while not self.host.get(BOARD_REGISTERS) & 1:
            if time.monotonic() > end:
                raise LinkError("the memory is not set up")
            time.sleep(POLL_SECONDS)

    def check(self, program: Program) -> None:
        """InputError unless the board can run the program."""
        hello = self.hello
        if hello.version != version_number():
            theirs = f"{hello.version >> 16}.{hello.version >> 8 & 255}.{hello.version & 255}"
            raise InputError(f"{self._name}: the board's image is of nmgen {theirs}, this is another: build it anew")
        if hello.identification != program.config.identification:
            raise InputError(
                f"{self._name}: the board's accelerator is {hello.identification:#010x}, the program is for "
                f"{program.config.identification:#010x} ({_said(program)})"
            )
        if len(program.memory) > hello.memory_bytes:
            size = len(program.memory)
            raise InputError(f"the program has {size:,} bytes, the board's memory {hello.memory_bytes:,}")

    def load(self, program: Program, said: Callable[[int, int], None] = lambda done, of: None) -> int:
        """Bring a program into the board's memory. What is there already is not sent.

        said : gets the bytes that are looked after, and how many there are

        Returns the bytes that were sent.
        """
        self.check(program)
        self._stop()
        self._memory = None
        image = np.frombuffer(program.memory, np.uint8)
        size = len(image)
        sent = 0
        if self.host.checksum(0, size) != crc32(image.data):
            for begin in range(0, size, RANGE):
                part = bytes(image[begin : begin + RANGE])
                if self.host.checksum(begin, len(part)) != crc32(part):
                    sent += sum(self.host.write(begin, part))
                said(min(begin + RANGE, size), size)
            if self.host.checksum(0, size) != crc32(image.data):
                raise LinkError(f"{self._name}: the memory does not hold what was written: see docs/boards.md")
        said(size, size)
        self._memory, self._program = image.copy(), program
        self.host.set(REGISTERS["program"].offset, program.address)
        self.host.set(REGISTERS["limit"].offset, size)
        return sent

    def run(self, memory: Bytes) -> Bytes:
        """Run the program that is loaded, with its input in `memory`, see `Program.image`. Returns memory and results.

        Raises
        ------
        LinkError : the program stopped, or does not end
        """
        assert self._program is not None
        assert self._memory is not None
        changes = list(self._changes(memory))
        for _ in self.host.write_all((begin, bytes(memory[begin:end])) for begin, end in changes):
            pass
        for begin, end in changes:
            self._memory[begin:end] = memory[begin:end]
        self.host.set(CONTROL.offset, CONTROL.value(start=1))
        self._wait()
        results = memory.copy()
        beat = self.hello.port_bytes
        for result in self._program.results:
            size = result.pitch * (len(self._program.sequences) - 1) + 2 * result.channels
            begin, end = result.address // beat * beat, -(-(result.address + size) // beat) * beat
            results[begin:end] = np.frombuffer(self.host.read(begin, end - begin), np.uint8)
            self._memory[begin:end] = results[begin:end]
        return results

    @property
    def cycles(self) -> int:
        """Of the last run, in the core's clock."""
        return self.host.get(REGISTERS["cycles"].offset)

    def _changes(self, memory: Bytes) -> Iterator[tuple[int, int]]:
        """Ranges of whole beats, results left out, in which the memory is to be another; near ones are one."""
        assert self._program is not None
        assert self._memory is not None
        beat = self.hello.port_bytes
        differs = memory != self._memory
        for result in self._program.results:
            size = result.pitch * (len(self._program.sequences) - 1) + 2 * result.channels
            differs[result.address : result.address + size] = False
        beats = np.flatnonzero(np.add.reduceat(differs, np.arange(0, len(differs), beat)))
        if not len(beats):
            return
        breaks = np.flatnonzero(np.diff(beats) > 2)
        for first, last in zip([0, *breaks + 1], [*breaks, len(beats) - 1], strict=True):
            yield int(beats[first]) * beat, (int(beats[last]) + 1) * beat

    def _stop(self) -> None:
        """End what runs, or an error."""
        self.host.set(CONTROL.offset, CONTROL.value(clear=1))

    def _wait(self) -> None:
        end = time.monotonic() + RUN_SECONDS
        while True:
            status = STATUS.decode(self.host.get(STATUS.offset))
            if status["error"]:
                cause = Cause(self.host.get(REGISTERS["cause"].offset)).name
                pc = self.host.get(REGISTERS["pc"].offset)
                self._stop()
                raise LinkError(f"{self._name}: the program stopped at {pc:#x}: {cause}")
            if status["done"]:
                return
            if time.monotonic() > end:
                self._stop()
                raise LinkError(f"{self._name}: the program does not end within {RUN_SECONDS:g} s")
            time.sleep(POLL_SECONDS)


def _said(program: Program) -> str:
    c = program.config
    return f"{c.rows}x{c.cols} PEs, N = {c.n}, M = {c.m}"
