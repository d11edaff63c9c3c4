"""The FIFO between two clocks: whenever these tick, each word comes out once, in its turn, the same; none is written
over; and of the Gray codes, which the other clock may look at while they change, one bit changes at a time."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, DomainRenamer, EnableInserter, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

import boards.parts.sdram.crossing
from tests.formal.proof import Z3_STEPS, Change, Inside, changed, held, implies, past, prove

pytestmark = pytest.mark.formal

WIDTH, DEPTH = 2, 4
RING = 2 * DEPTH


def gray(count: Value) -> Value:
    return count ^ (count >> 1)


class Crossed(wiring.Component):
    """Both clocks are enables of one: they tick alone, together, or not at all, in any order.

    reserved : the writer writes only what there is room for
    """

    def __init__(self, *slips: Change, reserved: bool) -> None:
        self._module = changed(boards.parts.sdram.crossing, *slips)
        self._reserved = reserved
        ports = ("writer_ticks", "reader_ticks", "offered", "taken", "marked")
        super().__init__({**{name: In(1) for name in ports}, "word": In(WIDTH)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fifo = self._module.CrossingFifo(
            WIDTH, DEPTH, write_domain="write", read_domain="read", reserved=self._reserved
        )
        one_clock = DomainRenamer({"write": "sync", "read": "sync"})
        clocks = {"write": self.writer_ticks, "read": self.reader_ticks}
        inside = Inside(m, "fifo", one_clock(EnableInserter(clocks)(fifo)))
        words_in, out = fifo.words_in, fifo.words_out
        written, read = (inside.signal(f"{name}.count") for name in ("written", "read"))
        seen = self._synchronised(m, inside, "written_seen", self.reader_ticks, written)
        pushes, leaves, pops = Signal(), Signal(), Signal()  # into the memory, out of it, out of the register
        m.d.comb += [
            words_in.valid.eq(self.offered),
            words_in.payload.eq(self.word),
            out.ready.eq(self.taken),
            pushes.eq(self.writer_ticks & words_in.valid & words_in.ready),
            leaves.eq(self.reader_ticks & (read != seen[-1]) & (~out.valid | out.ready)),
            pops.eq(self.reader_ticks & out.valid & out.ready),
            Assert(held(m, out.valid, out.ready & self.reader_ticks, out.payload, "out")),
        ]

        # What each side knows of the other is older and older.
        known = [written, *seen, read]
        if not self._reserved:
            known += self._room(m, inside, words_in.ready, written, read)
        lags = [Signal(range(RING), name=f"lag_{i}") for i in range(len(known) - 1)]
        m.d.comb += [lag.eq(newer - older) for lag, newer, older in zip(lags, known[:-1], known[1:], strict=True)]
        words = Signal(range(RING))
        m.d.comb += [words.eq(written - read), Assert(lags[0] + lags[1] + lags[2] == words)]
        m.d.comb += Assert(sum(lags, start=Value.cast(0)) <= DEPTH)
        if self._reserved:
            m.d.comb += Assume(implies(self.offered, words < DEPTH))

        for name, count in (("written", written), ("read", read)):
            code = inside.signal(f"{name}.gray")
            changes = Signal.like(code, name=f"{name}_changes")
            m.d.comb += [
                changes.eq(code ^ past(m, code, f"{name}_gray")),
                Assert(code == gray(count)),
                Assert(inside.signal(f"{name}.ahead") == (count + 1)[: len(count)]),
                Assert((changes & (changes - 1)) == 0),
            ]

        # One word at a time, any, from its push to its pop.
        in_memory, in_register = Signal(), Signal()
        place, ahead, value = Signal(range(RING)), Signal(range(RING)), Signal(WIDTH)
        m.d.comb += ahead.eq(place - read)
        with m.If(in_memory):
            with m.If(leaves & (ahead == 0)):
                m.d.sync += [in_memory.eq(0), in_register.eq(1)]
        with m.Elif(in_register):
            m.d.sync += in_register.eq(~pops)
        with m.Elif(pushes & self.marked):
            m.d.sync += [in_memory.eq(1), place.eq(written), value.eq(self.word)]
        m.d.comb += [
            Assert(~(in_memory & in_register)),
            Assert(implies(in_memory, ahead < words)),
            Assert(implies(in_memory, inside.word("store", place[:-1]) == value)),
            Assert(implies(in_register, out.valid & (out.payload == value))),
            Cover((words == DEPTH - (0 if self._reserved else 1)) & out.valid),
            Cover((written < past(m, written, "written")) & out.valid),
        ]
        return m

    @staticmethod
    def _synchronised(m: Module, inside: Inside, path: str, ticks: Value, count: Value) -> list[Signal]:
        """The counts that the two registers of a synchroniser stand for."""
        stages = [Signal(len(count), name=f"{path.replace('.', '_')}_{i}") for i in range(2)]
        with m.If(ticks):
            m.d.sync += [stages[0].eq(count), stages[1].eq(stages[0])]
        m.d.comb += [Assert(inside.signal(f"{path}.stage{i}") == gray(stage)) for i, stage in enumerate(stages)]
        return stages

    def _room(self, m: Module, inside: Inside, ready: Signal, written: Value, read: Value) -> list[Signal]:
        """What the writer knows of what was read, newest first; asserts what its registers say of it."""
        seen = self._synchronised(m, inside, "room.read_seen", self.writer_ticks, read)
        decoded, of_level, of_ready = (
            Signal(range(RING), name=f"read_{i}") for i in ("decoded", "of_level", "of_ready")
        )
        at_level, at_ready = (Signal(range(RING), name=f"written_at_{i}") for i in ("level", "ready"))
        level, was_level, new, newer = (
            Signal(range(RING), name=name) for name in ("level", "was_level", "new", "newer")
        )
        begun = Signal()
        with m.If(self.writer_ticks):
            m.d.sync += [
                decoded.eq(seen[1]),
                Cat(of_level, at_level).eq(Cat(decoded, written)),
                Cat(of_ready, at_ready).eq(Cat(of_level, at_level)),
                begun.eq(1),
            ]
        m.d.comb += [
            level.eq(at_level - of_level),
            was_level.eq(at_ready - of_ready),
            new.eq(written - at_level),
            newer.eq(at_level - at_ready),
            Assert(inside.signal("room.read_1") == decoded),
            Assert(inside.signal("room.level") == level),
            Assert(ready == (begun & (was_level <= DEPTH - 3))),
            Assert((new <= 1) & (newer <= 1)),
        ]
        return [*seen, decoded, of_level, of_ready]


BREAKS: Sequence[tuple[bool, str, str]] = (
    (False, "self.words_in.ready.eq(level <= self._depth - 3)", "self.words_in.ready.eq(level <= self._depth - 2)"),
    (False, "gray.eq(ahead ^ (ahead >> 1))", "gray.eq(ahead)"),
    (True, "there = read.gray != written_seen", "there = read.gray != written.gray"),
    (True, "takes = ~self.words_out.valid | self.words_out.ready", "takes = 1"),
    (True, "read_port.addr.eq(read.count[:-1])", "read_port.addr.eq(read.gray[:-1])"),
)


@pytest.mark.parametrize("reserved", [False, True])
def test_each_word_comes_out_once_in_its_turn(reserved: bool, tmp_path: Path) -> None:
    assert prove(Crossed(reserved=reserved), tmp_path, depth=2)
    assert prove(Crossed(reserved=reserved), tmp_path, mode="cover", depth=30, engine=Z3_STEPS)


@pytest.mark.parametrize(("reserved", "old", "new"), BREAKS)
def test_notices(reserved: bool, old: str, new: str, tmp_path: Path) -> None:
    assert not prove(Crossed((old, new), reserved=reserved), tmp_path, mode="bmc", depth=14, engine=Z3_STEPS)
