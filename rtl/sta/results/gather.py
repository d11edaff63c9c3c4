"""GATHER: rows of a table in memory, by ids that are in memory too, into the residual."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.gearbox import Gearbox
from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, registered
from rtl.params import ADDRESS_BITS
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.isa import FIELDS
from rtl.sta.legality import ID_BYTES, residual_row_beats
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import PieceWalk, Slots
from rtl.sta.results.residual import residual_word

ID_BITS = 8 * ID_BYTES
BEATS_BITS = FIELDS["beats"].bits


class RowSegment(data.Struct):
    """Consecutive beats of memory."""

    address: ADDRESS_BITS
    beats: BEATS_BITS


class RowAddresses(wiring.Component):
    """Takes all ids, then requests row after row: address + id · beats · port_bytes.

    All ids are stored first, because the fetch delivers in order: the rows' beats come behind all of the ids'. A
    segment takes 5 cycles and one for every bit of `beats`.

    Members
    -------
    start, instruction : of a GATHER, in
    ids : beats of 32-bit ids, stream in
    segment : of each token's row, stream out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "ids": In(stream.Signature(8 * config.port_bytes)),
                "segment": Out(stream.Signature(RowSegment)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [ID_BITS])
        m.submodules.memory = memory = LutMemory(width=ID_BITS, depth=c.max_tokens)
        wiring.connect(m, wiring.flipped(self.ids), gearbox.beats)
        token = Signal(range(c.max_tokens))
        left = Signal(range(c.max_tokens + 1), reset_less=True)  # tokens, this one among them
        last = Signal(reset_less=True)  # left == 1
        one_token = registered(m, instruction.tokens == 1, name="one_token")  # long before the first id comes
        m.d.comb += [
            memory.write.address.eq(token),
            memory.write.data.eq(gearbox.units.payload),
            memory.read_address.eq(token),
        ]

        shifted = Signal(ADDRESS_BITS, reset_less=True)  # id · 2^i
        bits_left = Signal(range(residual_row_beats(c, c.hidden) + 1), reset_less=True)  # beats >> i
        none_left = Signal(reset_less=True)
        row = Signal(ADDRESS_BITS, reset_less=True)  # of the table, in beats
        address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += address.eq(instruction.address + row * c.port_bytes)
        m.d.comb += [
            self.segment.payload.address.eq(address),
            self.segment.payload.beats.eq(instruction.beats),
        ]
        offers = Signal()  # `segment.valid`
        m.d.comb += self.segment.valid.eq(offers)
        takes = Signal()  # accepts ids; registered, since `ids.ready` depends on it
        m.d.comb += [gearbox.units.ready.eq(takes), gearbox.last.eq(last)]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [left.eq(instruction.tokens), last.eq(instruction.tokens == 1)]
                with m.If(self.start):
                    m.d.sync += takes.eq(1)
                    m.next = "numbers"
            with m.State("numbers"):
                with m.If(gearbox.units.valid):
                    m.d.comb += memory.write.enable.eq(1)
                    m.d.sync += [token.eq(token + 1), left.eq(left - 1), last.eq(left == 2)]
                    with m.If(last):
                        m.d.sync += [token.eq(0), left.eq(instruction.tokens), last.eq(one_token), takes.eq(0)]
                        m.next = "read"
            with m.State("read"):
                m.next = "part"
            with m.State("part"):
                m.next = "number"
            with m.State("number"):
                m.d.sync += [shifted.eq(memory.read_data), bits_left.eq(instruction.beats), row.eq(0)]
                m.d.sync += none_left.eq(instruction.beats[: len(bits_left)] == 0)
                m.next = "multiply"
            with m.State("multiply"):
                m.d.sync += [
                    row.eq(row + Mux(bits_left[0], shifted, 0)),
                    shifted.eq(shifted << 1),
                    bits_left.eq(bits_left >> 1),
                    none_left.eq(bits_left[1:] == 0),
                ]
                with m.If(none_left):
                    m.d.sync += offers.eq(1)
                    m.next = "ask"
            with m.State("ask"):
                with m.If(self.segment.ready):
                    m.d.sync += offers.eq(0)
                    m.d.sync += [token.eq(token + 1), left.eq(left - 1), last.eq(left == 2)]
                    m.next = "read"
                    with m.If(last):
                        m.d.sync += token.eq(0)
                        m.next = "idle"
        return m


class RowCutter(wiring.Component):
    """Cuts each row's beats into words of the residual; the rest of the last beat is dropped.

    A row takes a cycle a word, or a beat where beats are smaller, and about three more.

    Members
    -------
    start, instruction : of a GATHER, in
    rows : beats of one row after the other, stream in
    slots : elements, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        word = residual_word(c)
        m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [word.size])
        m.submodules.pieces = pieces = PieceWalk(c)
        units, slots = gearbox.units, self.slots
        begins = align(m, self.start, 1, name="begins", reset=True)  # in step with the first piece
        tokens_left = Signal.like(instruction.tokens)
        token = Signal.like(slots.destination.token, reset_less=True)
        beats_left = Signal(range(residual_row_beats(c, c.hidden) + 1), reset_less=True)
        # One-hot states, but for idle: they have a high fan-out.
        cuts = Signal()
        rests = Signal()  # drops the rest of a row
        takes = Signal()  # more beats of the row will come
        last_row = Signal()  # tokens_left == 1
        row_last = Signal()
        m.d.comb += [
            gearbox.beats.payload.eq(self.rows.payload),
            units.ready.eq(1),
            gearbox.last.eq(pieces.last),
            pieces.channels.eq(instruction.channels),
            row_last.eq(units.valid & pieces.last),
            self.rows.ready.eq(takes & (rests | gearbox.beats.ready)),
            slots.destination.token.eq(token),
            slots.destination.piece.eq(pieces.piece),
            slots.destination.keep.eq(pieces.keep),
            slots.destination.last.eq(pieces.last & last_row),
            *(value.eq(element) for value, element in zip(slots.values, word(units.payload), strict=True)),
        ]
        with m.If(self.rows.valid & self.rows.ready):
            m.d.sync += [beats_left.eq(beats_left - 1), takes.eq(beats_left != 1)]
        with m.If(cuts):
            m.d.comb += [slots.valid.eq(units.valid), pieces.advance.eq(units.valid)]
            # A word of several beats may have fewer at the row's end; the missing ones are undefined.
            with m.If(takes):
                m.d.comb += gearbox.beats.valid.eq(self.rows.valid)
            with m.Else():
                m.d.comb += gearbox.beats.valid.eq(~units.valid)
            with m.If(row_last):
                m.d.sync += [cuts.eq(0), rests.eq(1)]
        with m.Elif(rests):
            with m.If(~takes):
                m.d.sync += [
                    tokens_left.eq(tokens_left - 1),
                    last_row.eq(tokens_left == 2),
                    token.eq(token + 1),
                    beats_left.eq(instruction.beats),
                    rests.eq(0),
                    cuts.eq(~last_row),
                    takes.eq(~last_row),
                ]
        with m.Else():
            # As by `preload`.
            m.d.comb += pieces.start.eq(1)
            m.d.sync += [
                tokens_left.eq(instruction.tokens),
                last_row.eq(instruction.tokens == 1),
                token.eq(instruction.first_token),
                beats_left.eq(instruction.beats),
                cuts.eq(begins),
                takes.eq(begins),
            ]
        return m


class Gather(wiring.Component):
    """`RowAddresses` and `RowCutter`.

    ::

        ids ─► addresses ─► segments ─► (fetch) ─► rows ─► cutter ─► slots

    Members
    -------
    start, instruction : of a GATHER, in
    ids, rows : beats of the memory port, streams in
    segment : of each token's row, stream out
    slots : elements, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "ids": In(stream.Signature(8 * config.port_bytes)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "segment": Out(stream.Signature(RowSegment)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.addresses = addresses = RowAddresses(self._config)
        m.submodules.cutter = cutter = RowCutter(self._config)
        for part in (addresses, cutter):
            m.d.comb += [part.start.eq(self.start), part.instruction.eq(self.instruction)]
        wiring.connect(m, wiring.flipped(self.ids), addresses.ids)
        wiring.connect(m, addresses.segment, wiring.flipped(self.segment))
        wiring.connect(m, wiring.flipped(self.rows), cutter.rows)
        wiring.connect(m, cutter.slots, wiring.flipped(self.slots))
        return m
