"""The fetch unit: reads segments of memory in the order of their requests and delivers each to its consumer."""

from typing import NamedTuple

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.compare import Beyond
from rtl.lib.lut_ram import LUT_RAM, LutMemory
from rtl.lib.port import Request
from rtl.lib.timing import align, lookahead, registered, relay, replicate, tally
from rtl.params import ADDRESS_BITS, BURST_BEATS, FIFO_BEATS, Config
from rtl.sta.latencies import BUFFER_DEPTH, BUFFER_ROOM, CONSUMERS, SEGMENTS

BEATS_BITS = 32


class Consumer(enum.Enum):
    INSTRUCTION = 0
    WEIGHTS = 1
    TABLE = 2
    ROWS = 3
    IDS = 4
    GATHERED = 5


class Segment(data.Struct):
    """Consecutive beats from a byte address."""

    address: ADDRESS_BITS
    beats: BEATS_BITS
    consumer: Consumer


def pushed(bits: int) -> wiring.Signature:
    """Beats with early back-pressure, seen from their source: up to IN_FLIGHT more come after `room` has fallen.

    Members
    -------
    valid, payload : a beat, out
    room : in
    """
    return wiring.Signature({"valid": Out(1), "payload": Out(bits), "room": In(1)})


class BeatBuffer(wiring.Component):
    """Beats beside their consumer, in LUT RAM, so that `valid` comes from a register nearby.

    Members
    -------
    words_in : `pushed`, in
    words_out : stream of beats, each two cycles after it came in at the earliest, out
    """

    ROOM = BUFFER_ROOM  # `room` is high up to this many words
    DEPTH = BUFFER_DEPTH

    def __init__(self, config: Config) -> None:
        bits = 8 * config.port_bytes
        super().__init__({"words_in": In(pushed(bits)), "words_out": Out(stream.Signature(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words_in, words_out = self.words_in, self.words_out
        came = relay(m, words_in.valid, name="came", reset=True)
        word = replicate(m, words_in.payload, name="word", enable=words_in.valid)
        # Deeper than needed, so that every cycle may write, without an enable; LUT RAM is 16 deep anyway.
        storage = Memory(shape=len(words_in.payload), depth=16, init=[], attrs=LUT_RAM)
        m.submodules.storage = storage
        write, read = storage.write_port(), storage.read_port(domain="comb")
        produce = Signal.like(write.addr)
        consume = Signal.like(read.addr)
        more = Signal(self.DEPTH)  # bit i: more than i words are here. `taken` comes late and drives only muxes
        taken = Signal()
        fills, falls = Cat(1, more[:-1]), Cat(more[1:], 0)
        m.d.comb += [
            taken.eq(words_out.valid & words_out.ready),
            words_in.room.eq(~more[self.ROOM]),
            words_out.valid.eq(more[0]),
            words_out.payload.eq(read.data),
            write.addr.eq(produce),
            write.data.eq(word),
            write.en.eq(1),
            read.addr.eq(consume),
        ]
        m.d.sync += [
            produce.eq(produce + came),
            consume.eq(consume + taken),
            more.eq(Mux(taken, Mux(came, more, falls), Mux(came, fills, more))),
        ]
        return m


class Checked(NamedTuple):
    """The segment that is requested next."""

    segment: data.View
    any_beats: Signal  # it has beats
    taken: Signal  # it is taken in this cycle
    checking: Signal  # it is not yet taken


class FetchUnit(wiring.Component):
    """Requests bursts ahead while the beat FIFO has room for them; delivers in the order of the segments.

    ::

        data ─► register ─► FIFO ─► which part of it ─┬─► outside: BeatBuffer ─► consumer
                                                      └─► …

    A segment outside [0, limit), or not aligned to a beat, is refused: `bad`. A segment is accepted four cycles after
    it is offered at the earliest, two of them overlapped with the requests of the one before; two cycles later its
    first burst is requested, then one every other cycle. A beat reaches its consumer's buffer four cycles after it came
    from memory, and two cycles lie between two segments. Delivery is in order: a consumer whose buffer is full blocks
    the others. `room` is sampled in the cycle before a beat leaves the FIFO.

    `stop` ends everything: an offered request stays until it is accepted; beats that still come are dropped.

    Members
    -------
    limit : bytes of memory that may be read, in
    segment, gather_segment : streams of Segment, in; the second has priority
    request, data : the read half of the memory port
    instruction, weights, table, rows, ids, gathered : `pushed`; `rows` of a LOAD, `ids` and `gathered` of a GATHER, out
    stop : level, in; until idle at least
    bad : the offered segment, at `bad_address`, must not be read; level, until stop, out
    idle : all that was requested has been delivered or dropped, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._beat_shift = config.port_bytes.bit_length() - 1  # beats to bytes
        self._left_bits = BEATS_BITS - self._beat_shift + 1  # beats within the address space
        beats = stream.Signature(8 * config.port_bytes)
        super().__init__(
            {
                "limit": In(ADDRESS_BITS),
                "segment": In(stream.Signature(Segment)),
                "gather_segment": In(stream.Signature(Segment)),
                "request": Out(stream.Signature(Request)),
                "data": In(beats),
                **{name: Out(pushed(8 * config.port_bytes)) for name in CONSUMERS},
                "stop": In(1),
                "bad": Out(1),
                "bad_address": Out(ADDRESS_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        used = Signal()  # a beat leaves the FIFO
        any_left = Signal()  # beats of the segment are still to be requested
        m.submodules.segments = segments = SyncFIFO(width=1 + Segment.as_shape().size - ADDRESS_BITS, depth=SEGMENTS)
        empty, beat = self._beats(m, used)
        checked = self._check(m, segments, any_left)
        all_room = self._request(m, checked, any_left, used)
        delivers = self._deliver(m, segments, used, empty, beat)
        m.d.comb += self.idle.eq(~any_left & all_room & ~delivers & ~checked.checking & ~self.bad)
        return m

    def _beats(self, m: Module, used: Signal) -> tuple[Signal, Signal]:
        """The beat FIFO, with room for every requested beat: whether it is empty; the beat that left a cycle ago."""
        # Of LUT RAM: block RAMs of this width would be nearly empty.
        width = 8 * self._config.port_bytes
        m.submodules.storage = storage = LutMemory(width=width, depth=FIFO_BEATS, part=16)
        produce = Signal(range(FIFO_BEATS))
        consume = Signal(range(FIFO_BEATS))
        came = relay(m, self.data.valid, name="came", reset=True)
        m.d.comb += [
            self.data.ready.eq(1),
            storage.write.enable.eq(came),
            storage.write.address.eq(produce),
            storage.write.data.eq(relay(m, self.data.payload, name="beat")),
            storage.read_address.eq(consume),
        ]
        with m.If(came):
            m.d.sync += produce.eq(produce + 1)
        with m.If(used):  # comes late: an enable, not an addend
            m.d.sync += consume.eq(consume + 1)
        return tally(m, FIFO_BEATS, came, used, name="beats").none, storage.read_data

    def _check(self, m: Module, segments: SyncFIFO, any_left: Signal) -> Checked:
        """Check the next segment while the one before is being requested."""
        segment = Signal(Segment, name="next_segment", reset_less=True)
        end = Signal(ADDRESS_BITS + BEATS_BITS + 1, name="next_end", reset_less=True)
        gathers = Signal()
        taken = Signal()
        checking = Signal()
        any_beats = Signal()
        one_beat = Signal()
        # A stage before: which four bits are not 0, whether the lowest four are 1.
        fours = Cat(segment.beats[i : i + 4].any() for i in range(0, BEATS_BITS, 4))
        fours = registered(m, fours, name="fours")
        low_one = registered(m, segment.beats[:4] == 1, name="low_one")
        outside = self._outside(m, segment, end)
        full = tally(m, SEGMENTS, segments.w_en, segments.r_en & segments.r_rdy, name="pending").full
        m.d.sync += taken.eq(0)
        with m.FSM():
            with m.State("wait"):
                with m.If(self.gather_segment.valid):
                    m.d.sync += [segment.eq(self.gather_segment.payload), gathers.eq(1)]
                with m.Else():
                    m.d.sync += [segment.eq(self.segment.payload), gathers.eq(0)]
                with m.If((self.segment.valid | self.gather_segment.valid) & ~self.stop):
                    m.next = "add"
            with m.State("add"):
                m.d.comb += checking.eq(1)
                m.d.sync += end.eq(segment.address + (segment.beats << self._beat_shift))
                m.next = "compare"
            with m.State("compare"):
                m.d.comb += checking.eq(1)
                m.d.sync += [any_beats.eq(fours.any()), one_beat.eq(low_one & ~fours[1:].any())]
                m.next = "take"
            with m.State("take"):
                m.d.comb += checking.eq(1)
                takes = ~any_left & ~full & ~outside & ~taken
                lookahead(m, taken, takes & ~self.stop)
                with m.If(taken | self.stop):
                    m.next = "wait"
                with m.Elif(outside):
                    m.next = "bad"
            with m.State("bad"):
                m.d.comb += self.bad.eq(1)
                with m.If(self.stop):
                    m.next = "wait"
        m.d.comb += [
            self.bad_address.eq(segment.address),
            self.segment.ready.eq(taken & ~gathers),
            self.gather_segment.ready.eq(taken & gathers),
            segments.w_en.eq(taken & any_beats),
            segments.w_data.eq(Cat(one_beat, segment.as_value()[ADDRESS_BITS:])),
        ]
        return Checked(segment, any_beats, taken, checking)

    def _outside(self, m: Module, segment: data.View, end: Signal) -> Signal:
        """The segment must not be read, a cycle later."""
        outside = Signal()
        unaligned = Signal(reset_less=True)
        m.submodules.next_beyond = beyond = Beyond(len(end), ADDRESS_BITS)
        m.d.sync += unaligned.eq((segment.address & (self._config.port_bytes - 1)).any())
        m.d.comb += [
            beyond.value.eq(end),
            beyond.limit.eq(self.limit),
            outside.eq(beyond.beyond | unaligned),
        ]
        return outside

    def _request(self, m: Module, checked: Checked, any_left: Signal, used: Signal) -> Value:
        """Request a burst every other cycle while there is room. Returns whether all of the FIFO is room.

        Under a stop an offered request stays, and no other comes.
        """
        burst_shift = BURST_BEATS.bit_length() - 1  # bursts to beats
        segment, taken = checked.segment, checked.taken
        address = Signal(ADDRESS_BITS, reset_less=True)
        bursts = Signal(
            self._left_bits - burst_shift
        )  # whole ones, and the beats of the last one, still to be requested
        rest = Signal(burst_shift)
        whole = Signal()  # bursts != 0
        room = Signal(range(FIFO_BEATS + 1), init=FIFO_BEATS)  # beats that may still be requested
        burst = Signal(range(BURST_BEATS + 1), reset_less=True)  # beats of the request: known a cycle before it
        one_burst = Signal(reset_less=True)  # bursts == 1, the same
        fits = Signal()  # there is room for the burst
        asked = Signal()
        used_before = align(m, used, 1, name="used_before", reset=True)
        m.d.sync += [burst.eq(Mux(whole, BURST_BEATS, rest)), one_burst.eq(bursts == 1)]
        lookahead(m, fits, any_left & Mux(whole, room >= BURST_BEATS, room >= rest) & ~asked & (fits | ~self.stop))
        m.d.comb += [
            self.request.valid.eq(fits),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(burst - 1),
            asked.eq(self.request.valid & self.request.ready),
        ]
        with m.If(taken):
            m.d.sync += [
                address.eq(segment.address),
                bursts.eq(segment.beats >> burst_shift),
                whole.eq((segment.beats >> burst_shift).any()),
                rest.eq(segment.beats),
                any_left.eq(checked.any_beats),
            ]
        with m.Elif(asked):
            m.d.sync += address.eq(address + (burst << self._beat_shift))
            with m.If(whole):
                m.d.sync += [bursts.eq(bursts - 1), whole.eq(~one_burst), any_left.eq(~one_burst | rest.any())]
            with m.Else():
                m.d.sync += [rest.eq(0), any_left.eq(0)]
        with m.If(self.stop):  # what is offered stays offered
            with m.If(asked | ~self.request.valid):
                m.d.sync += [whole.eq(0), rest.eq(0), any_left.eq(0)]
            with m.Elif(whole):
                m.d.sync += [bursts.eq(1), rest.eq(0)]
        m.d.sync += room.eq(room - Mux(asked, burst, 0) + used_before)
        return room == FIFO_BEATS

    def _deliver(self, m: Module, segments: SyncFIFO, used: Signal, empty: Signal, beat: Value) -> Value:
        """Deliver the same segments, beat by beat: whether there are some, or beats on their way.

        A beat leaves the FIFO when there was room for it in the cycle before, and is pushed two cycles later.
        """
        layout = data.StructLayout({"one_beat": 1, "beats": BEATS_BITS, "consumer": Consumer})
        entry = data.View(layout, segments.r_data)
        consumers = [getattr(self, name) for name in CONSUMERS]
        serves = Signal(len(CONSUMERS))  # one bit, while there are beats to come
        serving = Signal()  # serves != 0
        expected = Signal(self._left_bits)
        last = Signal()  # expected == 1
        may_leave = Signal()
        leaves = Signal(len(CONSUMERS))
        pushes = Signal(len(CONSUMERS))
        lookahead(m, may_leave, (serves & Cat(one.room for one in consumers)).any() & ~(used & last))
        m.d.comb += used.eq(~empty & (may_leave | self.stop))
        with m.If(used & ~self.stop):
            m.d.sync += leaves.eq(serves)
        with m.Else():
            m.d.sync += leaves.eq(0)
        m.d.sync += pushes.eq(Mux(self.stop, 0, leaves))
        for i, one in enumerate(consumers):
            m.d.comb += [one.payload.eq(beat), one.valid.eq(pushes[i])]
        with m.If(self.stop):
            m.d.comb += segments.r_en.eq(1)
            m.d.sync += [expected.eq(0), serves.eq(0), serving.eq(0)]
        with m.Elif(~serving):
            m.d.comb += segments.r_en.eq(1)
            with m.If(segments.r_rdy):
                m.d.sync += [expected.eq(entry.beats), last.eq(entry.one_beat), serving.eq(1)]
                m.d.sync += serves.eq(Cat(entry.consumer == i for i in range(len(CONSUMERS))))
        with m.Elif(used):
            m.d.sync += [expected.eq(expected - 1), last.eq(expected == 2)]
            with m.If(last):
                m.d.sync += [serves.eq(0), serving.eq(0)]
        return serving | segments.r_rdy | leaves.any() | pushes.any()
