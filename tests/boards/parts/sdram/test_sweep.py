"""The sweep of phases: which one is chosen, and what it takes for working."""

import os
import random

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.sdram.sweep import BURST_BEATS, BURST_BYTES_BIT, PhaseSweep, WidestRange
from sim.bench.amaranth_stream import stream_get, stream_put

SEED = int(os.environ.get("NMGEN_SEED", "2026"))


def widest(bits: list[int]) -> tuple[int, int]:
    """Width and middle of the widest range in the ring, of the first that is as wide."""
    size = len(bits)
    if all(bits):
        return size, size // 2
    best = 0, 0
    for begin in range(size):
        if bits[begin] and not bits[begin - 1]:
            width = next(n for n in range(size) if not bits[(begin + n) % size])
            if width > best[0]:
                best = width, (begin + width // 2) % size
    return best


def test_the_widest_range() -> None:
    size = 16
    generator = random.Random(SEED)
    rings = [[0] * size, [1] * size, [1] * 3 + [0] * 9 + [1] * 4, [0] * 5 + [1] + [0] * 10]
    rings += [[int(generator.random() < 0.7) for _ in range(size)] for _ in range(200)]
    dut = WidestRange(size)

    async def drive(ctx: SimulatorContext) -> None:
        for ring in rings:
            ctx.set(dut.bits, sum(bit << i for i, bit in enumerate(ring)))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().repeat(2 * size + 1)
            assert ctx.get(dut.done)
            assert (ctx.get(dut.width), ctx.get(dut.middle)) == widest(ring), ring

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


PHASES = 16
MEMORY_BYTES = 1 << 16
BEAT = 4
# Bits that the memory takes for 0.
SPOILT_ADDRESS = {
    "lowest address bit": 1 << BURST_BYTES_BIT,
    "an address bit": 1 << BURST_BYTES_BIT + 3,
    "highest address bit": MEMORY_BYTES >> 1,
}


def sweep(works: set[int], spoil: str) -> tuple[int, int]:
    """(phases found to work, phase of the output at the end) of a memory that works at those phases, else is spoilt."""
    dut = PhaseSweep(PHASES, MEMORY_BYTES, BEAT)
    found: dict[str, int] = {}
    memory: dict[int, int] = {}
    output = 0
    last = MEMORY_BYTES >> 1, BURST_BEATS - 1

    def good() -> bool:
        return output in works

    def seen(address: int) -> int:
        """By the memory."""
        return address if good() else address & ~SPOILT_ADDRESS.get(spoil, 0)

    async def pll(ctx: SimulatorContext) -> None:
        """A falling edge steps; the memory is set up again before it is used."""
        nonlocal output
        before = 1
        while not ctx.get(dut.done):
            _, _, step, restart, initialised, asks = await ctx.tick().sample(
                dut.step, dut.restart, dut.initialised, dut.memory.read_request.valid | dut.memory.write_request.valid
            )
            if before and not step:
                output = (output + 1) % PHASES
                assert not asks
                ctx.set(dut.initialised, 0)  # what is asked for now would be lost
            if restart:
                ctx.set(dut.initialised, 0)
            elif not initialised and before == step == 1:
                ctx.set(dut.initialised, 1)
            before = step
        found.update(works=ctx.get(dut.works), phase=ctx.get(dut.phase))

    async def write(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, dut.memory.write_request)
            for beat in range(burst.length + 1):
                word = await stream_get(ctx, dut.memory.write_data)
                address = seen(burst.address + beat * BEAT)
                if good() or spoil != "lost" or beat != 2:
                    memory[address] = word.data

    async def read(ctx: SimulatorContext) -> None:
        while True:
            burst = await stream_get(ctx, dut.memory.read_request)
            for beat in range(burst.length + 1):
                word = memory.get(seen(burst.address + beat * BEAT), 0)
                if not good() and spoil == "bit":
                    word |= 1 << 21
                if not good() and spoil == "last beat" and last == (burst.address, beat):
                    word ^= 1
                await stream_put(ctx, dut.memory.read_data, word)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(pll)
    simulator.add_testbench(write, background=True)
    simulator.add_testbench(read, background=True)
    simulator.run()
    assert found["phase"] == output
    return found["works"], output


@pytest.mark.parametrize("spoil", [*SPOILT_ADDRESS, "lost", "bit", "last beat"])
def test_the_middle_of_what_works_is_chosen(spoil: str) -> None:
    works = {14, 15, 0, 1, 2, 3, 4, 8, 9}
    found, phase = sweep(works, spoil)
    assert found == sum(1 << i for i in works)
    assert phase == 1


def test_a_memory_that_never_works() -> None:
    assert sweep(set(), "bit")[0] == 0


def test_a_memory_that_always_works() -> None:
    assert sweep(set(range(PHASES)), "bit")[0] == (1 << PHASES) - 1
