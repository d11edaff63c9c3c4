"""The memory's arbiter: no chunk is lost or changed, there is room for each beat that is read, and a read goes behind
each write that was complete before it was asked for. So the FIFO that brings beats over from the chip's clock, as deep
as that room, is never full when one comes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

import boards.parts.sdram.arbiter
from boards.parts.sdram.controller import CHUNK_BEATS, CHUNK_BEATS_BITS
from boards.parts.sdram.memory import READ_ROOM
from rtl.lib.port import MemoryPort
from tests.formal.proof import Z3_STEPS, Change, Inside, changed, held, implies, past, prove

pytestmark = pytest.mark.formal

MASTERS = 2
PORT_BYTES = 2


class Arbitrated(wiring.Component):
    """Any bursts of two masters, and a memory that gives as many beats as it was asked for, when it likes.

    whole : masters whose bursts cross no chunk
    """

    def __init__(self, *slips: Change, whole: Sequence[int] = ()) -> None:
        self._module = changed(boards.parts.sdram.arbiter, *slips)
        self._whole = whole
        super().__init__(
            {
                "ports": In(MemoryPort(PORT_BYTES)).array(MASTERS),
                "chunk_taken": In(1),
                "word_taken": In(1),
                "answers": In(1),
                "answer": In(8 * PORT_BYTES),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arbiter = self._module.MemoryArbiter(MASTERS, PORT_BYTES, READ_ROOM, self._whole)
        inside = Inside(m, "arbiter", arbiter)
        for i, (own, port) in enumerate(zip(self.ports, arbiter.ports, strict=True)):
            connect(m, flipped(own), port)
            for name in ("read_request", "write_request", "write_data"):
                channel = getattr(port, name)
                waits = held(m, channel.valid, channel.ready, channel.payload.as_value(), f"{name}_{i}")
                m.d.comb += Assume(waits)
            for request in (port.read_request, port.write_request) if i in self._whole else ():
                first = request.payload.address[(PORT_BYTES - 1).bit_length() :][:CHUNK_BEATS_BITS]
                m.d.comb += Assume(first + request.payload.length < CHUNK_BEATS)
        chunks, words, beats = arbiter.chunks, arbiter.write_beats, arbiter.read_beats
        due = Signal(range(READ_ROOM + CHUNK_BEATS))  # beats of chunks that were chosen to read, not yet taken
        m.d.comb += [
            chunks.ready.eq(self.chunk_taken),
            words.ready.eq(self.word_taken),
            beats.valid.eq(self.answers & (due != 0)),
            beats.payload.eq(self.answer),
        ]
        reads, writes, complete, part = (inside.signal(name) for name in ("reads", "writes", "complete", "read_part"))
        chosen, chooses, following = (inside.signal(name) for name in ("chosen", "chooses", "chosen_reader"))
        taken = beats.valid & beats.ready
        m.d.sync += due.eq(due - taken + Mux(reads, part[-8:] + 1, 0))

        # Readers that asked before the cycle in which the last beat of the write was taken: they wait in a register.
        asks = Cat(inside.signal(f"reader_{i}{'' if i in self._whole else '_part'}.held") for i in range(MASTERS))
        asked = Signal(MASTERS)
        of_asked = Signal()  # the chunk that was chosen is one of theirs
        with m.If(~complete):
            m.d.sync += asked.eq(asks)
        with m.If(chooses):
            m.d.sync += of_asked.eq(~complete)
        with m.Elif(~complete):
            m.d.sync += of_asked.eq(1)
        waits = chunks.valid & ~chunks.ready
        gone = past(m, writes, "writes")
        m.d.comb += [
            Assert(held(m, chunks.valid, chunks.ready, chunks.payload.as_value(), "chunks")),
            Assert(~(reads & writes)),
            Assert(implies(waits, ~reads & ~writes)),
            Assert(inside.signal("room") + due == READ_ROOM),
            Assert(implies(gone, chunks.valid & chunks.payload.write)),
            Assert(implies(past(m, reads, "reads"), chunks.valid & ~chunks.payload.write)),
            Assert(implies(past(m, complete & ~writes, "kept"), complete)),
            Assert(~(inside.signal("collects").any() & complete)),
            Assert(implies(words.valid, ~complete)),
            Assert(implies(inside.signal("fits") | inside.signal("before"), chosen)),
            Assert(implies(chooses, asks.bit_select(following, 1))),
            Assert(implies(inside.signal("before") & complete, of_asked)),
            Assert(implies(reads & complete, of_asked)),
            Cover((due == READ_ROOM) & complete),
            Cover(reads & complete & (asks != asked)),
        ]
        return m


BREAKS = [
    ("return reader, part, fits & (~complete | before)", "return reader, part, fits"),
    (
        "before.eq(Mux(complete, before & ~reads, kept | chooses)),",
        "before.eq(Mux(complete, before, 1)),",
    ),
    ("writes.eq(free & complete & ~reads),", "writes.eq(free & complete),"),
    ("fits.eq(kept & (room > part.length)),", "fits.eq(kept & (room >= part.length)),"),
    ("free.eq(~offered | self.chunks.ready),", "free.eq(1),"),
]


@pytest.mark.parametrize("whole", [(), (1,)], ids=str)
def test_no_chunk_is_lost_and_reads_see_writes(whole: Sequence[int], tmp_path: Path) -> None:
    assert prove(Arbitrated(whole=whole), tmp_path, depth=2)
    assert prove(Arbitrated(whole=whole), tmp_path, mode="cover", depth=45, engine=Z3_STEPS)


@pytest.mark.parametrize(("old", "new"), BREAKS)
def test_notices(old: str, new: str, tmp_path: Path) -> None:
    assert not prove(Arbitrated((old, new)), tmp_path, mode="bmc", depth=14, engine=Z3_STEPS)
