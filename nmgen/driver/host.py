"""Requests to a board and its answers, over any wire that moves bytes, however badly."""

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from boards.link import (
    ABOUT_STATUS,
    ANSWER,
    EXECUTED_ONCE,
    FILL,
    HELLO,
    PAYLOAD_MAX,
    PROTOCOL,
    REQUEST,
    SEQUENCES,
    WINDOW,
    Hello,
    Operation,
    Status,
    Unstuffer,
    stuffed,
)
from rtl.params import InputError

TIMEOUT_S = 0.5  # without an answer, until what was asked is asked again; beside what the board works for it
TIMEOUT_MAX_S = 8.0  # the same after several attempts
ATTEMPTS = 8
UNKNOWN = 4
HELLO_ATTEMPTS = 4  # where it is not known yet that a board is there
READS = 2  # under way: one is answered, while the board holds the next one
LINK_BYTES_A_SECOND = 250e3  # at least, of what is written and read
CHECKSUM_BYTES_A_SECOND = 10e6  # at least
SIMULATED_SLOWER = 10_000.0  # times that a simulated board works longer, at most: 8 x 8 PEs do 20,000 cycles a second


class LinkError(InputError):
    """The board does not answer, or refuses. The message is one line."""


class Wire(Protocol):
    """What moves bytes: a serial port, say. name : of it, for messages"""

    name: str

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, timeout: float) -> bytes:
        """What has come, at least one byte, or nothing after `timeout` seconds."""


@dataclass(frozen=True)
class Request:
    """A request without its number. seconds : that a board works for it, at most"""

    operation: Operation
    address: int = 0
    length: int = 0
    payload: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True)
class Fill:
    """A value of 16 bits that goes to several places in memory, see `Operation.FILL`. Steps are in beats."""

    address: int
    count: int
    stride: int
    rows: int
    pitch: int
    value: int

    def request(self) -> Request:
        payload = FILL.pack(self.count, self.stride, self.rows, self.pitch, self.value)
        return Request(Operation.FILL, self.address, len(payload), payload)


@dataclass
class _Waiting:
    sequence: int
    request: Request
    answer: bytes | None = None


class Host:
    """Asks a board, and asks again what was lost.

    Several requests are under way at a time; answers come in the order of the requests.

    Parameters
    ----------
    wire : to the board

    Attributes
    ----------
    sent : requests, those sent again included
    slower : how many times longer than a board this one works for an answer; of `hello`
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._frames = Unstuffer()
        self._next = random.randrange(SEQUENCES)
        self._heard = False  # bytes came since the last answer
        self._unsure = False  # which number the board expects: requests were left without an answer
        self.sent = 0
        self.slower = 1.0

    def error(self, text: str) -> LinkError:
        """What is wrong with the board, with the port's name before it."""
        return LinkError(f"{self._wire.name}: {text}")

    def hello(self, attempts: int = HELLO_ATTEMPTS) -> Hello:
        """What the board is. Both ends agree on the next number after it.

        Raises
        ------
        LinkError : nothing answers, or no board that this program knows
        """
        # Answers to what was asked before this program began may still come, and have any number.
        for _ in range(WINDOW + 1):
            (answer,) = self._ask([Request(Operation.HELLO)], 1, attempts)
            protocol = int.from_bytes(answer[:4], "little")
            if known := protocol == PROTOCOL and len(answer) == HELLO.size:
                break
        if not known:
            raise self.error(f"the board's link is of version {protocol}, must be {PROTOCOL}: build its image anew")
        hello = Hello(*HELLO.unpack(answer))
        self.slower = SIMULATED_SLOWER if hello.simulated else 1.0
        return hello

    def write(self, address: int, data: bytes) -> Iterator[int]:
        """Write memory; address and size in whole beats. Yields the bytes of each piece that is written."""
        return self.write_all([(address, data)])

    def write_all(self, ranges: Iterable[tuple[int, bytes]]) -> Iterator[int]:
        """Write several ranges of memory, which may be short, as `write` does one."""
        pieces = [
            (address + at, data[at : at + PAYLOAD_MAX])
            for address, data in ranges
            for at in range(0, len(data), PAYLOAD_MAX)
        ]
        requests = (
            Request(Operation.WRITE, address, len(piece), piece, len(piece) / LINK_BYTES_A_SECOND)
            for address, piece in pieces
        )
        for (_, piece), _ in zip(pieces, self.ask(requests), strict=True):
            yield len(piece)

    def fill(self, fills: Iterable[Fill]) -> None:
        """Write one value to many places, for each of the fills."""
        for _ in self.ask(fill.request() for fill in fills):
            pass

    def read(self, address: int, size: int) -> bytes:
        """Read memory; address and size in whole beats."""
        pieces = [(address + at, min(PAYLOAD_MAX, size - at)) for at in range(0, size, PAYLOAD_MAX)]
        requests = (Request(Operation.READ, at, count, b"", count / LINK_BYTES_A_SECOND) for at, count in pieces)
        return b"".join(self.ask(requests, READS))

    def checksum(self, address: int, size: int) -> int:
        """CRC-32 of memory; address and size in whole beats."""
        (found,) = self.checksums([(address, size)])
        return found

    def checksums(self, ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
        """CRC-32 of each range of memory, (address, size), in whole beats."""
        requests = (
            Request(Operation.CHECKSUM, address, 4, size.to_bytes(4, "little"), size / CHECKSUM_BYTES_A_SECOND)
            for address, size in ranges
        )
        for answer in self.ask(requests, READS):
            yield int.from_bytes(answer, "little")

    def set(self, register: int, value: int) -> None:
        """Write a register."""
        (_,) = self.ask([Request(Operation.SET, register, 4, value.to_bytes(4, "little"))])

    def get(self, register: int) -> int:
        """Read a register."""
        (answer,) = self.ask([Request(Operation.GET, register)])
        return int.from_bytes(answer, "little")

    def ask(self, requests: Iterable[Request], window: int = WINDOW) -> Iterator[bytes]:
        """The payload of each request's answer.

        window : requests under way at most

        Raises
        ------
        LinkError : nothing answers, or the board refuses a request
        """
        if self._unsure:
            self.hello()
        yield from self._ask(requests, window, ATTEMPTS)

    def _ask(self, requests: Iterable[Request], window: int, attempts: int) -> Iterator[bytes]:
        """attempts : times that a request is sent before the board is taken for gone"""
        waiting: deque[_Waiting] = deque()
        try:
            yield from self._answered(iter(requests), waiting, window, attempts)
        finally:
            self._unsure = bool(waiting)

    def _answered(
        self, source: Iterator[Request], waiting: deque[_Waiting], window: int, attempts: int
    ) -> Iterator[bytes]:
        """waiting : gets what is under way"""
        tried = 0
        more = True
        resent_from: int | None = None  # those from here on were sent again, and no answer came since
        unknown = 0  # times that the board, asked again, expected a request that nobody sends
        while True:
            while more and len(waiting) < window:
                request = next(source, None)
                if request is None:
                    more = False
                    break
                waiting.append(_Waiting(self._next, request))
                self._next = (self._next + 1) % SEQUENCES
                self._send(waiting[-1])
            while waiting and waiting[0].answer is not None:
                yield waiting.popleft().answer or b""
            if not waiting:
                if more:
                    continue
                return
            if len(waiting) >= window or not more:
                # Twice as long each time: what was sent before may still be on its way.
                answers = self._answers(self._patience(waiting[0].request, tried))
                if not answers:
                    tried += 1
                    if tried == attempts:
                        raise self.error(
                            "what is there sends bytes, but does not answer: no image that runs programs, or of "
                            "another baud rate"
                            if self._heard
                            else "the board does not answer"
                        )
                    resent_from = None
                    self._send(waiting[0])  # its answer tells what is missing
                for sequence, status, payload in answers:
                    found = next((entry for entry in waiting if entry.sequence == sequence), None)
                    if found is None or found.answer is not None:
                        continue  # an answer that came twice
                    if status == Status.OUT_OF_ORDER:
                        expected = payload[0] if payload else None
                        unknown += bool(tried) and all(entry.sequence != expected for entry in waiting)
                        if unknown == UNKNOWN:
                            raise self.error("the board expects another request: it was reset, or others talk to it")
                        if expected != resent_from:
                            resent_from = expected
                            self._send_again(waiting)
                        continue
                    tried, resent_from, unknown = 0, None, 0
                    if status != Status.DONE:
                        said = ABOUT_STATUS[Status(status)] if status in ABOUT_STATUS else f"status {status}"
                        raise self.error(f"{found.request.operation.name} at {found.request.address:#x}: {said}")
                    found.answer = payload
                    # What was executed once before it is done, too, though its answer was lost.
                    for entry in waiting:
                        if entry is found:
                            break
                        if entry.answer is None and entry.request.operation in EXECUTED_ONCE:
                            entry.answer = b""

    def _patience(self, request: Request, tried: int) -> float:
        longer: float = TIMEOUT_S * 2**tried
        return request.seconds * self.slower + min(longer, TIMEOUT_MAX_S)

    def _send_again(self, waiting: Iterable[_Waiting]) -> None:
        for entry in waiting:
            if entry.answer is None:
                self._send(entry)

    def _send(self, entry: _Waiting) -> None:
        request = entry.request
        header = REQUEST.pack(entry.sequence, request.operation, request.length, request.address)
        self._wire.write(stuffed(header + request.payload))
        self.sent += 1

    def _answers(self, seconds: float) -> list[tuple[int, int, bytes]]:
        """Those that come within so many seconds: as soon as there is one, nothing else is waited for."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            answers = []
            received = self._wire.read(left)
            self._heard |= bool(received)
            for frame in self._frames.feed(received):
                if len(frame) >= ANSWER.size:
                    sequence, status, length = ANSWER.unpack(frame[: ANSWER.size])
                    if length == len(frame) - ANSWER.size:
                        answers.append((sequence, status, frame[ANSWER.size :]))
            if answers:
                self._heard = False
                return answers
        return []
