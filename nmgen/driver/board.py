"""A board that runs programs: load one, run it with one input after another.

While it runs, the next input goes to the program's second place in memory (`nmgen.driver.places`), and the results of
the run before come back: the accelerator waits for no more than a question and an answer.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from boards.link import BAUD, CRC, FILL, REQUEST, TESTED, USABLE, BoardRegister, Hello, Operation, array_title
from nmgen.compiler.memory_map import ALIGNMENT
from nmgen.compiler.program import Program, Result
from nmgen.compiler.program_check import activations, own_regions
from nmgen.driver.host import Host, Request, Wire
from nmgen.driver.patches import fills
from nmgen.driver.places import Place, places_of
from nmgen.driver.port import SerialWire
from rtl.params import InputError, ceil_div
from rtl.sta.legality import Cause
from rtl.sta.registers import REGISTERS, version_number
from sim.image.product import Region

Bytes = NDArray[np.uint8]
Range = tuple[int, int]  # begin and end in memory, whole beats

RANGE = 64 << 10  # bytes that one checksum covers: a question takes a few ms, as many bytes to send 0.2 s
SAMPLE = 1 << 10  # bytes that tell whether a program is there
SAMPLES = 16  # regions that do on a simulated board
RUN_SECONDS = 60.0
READY_SECONDS = 10.0  # after power-on: a flash is read at three million bytes a second
POLL_SECONDS = 0.002
NEAR = 2  # beats: ranges no further apart are written as one
REQUEST_BYTES = REQUEST.size + CRC.size + 2  # of a request on the wire, beside its payload and escapes

STATUS = REGISTERS["status"]
CONTROL = REGISTERS["control"]


@contextmanager
def connected(port: str, baud: int = BAUD) -> Iterator["Board"]:
    """The board at a serial port, to the end of the block.

    Raises
    ------
    InputError : see `SerialWire` and `Board`
    """
    with SerialWire(port, baud) as wire:
        wire.quiet()
        yield Board(wire)


@dataclass(frozen=True)
class Run:
    """How a run went.

    Attributes
    ----------
    results : by name, int16 [sequences, channels]
    cycles : of the core's clock
    seconds : to the last byte of its results, from the first of its input or, where that came in during the run before,
        from its start
    """

    results: dict[str, NDArray[np.int16]]
    cycles: int
    seconds: float


@dataclass(frozen=True)
class _Started:
    """A run under way. begun : when its `seconds` begin"""

    place: Place
    begun: float


class Board:
    """A board with an image that runs programs.

    Parameters
    ----------
    wire : to the board

    Attributes
    ----------
    hello : what the board is
    loaded_bytes : of its memory that the loaded program takes, second places included

    Raises
    ------
    LinkError : nothing answers, or no image that runs programs; the memory is not set up
    """

    def __init__(self, wire: Wire) -> None:
        self._name = wire.name
        self.host = Host(wire)
        self.hello: Hello = self.host.hello()
        self._wait_for_memory()
        self._memory: Bytes | None = None  # what the board's memory is known to hold
        self._places: dict[int, list[Place]] = {}  # of each program, by its address in the file
        self.loaded_bytes = 0

    def _wait_for_memory(self) -> None:
        end = time.monotonic() + READY_SECONDS * self.host.slower
        while not (memory := self.host.get(BoardRegister.MEMORY.address)) & USABLE:
            if memory & TESTED:
                phases = self.host.get(BoardRegister.PHASE.address) >> 16
                raise self.host.error(f"the memory works at none of {phases} phases of its clock: see docs/boards.md")
            if time.monotonic() > end:
                raise self.host.error("the memory is not set up")
            time.sleep(POLL_SECONDS)

    def check(self, program: Program) -> None:
        """Whether the board can run the program.

        Raises
        ------
        InputError : its image is of another version or configuration, or the program larger than its memory
        """
        hello = self.hello
        if hello.version != version_number():
            raise InputError(
                f"{self._name}: the board's image is of nmgen {_version(hello.version)}, this is "
                f"{_version(version_number())}: build it anew"
            )
        if hello.identification != program.config.identification:
            raise InputError(
                f"{self._name}: the board's accelerator is {hello.identification:#010x} ({hello.array}), the "
                f"program is for {program.config.identification:#010x} ({_array(program)})"
            )
        if len(program.memory) > hello.memory_bytes:
            raise InputError(
                f"{self._name}: the program has {len(program.memory):,} bytes, must be at most the "
                f"{hello.memory_bytes:,} of the board's memory"
            )

    def load(self, program: Program, say: Callable[[str], None] = lambda text: None, *, loaded: bool = False) -> int:
        """Bring a program into the board's memory. What is there already is not sent.

        Parameters
        ----------
        say : gets what is done now
        loaded : the memory holds the program already, and only what runs of it have changed is compared: instructions
            and input

        Returns the bytes that were sent.

        Raises
        ------
        InputError : see `check`
        LinkError : the board is gone; the memory does not keep what is written
        """
        self.check(program)
        self._stop()
        self._memory = None
        memory, places = places_of(program, self.hello.memory_bytes)
        image = np.frombuffer(memory, np.uint8)
        if loaded and any(self._differing(image, _proof(program, bool(self.hello.simulated)), lambda _: None)):
            raise self.host.error("the board does not hold this program: run it without --loaded")
        ranges = _host_ranges(places) if loaded else [(0, len(image))]
        wrong = list(self._differing(image, _pieces(ranges), lambda part: say(f"comparing {part:.0%}")))
        size, sent = sum(end - begin for begin, end in wrong), 0
        for count in self.host.write_all((begin, bytes(image[begin:end])) for begin, end in wrong):
            sent += count
            say(f"sending {sent / size:.0%} of {size:,} bytes")
        for begin, _ in self._differing(image, wrong, lambda part: say(f"comparing what was sent {part:.0%}")):
            raise self.host.error(f"the memory does not keep what is written to it, at {begin:#x} or behind")
        self._memory = image.copy()
        self._places = {one[0].origin.address: one for one in places}
        self.loaded_bytes = len(image)
        self.host.set(REGISTERS["limit"].offset, len(image))
        return sent

    def run(self, program: Program, memory: Bytes) -> Run:
        """Run a program once, see `run_each`."""
        (ran,) = self.run_each([(program, memory)])
        return ran

    def run_each(self, inputs: Iterable[tuple[Program, Bytes]]) -> Iterator[Run]:
        """Run one input after another; each is sent while the one before runs.

        inputs : the program that is loaded, or one of its `shorter`, and its memory with an input in it, see
            `Program.image`; the memory may be another one's when the next is asked for

        Raises
        ------
        LinkError : a program stopped, or does not end; the board is gone; nothing is loaded
        """
        if self._memory is None:
            raise self.host.error("what its memory holds is not known: load the program first")
        before: _Started | None = None
        try:
            for program, memory in inputs:
                places = self._places.get(program.address, [])
                if not places or places[0].origin.regions != program.regions:
                    raise self.host.error("another program is loaded")
                begun = time.monotonic()
                free = [one for one in places if before is None or one is not before.place]
                if before is not None and not free:
                    yield self._finish(before)
                    before, free, begun = None, places, time.monotonic()
                place = min(free, key=lambda one: self._unlike(one, memory))
                self._bring(place, memory)
                if before is None:
                    self._start(place)
                    before = _Started(place, begun)
                    continue
                cycles = self._wait()
                begun = time.monotonic()
                self._start(place)
                done, before = before, _Started(place, begun)
                yield self._ran(done, cycles)
            if before is not None:
                done, before = before, None
                yield self._finish(done)
        except GeneratorExit:  # nobody wants the rest
            if before is not None:
                self._wait()
            raise

    def _unlike(self, place: Place, memory: Bytes) -> int:
        """Bytes of the instructions at a place that are others than those of a run."""
        assert self._memory is not None
        wanted = place.instructions(memory)
        return int(np.count_nonzero(wanted != self._memory[place.program.address :][: len(wanted)]))

    def _bring(self, place: Place, memory: Bytes) -> None:
        """Input and instructions of a run to its place."""
        held = self._memory
        assert held is not None
        self._memory = None  # until it is known again
        program, beat = place.program, self.hello.port_bytes
        begin, end = _beats(program, program.host_region.address, program.host_region.end)
        given, code = place.input(memory), place.instructions(memory)
        known_input, known_code = held[begin:end], held[program.address :][: len(code)]
        input_ = known_input.copy()  # whole beats: behind the input stays what is there
        input_[: len(given)] = given
        writes = _changed(input_, known_input, begin, beat)
        changed = _changed(code, known_code, program.address, beat)
        patches = fills(code, known_code, program.address, beat)
        if len(patches) * (REQUEST_BYTES + FILL.size) < sum(REQUEST_BYTES + len(part) for _, part in changed):
            self.host.fill(patches)
        else:
            writes += changed
        for _ in self.host.write_all(writes):
            pass
        known_input[:], known_code[:] = input_, code
        self._memory = held

    def _start(self, place: Place) -> None:
        """Start the program there."""
        words = {REGISTERS["program"].offset: place.program.address, CONTROL.offset: CONTROL.value(start=1)}
        requests = [Request(Operation.SET, at, 4, word.to_bytes(4, "little")) for at, word in words.items()]
        for _ in self.host.ask(requests):
            pass

    def _finish(self, run: _Started) -> Run:
        """The last run, with nothing behind it."""
        return self._ran(run, self._wait())

    def _ran(self, run: _Started, cycles: int) -> Run:
        """What a run left in its place."""
        program = run.place.program
        results = {}
        for result in program.results:
            begin, end = _extent(program, result)
            contents = np.frombuffer(self.host.read(begin, end - begin), np.uint8)
            results[result.name] = program.rows(result, contents[result.address - begin :])
        return Run(results, cycles, time.monotonic() - run.begun)

    def _differing(self, image: Bytes, ranges: Sequence[Range], say: Callable[[float], None]) -> Iterator[Range]:
        """Those of the ranges in which the board's memory is not the image. say : gets the share that is compared"""
        found = self.host.checksums((begin, end - begin) for begin, end in ranges)
        for number, ((begin, end), checksum) in enumerate(zip(ranges, found, strict=True), start=1):
            if checksum != crc32(image[begin:end].data):
                yield begin, end
            say(number / len(ranges))

    def _stop(self) -> None:
        """End what runs, or an error."""
        self.host.set(CONTROL.offset, CONTROL.value(clear=1))

    def _wait(self) -> int:
        """Until the program is done; returns its cycles.

        They are asked for with its status: asked again behind the next start, they would be those of that run.
        """
        end = time.monotonic() + RUN_SECONDS * self.host.slower
        ask = [Request(Operation.GET, register.offset) for register in (STATUS, REGISTERS["cycles"])]
        while True:
            words = [int.from_bytes(answer, "little") for answer in self.host.ask(ask)]
            status = STATUS.decode(words[0])
            if status["error"]:
                cause = Cause(self.host.get(REGISTERS["cause"].offset)).name
                pc = self.host.get(REGISTERS["pc"].offset)
                self._stop()
                raise self.host.error(f"the program stopped at {pc:#x}: {cause}")
            if status["done"]:
                return words[1]
            if not status["busy"]:
                self._memory = None
                raise self.host.error("the board was reset while a program ran: load the program again")
            if time.monotonic() > end:
                self._stop()
                raise self.host.error(f"the program does not end within {RUN_SECONDS:g} s")
            time.sleep(POLL_SECONDS)


def differences(memory: Bytes, before: Bytes, beat: int) -> list[Range]:
    """Where two images differ. beat : bytes of a beat of the memory port"""
    beats = np.unique(np.flatnonzero(memory != before) // beat)
    parts = np.split(beats, np.flatnonzero(np.diff(beats) > NEAR) + 1)
    return [(int(part[0]) * beat, (int(part[-1]) + 1) * beat) for part in parts if len(part)]


def _changed(wanted: Bytes, known: Bytes, address: int, beat: int) -> list[tuple[int, bytes]]:
    """Address and bytes of what differs of memory from an address on."""
    return [(address + begin, bytes(wanted[begin:end])) for begin, end in differences(wanted, known, beat)]


def _host_ranges(places: Iterable[Iterable[Place]]) -> list[Range]:
    """What a host may write between runs: instructions, whose lengths are the input's, and the input."""
    ranges = []
    for place in chain.from_iterable(places):
        program = place.program
        for region in (program.region("program"), program.host_region):
            ranges.append(_beats(program, region.address, region.end))
    return ranges


def _proof(program: Program, simulated: bool) -> list[Range]:
    """What shows whose program is in memory: begin and end of the largest region, in a text model its words, and all
    others; on a simulated board, where that would take minutes, some beats in the midst of SAMPLES of these."""
    changing = {*own_regions(program), *(one.name for one in activations(program))}
    *others, largest = sorted((one for one in program.regions if one.name not in changing and one.size), key=_size)
    size = min(SAMPLE, largest.size)
    ranges = [_beats(program, begin, begin + size) for begin in (largest.address, largest.end - size)]
    if not simulated:
        return [*ranges, *_pieces(_beats(program, one.address, one.end) for one in others)]
    chosen = others[:: max(1, len(others) // SAMPLES)]
    return [*ranges, *(_beats(program, middle, middle + ALIGNMENT) for middle in map(_middle, chosen))]


def _size(region: Region) -> int:
    return region.size


def _middle(region: Region) -> int:
    return region.address + region.size // (2 * ALIGNMENT) * ALIGNMENT


def _extent(program: Program, result: Result) -> Range:
    """What a run writes of a result, of all sequences."""
    size = result.pitch * (len(program.sequences) - 1) + 2 * result.channels
    return _beats(program, result.address, result.address + size)


def _beats(program: Program, begin: int, end: int) -> Range:
    """The beats in which bytes lie."""
    beat = program.config.port_bytes
    return begin // beat * beat, ceil_div(end, beat) * beat


def _pieces(ranges: Iterable[Range]) -> list[Range]:
    """The same of RANGE bytes at most."""
    return [(at, min(at + RANGE, end)) for begin, end in ranges for at in range(begin, end, RANGE)]


def _version(number: int) -> str:
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}"


def _array(program: Program) -> str:
    c = program.config
    return array_title(c.rows, c.cols, c.n, c.m)
