"""TableLoader: all entries of a table, in order, each once; the one table and the other; when they come."""

import pytest
from amaranth.sim import SimulatorContext

from rtl.params import ceil_div
from rtl.sta.params import TABLE_ENTRIES, StaConfig
from rtl.sta.results.activation import TableLoader
from tests.rtl.simulate import drive, gaps, run, seeded

ENTRY_BYTES = 2


@pytest.mark.parametrize("port_bytes", [1, 2, 8, 64])
@pytest.mark.parametrize("seed", [None, 3, 4], ids=["free", "gaps", "others"])
def test_tables(port_bytes: int, seed: int | None) -> None:
    """Three in a row: entries of every value go to the table of the instruction, an entry a cycle as beats come."""
    rng = seeded("tables", port_bytes, seed)
    tables = [[rng.choice([0, 0x7FFF, 0x8000, 0xFFFF, rng.getrandbits(16)]) for _ in range(256)] for _ in range(3)]
    which = [1, 0, rng.randrange(2)]
    dut, give = TableLoader(StaConfig(port_bytes=port_bytes)), gaps(seed, "beats")
    starts: list[int] = []
    wrote: list[tuple[int, int, int, int]] = []  # cycle, table, address, entry
    ends: list[int] = []

    async def testbench(ctx: SimulatorContext) -> None:
        cycle = 0

        async def tick() -> bool:
            """Notes what is written; whether a beat was taken."""
            nonlocal cycle
            _, _, taken, finished, *written = await ctx.tick().sample(
                dut.beats.valid & dut.beats.ready, dut.finished, dut.activation, dut.exponential
            )
            wrote.extend((cycle, i, one.address, one.data) for i, one in enumerate(written) if one.enable)
            ends.extend([cycle] * finished)
            cycle += 1
            return bool(taken)

        for table, number in zip(tables, which, strict=True):
            packed = b"".join(entry.to_bytes(ENTRY_BYTES, "little") for entry in table)
            starts.append(cycle)
            drive(ctx, dut, {"start": 1, "instruction": {"which": number}})
            for at in range(0, len(packed), port_bytes):
                while give.stall():
                    drive(ctx, dut, {"beats.valid": 0})
                    await tick()
                    ctx.set(dut.start, 0)
                beat = int.from_bytes(packed[at : at + port_bytes], "little")
                drive(ctx, dut, {"beats.valid": 1, "beats.payload": beat})
                while not await tick():
                    ctx.set(dut.start, 0)
                ctx.set(dut.start, 0)
            drive(ctx, dut, {"beats.valid": 0})
            for _ in range(max(4, ceil_div(port_bytes, ENTRY_BYTES) + 2)):
                await tick()

    run(dut, testbench, limit=20_000)
    for number, table in enumerate(tables):
        mine = wrote[number * TABLE_ENTRIES :][:TABLE_ENTRIES]
        assert [one[1:] for one in mine] == [(which[number], i, entry) for i, entry in enumerate(table)]
        assert ends[number] == mine[-1][0] + 1
        if seed is None:
            # A beat is cut from the cycle after it came on.
            beats = ceil_div(ENTRY_BYTES, port_bytes)
            assert [one[0] - starts[number] for one in mine] == [beats * (i + 1) for i in range(TABLE_ENTRIES)]
    assert len(wrote) == len(tables) * TABLE_ENTRIES
    assert len(ends) == len(tables)
