"""Where results belong: the walks of slots and of pieces, of instructions of all shapes."""

from dataclasses import dataclass
from itertools import product

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import SimulatorContext

from rtl.array.walk import TileWalk
from rtl.params import ceil_div
from rtl.sta.control.instruction import instruction_layout, max_more_heads
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import PieceWalk, SlotWalk, destination, destination_after
from rtl.sta.results.residual import residual_address
from tests.rtl.simulate import drive, gaps, run, seeded, trace

CONFIGURATIONS = {
    "slots of all columns": StaConfig(rows=3, cols=4, drain=4, max_tokens=20, hidden=40),
    "three slots a row": StaConfig(rows=4, cols=6, drain=2, max_tokens=18, hidden=41),
    "slots of one": StaConfig(rows=1, cols=3, drain=1, max_tokens=5, hidden=9),
    "one of each": StaConfig(n=1, m=2, rows=1, cols=1, drain=1, max_tokens=3, hidden=5),
    "two rows, one slot": StaConfig(rows=2, cols=2, drain=2, max_tokens=9, hidden=9),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)


@dataclass(frozen=True)
class Slot:
    """A whole destination, and what the walk says beside it."""

    destination: dict[str, int]
    row_last: bool
    tile_last: bool


def slots(config: StaConfig, f: dict[str, int]) -> list[Slot]:
    """All of an instruction, in their order, by the definition of `destination`."""
    found = []
    lanes, tiles = config.drain_lanes, ceil_div(f["tokens"], config.rows)
    column_tiles = ceil_div(f["channels"], config.cols)
    heads, words = f.get("more_heads", 0) + 1, ceil_div(f["channels"], config.store_word_bytes)
    for head, column_tile in product(range(heads), range(column_tiles)):
        columns = min(config.cols, f["channels"] - column_tile * config.cols)
        for tile in range(tiles):
            rows = min(config.rows, f["tokens"] - tile * config.rows)
            for row in range(rows):
                for slot in range(config.slots_a_row):
                    row_last = slot == config.slots_a_row - 1
                    tile_last = row_last and row == rows - 1
                    column_last = tile_last and tile == tiles - 1
                    where = {
                        "row": row,
                        "slot": slot,
                        "tile": head * tiles + tile,
                        "token": f["first_token"] + tile * config.rows + row,
                        "piece": column_tile * config.slots_a_row + slot,
                        "base": (f["y_base"] + head * words + tile * f["y_pitch"]) % config.store_words,
                        "keep": sum(1 << lane for lane in range(lanes) if slot * lanes + lane < columns),
                        "column_last": int(column_last),
                        "last": int(column_last and column_tile == column_tiles - 1 and head == heads - 1),
                    }
                    found.append(Slot(where, row_last, tile_last))
    return found


def shapes(config: StaConfig) -> list[dict[str, int]]:
    """Below a tile, a whole one, one more, several, all; the first token anywhere, regions at both ends."""
    rng = seeded("shapes", config)
    rows, cols, most = config.rows, config.cols, config.max_tokens
    made = []
    for tokens in sorted({1, rows, rows + 1, 2 * rows, most}):
        for channels in sorted({1, cols - 1, cols, cols + 1, 3 * cols - 1}):
            if not 1 <= tokens <= most or not channels:
                continue
            first = rows * rng.randint(0, (most - tokens) // rows)
            y = {"y_base": rng.choice([0, 900, 60_000]), "y_pitch": rng.choice([0, 1, 300])}
            heads = config.maxima_tiles // ceil_div(tokens, rows)
            more_heads = {"more_heads": rng.choice([0, rng.randrange(min(heads, 4)), heads - 1])}
            made.append({"first_token": first, "tokens": tokens, "channels": channels, **y, **more_heads})
    return made


class Walked(wiring.Component):
    """A SlotWalk, and its whole destination so many cycles later."""

    def __init__(self, config: StaConfig, cycles: int) -> None:
        self.walk, self._cycles = SlotWalk(config, max_more_heads=max_more_heads(config)), cycles
        super().__init__(
            {
                "start": In(1),
                "advance": In(1),
                "instruction": In(instruction_layout(config)),
                "later": Out(destination(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walk = walk = self.walk
        m.d.comb += [walk.start.eq(self.start), walk.advance.eq(self.advance), walk.instruction.eq(self.instruction)]
        m.d.comb += self.later.eq(destination_after(m, walk, self._cycles))
        return m


@EVERY
@pytest.mark.parametrize("seed", [None, 3], ids=["free", "gaps"])
def test_slots(name: str, seed: int | None) -> None:
    """Every slot stays until the walk goes on; walks of all shapes follow one another on one instance."""
    config, hold = CONFIGURATIONS[name], gaps(seed, "advance")
    cycles = 2 if seed is None else 6
    dut = Walked(config, cycles)
    walk = dut.walk
    want: list[Slot | None] = []  # of each cycle

    async def testbench(ctx: SimulatorContext) -> None:
        for f in shapes(config):
            drive(ctx, dut, {"instruction": f, "start": 1, "advance": 0})
            await ctx.tick()
            ctx.set(dut.start, 0)
            await ctx.tick().repeat(TileWalk.LATENCY - 1)
            want.extend([None] * TileWalk.LATENCY)
            for slot in slots(config, f):
                while hold.stall():
                    drive(ctx, dut, {"advance": 0})
                    want.append(slot)
                    await ctx.tick()
                drive(ctx, dut, {"advance": 1})
                want.append(slot)
                await ctx.tick()
            drive(ctx, dut, {"advance": 0})
            await ctx.tick().repeat(cycles)
            want.extend([None] * cycles)

    watch = (walk.running, walk.row_last, walk.tile_last, walk.destination, walk.tile, walk.base, dut.later)
    record = run(dut, testbench, limit=20_000, watch=watch)
    layout = destination(config)
    for cycle, (slot, got) in enumerate(zip(want, record, strict=True)):
        running, row_last, tile_last, bits, *_ = got
        assert running == (slot is not None), f"cycle {cycle}"
        if slot is None:
            continue
        assert (row_last, tile_last) == (slot.row_last, slot.tile_last), f"cycle {cycle}"
        here = layout.from_bits(bits)
        want_here = slot.destination
        found = {part: here[part] for part in want_here if part not in ("tile", "base")}
        assert found == {part: want_here[part] for part in found}, f"cycle {cycle}"
        assert record[cycle + 1][4:6] == (want_here["tile"], want_here["base"]), f"cycle {cycle}, a cycle behind"
        later = layout.from_bits(record[cycle + cycles][6])
        assert {part: later[part] for part in want_here} == want_here, f"cycle {cycle}, {cycles} cycles behind"


@EVERY
@pytest.mark.parametrize("seed", [None, 5], ids=["free", "gaps"])
def test_pieces(name: str, seed: int | None) -> None:
    """Of rows of all lengths, again and again; a start in the middle begins anew."""
    config, hold = CONFIGURATIONS[name], gaps(seed, "advance")
    lanes = config.drain_lanes
    rng = seeded("pieces", name, seed)
    inputs: list[dict[str, int]] = []
    want: list[tuple[int, int, int] | None] = []
    for channels in sorted({1, lanes - 1, lanes, lanes + 1, 2 * lanes, 2 * lanes + 1, config.hidden} - {0}):
        inputs += [{"start": 1, "channels": channels, "advance": rng.randrange(2)} for _ in range(2)]
        want += [None] * 2
        pieces = ceil_div(channels, lanes)
        row = [
            (i, sum(1 << lane for lane in range(lanes) if i * lanes + lane < channels), int(i == pieces - 1))
            for i in range(pieces)
        ]
        for piece in [*row, *row, *row[: rng.randint(0, len(row))]]:
            while hold.stall():
                inputs.append({"start": 0, "advance": 0})
                want.append(piece)
            inputs.append({"start": 0, "advance": 1})
            want.append(piece)
    dut = PieceWalk(config)
    record = trace(dut, inputs, dut.piece, dut.keep, dut.last)
    assert [got if one else None for one, got in zip(want, record, strict=True)] == want


class Address(wiring.Component):
    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__({"token": In(range(config.max_tokens)), "piece": In(16), "address": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.address.eq(residual_address(self._config, self.token, self.piece))
        return m


@EVERY
def test_residual_address(name: str) -> None:
    """Every word of the residual has one of its own, in order."""
    config = CONFIGURATIONS[name]
    words = [(token, piece) for token in range(config.max_tokens) for piece in range(config.residual_words)]
    dut = Address(config)
    record = trace(dut, [{"token": token, "piece": piece} for token, piece in words], dut.address)
    assert record == [(i,) for i in range(len(words))]
