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

TIMEOUT_S = 0.5  # without an answer, until what was asked is asked again
READS = 2  # under way: one is answered, while the board holds the next one
SECONDS_MAX = 8.0  # the same after several attempts
ATTEMPTS = 8
CHECKSUM_BYTES_A_SECOND = 10e6  # at least


class LinkError(InputError):
    """The board does not answer, or refuses. The message is one line."""


class Wire(Protocol):
    """What moves bytes: a serial port, say."""

    def write(self, data: bytes) -> None:
        """Send all of it."""

    def read(self, timeout: float) -> bytes:
        """What has come, at least one byte, or nothing after `timeout` seconds."""


@dataclass(frozen=True)
class Request:
    """A request without its number, and how long its answer may take."""

    operation: Operation
    address: int = 0
    length: int = 0
    payload: bytes = b""
    seconds: float = TIMEOUT_S


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
    attempts : times that a request is sent before the board is taken for gone

    Attributes
    ----------
    sent : requests, those sent again included
    """

    def __init__(self, wire: Wire, attempts: int = ATTEMPTS) -> None:
        self._wire = wire
        self._attempts = attempts
        self._frames = Unstuffer()
        self._next = random.randrange(SEQUENCES)
        self.sent = 0

    def hello(self) -> Hello:
        """What the board is. Both ends agree on the next number after it."""
        (answer,) = self.ask([Request(Operation.HELLO)])
        if len(answer) != HELLO.size:
            raise LinkError("what answers is no board of nmgen")
        hello = Hello(*HELLO.unpack(answer))
        if hello.protocol != PROTOCOL:
            raise LinkError(
                f"the board's link is of version {hello.protocol}, must be {PROTOCOL}: build its image anew"
            )
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
        requests = (Request(Operation.WRITE, address, len(piece), piece) for address, piece in pieces)
        for (_, piece), _ in zip(pieces, self.ask(requests), strict=True):
            yield len(piece)

    def read(self, address: int, size: int) -> bytes:
        """Read memory; address and size in whole beats."""
        requests = (
            Request(Operation.READ, address + at, min(PAYLOAD_MAX, size - at)) for at in range(0, size, PAYLOAD_MAX)
        )
        return b"".join(self.ask(requests, READS))

    def checksum(self, address: int, size: int) -> int:
        """CRC-32 of memory; address and size in whole beats."""
        seconds = TIMEOUT_S + size / CHECKSUM_BYTES_A_SECOND
        (answer,) = self.ask([Request(Operation.CHECKSUM, address, 4, size.to_bytes(4, "little"), seconds)])
        return int.from_bytes(answer, "little")

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
        source = iter(requests)
        waiting: deque[_Waiting] = deque()
        attempts = 0
        more = True
        resent_from: int | None = None  # those from here on were sent again, and no answer came since
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
                answers = self._answers(self._patience(waiting[0].request, attempts))
                if not answers:
                    attempts += 1
                    if attempts == self._attempts:
                        raise LinkError("the board does not answer")
                    resent_from = None
                    self._send(waiting[0])  # its answer tells what is missing
                for sequence, status, payload in answers:
                    found = next((entry for entry in waiting if entry.sequence == sequence), None)
                    if found is None or found.answer is not None:
                        continue  # an answer that came twice
                    if status == Status.OUT_OF_ORDER:
                        expected = payload[0] if payload else None
                        if expected != resent_from:
                            resent_from = expected
                            self._send_again(waiting)
                        continue
                    attempts, resent_from = 0, None
                    if status != Status.DONE:
                        said = ABOUT_STATUS[Status(status)] if status in ABOUT_STATUS else f"status {status}"
                        raise LinkError(f"{found.request.operation.name} at {found.request.address:#x}: {said}")
                    found.answer = payload
                    # What was executed once before it is done, too, though its answer was lost.
                    for entry in waiting:
                        if entry is found:
                            break
                        if entry.answer is None and entry.request.operation in EXECUTED_ONCE:
                            entry.answer = b""

    @staticmethod
    def _patience(request: Request, attempts: int) -> float:
        longer: float = request.seconds * 2**attempts
        return max(request.seconds, min(longer, SECONDS_MAX))

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
            for frame in self._frames.feed(self._wire.read(left)):
                if len(frame) >= ANSWER.size:
                    sequence, status, length = ANSWER.unpack(frame[: ANSWER.size])
                    if length == len(frame) - ANSWER.size:
                        answers.append((sequence, status, frame[ANSWER.size :]))
            if answers:
                return answers
        return []
