# amaranth: UnusedElaboratable=no
"""On-chip RAM: bursts equal a naive model under random waiting; latency and rate to the cycle; strobes; peeking."""

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from rtl.lib.ram import OnChipRam
from rtl.params import InputError
from sim.bench.amaranth_stream import stream_assert, stream_put
from sim.bench.gaps import NO_GAPS, Gaps

DEPTH = 32


def contents(port_bytes: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(DEPTH * port_bytes)


def beat(data: bytes | bytearray, port_bytes: int, index: int) -> int:
    index %= DEPTH
    return int.from_bytes(data[index * port_bytes : (index + 1) * port_bytes], "little")


def simulator(ram: OnChipRam) -> Simulator:
    sim = Simulator(ram)
    sim.add_clock(1e-6)
    return sim


def bursts(port_bytes: int, count: int, seed: int) -> list[dict[str, int]]:
    """Random bursts that stay inside, single beats and long ones."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        first = rng.randrange(DEPTH)
        length = rng.choice([0, 0, 1, 15, rng.randrange(DEPTH)])
        made.append({"address": first * port_bytes, "length": min(length, DEPTH - 1 - first)})
    return made


@pytest.mark.parametrize("port_bytes", [1, 4, 16])
@pytest.mark.parametrize("seed", [None, "a", "b"])
def test_reads(port_bytes: int, seed: str | None) -> None:
    init = contents(port_bytes, 1)
    requests = bursts(port_bytes, 40, 2)
    ram = OnChipRam(port_bytes, DEPTH, init)
    sim = simulator(ram)

    async def ask(ctx: Any) -> None:
        gaps = Gaps(seed and f"{seed} ask")
        for request in requests:
            await stream_put(ctx, ram.port.read_request, request, gaps=gaps)

    async def take(ctx: Any) -> None:
        gaps = Gaps(seed and f"{seed} take")
        for request in requests:
            first = request["address"] // port_bytes
            for i in range(request["length"] + 1):
                want = beat(init, port_bytes, first + i)
                await stream_assert(ctx, ram.port.read_data, want, gaps=gaps)

    sim.add_testbench(ask)
    sim.add_testbench(take)
    sim.run()


@pytest.mark.parametrize("port_bytes", [1, 4, 16])
@pytest.mark.parametrize("seed", [None, "a", "b"])
def test_writes_with_strobes(port_bytes: int, seed: str | None) -> None:
    rng = random.Random(5)
    memory = bytearray(contents(port_bytes, 6))
    ram = OnChipRam(port_bytes, DEPTH, bytes(memory))
    requests = bursts(port_bytes, 30, 7)
    beats = []
    for request in requests:
        for i in range(request["length"] + 1):
            data, strobe = rng.randbytes(port_bytes), rng.getrandbits(port_bytes)
            beats.append({"data": int.from_bytes(data, "little"), "strobe": strobe})
            for byte in range(port_bytes):
                if strobe >> byte & 1:
                    memory[request["address"] + i * port_bytes + byte] = data[byte]
    sim = simulator(ram)

    async def ask(ctx: Any) -> None:
        gaps = Gaps(seed and f"{seed} ask")
        for request in requests:
            await stream_put(ctx, ram.port.write_request, request, gaps=gaps)

    async def give(ctx: Any) -> None:
        await ctx.tick()
        gaps = Gaps(seed and f"{seed} give")
        for payload in beats:
            await stream_put(ctx, ram.port.write_data, payload, gaps=gaps)
        await check(ctx)

    async def check(ctx: Any) -> None:
        await ctx.tick()
        ctx.set(ram.peek.enable, 1)
        for index in range(DEPTH):
            ctx.set(ram.peek.beat, index)
            await ctx.tick()
            assert ctx.get(ram.peek.data) == beat(memory, port_bytes, index)

    sim.add_testbench(ask)
    sim.add_testbench(give)
    sim.run()


def test_first_beat_after_the_latency_then_one_a_cycle_across_bursts() -> None:
    init = contents(4, 10)
    ram = OnChipRam(4, DEPTH, init)
    sim = simulator(ram)
    taken: list[tuple[int, int]] = []
    accepted: list[int] = []
    cycle = 0

    async def ask(ctx: Any) -> None:
        for request in ({"address": 8, "length": 2}, {"address": 40, "length": 0}, {"address": 0, "length": 1}):
            await stream_put(ctx, ram.port.read_request, request, gaps=NO_GAPS)

    async def watch(ctx: Any) -> None:
        nonlocal cycle
        ctx.set(ram.port.read_data.ready, 1)
        data, request = ram.port.read_data, ram.port.read_request
        async for _, _, valid, payload, asked, ready in ctx.tick().sample(
            data.valid, data.payload, request.valid, request.ready
        ):
            if asked and ready:
                accepted.append(cycle)
            if valid:
                taken.append((cycle, payload))
            cycle += 1

    sim.add_testbench(ask)
    sim.add_testbench(watch, background=True)
    sim.run_until(20e-6)
    first = accepted[0] + OnChipRam.READ_LATENCY
    assert taken == [(first + i, beat(init, 4, index)) for i, index in enumerate([2, 3, 4, 10, 0, 1])]
    assert accepted == [accepted[0] + i for i in (0, 3, 4)]


def test_addresses_wrap_around() -> None:
    init = contents(2, 11)
    ram = OnChipRam(2, DEPTH, init)
    sim = simulator(ram)

    async def run(ctx: Any) -> None:
        await stream_put(ctx, ram.port.read_request, {"address": 2 * DEPTH * 3 - 2, "length": 1})
        await stream_assert(ctx, ram.port.read_data, beat(init, 2, DEPTH - 1))
        await stream_assert(ctx, ram.port.read_data, beat(init, 2, 0))

    sim.add_testbench(run)
    sim.run()


@pytest.mark.parametrize("depth", [0, 1, 3, 48])
def test_depth_must_be_a_power_of_two(depth: int) -> None:
    with pytest.raises(InputError, match=f"depth of the on-chip RAM is {depth}, must be a power of two"):
        OnChipRam(4, depth)


def test_contents_must_fit() -> None:
    with pytest.raises(InputError, match="contents of the on-chip RAM are 65 bytes, must be at most 64"):
        OnChipRam(4, 16, bytes(65))
