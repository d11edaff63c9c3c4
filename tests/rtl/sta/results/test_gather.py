"""GATHER's walker: every row's beats are asked for and cut; POOL's: every sum. In their order, each once."""

import pytest
from amaranth.sim import SimulatorContext

from rtl.params import ceil_div
from rtl.sta.isa import Op
from rtl.sta.params import StaConfig
from rtl.sta.results.gather import Gather
from rtl.sta.results.pool import Pool
from rtl.sta.results.residual import Residual
from tests.rtl.simulate import drive, gaps, run, seeded

CONFIGURATIONS = {
    "a word is half a beat": StaConfig(cols=8, drain=4, port_bytes=16, m=8, max_tokens=24, hidden=40),
    "a word is four beats": StaConfig(cols=8, drain=8, port_bytes=4, m=8, max_tokens=9, hidden=37, rows=3),
    "a word is a beat": StaConfig(cols=6, drain=2, port_bytes=4, m=4, max_tokens=9, hidden=13, rows=2),
    "an element is two beats": StaConfig(cols=5, drain=4, port_bytes=1, m=2, n=1, max_tokens=5, hidden=7, rows=2),
    "a beat is all": StaConfig(cols=4, drain=2, port_bytes=64, m=8, max_tokens=33, hidden=30, rows=4),
    "one channel": StaConfig(cols=1, drain=1, port_bytes=8, m=8, max_tokens=3, hidden=1, rows=1),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)


@EVERY
@pytest.mark.parametrize("seed", [None, 3], ids=["free", "gaps"])
def test_gather(name: str, seed: int | None) -> None:
    c = CONFIGURATIONS[name]
    dut = Gather(c)
    rng = seeded(name, seed)
    ids_gaps, rows_gaps, ask_gaps = (gaps(seed, what) for what in ("ids", "rows", "ask"))

    async def gather(ctx: SimulatorContext, first: int, tokens: int, channels: int, narrow: int) -> None:
        """Of 16-bit elements, or of 8-bit ones behind their scale."""
        lanes, port = c.drain_lanes, c.port_bytes
        size = 1 if narrow else 2  # of an element
        begins = ceil_div(4, port) * port if narrow else 0
        row_beats = begins // port + ceil_div(size * channels, port)
        address = rng.randrange(1 << 20) * port
        ids = [rng.randrange(1 << 15) for _ in range(tokens)]
        ids_bytes = b"".join(i.to_bytes(4, "little") for i in ids)
        ids_bytes += rng.randbytes(-len(ids_bytes) % port)
        table = {i: rng.randbytes(row_beats * port) for i in ids}
        ids_beats = [ids_bytes[i : i + port] for i in range(0, len(ids_bytes), port)]
        rows_beats: list[bytes] = []
        asked = 0
        pieces = ceil_div(channels, lanes)
        got = []
        scales = []  # what is multiplied by, in each cycle
        due: dict[int, int] = {}  # cycle → what is multiplied by then
        held = {"ids": False, "rows": False}
        for cycle in range(20000):
            held["ids"] = bool(ids_beats) and cycle > 0 and (held["ids"] or not ids_gaps.stall())
            held["rows"] = bool(rows_beats) and (held["rows"] or not rows_gaps.stall())
            ready = not ask_gaps.stall()
            instruction = {
                "opcode": Op.GATHER, "first_token": first, "tokens": tokens, "channels": channels,
                "narrow": narrow, "address": address, "beats": row_beats,
            }  # fmt: skip
            drive(
                ctx,
                dut,
                {
                    "start": cycle == 0,
                    "instruction": instruction,
                    "ids.valid": held["ids"],
                    "rows.valid": held["rows"],
                    "segment.ready": ready,
                },
            )
            if held["ids"]:
                ctx.set(dut.ids.payload, int.from_bytes(ids_beats[0], "little"))
            if held["rows"]:
                ctx.set(dut.rows.payload, int.from_bytes(rows_beats[0], "little"))
            _, _, takes_ids, takes_row, asks, segment, valid, destination, scale, *values = await ctx.tick().sample(
                dut.ids.ready,
                dut.rows.ready,
                dut.segment.valid,
                dut.segment.payload,
                dut.slots.valid,
                dut.slots.destination,
                dut.row_scale,
                *dut.slots.values,
            )
            scales.append((scale.shift << 16) + scale.mult)
            if held["ids"] and takes_ids:
                ids_beats.pop(0)
                held["ids"] = False
            if held["rows"] and takes_row:
                rows_beats.pop(0)
                held["rows"] = False
            if asks and ready:
                assert not ids_beats, "a row is asked for while there are numbers to come"
                assert segment.beats == row_beats
                assert segment.address == address + ids[asked] * row_beats * port
                row = table[ids[asked]]
                rows_beats += [row[i : i + port] for i in range(0, len(row), port)]
                asked += 1
            if valid:
                token, piece = divmod(len(got), pieces)
                assert (destination.token, destination.piece) == (first + token, piece)
                kept = min(lanes, channels - piece * lanes)
                assert destination.keep == (1 << kept) - 1
                assert destination.last == (len(got) == tokens * pieces - 1)
                row = table[ids[token]]
                for lane in range(kept):
                    at = begins + size * (piece * lanes + lane)
                    assert values[lane] == int.from_bytes(row[at : at + size], "little", signed=True)
                if narrow:  # as long as the pipeline samples it
                    due |= {cycle + later: int.from_bytes(row[:3], "little") & 0x3FFFFF for later in range(3)}
                got.append(values)
                if destination.last:
                    break
        assert asked == tokens
        assert len(got) == tokens * pieces
        for _ in range(2):
            _, _, scale = await ctx.tick().sample(dut.row_scale)
            scales.append((scale.shift << 16) + scale.mult)
        assert not rows_beats
        assert {cycle: scales[cycle] for cycle in due} == due

    async def testbench(ctx: SimulatorContext) -> None:
        for narrow in (0, 1):
            await gather(ctx, 0, c.max_tokens, c.hidden, narrow)
        for i in range(6):
            first = rng.randrange(ceil_div(c.max_tokens, c.rows)) * c.rows
            await gather(ctx, first, rng.randint(1, c.max_tokens - first), rng.randint(1, c.hidden), i % 2)

    run(dut, testbench, limit=100000)


@EVERY
def test_pool(name: str) -> None:
    c = CONFIGURATIONS[name]
    dut = Pool(c)
    rng = seeded(name)
    lanes = c.drain_lanes
    ends = [[rng.choice([-32768, 32767])] * lanes for _ in range(c.max_tokens * c.residual_words)]
    words = [[rng.randint(-32768, 32767) for _ in range(lanes)] for _ in range(c.max_tokens * c.residual_words)]

    async def pool(ctx: SimulatorContext, memory: list[list[int]], first: int, tokens: int, channels: int) -> None:
        pieces = ceil_div(channels, lanes)
        reads = [0] * Residual.LATENCY
        got = 0
        instruction = {"opcode": Op.POOL, "first_token": first, "tokens": tokens, "channels": channels}
        for cycle in range(tokens * pieces + 10):
            drive(
                ctx,
                dut,
                {"start": cycle == 0, "instruction": instruction, "residual.word": memory[reads[-1] % len(memory)]},
            )
            _, _, address, valid, destination, *values = await ctx.tick().sample(
                dut.residual.address, dut.slots.valid, dut.slots.destination, *dut.slots.values
            )
            reads = [address, *reads][: Residual.LATENCY]
            if valid:
                kept = min(lanes, channels - got * lanes)
                assert (destination.token, destination.piece, destination.keep) == (first, got, (1 << kept) - 1)
                assert destination.last == (got == pieces - 1)
                rows = [memory[(first + t) * c.residual_words + got] for t in range(tokens)]
                assert values == [sum(row[lane] for row in rows) for lane in range(lanes)]
                got += 1
                assert cycle == got * tokens + Residual.LATENCY + 3
        assert got == pieces

    async def testbench(ctx: SimulatorContext) -> None:
        await pool(ctx, ends, 0, c.max_tokens, c.hidden)
        await pool(ctx, [[-32768] * lanes] * len(words), 0, c.max_tokens, c.hidden)
        for _ in range(6):
            first = rng.randrange(ceil_div(c.max_tokens, c.rows)) * c.rows
            await pool(ctx, words, first, rng.randint(1, c.max_tokens - first), rng.randint(1, c.hidden))

    run(dut, testbench, limit=100000)
