"""GATHER: rows of embeddings in memory, by ids that are in memory too, into the residual."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.gearbox import Gearbox
from rtl.lib.lut_ram import LutMemory
from rtl.lib.timing import align, registered
from rtl.params import ADDRESS_BITS
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import FIELDS
from rtl.sta.legality import ID_BYTES, SCALE_BYTES, most_gathered_row_beats, scale_beats
from rtl.sta.operands.softmax import RowFactor
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import PieceWalk, Slots
from rtl.sta.results.residual import residual_word

ID_BITS = 8 * ID_BYTES
BEATS_BITS = FIELDS["beats"].bits


def ids_stream(config: StaConfig) -> stream.Signature:
    """Beats of the memory port, or of a group of rows ids."""
    return stream.Signature(ID_BITS if config.is_group else 8 * config.port_bytes)


class RowSegment(data.Struct):
    """Consecutive beats of memory."""

    address: ADDRESS_BITS
    beats: BEATS_BITS


class _Offset:
    """A row's offset in the embeddings, id · beats: a bit of `beats` a step. Both methods stand where it is decided."""

    def __init__(self, most_beats: int) -> None:
        self._shifted = Signal(ADDRESS_BITS, name="shifted", reset_less=True)  # id · 2^i
        self._bits_left = Signal(range(most_beats + 1), name="bits_left", reset_less=True)  # beats >> i
        self.complete = Signal(name="complete", reset_less=True)  # no bits left
        self.beats = Signal(ADDRESS_BITS, name="offset", reset_less=True)

    def load(self, m: Module, row_id: Value, beats: Value) -> None:
        m.d.sync += [self._shifted.eq(row_id), self._bits_left.eq(beats), self.beats.eq(0)]
        m.d.sync += self.complete.eq(beats[: len(self._bits_left)] == 0)

    def step(self, m: Module) -> None:
        m.d.sync += [
            self.beats.eq(self.beats + Mux(self._bits_left[0], self._shifted, 0)),
            self._shifted.eq(self._shifted << 1),
            self._bits_left.eq(self._bits_left >> 1),
            self.complete.eq(self._bits_left[1:] == 0),
        ]


class RowAddresses(wiring.Component):
    """Takes all ids, then requests row after row: address + id · beats · port_bytes.

    All ids are stored first, because the fetch delivers in order: the rows' beats come behind all of the ids'. A
    segment takes 5 cycles and one for every bit of `beats`.

    Members
    -------
    start, instruction : of a GATHER, in
    ids : beats of 32-bit ids, of a group of rows its own ids one by one, stream in
    segment : of each token's row, stream out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "ids": In(ids_stream(config)),
                "segment": Out(stream.Signature(RowSegment)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        units, gearbox = self.ids, None
        if not c.is_group:  # else the switch has cut them
            m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [ID_BITS])
            wiring.connect(m, wiring.flipped(self.ids), gearbox.beats)
            units = gearbox.units
        m.submodules.memory = memory = LutMemory(width=ID_BITS, depth=c.max_tokens)
        token = Signal(range(c.max_tokens))
        offset = _Offset(most_gathered_row_beats(c))
        address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += address.eq(instruction.address + offset.beats * c.port_bytes)
        m.d.comb += [
            memory.write.address.eq(token),
            memory.write.data.eq(units.payload),
            memory.read_address.eq(token),
            self.segment.payload.address.eq(address),
            self.segment.payload.beats.eq(instruction.beats),
        ]
        last = self._control(m, units, memory, token, offset)
        if gearbox:
            m.d.comb += gearbox.last.eq(last)
        return m

    def _control(self, m: Module, units: Any, memory: LutMemory, token: Signal, offset: _Offset) -> Signal:
        """All ids into the memory, then for each token: read its id, compute the address, request the segment.

        Returns whether the token is the last.
        """
        instruction = self.instruction
        left = Signal(range(self._config.max_tokens + 1), reset_less=True)  # tokens, this one among them
        last = Signal(reset_less=True)  # left == 1
        one_token = registered(m, instruction.tokens == 1, name="one_token")  # long before the first id comes
        requesting = Signal()
        accepting = Signal()  # ids; registered, since `ids.ready` depends on it
        m.d.comb += [self.segment.valid.eq(requesting), units.ready.eq(accepting)]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += [left.eq(instruction.tokens), last.eq(instruction.tokens == 1)]
                with m.If(self.start):
                    m.d.sync += accepting.eq(1)
                    m.next = "ids"
            with m.State("ids"):
                with m.If(units.valid):
                    m.d.comb += memory.write.enable.eq(1)
                    m.d.sync += [token.eq(token + 1), left.eq(left - 1), last.eq(left == 2)]
                    with m.If(last):
                        m.d.sync += [token.eq(0), left.eq(instruction.tokens), last.eq(one_token), accepting.eq(0)]
                        m.next = "read"
            with m.State("read"):
                m.next = "part"
            with m.State("part"):
                m.next = "id"
            with m.State("id"):
                offset.load(m, memory.read_data, instruction.beats)
                m.next = "multiply"
            with m.State("multiply"):
                offset.step(m)
                with m.If(offset.complete):
                    m.d.sync += requesting.eq(1)
                    m.next = "request"
            with m.State("request"):
                with m.If(self.segment.ready):
                    m.d.sync += requesting.eq(0)
                    m.d.sync += [token.eq(token + 1), left.eq(left - 1), last.eq(left == 2)]
                    m.next = "read"
                    with m.If(last):
                        m.d.sync += token.eq(0)
                        m.next = "idle"
        return last


class RowCutter(wiring.Component):
    """Cuts each row's beats into words of the residual; the rest of the last beat is dropped.

    A row takes a cycle a word, or a beat where beats are smaller, and about three more. In front of 8-bit elements come
    the beats of their scale.

    Members
    -------
    start, instruction : of a GATHER, in
    rows : beats of one row after the other, stream in
    slots : elements, out
    row_scale : what the row's elements are multiplied by, from its first slot until two cycles after its last, out;
        of 16-bit elements undefined
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "slots": Out(Slots(config)),
                "row_scale": Out(RowFactor),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, slots = self._config, self.slots
        word = residual_word(c)
        m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [word.size, word.size // 2])
        m.submodules.pieces = pieces = PieceWalk(c)
        narrow = registered(m, self.instruction.narrow, name="narrow")  # long before the first row comes
        m.d.comb += [
            gearbox.kind.eq(narrow),
            gearbox.beats.payload.eq(self.rows.payload),
            gearbox.units.ready.eq(1),
            gearbox.last.eq(pieces.last),
            pieces.channels.eq(self.instruction.channels),
            slots.destination.piece.eq(pieces.piece),
            slots.destination.keep.eq(pieces.keep),
        ]
        payload = gearbox.units.payload
        for lane, element in enumerate(word(payload)):
            m.d.comb += slots.values[lane].eq(Mux(narrow, payload.word_select(lane, 8).as_signed(), element))
        scaling = Signal()
        self._control(m, gearbox, pieces, narrow, scaling, self._take_scale(m, scaling))
        return m

    def _take_scale(self, m: Module, scaling: Signal) -> Value:
        """The beats in front of a row of 8-bit elements, while `scaling`; whether this one is their last."""
        beats, port_bits = scale_beats(self._config), 8 * self._config.port_bytes
        scale = Signal(8 * SCALE_BYTES, reset_less=True)
        m.d.comb += [self.row_scale.mult.eq(scale), self.row_scale.shift.eq(scale[16:])]
        with m.If(scaling & self.rows.valid):
            m.d.sync += scale.eq(Cat(scale, self.rows.payload)[port_bits:] if beats > 1 else self.rows.payload)
        if beats == 1:
            return Const(1)
        taken = Signal(range(beats))
        with m.If(scaling & self.rows.valid):
            m.d.sync += taken.eq(taken + 1)
        return taken == beats - 1

    def _control(
        self, m: Module, gearbox: Gearbox, pieces: PieceWalk, narrow: Signal, scaling: Signal, scaled: Value
    ) -> None:
        """Row after row: takes its scale where it has one, cuts its beats into words, then drops the rest of them."""
        c, instruction, units, slots = self._config, self.instruction, gearbox.units, self.slots
        begins = align(m, self.start, 1, name="begins", reset=True)  # in step with the first piece
        tokens_left = Signal.like(instruction.tokens)
        token = Signal.like(slots.destination.token, reset_less=True)
        beats_left = Signal(range(most_gathered_row_beats(c) + 1), reset_less=True)
        # One-hot states, with `scaling`, but for idle: they have a high fan-out.
        cutting = Signal()
        dropping = Signal()  # the rest of a row
        more_beats = Signal()  # of the row will come
        last_row = Signal()  # tokens_left == 1
        m.d.comb += [
            self.rows.ready.eq(more_beats & (scaling | dropping | gearbox.beats.ready)),
            slots.destination.token.eq(token),
            slots.destination.last.eq(pieces.last & last_row),
        ]
        with m.If(self.rows.valid & self.rows.ready):
            m.d.sync += [beats_left.eq(beats_left - 1), more_beats.eq(beats_left != 1)]
        with m.If(scaling):
            with m.If(self.rows.valid & scaled):
                m.d.sync += [scaling.eq(0), cutting.eq(1)]
        with m.Elif(cutting):
            m.d.comb += [slots.valid.eq(units.valid), pieces.advance.eq(units.valid)]
            # A word of several beats may have fewer at the row's end; the missing ones are undefined.
            with m.If(more_beats):
                m.d.comb += gearbox.beats.valid.eq(self.rows.valid)
            with m.Else():
                m.d.comb += gearbox.beats.valid.eq(~units.valid)
            with m.If(units.valid & pieces.last):
                m.d.sync += [cutting.eq(0), dropping.eq(1)]
        with m.Elif(dropping):
            with m.If(~more_beats):
                m.d.sync += [
                    tokens_left.eq(tokens_left - 1),
                    last_row.eq(tokens_left == 2),
                    token.eq(token + 1),
                    beats_left.eq(instruction.beats),
                    dropping.eq(0),
                    scaling.eq(~last_row & narrow),
                    cutting.eq(~last_row & ~narrow),
                    more_beats.eq(~last_row),
                ]
        with m.Else():
            # As by `preload`.
            m.d.comb += pieces.start.eq(1)
            m.d.sync += [
                tokens_left.eq(instruction.tokens),
                last_row.eq(instruction.tokens == 1),
                token.eq(instruction.first_token),
                beats_left.eq(instruction.beats),
                scaling.eq(begins & narrow),
                cutting.eq(begins & ~narrow),
                more_beats.eq(begins),
            ]


class Gather(wiring.Component):
    """`RowAddresses` and `RowCutter`.

    ::

        ids ─► addresses ─► segments ─► (fetch) ─► rows ─► cutter ─► slots

    Members
    -------
    start, instruction : of a GATHER, in
    ids, rows : beats of the memory port, streams in
    segment : of each token's row, stream out
    slots, row_scale : elements, and what they are multiplied by where they have 8 bits, see `RowCutter`, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "ids": In(ids_stream(config)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "segment": Out(stream.Signature(RowSegment)),
                "slots": Out(Slots(config)),
                "row_scale": Out(RowFactor),
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
        m.d.comb += self.row_scale.eq(cutter.row_scale)
        return m
