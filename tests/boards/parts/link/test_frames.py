"""The frame receiver: which frames are held, and which are dropped."""

import os
import random

from amaranth.sim import Simulator, SimulatorContext

from boards.link import CRC, ESCAPE, FLAG, PAYLOAD_MAX, REQUEST, stuffed
from boards.parts.link.frames import FRAME_LATENCY, FRAME_MAX, IDLE_CYCLES, FrameReceiver, FrameSender
from sim.bench.amaranth_stream import stream_get, stream_put, until

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
LONGEST = FRAME_MAX - CRC.size


def held(wire: list[bytes], *, released: bool = True) -> list[bytes]:
    """The frames that a reader gets of these bytes: each at once, or, if none is released, what is held at the end."""
    receiver = FrameReceiver()
    frame = receiver.frame
    found: list[bytes] = []
    generator = random.Random(SEED)

    async def send(ctx: SimulatorContext) -> None:
        for part in wire:
            for byte in part:
                ctx.set(receiver.byte, byte)
                ctx.set(receiver.valid, 1)
                await ctx.tick()
                ctx.set(receiver.valid, 0)
                await ctx.tick().repeat(generator.randint(IDLE_CYCLES, IDLE_CYCLES + 2))
            await ctx.tick().repeat(FRAME_LATENCY * LONGEST + 20)
        if not released:
            await read(ctx)

    async def read(ctx: SimulatorContext) -> None:
        await until(ctx, frame.held)
        content = []
        for address in range(ctx.get(frame.length)):
            ctx.set(frame.address, address)
            await ctx.tick().repeat(FRAME_LATENCY)
            content.append(ctx.get(frame.data))
        found.append(bytes(content))

    async def read_all(ctx: SimulatorContext) -> None:
        while released:
            await read(ctx)
            ctx.set(frame.release, 1)
            await ctx.tick()
            ctx.set(frame.release, 0)

    simulator = Simulator(receiver)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(read_all, background=True)
    simulator.run()
    return found


def random_frame(size: int) -> bytes:
    """Half of its bytes are flags and escapes."""
    generator = random.Random(f"{SEED} {size}")
    return bytes(
        generator.choice((FLAG, ESCAPE, generator.randrange(256), generator.randrange(256))) for _ in range(size)
    )


def test_frames_of_all_sizes() -> None:
    frames = [random_frame(size) for size in (REQUEST.size, REQUEST.size + 1, 300, LONGEST - 1, LONGEST)]
    assert len(frames[-1]) == REQUEST.size + PAYLOAD_MAX
    assert held([stuffed(frame) for frame in frames]) == frames


def test_frames_that_are_sent() -> None:
    """To a UART that always takes the next character, as none does."""
    frames = [random_frame(size) for size in (4, 5, 40, 5)]
    sender = FrameSender()
    found = bytearray()

    async def send(ctx: SimulatorContext) -> None:
        for frame in frames:
            for number, byte in enumerate(frame, start=1):
                await stream_put(ctx, sender.frame, {"byte": byte, "last": number == len(frame)})
        await ctx.tick().repeat(200)

    async def take(ctx: SimulatorContext) -> None:
        while True:
            found.append(await stream_get(ctx, sender.characters))

    simulator = Simulator(sender)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(take, background=True)
    simulator.run()
    assert found == b"".join(map(stuffed, frames))


def test_one_flag_between_frames_is_enough() -> None:
    frames = [random_frame(size) for size in (30, 31)]
    assert held([stuffed(frames[0]), stuffed(frames[1])[1:]]) == frames


def test_frames_that_are_dropped() -> None:
    """Each is followed by one that is right."""
    good = random_frame(40)
    wrong_crc = bytearray(stuffed(bytes(40)))
    wrong_crc[10] ^= 1
    for bad in (
        stuffed(random_frame(REQUEST.size - 1)),
        stuffed(random_frame(LONGEST + 1)),
        stuffed(random_frame(4 * LONGEST)),
        bytes(wrong_crc),
        stuffed(bytes(40))[:-1] + bytes([ESCAPE, FLAG]),
        stuffed(bytes(40))[:20] + bytes([FLAG]),
        bytes([FLAG, FLAG]),
    ):
        assert held([bad, stuffed(good)]) == [good], bad


def test_a_frame_is_dropped_while_another_is_held() -> None:
    frames = [random_frame(size) for size in (50, 60, 70)]
    assert held([stuffed(frame) for frame in frames], released=False) == frames[:1]
