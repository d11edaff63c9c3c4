"""The result buffer: gathers a tile's results and writes them to memory, a token's piece after the other."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory, WritePort
from amaranth.lib.wiring import In, Out

from rtl.array.walk import TileWalk
from rtl.engine.product_drain import SlotResults
from rtl.engine.product_registers import descriptor
from rtl.lib.cases import cases
from rtl.lib.port import Request, write_beat
from rtl.params import RESULT_TILES, Config


class ResultBuffer(wiring.Component):
    """Holds RESULT_TILES tiles. Each complete one leaves as a burst a row; edges are masked by strobes.

    A row of a tile is a piece of memory of `Config.pitch` bytes that begins at a multiple of them, so a
    piece lies in one beat or is whole beats, and nothing has to be shifted.

    Members
    -------
    start, product : in
    inputs : `SlotResults`, in
    request, data : the write half of the memory port
    written : the last beat of a tile is accepted, out
    finished : and it was the product's last tile, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "inputs": In(SlotResults(config)),
                "request": Out(stream.Signature(Request)),
                "data": Out(stream.Signature(write_beat(config.port_bytes))),
                "written": Out(1),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, product = self._config, self.product
        m.submodules.walk = walk = TileWalk(c)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.tokens.eq(product.tokens),
            walk.channels.eq(product.channels),
            walk.advance.eq(self.written),
        ]
        # A row of the memory is made of chunks of drain_lanes bytes: one a slot, or two where results are wide.
        chunk_bits = 8 * c.drain_lanes
        shape, depth = 2 * c.slots_a_row * chunk_bits, RESULT_TILES * c.rows
        m.submodules.memory = memory = Memory(shape=shape, depth=depth, init=[])
        write = memory.write_port(granularity=chunk_bits)
        read = memory.read_port(domain="comb")
        tiles = self._fill(m, write, depth)

        pitches = [c.pitch(out_bytes) for out_bytes in (1, 2)]
        beats = [max(1, pitch // c.port_bytes) for pitch in pitches]
        row = Signal(range(c.rows + 1))
        requested = Signal(range(c.rows + 1))  # rows of the tile
        burst = Mux(product.wide, beats[1], beats[0])
        tile_address = self._request(m, walk, tiles, requested, pitches, burst)

        # Data: requests run ahead by at least a cycle.
        base = Signal(range(depth))
        beat = Signal(range(max(beats)))
        last_beat = Signal()
        m.d.comb += [
            self.data.valid.eq(row != requested),
            last_beat.eq(beat == burst - 1),
            self.written.eq(self.data.valid & self.data.ready & last_beat & (row == walk.rows - 1)),
            self.finished.eq(self.written & walk.last_tokens & walk.last_channels),
            read.addr.eq(base + row),
        ]
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), row.eq(row + 1)]
        with m.If(self.written):
            m.d.sync += [row.eq(0), requested.eq(0), base.eq(Mux(base == depth - c.rows, 0, base + c.rows))]

        # The piece as beats, for either width of results.
        for out_bytes, pitch in enumerate(pitches, start=1):
            piece = Signal(8 * pitch, name=f"piece_{8 * out_bytes}")
            mask = Signal(pitch, name=f"mask_{8 * out_bytes}")
            m.d.comb += [
                piece.eq(read.data),
                mask.eq(Cat((walk.columns > i).replicate(out_bytes) for i in range(c.cols))),
            ]
            with m.If(product.wide == out_bytes - 1):
                self._beat(m, piece, mask, beat, tile_address)
        return m

    def _fill(self, m: Module, write: WritePort, depth: int) -> Signal:
        """Results into the memory. Returns how many tiles of them are complete."""
        c, product = self._config, self.product
        chunk_bits = 8 * c.drain_lanes
        narrow = Cat(result[:8] for result in self.inputs.values)
        wide = Cat(*self.inputs.values)
        for j in range(2 * c.slots_a_row):
            half = j % 2
            m.d.comb += [
                write.data.word_select(j, chunk_bits).eq(Mux(product.wide, wide.word_select(half, chunk_bits), narrow)),
                write.en[j].eq(self.inputs.valid & (self.inputs.destination.slot == Mux(product.wide, j // 2, j))),
            ]
        fill_base = Signal(range(depth))
        tiles = Signal(range(RESULT_TILES + 1))
        tile_filled = Signal()
        m.d.comb += [
            write.addr.eq(fill_base + self.inputs.destination.row),
            tile_filled.eq(self.inputs.valid & self.inputs.destination.last),
        ]
        with m.If(tile_filled):
            m.d.sync += fill_base.eq(Mux(fill_base == depth - c.rows, 0, fill_base + c.rows))
        m.d.sync += tiles.eq(tiles + tile_filled - self.written)
        return tiles

    def _request(
        self, m: Module, walk: TileWalk, tiles: Signal, requested: Signal, pitches: list[int], burst: Value
    ) -> Signal:
        """A burst a row of a complete tile. Returns the address of the column tile's first token."""
        product = self.product
        beat_shift = self._config.port_bytes.bit_length() - 1
        piece_address = Signal.like(product.y_address, reset_less=True)
        tile_address = Signal.like(product.y_address, reset_less=True)
        next_tile_address = Signal.like(tile_address)
        m.d.comb += [
            self.request.valid.eq((tiles != 0) & (requested != walk.rows)),
            self.request.payload.address.eq(piece_address[beat_shift:] << beat_shift),
            self.request.payload.length.eq(burst - 1),
            next_tile_address.eq(tile_address + Mux(product.wide, pitches[1], pitches[0])),
        ]
        with m.If(self.request.valid & self.request.ready):
            m.d.sync += [requested.eq(requested + 1), piece_address.eq(piece_address + product.y_stride)]
        with m.If(self.written & walk.last_tokens):
            m.d.sync += [piece_address.eq(next_tile_address), tile_address.eq(next_tile_address)]
        with m.If(self.start):
            m.d.sync += [piece_address.eq(product.y_address), tile_address.eq(product.y_address)]
        return tile_address

    def _beat(self, m: Module, piece: Signal, mask: Signal, beat: Value, address: Value) -> None:
        """A beat of a piece: of several pieces a beat only the strobes say which."""
        port_bytes = self._config.port_bytes
        payload = self.data.payload
        pieces_a_beat = port_bytes // len(mask)
        if pieces_a_beat > 1:
            piece_of_beat = address[len(mask).bit_length() - 1 : port_bytes.bit_length() - 1]
            m.d.comb += payload.data.eq(piece.replicate(pieces_a_beat))
            for i in cases(m, piece_of_beat, pieces_a_beat):
                m.d.comb += payload.strobe.eq(mask << (i * len(mask)))
        else:
            for i in cases(m, beat, len(mask) // port_bytes):
                m.d.comb += [
                    payload.data.eq(piece[8 * port_bytes * i :]),
                    payload.strobe.eq(mask[port_bytes * i :]),
                ]
