"""The link between a host and a board: frames, operations, answers. Both ends and docs/link.md come from these tables.

A frame is a header, a payload and the CRC-32 of both, in that order, between two bytes FLAG. A FLAG or ESCAPE within is
sent as ESCAPE and the byte with bit 5 inverted. So a FLAG always stands between frames, and both ends find the next
frame after any garbage. Numbers are little-endian. Standard library only.

Requests are numbered. The board executes a request once, in the order of the numbers. What was lost, the host sends
again.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from zlib import crc32

FLAG = 0x7E
ESCAPE = 0x7D
FLIP = 0x20
REQUEST = struct.Struct("<BBHI")  # sequence, operation, length, address
ANSWER = struct.Struct("<BBH")  # sequence, status, length
FILL = struct.Struct("<HHHHH")  # payload of FILL: count, stride, rows, pitch, value
CRC = struct.Struct("<I")
PAYLOAD_MAX = 448  # bytes: with header and CRC within 512, and whole beats of 64 bytes and less
WINDOW = 64  # requests that may be under way: less than half of the numbers that there are
SEQUENCES = 256
PROTOCOL = 4
BAUD = 3_000_000  # the fastest of the FTDI chips on boards
BOARD_REGISTERS = 0x100  # address of the first register of the board itself; those of the accelerator are below


class Operation(IntEnum):
    """What a request asks for. `length` counts its payload, or of READ the bytes of the answer's."""

    HELLO = 0
    WRITE = 1
    READ = 2
    CHECKSUM = 3
    SET = 4
    GET = 5
    FILL = 6


ABOUT_OPERATIONS = {
    Operation.HELLO: "the next number is this one's plus 1; the answer says what the board is, `Hello`",
    Operation.WRITE: "the payload goes to memory at `address`; both multiples of a beat",
    Operation.READ: "`length` bytes of memory at `address`; both multiples of a beat",
    Operation.CHECKSUM: "CRC-32 of memory from `address` on; the payload is the count of bytes, 32 bits",
    Operation.SET: "the payload, 32 bits, goes to the register at `address`",
    Operation.GET: "the register at `address`, 32 bits",
    Operation.FILL: "one value to many places in memory; the payload is count, stride, rows, pitch and value, 16 bits "
    "each: the value goes to `address` and on, `count` times, `stride` beats apart, and so `rows` times, `pitch` beats "
    "apart; `address` even, all counts at least 1, what is beyond the memory counts from its beginning",
}
# The others may be executed again, where an answer was lost.
EXECUTED_ONCE = (Operation.WRITE, Operation.SET, Operation.FILL)
# Where the memory cannot be used yet, these are NOT_READY; SET, since it starts programs, which use the memory.
NEED_MEMORY = (Operation.WRITE, Operation.READ, Operation.CHECKSUM, Operation.SET, Operation.FILL)


class Status(IntEnum):
    """How a request ended."""

    DONE = 0
    OUT_OF_ORDER = 1
    BAD_REQUEST = 2
    NOT_READY = 3


ABOUT_STATUS = {
    Status.DONE: "executed now or before; the payload is the answer",
    Status.OUT_OF_ORDER: "not executed: requests before it are missing; the payload is the number expected, 8 bits",
    Status.BAD_REQUEST: "not executed: no such operation, or a length or address that it does not take",
    Status.NOT_READY: "not executed, and expected still: the memory cannot be used; of all but HELLO and GET",
}


class BoardRegister(IntEnum):
    """Registers of the board itself, 32-bit words from BOARD_REGISTERS on; only to be read."""

    MEMORY = 0
    PHASE = 1
    WORKS_LOW = 2
    WORKS_HIGH = 3
    FLASH = 4

    @property
    def address(self) -> int:
        return BOARD_REGISTERS + 4 * self


USABLE, TESTED = 1, 2  # bits of MEMORY
FLASH_LOADED, FLASH_DAMAGED = 1, 2  # of FLASH

ABOUT_REGISTERS = {
    BoardRegister.MEMORY: "bit 0: the memory can be used; bit 1: it is tested, and what lies in flash is read",
    BoardRegister.PHASE: "low half: the phase of the memory's clock that was chosen; high half: of how many",
    BoardRegister.WORKS_LOW: "bit i: the memory works at phase i",
    BoardRegister.WORKS_HIGH: "the same, phases 32 to 63",
    BoardRegister.FLASH: "bit 0: the program that lies in flash was copied to memory; bit 1: one lies there, damaged",
}


@dataclass(frozen=True)
class Hello:
    """What a board says of itself, 32-bit words in this order.

    Attributes
    ----------
    protocol : PROTOCOL of the image
    identification : of the accelerator, its register `id`
    version : of the accelerator, its register `version`
    memory_bytes : of the memory
    port_bytes : of a beat of the memory
    core_khz, memory_khz : clocks
    simulated : 1 : the image runs in a simulation, which takes much longer than these clocks say
    shape : rows, columns, N and M of the array, a byte each, the lowest first
    """

    protocol: int
    identification: int
    version: int
    memory_bytes: int
    port_bytes: int
    core_khz: int
    memory_khz: int
    simulated: int = 0
    shape: int = 0

    @property
    def array(self) -> str:
        """For people."""
        return array_title(*self.shape.to_bytes(4, "little"))


HELLO = struct.Struct("<9I")


def array_title(rows: int, cols: int, n: int, m: int) -> str:
    return f"{rows}x{cols} PEs, N = {n}, M = {m}"


def stuffed(frame: bytes) -> bytes:
    """A frame as it is on the wire, between flags."""
    out = bytearray([FLAG])
    for byte in frame + CRC.pack(crc32(frame)):
        out += bytes([ESCAPE, byte ^ FLIP]) if byte in (FLAG, ESCAPE) else bytes([byte])
    out.append(FLAG)
    return bytes(out)


class Unstuffer:
    """Frames out of the bytes that come in. What has a wrong CRC or no CRC at all is dropped."""

    def __init__(self, longest: int = PAYLOAD_MAX + 64) -> None:
        self._frame = bytearray()
        self._escaped = False
        self._longest = longest

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Frames that end in `received`, without their CRCs."""
        for byte in received:
            if byte == FLAG:
                frame, whole = bytes(self._frame), not self._escaped
                self._frame.clear()
                self._escaped = False
                if len(frame) > CRC.size and whole and CRC.unpack(frame[-CRC.size :])[0] == crc32(frame[: -CRC.size]):
                    yield frame[: -CRC.size]
            elif byte == ESCAPE:
                self._escaped = True
            elif len(self._frame) < self._longest:
                self._frame.append(byte ^ FLIP if self._escaped else byte)
                self._escaped = False
