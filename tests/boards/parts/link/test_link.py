"""The board's end of the link, from pin to pin: answers to requests that are lost, doubled, early and wrong."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from amaranth.sim import Simulator, SimulatorContext

from boards.link import ANSWER, HELLO, PROTOCOL, REQUEST, Hello, Operation, Status, Unstuffer, stuffed
from boards.parts.link.link import Link
from sim.bench.amaranth_stream import stream_get, stream_put, until

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
DIVISOR = 4
BEAT = 4
BOARD = Hello(PROTOCOL, 0x1234, 0x010203, memory_bytes=1 << 12, port_bytes=BEAT, core_khz=100_000, memory_khz=125_000)


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


def request(
    sequence: int, operation: Operation, address: int = 0, payload: bytes = b"", length: int | None = None
) -> bytes:
    """On the wire."""
    size = len(payload) if length is None else length
    return stuffed(REQUEST.pack(sequence, operation, size, address) + payload)


def ask(wire: Iterable[bytes], *, not_ready: int = 0) -> Found:
    """Send one request after another to a board; the memory is not set up during the first `not_ready` of them."""
    link = Link(DIVISOR, BEAT, BOARD, 2)
    found = Found()
    unstuffer = Unstuffer()

    async def send(ctx: SimulatorContext) -> None:
        ctx.set(link.rx, 1)
        ctx.set(link.board[1], 0xCAFE)
        for number, part in enumerate(wire):
            ctx.set(link.initialised, number >= not_ready)
            for byte in part:
                for level in (0, *(byte >> bit & 1 for bit in range(8)), 1):
                    ctx.set(link.rx, level)
                    await ctx.tick().repeat(DIVISOR)
            await ctx.tick().repeat(60 * 10 * DIVISOR)  # an answer

    async def receive(ctx: SimulatorContext) -> None:
        while True:
            await until(ctx, ~link.tx)
            await ctx.tick().repeat(DIVISOR // 2 - 1)
            byte = 0
            for bit in range(8):
                await ctx.tick().repeat(DIVISOR)
                byte |= ctx.get(link.tx) << bit
            await ctx.tick().repeat(DIVISOR)
            for frame in unstuffer.feed(bytes([byte])):
                sequence, status, length = ANSWER.unpack(frame[: ANSWER.size])
                assert len(frame) == ANSWER.size + length
                found.answers.append((sequence, Status(status), frame[ANSWER.size :]))

    async def read(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, link.memory.read_request)
            assert burst.length == 0
            beat = found.memory.get(burst.address, bytes(BEAT))
            await stream_put(ctx, link.memory.read_data, int.from_bytes(beat, "little"))

    async def write(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, link.memory.write_request)
            word = await stream_get(ctx, link.memory.write_data)
            assert (burst.length, word.strobe) == (0, (1 << BEAT) - 1)
            found.memory[burst.address] = word.data.to_bytes(BEAT, "little")
            found.writes.append((burst.address, found.memory[burst.address]))

    async def control(ctx: SimulatorContext) -> None:
        while True:
            port = link.control
            _, _, write, address, word = await ctx.tick().sample(port.write, port.address, port.write_data)
            ctx.set(port.read_data, 0x5A000000 | address)
            if write:
                found.registers.append((address, word))

    simulator = Simulator(link)
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
        (200, Status.DONE, HELLO.pack(PROTOCOL, 0x1234, 0x010203, 1 << 12, BEAT, 100_000, 125_000, 0)),
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
        ]
    )
    assert found.answers[1:3] == [(10, Status.DONE, b""), (11, Status.DONE, B)]
    assert [status for _, status, _ in found.answers[3:]] == [Status.BAD_REQUEST] * 9
    assert found.writes == [(end - 4, B)]


def test_garbage_between() -> None:
    frame = request(10, Operation.WRITE, 0x40, A)
    found = ask([request(9, Operation.HELLO), frame[:-3], frame, b"\x7d\x7e\x00\x7d", frame[:5] + frame])
    assert [answer[0] for answer in found.answers] == [9, 10, 10]
    assert found.writes == [(0x40, A)]
