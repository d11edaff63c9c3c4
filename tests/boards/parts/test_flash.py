"""A program from flash into memory after power-on: right, damaged, or none."""

import os
import random
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

import pytest
from amaranth.lib import wiring
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.flash import HEADER, MAGIC, READ, WAKE_BITS, FlashLoader, FlashReader
from sim.bench.amaranth_stream import stream_get, until
from sim.bench.gaps import NO_GAPS, Gaps

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
OFFSET = 0x20_0000
MEMORY_BYTES = 1 << 9


@dataclass
class Found:
    """What came of it. memory : by address of a beat; commands : bits that the flash got before it answered"""

    memory: dict[int, bytes] = field(default_factory=dict)
    commands: list[int] = field(default_factory=list)
    loaded: int = 0
    damaged: int = 0


async def flash(ctx: SimulatorContext, pins: wiring.PureInterface, contents: bytes, commands: list[int]) -> None:
    """Takes a bit at a rising edge, gives one behind a falling edge, while selected; never without that.

    commands : gets the bits that come before it answers
    """
    command, bits, before, woken = 0, 0, 0, 0
    while True:
        _, _, clk, select, copi = await ctx.tick().sample(pins.clk, pins.select, pins.copi)
        if not select:
            assert bits == 0, "the flash is selected to the end"
            woken += clk and not before
        elif clk and not before:
            if bits < 32:
                command = command << 1 | copi
            bits += 1
            if bits == 32:
                commands.append(command)
                assert woken >= WAKE_BITS - 1
        elif before and not clk and bits >= 32:
            at = (command & 0xFFFFFF) - OFFSET + (bits - 32) // 8
            byte = contents[at] if 0 <= at < len(contents) else 0xFF
            ctx.set(pins.cipo, byte >> 7 - (bits - 32) % 8 & 1)
        before = clk


def loaded(contents: bytes, port_bytes: int, *, slow: bool = False) -> Found:
    """What a loader makes of a flash with these contents at OFFSET. slow : memory takes long, at random"""
    loader = FlashLoader(OFFSET, MEMORY_BYTES, port_bytes)
    found = Found()
    gaps = Gaps(SEED) if slow else NO_GAPS

    async def memory(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, loader.memory.write_request, gaps=gaps)
            word = await stream_get(ctx, loader.memory.write_data, gaps=gaps)
            assert (burst.length, word.strobe) == (0, (1 << port_bytes) - 1)
            found.memory[burst.address] = word.data.to_bytes(port_bytes, "little")
            for _ in range(100 if slow else 0):  # longer than a byte takes: the next beat's request waits
                await ctx.tick()

    async def bench(ctx: SimulatorContext) -> None:
        for _ in range(50):
            _, _, clk, done = await ctx.tick().sample(loader.pins.clk, loader.done)
            assert not clk
            assert not done
        ctx.set(loader.start, 1)
        await until(ctx, loader.done)
        found.loaded, found.damaged = ctx.get(loader.loaded), ctx.get(loader.damaged)
        for _ in range(50):
            assert not (await ctx.tick().sample(loader.pins.clk))[2]

    simulator = Simulator(loader)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(
        partial(flash, pins=loader.pins, contents=contents, commands=found.commands), background=True
    )
    simulator.add_testbench(memory, background=True)
    simulator.run()
    return found


def image(program: bytes, *, checksum: int | None = None, magic: bytes = MAGIC, size: int | None = None) -> bytes:
    size = len(program) if size is None else size
    return HEADER.pack(magic, size, crc32(program) if checksum is None else checksum) + program


def test_a_byte_waits() -> None:
    """Longer than the next one takes; the loader itself reads none that it cannot take."""
    reader = FlashReader(OFFSET)
    contents = random.Random(SEED).randbytes(20)
    taken = bytearray()

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(reader.start, 1)
        for number in range(len(contents)):
            if number % 3 == 2:
                await ctx.tick().repeat(100)
            taken.append(await stream_get(ctx, reader.words))

    simulator = Simulator(reader)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(partial(flash, pins=reader.pins, contents=contents, commands=[]), background=True)
    simulator.run()
    assert taken == contents


@pytest.mark.parametrize("port_bytes", [2, 16])
@pytest.mark.parametrize("slow", [False, True])
def test_a_program(port_bytes: int, slow: bool) -> None:
    """One that fills the memory, and one of a single beat."""
    for size in (MEMORY_BYTES if port_bytes == 16 else 64, port_bytes):
        program = random.Random(SEED + size).randbytes(size)
        found = loaded(image(program), port_bytes, slow=slow)
        assert found.commands == [READ << 24 | OFFSET]
        assert (found.loaded, found.damaged) == (1, 0)
        assert b"".join(found.memory[at] for at in range(0, size, port_bytes)) == program
        assert len(found.memory) == size // port_bytes


def test_a_damaged_one() -> None:
    """Any bit of it."""
    program = random.Random(SEED).randbytes(32)
    for bit in (0, 100, 255):
        flipped = bytearray(program)
        flipped[bit // 8] ^= 1 << bit % 8
        found = loaded(image(bytes(flipped), checksum=crc32(program)), 16)
        assert (found.loaded, found.damaged) == (0, 1)


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        image(bytes(16), magic=b"NMP2"),
        image(b""),
        image(bytes(16), size=24),
        image(bytes(16), size=MEMORY_BYTES + 16),
        image(bytes(16), size=1 << 31),
    ],
    ids=["empty", "another", "of no byte", "of half a beat", "too large", "far too large"],
)
def test_none(contents: bytes) -> None:
    found = loaded(contents, 16)
    assert (found.loaded, found.damaged, found.memory) == (0, 0, {})
