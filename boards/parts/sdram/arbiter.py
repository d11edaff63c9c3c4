"""Several masters at one memory: bursts of each cut into chunks, chunk by chunk in turn."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.parts.sdram.controller import CHUNK_BEATS_BITS, chunk_layout
from rtl.lib.port import LENGTH_BITS, MemoryPort, Request, write_beat
from rtl.params import ADDRESS_BITS


def piece_layout(port_bytes: int) -> data.StructLayout:
    """Part of a burst: a chunk without its direction."""
    members = dict(chunk_layout(port_bytes).members)
    del members["write"]
    return data.StructLayout(members)


class Chunker(wiring.Component):
    """Cuts a burst into pieces that cross no multiple of CHUNK_BEATS beats. A burst's first piece comes a cycle later.

    Members
    -------
    requests : stream of `Request`, in
    pieces : stream of `piece_layout`, out
    """

    def __init__(self, port_bytes: int) -> None:
        self._beat_bits = port_bytes.bit_length() - 1
        super().__init__(
            {"requests": In(stream.Signature(Request)), "pieces": Out(stream.Signature(piece_layout(port_bytes)))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, piece = self.requests, self.pieces
        address = Signal(ADDRESS_BITS - self._beat_bits)
        left = Signal(LENGTH_BITS)  # beats, less one
        valid = Signal()
        room = Signal(CHUNK_BEATS_BITS)  # beats to the next multiple, less one
        last = Signal()
        m.d.comb += [
            room.eq(~address[:CHUNK_BEATS_BITS]),
            last.eq(left <= room),
            piece.valid.eq(valid),
            piece.payload.address.eq(address),
            piece.payload.beats.eq(Mux(last, left, room)),
            request.ready.eq(~valid | (piece.ready & last)),
        ]
        with m.If(piece.valid & piece.ready):
            m.d.sync += [
                address[CHUNK_BEATS_BITS:].eq(address[CHUNK_BEATS_BITS:] + 1),
                address[:CHUNK_BEATS_BITS].eq(0),
                left.eq(left - room - 1),
            ]
        with m.If(request.ready):
            m.d.sync += [
                valid.eq(request.valid),
                address.eq(request.payload.address[self._beat_bits :]),
                left.eq(request.payload.length),
            ]
        return m


class MemoryArbiter(wiring.Component):
    """Gives the masters' chunks to one memory.

    Who had a chunk waits until every other master that asks has had one, reads and writes apart. A chunk to write is
    passed on behind its last beat, so that the memory never waits for one; a chunk to read, when there is room for its
    beats. A read sees what was written before: what any master's last beat was taken of before the read was asked for.

    Parameters
    ----------
    masters : at least 2
    port_bytes : of a beat
    room : beats read and not yet taken, at most, at least CHUNK_BEATS

    Members
    -------
    ports : `MemoryPort` of each master, in
    chunks : `chunk_layout`, stream out
    write_beats : stream out
    read_beats : in the order of the chunks, stream in; held back no longer than its master does
    """

    def __init__(self, masters: int, port_bytes: int, room: int) -> None:
        self._masters = masters
        self._port_bytes = port_bytes
        self._room = room
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
        who = range(self._masters)
        readers = [Chunker(self._port_bytes) for _ in who]
        writers = [Chunker(self._port_bytes) for _ in who]
        for i in who:
            m.submodules[f"reader_{i}"], m.submodules[f"writer_{i}"] = readers[i], writers[i]
            connect(m, flipped(self.ports[i].read_request), readers[i].requests)
            connect(m, flipped(self.ports[i].write_request), writers[i].requests)
        # Where the beats of each chunk that is read go.
        tag = data.StructLayout({"master": who, "beats": CHUNK_BEATS_BITS})
        m.submodules.tags = tags = SyncFIFOBuffered(width=tag.size, depth=max(4, self._room))

        # Writes: a chunk's beats, then the chunk.
        collecting, collected = Signal(), Signal()
        writer = Signal(who)
        writing = Signal(piece_layout(self._port_bytes))
        beats_left = Signal(CHUNK_BEATS_BITS)
        idle = ~collecting & ~collected
        offered = Cat(chunker.pieces.valid for chunker in writers)
        chosen_writer = self._turn(m, offered, writer, "writer")
        with m.If(idle & offered.any()):
            m.d.sync += [
                collecting.eq(1),
                writer.eq(chosen_writer),
                writing.eq(Array(chunker.pieces.payload.as_value() for chunker in writers)[chosen_writer]),
                beats_left.eq(Array(chunker.pieces.payload.beats for chunker in writers)[chosen_writer]),
            ]
        for i in who:
            m.d.comb += [
                writers[i].pieces.ready.eq(idle & (chosen_writer == i)),
                self.ports[i].write_data.ready.eq(collecting & (writer == i) & self.write_beats.ready),
            ]
            with m.If(writer == i):
                m.d.comb += [
                    self.write_beats.valid.eq(collecting & self.ports[i].write_data.valid),
                    self.write_beats.payload.eq(self.ports[i].write_data.payload),
                ]
        with m.If(self.write_beats.valid & self.write_beats.ready):
            m.d.sync += beats_left.eq(beats_left - 1)
            with m.If(beats_left == 0):
                m.d.sync += [collecting.eq(0), collected.eq(1)]

        # Reads: a chunk of the next master that asks, if there is room for all of it.
        room = Signal(range(self._room + 1), init=self._room)
        reader = Signal(who)
        asked = Cat(chunker.pieces.valid for chunker in readers)
        chosen = self._turn(m, asked, reader, "reader")
        reading = Signal(piece_layout(self._port_bytes))
        m.d.comb += reading.eq(Array(chunker.pieces.payload.as_value() for chunker in readers)[chosen])
        fits = room > reading.beats
        reads = Signal()
        # A write that is complete goes first: who reads next finds what was written.
        m.d.comb += [
            self.chunks.valid.eq(collected | (asked.any() & fits & tags.w_rdy)),
            self.chunks.payload.write.eq(collected),
            self.chunks.payload.beats.eq(Mux(collected, writing.beats, reading.beats)),
            self.chunks.payload.address.eq(Mux(collected, writing.address, reading.address)),
            reads.eq(self.chunks.valid & self.chunks.ready & ~collected),
            tags.w_en.eq(reads),
            tags.w_data.eq(Cat(chosen, reading.beats)),
            *(chunker.pieces.ready.eq(reads & (chosen == i)) for i, chunker in enumerate(readers)),
        ]
        with m.If(reads):
            m.d.sync += reader.eq(chosen)
        with m.If(collected & self.chunks.ready):
            m.d.sync += collected.eq(0)

        # Beats that were read.
        owner = data.View(tag, tags.r_data)
        beat = Signal(CHUNK_BEATS_BITS)
        taken = Signal()
        for i in who:
            mine = tags.r_rdy & (owner.master == i)
            data_out = self.ports[i].read_data
            m.d.comb += [data_out.valid.eq(self.read_beats.valid & mine), data_out.payload.eq(self.read_beats.payload)]
            with m.If(mine):
                m.d.comb += self.read_beats.ready.eq(data_out.ready)
        m.d.comb += [
            taken.eq(self.read_beats.valid & self.read_beats.ready),
            tags.r_en.eq(taken & (beat == owner.beats)),
        ]
        with m.If(taken):
            m.d.sync += beat.eq(Mux(tags.r_en, 0, beat + 1))
        m.d.sync += room.eq(room + taken - Mux(reads, reading.beats + 1, 0))
        return m

    def _turn(self, m: Module, asks: Cat, last: Signal, name: str) -> Signal:
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
