"""From any instruction bytes the sequencer is idle again, within a bound: engines, fetch and memory are models.

Each model answers in any number of cycles from 1 to ANSWER, and says anything that it may say. The checker is such a
model too, so whatever the bytes are, and whatever is thought of them, is included.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

import rtl.sta.control.intake
import rtl.sta.control.legality_checker
import rtl.sta.control.sequencer
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import Consumer
from rtl.sta.control.legality_checker import LegalityChecker
from rtl.sta.isa import BYTES, FIELDS, Op
from rtl.sta.latencies import reset_cycles
from rtl.sta.legality import CAUSE_BITS, Cause
from rtl.sta.params import StaConfig
from tests.formal.proof import Z3_STEPS, Change, Inside, changed, constant, held, implies, past, prove

pytestmark = pytest.mark.formal

CONFIG = StaConfig(n=1, m=2, rows=2, cols=2, drain=1, port_bytes=64, max_tokens=4, max_k=4, hidden=2, store_words=64)
ANSWER = 4
COLUMN_TILES = 2  # of a product from planes, at most: its segments come while the instruction behind it is checked


def cycles(answer: int, latency: int) -> int:
    """From the start to the first instruction's execution, or from one's to the next one's, or to the end, at most."""
    return 4 * answer + latency + 12


def stop_cycles(answer: int) -> int:
    """From a reason to stop to idle, at most: the fetch comes to rest, and meanwhile a STORE to its end."""
    return answer + 4 + 2 * reset_cycles(CONFIG)


STATES = ("idle", "run", "stop", "end", "abort")
IDLE, RUN, STOPPING, ENDING, ABORT = range(len(STATES))
STAGES = ("off", "add", "address", "ask", "data", "receive", "checked", "check")
OFF, ADD, ADDRESS, ASK, DATA, RECEIVE, CHECKED, CHECK = range(len(STAGES))


def which(m: Module, bits: Sequence[Value], name: str) -> Signal:
    """The number of the bit that is set: there is one."""
    number = Signal(range(len(bits)), name=name)
    m.d.comb += [
        number.eq(sum((Mux(bit, i, 0) for i, bit in enumerate(bits)), Const(0))),
        Assert(Cat(bits) == 1 << number),
    ]
    return number


def longest(one: ValueLike, other: ValueLike) -> Value:
    return Mux(one > other, one, other)


class Verdict(wiring.Component):
    """In place of `LegalityChecker`: any cause, after 1 … LATENCY cycles."""

    start: In(1)
    code: In(8 * BYTES)
    limit: In(ADDRESS_BITS)
    done: Out(1)
    cause: Out(CAUSE_BITS)
    any_done: In(1)
    any_cause: In(CAUSE_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.done.eq(self.any_done), self.cause.eq(self.any_cause)]
        return m


class Service:
    """Something that is asked for and answers in 1 … `most` cycles.

    Members
    -------
    left : cycles in which it must answer, at most
    """

    def __init__(self, m: Module, name: str, asked: Value, answer: Value, most: int) -> None:
        waited = Signal(range(most), name=f"{name}_waited")
        self.left = Signal(range(most + 1), name=f"{name}_left")
        with m.If(asked & ~answer):
            m.d.sync += waited.eq(waited + 1)
        with m.Else():
            m.d.sync += waited.eq(0)
        m.d.comb += [
            self.left.eq(Mux(asked, most - waited, 0)),
            Assume(implies(asked & (waited == most - 1), answer)),
            Assert(waited < most),
            Assert(implies(waited != 0, past(m, asked & ~answer, f"{name}_waits"))),
        ]


class Runs(wiring.Component):
    """Any program: it ends at the latest where its memory ends.

    Parameters
    ----------
    answer, latency : of the models, and of the checker's
    sequencer, intake : changes of their text
    """

    def __init__(
        self,
        answer: int = ANSWER,
        latency: int = LegalityChecker.LATENCY,
        *,
        sequencer: Sequence[Change] = (),
        intake: Sequence[Change] = (),
    ) -> None:
        self._answer, self._latency = answer, latency
        self._verdict = Verdict()
        with_verdict = changed(rtl.sta.control.intake, *intake)
        with_verdict.__dict__["LegalityChecker"] = lambda config: self._verdict
        self._module = changed(rtl.sta.control.sequencer, *sequencer)
        self._module.__dict__["Intake"] = with_verdict.__dict__["Intake"]
        free = ("start", "clear", "fault", "finished", "segment_taken", "bad", "fetch_idle", "loaded", "checked")
        super().__init__(
            {
                **{name: In(1) for name in free},
                "program": In(ADDRESS_BITS),
                "limit": In(ADDRESS_BITS),
                "cause": In(CAUSE_BITS),
                "beats": In(stream.Signature(8 * CONFIG.port_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most, latency = self._answer, self._latency
        sequencer = self._module.Sequencer(CONFIG)
        inside = Inside(m, "sequencer", sequencer)
        segment = sequencer.segment
        state = which(m, [inside.signal(f"in_{name}") for name in STATES], "state")
        stage = which(m, [inside.signal(f"intake.in_{name}") for name in STAGES], "stage")
        waiting, ready, packed = (inside.signal(f"intake.{name}") for name in ("waiting", "ready", "packed"))
        outside = inside.signal("intake.outside")
        part = inside.signal("intake.part")
        received = part[1]
        m.d.comb += Assert((part == 1) | (part == 2))
        reads, asks = inside.signal("intake.reads"), inside.signal("intake.asks")
        planes = {
            name: inside.signal(f"intake.plane_segments.{name}")
            for name in ("running", "at_planes", "last", "channels_left", "of_current")
        }
        upcoming = sequencer.upcoming
        executing, storing = inside.signal("executing"), inside.signal("storing")
        ends = inside.signal("ends_1")
        goes = inside.signal("taken")
        connect(m, flipped(self.beats), sequencer.instruction_beats)
        m.d.comb += [
            *(getattr(sequencer, name).eq(getattr(self, name)) for name in ("start", "clear", "fault", "finished")),
            *(getattr(sequencer, name).eq(getattr(self, name)) for name in ("bad", "fetch_idle", "program", "limit")),
            segment.ready.eq(self.segment_taken),
            self._verdict.any_done.eq(self.checked),
            self._verdict.any_cause.eq(self.cause),
            Assume(constant(m, self.program, "program")),
            Assume(constant(m, self.limit, "limit")),
            Assume(implies(inside.signal("intake.planes"), upcoming.channels <= COLUMN_TILES * CONFIG.cols)),
        ]

        # The models: engines, column loader, fetch, checker.
        loading, owed = Signal(), Signal()
        stopped = inside.signal("stopped")
        stops = inside.signal("stopped_fetch_1")  # what the fetch has
        dropped = past(m, stops, "dropped")  # its beats
        rests = inside.signal("rests_1")
        gathering = inside.signal("gathering")
        checking = stage == CHECK
        loads = planes["running"] & planes["of_current"]  # what executes waits for its column tiles
        works = executing & ~ends & ~loads
        engine = Service(m, "engine", works & ((state == RUN) | storing), self.finished, most)
        loader = Service(m, "loader", loading & (state == RUN), self.loaded, most)
        fetch = Service(m, "fetch", segment.valid & ~self.bad, self.segment_taken, most)
        memory = Service(m, "memory", owed & ~stopped, self.beats.valid, most)
        stopping = Service(m, "stopping", (state == STOPPING) & stops, self.fetch_idle, most)
        checker = Service(m, "checker", checking, self.checked, latency)
        m.d.comb += [
            sequencer.loader_idle.eq(~loading),
            Assume(implies(self.finished, works)),
            Assume(implies(self.segment_taken, segment.valid & ~self.bad)),
            Assume(implies(self.bad, segment.valid | gathering | stopped)),
            Assume(implies(past(m, self.bad & ~sequencer.stop, "was_bad"), self.bad | sequencer.stop)),
            Assume(implies(self.beats.valid, owed)),
            Assume(implies(past(m, stops & self.fetch_idle, "was_idle"), self.fetch_idle | ~stops)),
        ]
        with m.If(sequencer.fill):
            m.d.sync += loading.eq(1)
        with m.Elif(self.loaded | sequencer.abort):
            m.d.sync += loading.eq(0)
        with m.If(dropped):
            m.d.sync += owed.eq(0)
        with m.Elif(self.segment_taken & (segment.payload.consumer == Consumer.INSTRUCTION)):
            m.d.sync += owed.eq(1)
        with m.Elif(self.beats.valid):
            m.d.sync += owed.eq(0)

        # Cycles that are left, at most, until all column tiles of a product from planes are asked for, until nothing
        # executes, and until the column loader is idle.
        last_tile = planes["channels_left"] <= CONFIG.cols
        behind_this = Mux(planes["at_planes"], 0, most) + Mux(last_tile, 0, 2 * (COLUMN_TILES - 1) * most)
        blocked = Mux(planes["running"], fetch.left + behind_this, 0)
        to_finish = Mux(loads, blocked + most, engine.left)
        to_end = Mux(executing, to_finish + 1, 0)
        to_load = Mux(sequencer.fill, most + 1, loader.left)
        # Until the upcoming instruction is checked, if it is not yet passed on.
        ask = most + 1  # to ask for a segment: it is offered a cycle late
        to_ask = Mux(asks, fetch.left, blocked + ask)
        to_receive = Mux(received, 0, memory.left)
        to_check = Signal(range(256))
        check = 1 + latency
        with m.Switch(stage):
            with m.Case(OFF, ADD):
                m.d.comb += to_check.eq(longest(2, blocked) + ask + most + check)
            with m.Case(ADDRESS):
                m.d.comb += to_check.eq(longest(1, blocked) + ask + most + check)
            with m.Case(ASK):
                m.d.comb += to_check.eq(to_ask + most + check)
            with m.Case(DATA):
                m.d.comb += to_check.eq(longest(1, to_receive) + check)
            with m.Case(RECEIVE):
                m.d.comb += to_check.eq(to_receive + check)
            with m.Case(CHECK):
                m.d.comb += to_check.eq(checker.left)
        # Until its data is asked for: a GATHER holds back what is behind it, a STORE its data.
        to_data = Signal(range(256))
        to_ready = Signal(range(256))
        stored = Mux(storing, to_end, 0)
        m.d.comb += [
            to_data.eq(longest(longest(to_check, Mux(gathering, to_end, 0)) + 1 + 2, blocked) + ask),
            to_ready.eq(longest(to_data, stored) + ask),
        ]
        with m.If(waiting):
            with m.Switch(stage):
                with m.Case(ADD):
                    m.d.comb += to_data.eq(longest(2, blocked) + ask)
                with m.Case(ADDRESS):
                    m.d.comb += to_data.eq(longest(1, blocked) + ask)
                with m.Case(ASK):
                    m.d.comb += to_data.eq(to_ask)
                with m.Default():
                    m.d.comb += [to_data.eq(0), to_ready.eq(Mux(reads, stored + to_ask, 1))]
        # Until it goes, or the program ends: they grow fewer each cycle.
        prepared = inside.signal("prepared")
        to_go = Signal(range(512))
        m.d.comb += to_go.eq(longest(longest(to_ready, to_load), to_end) + 1)
        with m.If(self.bad & ~planes["running"]):  # planes of the upcoming product do not hold it back
            m.d.comb += to_go.eq(to_end)
        with m.Elif(inside.signal("intake.ended") | inside.signal("intake.illegal")):
            m.d.comb += to_go.eq(to_end + 1)
        with m.Elif(waiting & ready):
            m.d.comb += to_go.eq(to_finish)
            with m.If(packed & ~prepared):
                m.d.comb += to_go.eq(longest(to_finish, to_load + 1))
            with m.If(inside.signal("intake.copies")):
                m.d.comb += to_go.eq(longest(to_finish, to_load))
        rank = Signal(range(512))
        with m.If(state == RUN):
            m.d.comb += rank.eq(to_go + 1)
        with m.Elif(state == STOPPING):
            looked = Mux(stops, Mux(self.fetch_idle, 1, stopping.left), most + 2 - sequencer.stop)
            to_rest = Mux(rests, 0, looked)
            m.d.comb += rank.eq(longest(to_rest, stored) + 1 + 2 * reset_cycles(CONFIG))
        with m.Elif(state == ENDING):
            m.d.comb += rank.eq(1)
        with m.Elif(state == ABORT):
            m.d.comb += rank.eq(1 + inside.signal("left"))

        # Since the start, the last instruction's execution, or the reason to stop.
        later, since = Signal(range(512)), Signal(range(512))
        was_running = past(m, state == RUN, "was_running")
        was_stopping = past(m, state == ABORT, "was_stopping")
        m.d.comb += since.eq(Mux((state == STOPPING) & was_running, 1, later))
        m.d.sync += later.eq(Mux(state == IDLE, 1, Mux((state == RUN) & goes, 0, since + 1)))
        m.d.comb += [
            Assert(implies((state == RUN) | (state == ENDING), since + rank <= cycles(most, latency))),
            Assert(implies((state == STOPPING) | (state == ABORT), since + rank <= stop_cycles(most))),
            Assert(implies(state == ENDING, ~executing & ~waiting & ~prepared & (stage == CHECKED) & ~owed)),
            Assert(implies(state == IDLE, ~executing)),
            Assert(
                implies(
                    past(m, sequencer.status.busy, "busy") & ~sequencer.status.busy,
                    sequencer.status.done
                    | sequencer.status.error
                    | past(m, inside.signal("cleared") | sequencer.clear, "cleared"),
                )
            ),
            # The column loader starts a cycle after it was seen idle, and is idle still.
            Assert(implies(sequencer.fill, ~loading & past(m, ~loading, "unloading"))),
            Cover((state == IDLE) & sequencer.status.done),
            # The bounds are reached.
            Cover(goes & (since + 1 == cycles(most, latency))),
            Cover((state == IDLE) & was_stopping & (since == stop_cycles(most))),
        ]

        # What an induction has to know.
        opcode = inside.signal("intake.code")[FIELDS["opcode"].low :][: FIELDS["opcode"].bits]
        address, behind, cause = (inside.signal(f"intake.{name}") for name in ("address", "behind", "cause"))
        end = Signal(ADDRESS_BITS + 1)  # of the instructions that executed or execute
        with m.If(state == IDLE):
            m.d.sync += end.eq(self.program)
        with m.Elif(goes):
            m.d.sync += end.eq(end + BYTES)
        here = Signal(ADDRESS_BITS + 1)
        m.d.comb += [
            here.eq(end + Mux(waiting, BYTES, 0)),
            Assert(sequencer.stop | held(m, segment.valid, segment.ready, segment.payload.as_value(), "segment")),
            Assert(implies(state == ABORT, ~storing & ~was_running)),
            Assert(implies(state == ABORT, inside.signal("left") < 2 * reset_cycles(CONFIG))),
            Assert(inside.signal("last_left") == ((state == ABORT) & (inside.signal("left") == 0))),
            Assert((state == IDLE) == ~sequencer.status.busy),
            Assert(stopped == ((state != IDLE) & (state != RUN))),
            Assert(implies(state == RUN, ~sequencer.stop)),
            Assert(implies((state == RUN) & stops, stage == OFF)),
            Assert(implies((state == RUN) & dropped, stage <= ADDRESS)),
            Assert(implies((state == STOPPING) & was_running, ~sequencer.stop & ~stops)),
            Assert(implies((state == STOPPING) & ~was_running & rests, stops & dropped & self.fetch_idle)),
            # A reason to stop in the first cycle of a program right behind a stop: the fetch is still at rest.
            Assert(implies(rests & ((state == RUN) | was_running), dropped & ~owed & (stage <= ADDRESS))),
            Assert(implies(state == ABORT, ~owed & ~segment.valid)),
            Assert(implies(state == ABORT, stops | (inside.signal("left") == 2 * reset_cycles(CONFIG) - 1))),
            Assert(implies(state == ABORT, dropped | (inside.signal("left") >= 2 * reset_cycles(CONFIG) - 2))),
            Assert(implies(((state == STOPPING) & ~was_running) | (state == ABORT), sequencer.stop)),
            Assert(implies(state != RUN, ~goes)),
            Assert(implies(state == IDLE, stage == OFF)),
            Assert(implies(state == RUN, (stage != OFF) == was_running)),
            Assert(implies((state == STOPPING) & ~was_running, stage == OFF)),
            Assert(implies(state == ABORT, stage == OFF)),
            Assert(implies(ready, waiting)),
            Assert(inside.signal("intake.faulty") == (cause != Cause.NONE)),
            Assert(implies(inside.signal("intake.planes"), packed)),
            *(Assert(~(packed & inside.signal(f"intake.{name}"))) for name in ("copies", "gathers", "stores")),
            Assert(implies(waiting, (stage != OFF))),
            Assert(implies(waiting & ~ready, (stage >= ADD) & (stage <= DATA))),
            Assert(implies(waiting & ready, stage >= RECEIVE)),
            Assert(implies(owed & ~stopped, ~outside)),
            Assert(implies((stage == RECEIVE) | (stage == CHECK), ~outside)),
            Assert(implies(asks, inside.signal("intake.offers"))),
            Assert(implies(asks, segment.payload.as_value() == inside.signal("intake.offered"))),
            # Column tiles from planes.
            Assert(~(asks & planes["running"])),
            Assert(implies(planes["running"], (state == RUN) | ((state == STOPPING) & was_running))),
            Assert(implies(loads & (state == RUN), executing & ~ends & ~storing & ~gathering)),
            Assert(implies(planes["running"], planes["channels_left"] <= COLUMN_TILES * CONFIG.cols)),
            Assert(implies(planes["running"] & planes["at_planes"], planes["last"] == last_tile)),
            Assert(implies(planes["running"] & ~planes["of_current"] & (state == RUN), waiting & ready & packed)),
            Assert(implies(planes["running"], (stage >= RECEIVE) | planes["of_current"] | stopped)),
            Assert(implies(sequencer.execute, executing & ~waiting)),
            Assert(implies(gathering, ~waiting)),
            Assert(implies(gathering | storing, executing)),
            Assert(implies(sequencer.prepare, prepared)),
            Assert(sequencer.fill == (sequencer.prepare | (sequencer.execute & inside.signal("intake.copies")))),
            Assert(implies(prepared & (state == RUN), waiting & ready & packed)),
            Assert(implies(state == IDLE, ~prepared)),
            # Instructions lie one behind the other, each within the memory.
            Assert(implies(state == RUN, address == here)),
            Assert(implies((state == RUN) & (stage == OFF), end == self.program)),
            Assert(implies((state == RUN) & (stage >= ADDRESS), behind == address + BYTES)),
            Assert(implies((state == RUN) & (stage >= ASK), outside == (behind > self.limit))),
            Assert(implies((state == RUN) & outside & ((stage == DATA) | (stage == CHECKED)), cause != Cause.NONE)),
            Assert(implies(state == RUN, (here == self.program) | (here <= self.limit))),
            Assert(implies(state != IDLE, (end == self.program) | (end <= self.limit))),
            Assert(implies(owed & ~stopped, (stage == DATA) | (stage == RECEIVE))),
            Assert(implies(owed, ~past(m, dropped, "dropped_1"))),
            Assert(implies(stage == RECEIVE, owed | received)),
            Assert(implies((stage == DATA) & ~outside, owed | received)),
            Assert(implies(owed & ~stopped, ~received)),
            Assert(implies(stage <= ASK, ~received)),
            Assert(implies((stage >= CHECKED) & ~outside, received)),
            Assert(implies((stage >= CHECKED) & received, inside.signal("intake.is_end") == (opcode == Op.END))),
        ]
        return m


BREAKS = [
    (
        "sequencer",
        "with m.If(rests & ~current.storing):",
        "with m.If(rests & current.storing):",
        12,
    ),
]


def test_idle_within_the_bound(tmp_path: Path) -> None:
    assert prove(Runs(), tmp_path, depth=1)
    assert prove(Runs(1, 1), tmp_path, mode="cover", depth=27, engine=Z3_STEPS)


@pytest.mark.parametrize(("where", "old", "new", "depth"), BREAKS)
def test_notices(where: str, old: str, new: str, depth: int, tmp_path: Path) -> None:
    """With models that answer at once, so that a counterexample is short."""
    runs = Runs(1, 1, **{where: [(old, new)]})
    assert not prove(runs, tmp_path, mode="bmc", depth=depth, engine=Z3_STEPS)
