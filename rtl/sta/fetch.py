"""The fetch: reads segments of memory in the order in which they are asked for, and hands each to its consumer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from ..lut_ram import LutFifo
from ..params import BURST_BEATS, FIFO_BEATS, Config
from ..port import ADDRESS_BITS, Request

BEATS_BITS = 32
SEGMENTS = 8  # that may be asked for and not yet delivered


class Consumer(enum.Enum):
    INSTRUCTION = 0
    WEIGHTS = 1
    TABLE = 2
    ROWS = 3
    IDS = 4


class Segment(data.Struct):
    """Consecutive beats from a byte address."""

    address: ADDRESS_BITS
    beats: BEATS_BITS
    consumer: Consumer


class Fetch(wiring.Component):
    """Requests bursts ahead as long as the beat FIFO has room for them; delivers in the order of the segments.

    A segment that is not within [0, limit) or does not begin with a beat is not taken: `bad` says so. A segment is
    taken three cycles after it is offered at the earliest, two of them while the one before is being requested; a
    burst a cycle follows. A beat is there for its consumer three cycles after it came from memory, and a cycle lies
    between two segments. All consumers get their beats one after another: one that does not take its beat stops the
    others, too.

    `stop` ends everything: a request that is offered stays until it is taken, beats that come are dropped.

    Members
    -------
    limit : bytes of memory that may be read, in
    segment, gather_segment : streams of Segment, in; the second goes first
    request, data : the read half of the memory port
    instruction, weights, table, rows, ids : streams of beats, out
    stop : level, in; until idle at least
    bad : the offered segment must not be read, in `bad_address`, level, out; until stop
    idle : nothing is asked for that has not been delivered or dropped, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        beats = stream.Signature(8 * config.port_bytes)
        super().__init__(
            {
                "limit": In(ADDRESS_BITS),
                "segment": In(stream.Signature(Segment)),
                "gather_segment": In(stream.Signature(Segment)),
                "request": Out(stream.Signature(Request)),
                "data": In(beats),
                "instruction": Out(beats),
                "weights": Out(beats),
                "table": Out(beats),
                "rows": Out(beats),
                "ids": Out(beats),
                "stop": In(1),
                "bad": Out(1),
                "bad_address": Out(ADDRESS_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self._config.port_bytes
        beat_shift = size.bit_length() - 1  # beats to bytes
        burst_shift = BURST_BEATS.bit_length() - 1  # bursts to beats
        m.submodules.fifo = fifo = LutFifo(width=8 * size, depth=FIFO_BEATS)
        wiring.connect(m, wiring.flipped(self.data), fifo.words_in)
        # It is read in the same cycle, from LUTs: so many block RAMs would be nearly empty. Then two registers, and one
        # beside the second for the beat that was on its way when a consumer stopped: so nothing before it need wait for
        # consumers.
        came = Signal(8 * size, reset_less=True)
        came_valid = Signal()
        beat = stream.Signature(8 * size).create(path=("beat",))
        spare = Signal(8 * size, reset_less=True)
        spare_valid = Signal()
        used = Signal()
        takes = Signal()  # whoever is served
        m.d.comb += [fifo.words_out.ready.eq(~spare_valid), used.eq(beat.valid & beat.ready)]
        with m.If(~spare_valid):
            m.d.sync += [came_valid.eq(fifo.words_out.valid), came.eq(fifo.words_out.payload), spare.eq(came)]
        with m.If(~beat.valid | beat.ready):
            m.d.sync += [beat.valid.eq(spare_valid | came_valid), spare_valid.eq(0)]
        with m.Else():
            m.d.sync += spare_valid.eq(spare_valid | came_valid)
        with m.If(~beat.valid | takes):  # a beat that a stop drops need not be right
            m.d.sync += beat.payload.eq(Mux(spare_valid, spare, came))

        # The next segment is checked while the one before is being requested.
        left_bits = BEATS_BITS - beat_shift + 1  # beats within the address space
        next_segment = Signal(Segment, reset_less=True)
        next_end = Signal(ADDRESS_BITS + BEATS_BITS + 1, reset_less=True)
        gathers = Signal()
        address = Signal(ADDRESS_BITS, reset_less=True)
        bursts = Signal(left_bits - burst_shift)  # whole ones, and the beats of the last one, still to be requested
        rest = Signal(burst_shift)
        whole = Signal()  # bursts != 0
        left = Signal()  # one or the other
        gone = Signal()  # a beat was used in the cycle before
        room = Signal(range(FIFO_BEATS + 1), init=FIFO_BEATS)
        burst = Signal(range(BURST_BEATS + 1))
        asked = Signal()
        taken = Signal()
        some = Signal()  # the next segment has beats
        checking = Signal()
        m.submodules.segments = segments = SyncFIFO(width=Segment.as_shape().size - ADDRESS_BITS, depth=SEGMENTS)
        m.d.comb += self.bad_address.eq(next_segment.address)
        with m.FSM():
            with m.State("wait"):
                with m.If(self.gather_segment.valid):
                    m.d.sync += [next_segment.eq(self.gather_segment.payload), gathers.eq(1)]
                with m.Else():
                    m.d.sync += [next_segment.eq(self.segment.payload), gathers.eq(0)]
                with m.If((self.segment.valid | self.gather_segment.valid) & ~self.stop):
                    m.next = "add"
            with m.State("add"):
                m.d.comb += checking.eq(1)
                m.d.sync += next_end.eq(next_segment.address + (next_segment.beats << beat_shift))
                m.d.sync += some.eq(next_segment.beats.any())
                m.next = "compare"
            with m.State("compare"):
                m.d.comb += checking.eq(1)
                m.next = "take"
                with m.If((next_end > self.limit) | (next_segment.address & (size - 1)).any()):
                    m.next = "bad"
            with m.State("take"):
                m.d.comb += [checking.eq(1), taken.eq(~left & segments.w_rdy)]
                with m.If(taken | self.stop):
                    m.next = "wait"
            with m.State("bad"):
                m.d.comb += self.bad.eq(1)
                with m.If(self.stop):
                    m.next = "wait"
        m.d.comb += [
            self.segment.ready.eq(taken & ~gathers),
            self.gather_segment.ready.eq(taken & gathers),
            segments.w_en.eq(taken & some),
            segments.w_data.eq(next_segment.as_value()[ADDRESS_BITS:]),
        ]

        # Requests: a burst a cycle while there is room.
        m.d.comb += [
            burst.eq(Mux(whole, BURST_BEATS, rest)),
            self.request.valid.eq(left & Mux(whole, room >= BURST_BEATS, room >= rest)),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(burst - 1),
            asked.eq(self.request.valid & self.request.ready),
        ]
        with m.If(taken):
            m.d.sync += [
                address.eq(next_segment.address),
                bursts.eq(next_segment.beats >> burst_shift),
                whole.eq((next_segment.beats >> burst_shift).any()),
                rest.eq(next_segment.beats),
                left.eq(some),
            ]
        with m.Elif(asked):
            m.d.sync += address.eq(address + (burst << beat_shift))
            with m.If(whole):
                m.d.sync += [bursts.eq(bursts - 1), whole.eq(bursts != 1), left.eq((bursts != 1) | rest.any())]
            with m.Else():
                m.d.sync += [rest.eq(0), left.eq(0)]
        with m.If(self.stop):  # what is offered stays offered
            with m.If(asked | ~self.request.valid):
                m.d.sync += [whole.eq(0), rest.eq(0), left.eq(0)]
            with m.Elif(whole):
                m.d.sync += [bursts.eq(1), rest.eq(0)]
        m.d.sync += [gone.eq(used), room.eq(room - Mux(asked, burst, 0) + gone)]

        # Delivery: the same segments, beat by beat.
        entry = data.View(data.StructLayout({"beats": BEATS_BITS, "consumer": Consumer}), segments.r_data)
        serves = Signal(len(Consumer))  # one bit, while there are beats to come
        expected = Signal(left_bits)
        last = Signal()  # expected == 1
        consumers = {
            Consumer.INSTRUCTION: self.instruction,
            Consumer.WEIGHTS: self.weights,
            Consumer.TABLE: self.table,
            Consumer.ROWS: self.rows,
            Consumer.IDS: self.ids,
        }
        # Beats are offered in the first cycle of a stop, too: whoever takes one then is about to be reset.
        for i, consumer_stream in enumerate(consumers.values()):
            m.d.comb += [consumer_stream.payload.eq(beat.payload), consumer_stream.valid.eq(beat.valid & serves[i])]
        m.d.comb += [
            takes.eq((Cat(one.ready for one in consumers.values()) & serves).any()),
            beat.ready.eq(takes | self.stop),
        ]
        with m.If(self.stop):
            m.d.comb += segments.r_en.eq(1)
            m.d.sync += [expected.eq(0), serves.eq(0)]
        with m.Elif(~serves.any()):
            m.d.comb += segments.r_en.eq(1)
            with m.If(segments.r_rdy):
                m.d.sync += [expected.eq(entry.beats), last.eq(entry.beats == 1)]
                m.d.sync += serves.eq(Cat(entry.consumer == name for name in consumers))
        with m.Elif(used):
            m.d.sync += [expected.eq(expected - 1), last.eq(expected == 2)]
            with m.If(last):
                m.d.sync += serves.eq(0)

        m.d.comb += self.idle.eq(~left & (room == FIFO_BEATS) & ~serves.any() & ~segments.r_rdy & ~checking & ~self.bad)
        return m
