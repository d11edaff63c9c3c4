"""The double buffer of the columns: nothing is written into what is still read, and no step is lost or repeated.

What a memory holds stays as long as nobody writes there, so it is enough to know when and where something is written.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, connect, flipped

import rtl.sta.operands.columns
import rtl.sta.operands.tile_loader
from rtl.params import PARAMETER_TILES
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Columns, Op
from rtl.sta.legality import most_weight_groups
from rtl.sta.operands.column_job import column_job
from rtl.sta.operands.columns import column_write
from rtl.sta.params import StaConfig
from tests.formal.proof import Z3_STEPS, Change, Inside, changed, implies, past, prove

pytestmark = pytest.mark.formal

CONFIG = StaConfig(n=1, m=2, rows=2, cols=2, drain=1, port_bytes=8, max_tokens=4, max_k=8, hidden=2, store_words=8)
PARAMETERS, STEPS = 1, 2  # states of the tile loader


class Halves(wiring.Component):
    """Any instructions with packed tiles, keys and values or parameters alone, and a reader that takes its time."""

    def __init__(self, *, columns: Sequence[Change] = (), tile_loader: Sequence[Change] = ()) -> None:
        self._module = changed(rtl.sta.operands.columns, *columns)
        self._module.__dict__["TileLoader"] = changed(rtl.sta.operands.tile_loader, *tile_loader).__dict__["TileLoader"]
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(CONFIG)),
                "beats": In(stream.Signature(8 * CONFIG.port_bytes)),
                "next_cycle_busy": In(CONFIG.rows),
                "copy_valid": In(1),
                "column_done": In(1),
                "drained": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        buffer = self._module.ColumnBuffer(CONFIG)
        inside = Inside(m, "buffer", buffer)
        connect(m, flipped(self.beats), buffer.beats)
        instruction = self.instruction
        product, planes = instruction.opcode == Op.PRODUCT, instruction.weight_groups != 0
        was_idle = past(m, buffer.idle, "idle")
        m.d.comb += [
            buffer.start.eq(self.start),
            buffer.channels.drained.eq(self.drained),
            buffer.instruction.eq(instruction),
            buffer.reads.tile_done.eq(self.column_done),
            buffer.copy.next_cycle_busy.eq(self.next_cycle_busy),
            buffer.copy.valid.eq(self.copy_valid),
            # The sequencer starts legal instructions, a cycle after it saw the buffer idle at the earliest.
            Assume(implies(self.start, buffer.idle & was_idle)),
            Assume(product | (instruction.opcode == Op.NORM)),
            Assume(instruction.columns <= Columns.VALUES),
            Assume((instruction.channels != 0) & (instruction.pattern_n != 0) & (instruction.pattern_n <= CONFIG.m)),
            Assume((instruction.groups != 0) & (instruction.groups <= CONFIG.max_groups)),
            Assume((instruction.keys != 0) & (instruction.keys <= CONFIG.max_tokens)),
            Assume(instruction.weight_groups <= most_weight_groups(CONFIG)),
            Assume(implies(planes, product & (instruction.columns == Columns.MEMORY))),
            Assume(implies(planes, instruction.pattern_n <= CONFIG.n)),
        ]
        job = data.View(column_job(CONFIG), inside.signal("column_job.job"))
        filling, begins, half = (inside.signal(name) for name in ("filling", "begins", "half"))
        done = inside.signal("done")
        began = past(m, begins, "began")
        walks = inside.signal("walk.running")
        alone = job.parameters_only
        state = Cat(inside.signal("tile_loader.parameters", "sync"), inside.signal("tile_loader.loads"))
        copying, begins_copy = (
            inside.signal("key_value_loader.takes.running"),
            inside.signal("key_value_loader.begins_1"),
        )
        # A tile is complete: `loaded` says so five cycles later, when all that was chosen for the banks is in them. The
        # half is the next one's from the second of them on.
        fulls = [inside.signal(name) for name in ("filled_half", "filled_half_1", "filled_half_2", "filled_half_3")]
        full_1, full_2, full_3, full_4 = fulls
        full = Signal()
        next_half = Signal()
        m.d.comb += [full.eq(Cat(fulls).any()), next_half.eq(half ^ full_1)]

        # The halves: a tile that is complete and not yet released is in use.
        in_use = [Signal(name=f"in_use_{h}") for h in range(2)]
        oldest = Signal()  # half
        to_read = Signal(range(3))  # tiles that the reader has not said to be done
        released = past(m, past(m, self.column_done, "done_1"), "released")
        m.d.comb += Assume(implies(self.column_done, to_read != 0))
        m.d.sync += to_read.eq(to_read + buffer.reads.loaded - self.column_done)
        m.d.sync += oldest.eq(oldest ^ released)
        for h in range(2):
            with m.If(full_4 & (half != h)):  # it is the other one's turn now
                m.d.sync += in_use[h].eq(1)
            with m.Elif(released & (oldest == h)):
                m.d.sync += in_use[h].eq(0)
        used = Signal(range(3))
        complete = Signal(range(4))
        m.d.comb += [used.eq(in_use[0] + in_use[1]), complete.eq(used + full)]
        half_written = data.View(column_write(CONFIG), inside.signal("write_1")).address.half
        for write in inside.signals("write_enable"):  # of each bank
            m.d.comb += Assert(implies(write, full | (state == STEPS) | copying))
            for h in range(2):
                m.d.comb += Assert(implies(write & (half_written == h), ~in_use[h]))
        m.d.comb += [
            Assert(inside.signal("released_2") == released),
            Assert(inside.signal("released_1") == past(m, self.column_done, "done_one")),
            Assert(to_read + buffer.reads.loaded + inside.signal("released_1") + released == used),
            Assert(buffer.reads.loaded == past(m, full_4, "full")),
            Assert(sum(fulls) <= 1),
            Assert(inside.signal("halves") == complete + (filling & ~alone)),
            Assert(inside.signal("halves") <= 2),
            Assert(inside.signal("halves_full") == (inside.signal("halves") == 2)),
            Assert(next_half == oldest ^ complete[0]),
            Assert(implies(used == 1, in_use[0] ^ oldest)),
            Assert(inside.signal("half_before_1") == next_half ^ (full_1 | full_2)),
            Assert(inside.signal("half_before_2") == next_half ^ (full_1 | full_2 | full_3)),
            Assert(half_written == next_half ^ Mux(past(m, job.copy, "copied"), full_1 | full_2, full)),
            Assert(implies(full_1 | full_2, ~filling & ~began)),
            Assert(implies(full_3 & filling, began)),
        ]

        # The parameters: a place that is complete and not yet drained is in use.
        places = Signal(range(PARAMETER_TILES + 1))  # in use
        filled_place, drained_place = Signal(range(PARAMETER_TILES)), Signal(range(PARAMETER_TILES))
        slot, slot_of_tile = inside.signal("slot"), inside.signal("tile_loader.slot")
        copied = inside.signal(
            "copied_1"
        )  # a tile of keys or values, to which no parameters belong, in the cycle before
        m.d.sync += [
            places.eq(places + done - self.drained),
            filled_place.eq(filled_place + done),
            drained_place.eq(drained_place + self.drained),
        ]
        m.d.comb += [
            Assume(implies(self.drained, places != 0)),
            Assert(inside.signal("parameter_tiles") == places + filling),
            Assert(inside.signal("parameter_tiles") <= PARAMETER_TILES),
            Assert(inside.signal("parameter_tiles_full") == (inside.signal("parameter_tiles") == PARAMETER_TILES)),
            Assert(filled_place == (drained_place + places)[:2]),
            Assert(implies(inside.signal("tile_loader.parameters_enable"), (slot >> 1) == filled_place)),
            Assert((slot + (copied << 1))[:3] == ((filled_place << 1) + slot_of_tile + ((state == STEPS) << 1))[:3]),
            Assert(implies(state != PARAMETERS, slot_of_tile == 0)),
        ]

        # The steps of a tile: each once, in order, all of them.
        takes, writes = inside.signal("tile_loader.both"), inside.signal("tile_loader.step_enable")
        counted = inside.signal("tile_loader.counted_1")
        unpacked_1, unpacked_2 = (inside.signal(f"tile_loader.unpacked_{i}") for i in (1, 2))
        steps, step, groups_left = (
            job.steps,
            inside.signal("tile_loader.step", "sync"),
            inside.signal("tile_loader.groups_left"),
        )
        written = Signal(range(2 * CONFIG.max_groups + 1))
        left = Signal(range(2 * CONFIG.max_groups + 1))
        m.d.sync += [
            written.eq(Mux(began, 0, written + writes)),  # the last one of the tile before may come with that
            left.eq(Mux(begins, Mux(steps != 0, job.groups << 1, job.groups), left - takes)),
        ]
        place = Cat(inside.signal("tile_loader.sub_unpacked_3"), inside.signal("tile_loader.word_unpacked_3"))
        places_unpacked = [
            Cat(inside.signal(f"tile_loader.sub_unpacked_{i}"), inside.signal(f"tile_loader.word_unpacked_{i}"))
            for i in (1, 2)
        ]
        next_place = Cat(inside.signal("tile_loader.sub", "sync"), inside.signal("tile_loader.word", "sync"))
        m.d.comb += [
            Assert(implies(writes, place == written[:3])),
            Assert(implies(unpacked_2, places_unpacked[1] == (written + writes)[:3])),
            Assert(implies(unpacked_1, places_unpacked[0] == (written + writes + unpacked_2)[:3])),
            Assert(implies(state == STEPS, next_place == (written + writes + unpacked_2 + unpacked_1)[:3])),
            Assert(implies(state == PARAMETERS, next_place == 0)),
            Assert(implies((state == PARAMETERS) & ~began, (written == 0) & ~writes)),
            Assert(implies(began, (state != STEPS) & (slot_of_tile == 0))),
            Assert(unpacked_1 == past(m, takes, "takes")),
            Assert(unpacked_2 == past(m, unpacked_1, "unpacked_1")),
            Assert(writes == past(m, unpacked_2, "unpacked_2")),
            *(Assert(implies(past(m, writes, "writes"), write)) for write in inside.signals("write_enable")),
            Assert(implies(state != 0, (left != 0) & (left <= 2 * CONFIG.max_groups))),
            Assert(implies(state != 0, left + step == Mux(steps != 0, groups_left << 1, groups_left))),
            Assert(implies(done & ~job.copy & ~alone, (left == 1) & takes)),
            Assert(step <= steps),
            Assert(implies(state != 0, inside.signal("tile_loader.last_step") == (step == steps))),
            Assert(implies(state != 0, inside.signal("tile_loader.last_group") == (groups_left == 1))),
            Assert(implies(takes, state == STEPS)),
            Assert(implies(takes, inside.signal("tile_loader.values.valid"))),
            Assert(implies(takes, inside.signal("tile_loader.selections.valid") | counted)),
            Assert(implies(state == STEPS, counted == job.counted)),
            Assert(
                implies(state == STEPS, inside.signal("tile_loader.last") == ((step == steps) & (groups_left == 1)))
            ),
            Assert(implies(state == PARAMETERS, inside.signal("tile_loader.last") == slot_of_tile)),
            Assert(implies(state != STEPS, step == 0)),
        ]
        m.d.comb += [
            Cover(full_1 & (used == 1) & past(m, self.column_done, "while_read")),
            Cover(full_3 & writes & (written == 1)),
        ]

        # What an induction has to know.
        m.d.comb += [
            Assert(~(job.copy & alone)),
            Assert(buffer.idle + inside.signal("walk.begun_1") + inside.signal("walk.primes") + walks == 1),
            Assert(implies(filling | buffer.parameters_loaded, walks)),
            Assert(implies(full_1, buffer.parameters_loaded)),
            Assert(implies(buffer.parameters_loaded, ~filling & ~begins)),
            Assert((state != 0) == (filling & ~job.copy)),
            Assert(copying + begins_copy == (filling & job.copy)),
            Assert(implies(full_3, ~copying & (state != STEPS))),
            Assert(implies(begins_copy, began)),
            Assert(implies(state == STEPS, ~alone)),
            Assert(implies(unpacked_1 | unpacked_2 | writes, ~job.copy)),
            Assert(implies(full_2, ~was_idle)),
            Assert(implies(unpacked_1, full_1 | (state == STEPS))),
            Assert(implies(unpacked_2, full_1 | full_2 | (state == STEPS))),
            Assert(implies(writes, full_1 | full_2 | full_3 | (state == STEPS))),
            Assert(implies(inside.signal("key_value_loader.enable").any(), full_1 | copying)),
            Assert(implies(full_1 | filling, ~alone | filling)),
            Assert(implies(~buffer.idle, (job.groups != 0) & (job.groups <= most_weight_groups(CONFIG)))),
            Assert(implies(~buffer.idle & ((steps != 0) | job.copy), job.groups <= CONFIG.max_groups)),
            Assert(state <= STEPS),
            Assert(inside.signal("tile_loader.runs") == (state != 0)),
        ]
        return m


BREAKS = [
    ("columns", "m.d.sync += slot.eq(slot + slots)", "m.d.sync += slot.eq(slot)", 10),
]


def test_nothing_in_use_is_written(tmp_path: Path) -> None:
    assert prove(Halves(), tmp_path, depth=1)
    assert prove(Halves(), tmp_path, mode="cover", depth=18, engine=Z3_STEPS)


@pytest.mark.parametrize(("where", "old", "new", "depth"), BREAKS)
def test_notices(where: str, old: str, new: str, depth: int, tmp_path: Path) -> None:
    assert not prove(Halves(**{where: [(old, new)]}), tmp_path, mode="bmc", depth=depth, engine=Z3_STEPS)
