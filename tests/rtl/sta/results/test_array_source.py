"""ArraySource: each slot of each tile, read from the array in its cycle, with its destination."""

from collections import deque

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import READER_SAMPLE
from rtl.array.walk import TileWalk
from rtl.params import RESULT_TILES, ceil_div
from rtl.sta.isa import Columns
from rtl.sta.latencies import drain_start, source_latency
from rtl.sta.params import StaConfig
from rtl.sta.results.array_source import ArraySource
from tests.rtl.simulate import drive, run, seeded
from tests.rtl.sta.results.test_destination import Slot, slots

CONFIGURATIONS = {
    "3x4, one slot": StaConfig(rows=3, cols=4, drain=4, max_tokens=20),
    "2x6, three slots": StaConfig(n=3, m=8, rows=2, cols=6, drain=2, max_tokens=9),
    "one of each": StaConfig(n=1, m=2, rows=1, cols=1, drain=1, max_tokens=3),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_slots(name: str, seed: int) -> None:
    """Products of all sources, one after another; tiles as close as they come, or far apart.

    The array's results change in every cycle, so that one that is looked at in another cycle is wrong.
    """
    config = CONFIGURATIONS[name]
    rows, cols, lanes = config.rows, config.cols, config.drain_lanes
    half = 1 << (config.accumulator_bits - 1)
    rng = seeded("array source", name, seed)
    dut = ArraySource(config)
    results: list[list[list[int]]] = []  # of each cycle, [row][column]
    read: dict[int, Slot] = {}  # by the cycle in which each is read

    async def cycle(ctx: SimulatorContext, **inputs: object) -> None:
        now = [[rng.choice([-half, half - 1, rng.randint(-half, half - 1)]) for _ in range(cols)] for _ in range(rows)]
        results.append(now)
        for ports, values in zip(dut.results, now, strict=True):
            for port, value in zip(ports, values, strict=True):
                ctx.set(port, value)
        drive(ctx, dut, inputs)
        await ctx.tick()

    async def testbench(ctx: SimulatorContext) -> None:
        for number in range(4):
            source = [Columns.MEMORY, Columns.VALUES, Columns.KEYS, Columns.MEMORY][number]
            first = rows * rng.randint(0, (config.max_tokens - 1) // rows)
            f = {"first_token": first, "tokens": rng.randint(1, config.max_tokens - first), "columns": source}
            f |= {"channels": rng.randint(1, 3 * cols), "y_base": rng.getrandbits(15), "y_pitch": rng.randrange(99)}
            f["more_heads"] = 0 if source == Columns.MEMORY else rng.randrange(3)
            await cycle(ctx, instruction=f, start=1, tile_end=0)
            for _ in range(TileWalk.LATENCY):
                await cycle(ctx, start=0)
            start = drain_start(config, source == Columns.VALUES)
            tiles: deque[list[Slot]] = deque([[]])
            for slot in slots(config, f):
                tiles[-1].append(slot)
                if slot.tile_last:
                    tiles.append([])
            tiles.pop()
            head_tiles = ceil_div(f["tokens"], rows) * ceil_div(f["channels"], cols)
            assert len(tiles) == (f["more_heads"] + 1) * head_tiles
            free = 0  # the first cycle in which nothing is read
            ends: deque[int] = deque()  # of the tiles that are complete, or will be: the last read of each
            while tiles:
                now = len(results)
                while ends and ends[0] < now:
                    ends.popleft()
                # As many tiles as may be complete at once, those that are not yet among them.
                issue = len(ends) < RESULT_TILES and rng.random() < [1, 0.2, 0.03][seed]
                if issue:  # the decision was in the cycle before
                    free = max(free, now - 1 + start)
                    for slot in tiles.popleft():
                        read[free] = slot
                        free += 1
                    ends.append(free - 1)
                await cycle(ctx, tile_end=issue)
            while len(results) < free + source_latency(config) + 1:
                await cycle(ctx, tile_end=0)

    slot_signals = (dut.slots.valid, dut.slots.destination, *dut.slots.values)
    record = run(dut, testbench, limit=20_000, watch=slot_signals)
    latency, layout = source_latency(config), dut.slots.destination.shape()
    assert [cycle - latency for cycle, got in enumerate(record) if got[0]] == sorted(read)
    for at, slot in read.items():
        _, bits, *values = record[at + latency]
        found = layout.from_bits(bits)
        assert {part: found[part] for part in slot.destination} == slot.destination, f"read in cycle {at}"
        columns = [slot.destination["slot"] * lanes + lane for lane in range(lanes)]
        assert values == [results[at + READER_SAMPLE + c][slot.destination["row"]][c] for c in columns], f"cycle {at}"
