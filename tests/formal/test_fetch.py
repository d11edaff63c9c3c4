"""The fetch of STA loses and repeats no beat, and hands each to the consumer of the segment that asked for it."""

from pathlib import Path
from types import ModuleType

import pytest
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped

import rtl.sta.control.fetch
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import BEATS_BITS, Consumer, Segment
from rtl.sta.params import StaConfig
from tests.formal.fifo import Fifo
from tests.formal.proof import Z3_STEPS, Inside, changed, constant, held, implies, past, prove

pytestmark = pytest.mark.formal

# As the machine's, but with a shorter FIFO, shorter bursts and fewer segments on their way.
BURST_BEATS, FIFO_BEATS, SEGMENTS = 4, 8, 2
SMALL = (
    (", BURST_BEATS, FIFO_BEATS, Config", f", Config\nBURST_BEATS, FIFO_BEATS = {BURST_BEATS}, {FIFO_BEATS}"),
    (", CONSUMERS, SEGMENTS", f", CONSUMERS\nSEGMENTS = {SEGMENTS}"),
)
TAKE = 3  # the state in which it is known whether a segment may be read
ONE_BEAT, BEATS, OWNER = slice(0, 1), slice(1, 33), slice(33, 36)  # of a segment that is not yet delivered
CONSUMERS = {consumer.value: consumer.name.lower() for consumer in Consumer}


class Delivery(wiring.Component):
    """Any segments, any pattern of ready, valid and room, and `stop` at any time: the fetch has it a cycle later.

    `mark` and `offset` are free: any one beat of any burst is followed, from the request to its consumer.
    """

    PORT_BYTES = 2

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        super().__init__(
            {
                "limit": In(ADDRESS_BITS),
                "segment": In(stream.Signature(Segment)),
                "gather_segment": In(stream.Signature(Segment)),
                "data": In(stream.Signature(8 * self.PORT_BYTES)),
                "request_taken": In(1),
                "room": In(len(Consumer)),
                "stop": In(1),
                "mark": In(1),
                "offset": In(range(BURST_BEATS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = StaConfig(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=self.PORT_BYTES, max_tokens=1, max_k=2)
        fetch = self._module.FetchUnit(config)
        inside = Inside(m, "fetch", fetch)
        stop = past(m, self.stop, "stop")
        shift = self.PORT_BYTES.bit_length() - 1
        for name in ("segment", "gather_segment", "data"):
            connect(m, flipped(getattr(self, name)), getattr(fetch, name))
        consumers = [getattr(fetch, CONSUMERS[i]) for i in range(len(Consumer))]
        m.d.comb += [
            fetch.limit.eq(self.limit),
            fetch.stop.eq(stop),
            fetch.request.ready.eq(self.request_taken),
            *(consumer.room.eq(self.room[i]) for i, consumer in enumerate(consumers)),
            Assume(constant(m, self.limit, "limit")),
            Assume(implies(stop & ~fetch.idle, self.stop)),
        ]
        stopped = past(m, stop, "stopped")
        for name in ("segment", "gather_segment"):
            offered = getattr(self, name)
            payload = offered.payload.as_value()
            m.d.comb += [
                # What is offered may be gone before the stop is here.
                Assume(self.stop | stop | stopped | held(m, offered.valid, offered.ready, payload, name)),
                Assume(offered.payload.as_value()[-3:] < len(Consumer)),
            ]

        # Beats on their way: asked for, in the FIFO or before it.
        request = fetch.request
        level, produce, consume = (inside.signal(name) for name in ("beats", "produce", "consume"))
        came_valid, came_beat = inside.signal("came_1"), inside.signal("beat_1")
        asked, comes, used = Signal(), Signal(), Signal()
        burst = Signal(range(BURST_BEATS + 1))
        due, here, on_their_way = (
            Signal(range(2 * FIFO_BEATS + 2), name=name) for name in ("due", "here", "on_their_way")
        )
        m.d.comb += [
            asked.eq(request.valid & request.ready),
            burst.eq(request.payload.length + 1),
            comes.eq(self.data.valid & self.data.ready),
            used.eq(inside.signal("used")),
            here.eq(level + came_valid),
            Assert(produce == (consume + level)[: len(produce)]),
            Assert(inside.signal("beats_none") == (level == 0)),
            on_their_way.eq(due + here),
            Assume(implies(self.data.valid, due != 0)),
            # There is room for whatever comes.
            Assert(self.data.ready),
            Assert(due <= FIFO_BEATS),
            Assert(on_their_way + inside.signal("used_before_1") + inside.signal("room") == FIFO_BEATS),
            Assert(implies(fetch.idle, on_their_way + inside.signal("leaves") + inside.signal("pushes") == 0)),
            Assert(held(m, request.valid, request.ready, request.payload.as_value(), "request")),
        ]
        m.d.sync += due.eq(due + Mux(asked, burst, 0) - comes)

        # Requests: a segment's beats, all of them, one after another, within the limit.
        whole, bursts, rest = (inside.signal(name) for name in ("whole", "bursts", "rest"))
        taken, state = inside.signal("taken"), inside.signal("fsm_state")
        checked = inside.signal("next_segment")
        checked_end = inside.signal("next_end")
        to_ask = Signal(BEATS_BITS + 1)
        address = Signal(ADDRESS_BITS)
        cut = Signal()  # by a stop
        asks = Signal(BEATS_BITS + 1)
        m.d.comb += asks.eq(Cat(rest, Mux(whole, bursts, 0)))
        with m.If(taken):
            m.d.sync += [to_ask.eq(checked[32:64]), address.eq(checked[:32]), cut.eq(0)]
        with m.Elif(asked):
            m.d.sync += [to_ask.eq(to_ask - burst), address.eq(address + (burst << shift))]
        with m.If(stop):
            m.d.sync += cut.eq(1)
        may_be_read = (checked_end <= self.limit) & (checked[:shift] == 0)
        fours = Cat(checked[i : i + 4].any() for i in range(32, 64, 4))
        in_bounds = (address + (asks << shift) <= self.limit) & (address[:shift] == 0)
        m.d.comb += [
            Assert(implies(whole, bursts != 0)),  # a stop forgets the bursts by `whole` alone
            Assert(implies(~cut, to_ask == asks)),
            Assert(implies(cut, to_ask >= asks)),
            Assert(implies(asks != 0, request.payload.address == address)),
            Assert(implies(asks != 0, in_bounds)),
            Assert(implies(request.valid, inside.signal("room") >= burst)),
            Assert(implies(request.valid, inside.signal("burst") == Mux(whole, BURST_BEATS, rest))),
            Assert(implies(request.valid & ~stop, inside.signal("one_burst") == (bursts == 1))),
            Assert(implies(request.valid, (burst <= asks) & (burst <= BURST_BEATS) & (burst != 0))),
            Assert(inside.signal("any_left") == (asks != 0)),
            Assert(implies(taken, (asks == 0) & (state == TAKE) & may_be_read & ~inside.signal("pending_full"))),
            Assert(implies(state >= 2, checked_end == checked[:32] + (checked[32:64] << shift))),
            Assert(implies(state >= TAKE, inside.signal("outside") != may_be_read)),
            Assert(implies(fetch.bad, ~may_be_read)),
            Assert(implies(state == TAKE - 1, inside.signal("fours_1") == fours)),
            Assert(implies(state == TAKE - 1, inside.signal("low_one_1") == (checked[32:36] == 1))),
            Assert(implies(state >= TAKE, inside.signal("any_beats") == (checked[32:64] != 0))),
            Assert(implies(state >= TAKE, inside.signal("one_beat") == (checked[32:64] == 1))),
            Assert(implies(state != 0, checked[64:67] < len(Consumer))),
            Assert(state <= 4),
        ]

        # Segments that are not yet delivered, and how many beats are: those asked for and not used, or to be asked.
        queue = Fifo(m, inside, "segments", SEGMENTS, buffered=False)
        expected, serves = inside.signal("expected"), inside.signal("serves")
        consumer = Signal(range(len(Consumer)))
        starts = Signal()
        m.d.comb += [
            starts.eq(queue.valid & (stop | (expected == 0))),
            queue.push.eq(taken & inside.signal("any_beats")),
            queue.pop.eq(starts),
            consumer.eq(Cat(serves[1] | serves[3] | serves[5], serves[2] | serves[3], serves[4] | serves[5])),
            Assert(serves == Mux(expected == 0, 0, 1 << consumer)),
            Assert(inside.signal("serving") == (expected != 0)),
            Assert(implies(inside.signal("may_leave") & (expected == 0), stopped & stop)),
            Assert(inside.signal("pending") == queue.level),
            Assert(inside.signal("pending_full") == (queue.level == SEGMENTS)),
            Assert(implies(expected != 0, inside.signal("last") == (expected == 1))),
        ]
        queue.every(
            lambda entry: (
                (entry[OWNER] < len(Consumer)) & ((entry[BEATS] != 0) & (entry[ONE_BEAT] == (entry[BEATS] == 1)))
            )
        )
        entries = [queue.entry(i) for i in range(SEGMENTS)]
        behind: list[Value] = [Value.cast(expected)]  # beats of the current segment, and of so many behind it
        for there, entry in entries:
            behind.append(behind[-1] + Mux(there, entry[BEATS], 0))
        last = Signal(BEATS_BITS + 1)  # beats of the last one taken that are not delivered
        m.d.comb += last.eq(expected)
        for there, entry in entries:
            with m.If(there):
                m.d.comb += last.eq(entry[BEATS])
        m.d.comb += [
            Assert(implies(~stop, behind[-1] == on_their_way + asks)),
            Assert(implies(~stop, asks <= last)),
        ]

        # One beat.
        follows, came, queued = Signal(), Signal(), Signal()
        ahead = Signal.like(on_their_way)
        place = Signal(range(SEGMENTS + 1))  # of its segment in the queue
        owner = Signal(len(consumer))
        value = Signal(8 * self.PORT_BYTES)
        goes, leaves, pushed = Signal(), Signal(), Signal()  # out of the FIFO, and the two cycles after it
        m.d.comb += goes.eq(follows & used & (ahead == 0))
        m.d.sync += [leaves.eq(goes & ~stop), pushed.eq(leaves & ~stop)]
        with m.If(follows):
            m.d.sync += ahead.eq(ahead - used)
            with m.If(goes):
                m.d.sync += follows.eq(0)
            with m.If(comes & (ahead == here)):
                m.d.sync += [came.eq(1), value.eq(self.data.payload)]
            with m.If(starts):
                m.d.sync += [place.eq(place - 1), queued.eq(queued & (place != 0))]
        with m.Elif(asked & self.mark & ~leaves & ~pushed):
            m.d.comb += Assume(self.offset < burst)
            m.d.sync += [
                follows.eq(1),
                came.eq(0),
                ahead.eq(on_their_way + self.offset - used),
                queued.eq(queue.level > starts),
                place.eq(queue.level - 1 - starts),
                owner.eq(consumer),
            ]
            for there, entry in entries:
                with m.If(there):
                    m.d.sync += owner.eq(entry[OWNER])
        with m.If(stop):
            m.d.sync += follows.eq(0)
        dropped = Signal()  # a stop had beats to wait for
        with m.If(stop & (due == 2)):
            m.d.sync += dropped.eq(1)
        stored = inside.word("storage.part_0", (consume + ahead)[: len(consume)])
        owned, owning = queue.entry(place)
        of_owner = Signal(BEATS_BITS + 3)  # beats up to the end of its segment
        before_owner = Signal(BEATS_BITS + 3)
        m.d.comb += [of_owner.eq(expected), before_owner.eq(0)]
        for i in range(SEGMENTS):
            with m.If(queued & (place == i)):
                m.d.comb += [of_owner.eq(behind[i + 1]), before_owner.eq(behind[i])]
        on = follows & ~stop
        m.d.comb += [
            Assert(implies(on, ahead < on_their_way)),
            Assert(implies(on, came == (ahead < here))),
            Assert(implies(on & came & (ahead < level), stored == value)),
            Assert(implies(on & came & (ahead == level), came_beat == value)),
            Assert(implies(leaves, inside.read("storage.part_0") == value)),
            Assert(implies(leaves, inside.signal("leaves") == 1 << owner)),
            Assert(implies(on & queued, owned & (owning[OWNER] == owner))),
            Assert(implies(on & ~queued, consumer == owner)),
            Assert(implies(on, (ahead >= before_owner) & (ahead < of_owner))),
            Cover(pushed & (value == 0x1234) & (owner == 3)),
            Cover(dropped & stopped & ~stop),
        ]
        given = Cat(one.valid for one in consumers)
        room_1 = past(m, self.room, "room")
        before = past(m, room_1, "room_1")
        m.d.comb += [
            Assert(implies(inside.signal("may_leave") & (expected != 0), (serves & room_1).any())),
            Assert(follows + leaves + pushed <= 1),
            Assert(implies(pushed, given == 1 << owner)),
            Assert(implies(inside.signal("leaves") != 0, (inside.signal("leaves") & before).any())),
            Assert(implies(given != 0, (given & past(m, before, "room_2")).any())),
        ]
        for i, one in enumerate(consumers):
            m.d.comb += [
                Assert(implies(pushed & (owner == i), one.payload == value)),
                Assert(implies(given[i], given == 1 << i)),
                Assert(implies(inside.signal("leaves")[i], inside.signal("leaves") == 1 << i)),
            ]
        return m


BREAKS = [
    ("Mux(whole, room >= BURST_BEATS, room >= rest)", "Mux(whole, 1, room >= rest)", 20),
    ("burst.eq(Mux(whole, BURST_BEATS, rest))", "burst.eq(Mux(whole, BURST_BEATS - 1, rest))", 20),
]


def small(*slips: tuple[str, str]) -> ModuleType:
    return changed(rtl.sta.control.fetch, *SMALL, *slips)


def test_every_beat_goes_to_its_consumer(tmp_path: Path) -> None:
    assert prove(Delivery(small()), tmp_path, depth=1)
    assert prove(Delivery(small()), tmp_path, mode="cover", depth=18, engine=Z3_STEPS)


@pytest.mark.parametrize(("old", "new", "depth"), BREAKS)
def test_notices(old: str, new: str, depth: int, tmp_path: Path) -> None:
    assert not prove(Delivery(small((old, new))), tmp_path, mode="bmc", depth=depth)
