"""Several masters at one memory: bursts of each cut into chunks, chunk by chunk in turn."""

from collections.abc import Collection, Sequence
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.parts.sdram.controller import CHUNK_BEATS, CHUNK_BEATS_BITS, chunk_layout
from boards.parts.stream_register import StreamRegister
from rtl.lib.axi import PageSplitter
from rtl.lib.port import MemoryPort, Request, write_beat


class MemoryArbiter(wiring.Component):
    """Gives the masters' chunks to one memory.

    Who had a chunk waits until every other master that asks has had one, reads and writes apart. Reads and writes that
    wait take turns. A chunk to write is passed on behind its last beat, so that the memory never waits for one; a chunk
    to read, when there is room for its beats. A read sees what was written before: whatever any master's last beat was
    taken of before the read was asked for.

    Parameters
    ----------
    masters : at least 2
    port_bytes : of a beat
    room : beats read and not yet taken, at most, at least CHUNK_BEATS
    whole : masters whose bursts are chunks as they are: they cross no multiple of CHUNK_BEATS beats. Their reads are
        asked for when they are offered, those of others when they are taken

    Members
    -------
    ports : `MemoryPort` of each master, in
    chunks : `chunk_layout`, stream out
    write_beats : stream out
    read_beats : in the order of the chunks, stream in; held back no longer than its master does
    """

    def __init__(self, masters: int, port_bytes: int, room: int, whole: Collection[int] = ()) -> None:
        self._masters = masters
        self._whole = whole
        self._port_bytes = port_bytes
        self._room = room
        self._tag = data.StructLayout({"master": range(masters), "beats": CHUNK_BEATS_BITS})
        super().__init__(
            {
                "ports": In(MemoryPort(port_bytes)).array(masters),
                "chunks": Out(stream.Signature(chunk_layout(port_bytes))),
                "write_beats": Out(stream.Signature(write_beat(port_bytes))),
                "read_beats": In(stream.Signature(8 * port_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        readers = [self._parts(m, port.read_request, i, "reader") for i, port in enumerate(self.ports)]
        writers = [self._parts(m, port.write_request, i, "writer") for i, port in enumerate(self.ports)]
        # Where the beats of each chunk that is read go.
        m.submodules.tags = tags = SyncFIFOBuffered(width=self._tag.size, depth=self._room)
        # The chunk that is offered stays as it is until it is taken.
        offered = Signal()
        offer = Signal(self.chunks.payload.shape())
        free = Signal()
        m.d.comb += [
            self.chunks.valid.eq(offered),
            self.chunks.payload.eq(offer),
            free.eq(~offered | self.chunks.ready),
        ]
        with m.If(free):
            m.d.sync += offered.eq(0)
        reads = Signal()
        writes = Signal()
        complete, written = self._collect(m, writers, writes)
        master, read, may_read = self._choose(m, readers, complete, reads)
        m.d.comb += [
            reads.eq(free & may_read & tags.w_rdy),
            writes.eq(free & complete & ~reads),
        ]
        for event, write, part in ((reads, 0, read), (writes, 1, written)):
            with m.If(event):
                m.d.sync += [
                    offered.eq(1),
                    offer.write.eq(write),
                    offer.beats.eq(part.length),
                    offer.address.eq(part.address[self._port_bytes.bit_length() - 1 :]),
                ]
        m.d.comb += [tags.w_en.eq(reads), tags.w_data.eq(Cat(master, read.length[:CHUNK_BEATS_BITS]))]
        self._give_back(m, tags)
        return m

    def _parts(self, m: Module, bursts: Any, master: int, name: str) -> Any:
        """Stream of a master's bursts, cut into chunks; registers between the master's logic, this and the choice."""
        m.submodules[f"{name}_{master}"] = whole = StreamRegister(Request)
        connect(m, flipped(bursts), whole.words_in)
        if master in self._whole:
            return whole.words_out
        page_bytes = CHUNK_BEATS * self._port_bytes
        m.submodules[f"{name}_{master}_splitter"] = splitter = PageSplitter(self._port_bytes, page_bytes)
        m.submodules[f"{name}_{master}_part"] = part = StreamRegister(Request)
        connect(m, whole.words_out, splitter.whole)
        connect(m, splitter.parts, part.words_in)
        return part.words_out

    def _collect(self, m: Module, writers: Sequence[Any], writes: Value) -> tuple[Signal, data.View]:
        """(complete, part): the beats of a write are passed on; its part is complete from its last beat to `writes`."""
        collects = Signal(self._masters)  # from which master, one-hot
        complete = Signal()
        writer = Signal(range(self._masters))
        part = Signal(Request)
        beats_left = Signal(CHUNK_BEATS_BITS)
        idle = ~collects.any() & ~complete
        asks = Cat(parts.valid for parts in writers)
        chosen = self._turn(m, asks, writer, "writer")
        with m.If(idle & asks.any()):
            m.d.sync += [
                collects.eq(Const(1) << chosen),
                writer.eq(chosen),
                part.eq(Array(parts.payload.as_value() for parts in writers)[chosen]),
                beats_left.eq(Array(parts.payload.length for parts in writers)[chosen]),
            ]
        for i, port in enumerate(self.ports):
            m.d.comb += [
                writers[i].ready.eq(idle & (chosen == i)),
                port.write_data.ready.eq(collects[i] & self.write_beats.ready),
            ]
            with m.If(writer == i):
                m.d.comb += [
                    self.write_beats.valid.eq(collects[i] & port.write_data.valid),
                    self.write_beats.payload.eq(port.write_data.payload),
                ]
        with m.If(self.write_beats.valid & self.write_beats.ready):
            m.d.sync += beats_left.eq(beats_left - 1)
            with m.If(beats_left == 0):
                m.d.sync += [collects.eq(0), complete.eq(1)]
        with m.If(writes):
            m.d.sync += complete.eq(0)
        return complete, part

    def _choose(
        self, m: Module, readers: Sequence[Any], complete: Value, reads: Value
    ) -> tuple[Signal, data.View, Value]:
        """(master, part, may_read): the chunk that is read next, and whether it may be, from registers.

        Beside a complete write only what was chosen before that. The next one is chosen behind it: so a write that
        waits comes next, and a read that waits comes behind the write.
        """
        room = Signal(range(self._room + 1), init=self._room)
        reader = Signal(range(self._masters))
        part = Signal(Request, name="read_part", reset_less=True)
        chosen = Signal()
        before = Signal()
        fits = Signal()  # there is room for all of its beats
        asks = Cat(parts.valid for parts in readers)
        chooses = Signal()
        following = self._turn(m, asks, reader, "reader")
        m.d.comb += [
            chooses.eq(~chosen & asks.any()),
            *(parts.ready.eq(~chosen & (following == i)) for i, parts in enumerate(readers)),
        ]
        with m.If(chooses):
            m.d.sync += [
                chosen.eq(1),
                reader.eq(following),
                part.eq(Array(parts.payload.as_value() for parts in readers)[following]),
            ]
        with m.If(reads):
            m.d.sync += chosen.eq(0)
        kept = chosen & ~reads
        taken = self.read_beats.valid & self.read_beats.ready
        m.d.sync += [
            before.eq(Mux(complete, before & ~reads, kept | chooses)),
            room.eq(room + taken - Mux(reads, part.length + 1, 0)),
            fits.eq(kept & (room > part.length)),
        ]
        return reader, part, fits & (~complete | before)

    def _give_back(self, m: Module, tags: SyncFIFOBuffered) -> None:
        """Beats that were read, to the master who asked."""
        owner = data.View(self._tag, tags.r_data)
        beat = Signal(CHUNK_BEATS_BITS)
        for i, port in enumerate(self.ports):
            mine = tags.r_rdy & (owner.master == i)
            m.d.comb += [
                port.read_data.valid.eq(self.read_beats.valid & mine),
                port.read_data.payload.eq(self.read_beats.payload),
            ]
            with m.If(mine):
                m.d.comb += self.read_beats.ready.eq(port.read_data.ready)
        with m.If(self.read_beats.valid & self.read_beats.ready):
            m.d.comb += tags.r_en.eq(beat == owner.beats)
            m.d.sync += beat.eq(Mux(tags.r_en, 0, beat + 1))

    def _turn(self, m: Module, asks: Value, last: Signal, name: str) -> Signal:
        """The next master behind `last` that asks; `last` itself if no other does."""
        chosen = Signal(range(self._masters), name=f"chosen_{name}")
        with m.Switch(last):
            for i in range(self._masters):
                with m.Case(i):
                    m.d.comb += chosen.eq(i)
                    for distance in reversed(range(1, self._masters)):
                        other = (i + distance) % self._masters
                        with m.If(asks[other]):
                            m.d.comb += chosen.eq(other)
        return chosen
