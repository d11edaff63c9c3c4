"""The board's end of the link, from pin to pin: answers to requests that are lost, doubled, early and wrong."""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator, SimulatorContext

from boards.link import ANSWER, FILL, HELLO, PROTOCOL, REQUEST, Hello, Operation, Status, Unstuffer, stuffed
from boards.parts.link.link import Link
from sim.bench.amaranth_stream import stream_get, stream_put, until
from tests.nightly import but

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
DIVISOR = 4
BEAT = 4
BOARD = Hello(
    PROTOCOL,
    0x1234,
    0x010203,
    memory_bytes=1 << 12,
    port_bytes=BEAT,
    core_khz=100_000,
    memory_khz=125_000,
    shape=0xFEDCBA98,
)


@dataclass
class Found:
    """What came of requests.

    Attributes
    ----------
    answers : sequence, status and payload of each
    memory : by the address of a beat
    writes : beats written, in order
    registers : (address, word) that were set, in order
    """

    answers: list[tuple[int, Status, bytes]] = field(default_factory=list)
    memory: dict[int, bytes] = field(default_factory=dict)
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    registers: list[tuple[int, int]] = field(default_factory=list)


def request(sequence: int, operation: int, address: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """On the wire."""
    size = len(payload) if length is None else length
    return stuffed(REQUEST.pack(sequence, operation, size, address) + payload)


def ask(
    wire: Iterable[bytes], *, not_ready: int = 0, write_cycles: int = 1, beat_bytes: int = BEAT, memory: bytes = b""
) -> Found:
    """Send one request after another to a board, each once the board is silent.

    not_ready : during as many of them the memory cannot be used
    memory : what is in it first; else zero
    write_cycles : that the memory takes for a beat
    """
    link = Link(DIVISOR, beat_bytes, BOARD, 2)
    port = link.control
    found = Found()
    found.memory = {at: bytes(memory[at : at + beat_bytes]) for at in range(0, len(memory), beat_bytes)}
    unstuffer = Unstuffer()
    heard = 0  # bytes

    async def send(ctx: SimulatorContext) -> None:
        ctx.set(link.rx, 1)
        ctx.set(link.board[1], 0xCAFE)
        for number, part in enumerate(wire):
            ctx.set(link.initialised, number >= not_ready)
            for byte in part:
                for level in (0, *(byte >> bit & 1 for bit in range(8)), 1):
                    ctx.set(link.rx, level)
                    await ctx.tick().repeat(DIVISOR)
            silent = 0  # characters
            for _ in range(100):
                before = heard
                await ctx.tick().repeat(10 * DIVISOR + write_cycles)
                silent = silent + 1 if heard == before else 0
                if silent == 6:
                    break

    async def receive(ctx: SimulatorContext) -> None:
        nonlocal heard
        while True:
            await until(ctx, link.tx, level=0)
            await ctx.tick().repeat(DIVISOR // 2 - 1)
            byte = 0
            for bit in range(8):
                await ctx.tick().repeat(DIVISOR)
                byte |= ctx.get(link.tx) << bit
            await ctx.tick().repeat(DIVISOR)
            heard += 1
            for frame in unstuffer.feed(bytes([byte])):
                sequence, status, length = ANSWER.unpack(frame[: ANSWER.size])
                assert len(frame) == ANSWER.size + length
                found.answers.append((sequence, Status(status), frame[ANSWER.size :]))

    async def read(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, link.memory.read_request)
            assert burst.length == 0
            beat = found.memory.get(burst.address, bytes(beat_bytes))
            await stream_put(ctx, link.memory.read_data, int.from_bytes(beat, "little"))

    async def write(ctx: SimulatorContext) -> None:
        while True:
            await ctx.tick().repeat(write_cycles)
            burst = await stream_get(ctx, link.memory.write_request)
            word = await stream_get(ctx, link.memory.write_data)
            assert burst.length == 0
            beat = bytearray(found.memory.get(burst.address, bytes(beat_bytes)))
            for at, byte in enumerate(word.data.to_bytes(beat_bytes, "little")):
                if word.strobe >> at & 1:
                    beat[at] = byte
            found.memory[burst.address] = bytes(beat)
            found.writes.append((burst.address, bytes(beat)))

    async def control(ctx: SimulatorContext) -> None:
        while True:
            found.registers.append(await until(ctx, port.write, port.address, port.write_data))

    m = Module()
    m.submodules.link = link
    m.d.sync += port.read_data.eq(0x5A000000 | port.address)
    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(send)
    for background in (receive, read, write, control):
        simulator.add_testbench(background, background=True)
    simulator.run()
    return found


A, B = b"\x7e\x7d\x01\x02", b"\x11\x12\x13\x14"


def test_hello_and_registers() -> None:
    found = ask(
        [
            request(200, Operation.HELLO),
            request(201, Operation.GET, 0x24, length=4),
            request(202, Operation.GET, 0x104, length=4),
            request(203, Operation.SET, 0x08, b"\x01\x02\x03\x04"),
        ]
    )
    assert found.answers == [
        (200, Status.DONE, HELLO.pack(PROTOCOL, 0x1234, 0x010203, 1 << 12, BEAT, 100_000, 125_000, 0, 0xFEDCBA98)),
        (201, Status.DONE, (0x5A000024).to_bytes(4, "little")),
        (202, Status.DONE, (0xCAFE).to_bytes(4, "little")),
        (203, Status.DONE, b""),
    ]
    assert found.registers == [(0x08, 0x04030201)]


def test_a_request_that_is_sent_twice_is_executed_once() -> None:
    """Also behind others. What only reads is executed again."""
    found = ask(
        [
            request(254, Operation.HELLO),
            request(255, Operation.WRITE, 0x40, A),
            request(0, Operation.WRITE, 0x40, B),
            request(255, Operation.WRITE, 0x40, A),
            request(1, Operation.SET, 0x08, A),
            request(1, Operation.SET, 0x08, A),
            request(2, Operation.READ, 0x40, length=4),
            request(2, Operation.READ, 0x40, length=4),
        ]
    )
    assert [status for _, status, _ in found.answers] == [Status.DONE] * 8
    assert found.writes == [(0x40, A), (0x40, B)]
    assert len(found.registers) == 1
    assert found.answers[-2:] == [(2, Status.DONE, B)] * 2


def test_a_request_that_is_ahead_waits_for_those_before() -> None:
    """The farthest ahead, too; the farthest behind is taken for one of before."""
    found = ask(
        [
            request(9, Operation.HELLO),
            request(11, Operation.WRITE, 0x40, A),
            request((10 + 128) % 256, Operation.WRITE, 0x40, A),
            request((10 - 127) % 256, Operation.WRITE, 0x40, A),
            request(10, Operation.WRITE, 0x40, B),
        ]
    )
    assert found.answers[1:] == [
        (11, Status.OUT_OF_ORDER, bytes([10])),
        (138, Status.OUT_OF_ORDER, bytes([10])),
        (139, Status.DONE, b""),
        (10, Status.DONE, b""),
    ]
    assert found.writes == [(0x40, B)]


def test_what_waits_for_memory_is_expected_still() -> None:
    found = ask(
        [
            request(9, Operation.HELLO),
            request(10, Operation.WRITE, 0x40, A),
            request(10, Operation.WRITE, 0x40, B),
            request(10, Operation.WRITE, 0x40, A),
        ],
        not_ready=2,
    )
    assert [status for _, status, _ in found.answers] == [Status.DONE, Status.NOT_READY, Status.DONE, Status.DONE]
    assert found.writes == [(0x40, B)]


def test_what_waits_for_memory() -> None:
    """SET, too, which starts programs; HELLO and GET are for finding out."""
    size = (BEAT).to_bytes(4, "little")
    found = ask(
        [
            request(9, Operation.HELLO),
            request(10, Operation.SET, 0x00, A),
            request(10, Operation.READ, 0x40, length=4),
            request(10, Operation.CHECKSUM, 0x40, size),
            request(10, Operation.GET, 0x104, length=4),
            request(11, Operation.SET, 0x00, B),
        ],
        not_ready=5,
    )
    assert [status for _, status, _ in found.answers] == [
        Status.DONE,
        *[Status.NOT_READY] * 3,
        Status.DONE,
        Status.DONE,
    ]
    assert found.registers == [(0x00, int.from_bytes(B, "little"))]


def test_a_bad_hello_is_answered_as_any_bad_request() -> None:
    """One that is ahead is told the number expected."""
    found = ask(
        [
            request(9, Operation.HELLO),
            request(12, Operation.HELLO, payload=A),
            request(10, Operation.HELLO, payload=A),
            request(11, Operation.GET, 0x24, length=4),
        ]
    )
    assert found.answers[1:] == [
        (12, Status.OUT_OF_ORDER, bytes([10])),
        (10, Status.BAD_REQUEST, b""),
        (11, Status.DONE, (0x5A000024).to_bytes(4, "little")),
    ]


MALFORMED = {
    "a checksum of half a beat": (Operation.CHECKSUM, 0x40, (BEAT + BEAT // 2).to_bytes(4, "little"), None),
    "a checksum of a byte": (Operation.CHECKSUM, 0x40, (1).to_bytes(4, "little"), None),
    "a checksum from within a beat": (Operation.CHECKSUM, 0x42, (BEAT).to_bytes(4, "little"), None),
    "a checksum without a size": (Operation.CHECKSUM, 0x40, b"", None),
    "a checksum with half a size": (Operation.CHECKSUM, 0x40, b"\x04\x00", None),
    "a read of no byte": (Operation.READ, 0x40, b"", 0),
    "a write of no byte": (Operation.WRITE, 0x40, b"", 0),
    "a read with a payload": (Operation.READ, 0x40, A, BEAT),
    "a register read with a payload": (Operation.GET, 0x24, A, 4),
    "a write without its payload": (Operation.WRITE, 0x40, b"", BEAT),
    "a write with half of its payload": (Operation.WRITE, 0x40, A, 2 * BEAT),
    "a write with twice its payload": (Operation.WRITE, 0x40, A + B, BEAT),
    "a register set without a word": (Operation.SET, 0x08, b"", 4),
    "a register set with two words": (Operation.SET, 0x08, A + B, None),
    "a register set with half a word": (Operation.SET, 0x08, A[:2], None),
    "a register set within a word": (Operation.SET, 0x0A, A, None),
    "a register read within a word": (Operation.GET, 0x26, b"", 4),
    "a fill without a value": (Operation.FILL, 0x40, FILL.pack(1, 1, 1, 1, 1)[:8], None),
    "a fill with half a value": (Operation.FILL, 0x40, FILL.pack(1, 1, 1, 1, 1)[:9], None),
    "a fill with two values": (Operation.FILL, 0x40, FILL.pack(1, 1, 1, 1, 1) + A[:2], None),
    "a fill of another length": (Operation.FILL, 0x40, FILL.pack(1, 1, 1, 1, 1), 4),
    "a fill of nothing": (Operation.FILL, 0x40, FILL.pack(0, 1, 1, 1, 1), None),
    "a fill of no row": (Operation.FILL, 0x40, FILL.pack(1, 1, 0, 1, 1), None),
    "a fill at an odd address": (Operation.FILL, 0x41, FILL.pack(1, 1, 1, 1, 1), None),
    "a fill behind the end": (Operation.FILL, 1 << 12, FILL.pack(1, 1, 1, 1, 1), None),
    "no operation": (len(Operation), 0x40, A, None),
    "no operation either": (0xFF, 0x40, b"", None),
}


def test_malformed_requests_change_nothing() -> None:
    """Each is answered, counts as executed, and leaves memory and registers alone."""
    wire = [request(9, Operation.HELLO), request(10, Operation.WRITE, 0x40, A + B)]
    for number, (operation, address, payload, length) in enumerate(MALFORMED.values(), start=11):
        wire.append(request(number, operation, address, payload, length))
    last = 11 + len(MALFORMED)
    wire.append(request(last, Operation.READ, 0x40, length=2 * BEAT))
    found = ask(wire)
    statuses = {number: status for number, status, _ in found.answers}
    for number, name in enumerate(MALFORMED, start=11):
        assert statuses.get(number) == Status.BAD_REQUEST, name
    assert found.answers[-1] == (last, Status.DONE, A + B)
    assert [address for address, _ in found.writes] == [0x40, 0x44]
    assert found.registers == []


def test_a_checksum_of_nothing() -> None:
    found = ask([request(9, Operation.HELLO), request(10, Operation.CHECKSUM, 0x40, bytes(4))])
    assert found.answers[1:] == [(10, Status.DONE, crc32(b"").to_bytes(4, "little"))]


def test_checksums() -> None:
    found = ask(
        [
            request(9, Operation.HELLO),
            request(10, Operation.WRITE, 0x40, A + B),
            request(11, Operation.CHECKSUM, 0x40, (2 * BEAT).to_bytes(4, "little")),
            request(12, Operation.CHECKSUM, 0x44, (BEAT).to_bytes(4, "little")),
            request(13, Operation.WRITE, 0x80, 16 * B),
            request(14, Operation.CHECKSUM, 0x80, (16 * BEAT).to_bytes(4, "little")),
        ]
    )
    sums = [(number, payload) for number, status, payload in found.answers[2:] if status == Status.DONE and payload]
    wanted = {11: A + B, 12: B, 14: 16 * B}
    assert sums == [(number, crc32(part).to_bytes(4, "little")) for number, part in wanted.items()]


@pytest.mark.parametrize("beat_bytes", but([2, 4, 16], [2]))
def test_fills(beat_bytes: int) -> None:
    """Against a plain memory: places in one beat and beside it, over the end of memory, rows on one another."""
    generator = random.Random(SEED + beat_bytes)
    size = BOARD.memory_bytes
    plain = bytearray(generator.randbytes(size))
    wire = [request(9, Operation.HELLO)]
    cases = [(0, 1, 0, 1, 0), (size - 2, 3, 1, 1, 0), (size // 2 + 6, 2, 3, 3, size // 2 // beat_bytes)]
    cases += [
        (
            generator.randrange(0, size, 2),
            generator.randrange(1, 5),
            generator.randrange(1 << 16),
            generator.randrange(1, 4),
            generator.randrange(1 << 16),
        )
        for _ in range(6)
    ]
    for number, (address, count, stride, rows, pitch) in enumerate(cases, start=10):
        value = generator.randrange(1 << 16)
        wire.append(request(number, Operation.FILL, address, FILL.pack(count, stride, rows, pitch, value)))
        wire.append(wire[-1])  # executed once
    found = ask(wire, beat_bytes=beat_bytes, write_cycles=3, memory=plain)
    expected = bytearray(plain)
    places = 0
    for part in wire[1::2]:
        (frame,) = Unstuffer().feed(part)
        _, _, _, address = REQUEST.unpack(frame[: REQUEST.size])
        count, stride, rows, pitch, value = FILL.unpack(frame[REQUEST.size :])
        places += count * rows
        for row in range(rows):
            for i in range(count):
                at = (address + beat_bytes * (row * pitch + i * stride)) % size
                expected[at : at + 2] = value.to_bytes(2, "little")
    assert [status for _, status, _ in found.answers] == [Status.DONE] * len(wire)
    assert len(found.writes) == places
    for at, beat in found.memory.items():
        assert beat == expected[at : at + beat_bytes], f"NMGEN_SEED={SEED}: {at:#x}"
    changed = {at // beat_bytes * beat_bytes for at in range(size) if plain[at] != expected[at]}
    assert changed <= {at for at, _ in found.writes}


def test_a_write_behind_a_fill() -> None:
    """Writes whole beats."""
    fill = request(10, Operation.FILL, 0x42, FILL.pack(1, 1, 1, 1, 0x2211))
    found = ask([request(9, Operation.HELLO), fill, request(11, Operation.WRITE, 0x40, A)])
    assert found.writes == [(0x40, b"\x00\x00\x11\x22"), (0x40, A)]


def test_writes_back_to_back() -> None:
    """While one is executed the next is held, and the one behind it comes in."""
    writes = [request(10 + i, Operation.WRITE, 0x40 + BEAT * i, bytes([i] * BEAT)) for i in range(3)]
    found = ask([request(9, Operation.HELLO), b"".join(writes)])
    assert found.answers[1:] == [(10 + i, Status.DONE, b"") for i in range(3)]
    assert found.writes == [(0x40 + BEAT * i, bytes([i] * BEAT)) for i in range(3)]


def test_a_request_that_ends_too_early_is_dropped() -> None:
    """What is held stays as it is until all of its payload is in memory."""
    first = request(10, Operation.WRITE, 0x40, bytes(range(4 * BEAT)))
    second = request(11, Operation.WRITE, 0x80, bytes(range(100, 100 + 4 * BEAT)))
    found = ask([request(9, Operation.HELLO), first + second, second], write_cycles=len(second) * 10 * DIVISOR // 2)
    assert found.answers[1:] == [(10, Status.DONE, b""), (11, Status.DONE, b"")]
    assert b"".join(beat for _, beat in found.writes) == bytes([*range(4 * BEAT), *range(100, 100 + 4 * BEAT)])


def test_the_end_of_memory() -> None:
    end = BOARD.memory_bytes
    found = ask(
        [
            request(9, Operation.HELLO),
            request(10, Operation.WRITE, end - 4, B),
            request(11, Operation.READ, end - 4, length=4),
            request(12, Operation.WRITE, end - 4, A + B),
            request(13, Operation.WRITE, end, A),
            request(14, Operation.READ, end - 4, length=8),
            request(15, Operation.READ, 0xFFFFFFFC, length=8),
            request(16, Operation.CHECKSUM, end - 4, (8).to_bytes(4, "little")),
            request(17, Operation.CHECKSUM, 4, (0xFFFFFFFC).to_bytes(4, "little")),
            request(18, Operation.READ, 2, length=4),
            request(19, Operation.WRITE, 0, b"abc"),
            request(20, Operation.READ, 0, length=964),
            request(21, Operation.CHECKSUM, 4, (0x01000004).to_bytes(4, "little")),  # too much by its last byte
        ]
    )
    assert found.answers[1:3] == [(10, Status.DONE, b""), (11, Status.DONE, B)]
    assert [status for _, status, _ in found.answers[3:]] == [Status.BAD_REQUEST] * 10
    assert found.writes == [(end - 4, B)]


def test_garbage_between() -> None:
    frame = request(10, Operation.WRITE, 0x40, A)
    found = ask([request(9, Operation.HELLO), frame[:-3], frame, b"\x7d\x7e\x00\x7d", frame[:5] + frame])
    assert [answer[0] for answer in found.answers] == [9, 10, 10]
    assert found.writes == [(0x40, A)]
