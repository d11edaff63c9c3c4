"""From any instruction bytes the sequencer is idle again, within a bound: engines, fetch and memory are models.

Each model answers in any number of cycles from 1 to ANSWER, and says anything that it may say. The checker is such a
model too, so whatever the bytes are, and whatever is thought of them, is included.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

import rtl.sta.decode
import rtl.sta.intake
import rtl.sta.sequencer
from rtl.port import ADDRESS_BITS
from rtl.sta.decode import CAUSE_BITS, Cause, Checker
from rtl.sta.fetch import Consumer
from rtl.sta.isa import BYTES
from rtl.sta.params import StaConfig
from rtl.sta.timing import reset_cycles

from .proof import Z3_STEPS, Change, Inside, changed, constant, held, implies, past, prove

pytestmark = pytest.mark.formal

CONFIG = StaConfig(n=1, m=2, rows=2, cols=2, drain=1, port_bytes=64, max_tokens=4, max_k=4, hidden=2, store_words=64)
ANSWER = 4


def cycles(answer: int, latency: int) -> int:
    """From the start to the first instruction's execution, or from one's to the next one's, or to the end, at most."""
    return 5 * answer + latency + 12


def stop_cycles(answer: int) -> int:
    """From a reason to stop to idle, at most: the fetch comes to rest, and a STORE to its end."""
    return 2 * answer + 4 + 2 * reset_cycles(CONFIG)


NAMED = ("executing, prepared = Signal(), Signal()", "executing = Signal()\n        prepared = Signal()")  # to be seen

# States, in the order in which they are named.
IDLE, RUN, STOPPING, ENDING, ABORT = range(5)
OFF, ADD, ADDRESS, ASK, DATA, RECEIVE, CHECKED, CHECK = range(8)


class Verdict(wiring.Component):
    """In place of `decode.Checker`: any cause, after 1 … Checker.LATENCY cycles."""

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
        latency: int = Checker.LATENCY,
        *,
        sequencer: Sequence[Change] = (),
        intake: Sequence[Change] = (),
    ) -> None:
        self._answer, self._latency = answer, latency
        self._verdict = Verdict()
        with_verdict = changed(rtl.sta.intake, *intake)
        with_verdict.__dict__["Checker"] = lambda config: self._verdict
        self._module = changed(rtl.sta.sequencer, NAMED, *sequencer)
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
        state = inside.signal("fsm_state")
        stage, waiting, ready, packed = (
            inside.signal(f"intake.{name}") for name in ("fsm_state", "waiting", "ready", "packed")
        )
        outside = inside.signal("intake.outside")
        part = inside.signal("intake.part")
        received = part[1]
        m.d.comb += Assert((part == 1) | (part == 2))
        reads = inside.signal("intake.reads")
        executing, storing = sequencer.executing, inside.signal("storing")
        ends = inside.signal("ends")
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
        ]

        # The models: engines, column loader, fetch, checker.
        loading, owed = Signal(), Signal()
        stopped = inside.signal("stopped")
        checking = stage == CHECK
        engine = Service(m, "engine", executing & ~ends & ((state == RUN) | storing), self.finished, most)
        loader = Service(m, "loader", loading & (state == RUN), self.loaded, most)
        fetch = Service(m, "fetch", segment.valid & ~self.bad, self.segment_taken, most)
        memory = Service(m, "memory", owed, self.beats.valid, most)
        stopping = Service(m, "stopping", (state == STOPPING) & sequencer.stop, self.fetch_idle, most)
        checker = Service(m, "checker", checking, self.checked, latency)
        m.d.comb += [
            sequencer.loader_idle.eq(~loading),
            Assume(implies(self.finished, executing & ~ends)),
            Assume(implies(self.segment_taken, segment.valid & ~self.bad)),
            Assume(implies(self.bad, segment.valid)),
            Assume(implies(past(m, self.bad & ~sequencer.stop, "was_bad"), self.bad | sequencer.stop)),
            Assume(implies(self.beats.valid, owed)),
            Assume(implies(past(m, sequencer.stop & self.fetch_idle, "was_idle"), self.fetch_idle | ~sequencer.stop)),
        ]
        with m.If(sequencer.load):
            m.d.sync += loading.eq(1)
        with m.Elif(self.loaded | sequencer.abort):
            m.d.sync += loading.eq(0)
        with m.If(sequencer.stop):
            m.d.sync += owed.eq(0)
        with m.Elif(self.segment_taken & (segment.payload.consumer == Consumer.INSTRUCTION)):
            m.d.sync += owed.eq(1)
        with m.Elif(self.beats.valid):
            m.d.sync += owed.eq(0)

        # Cycles that are left until the upcoming instruction executes or the program ends: they grow fewer each cycle.
        busy_loader = Mux(sequencer.load, most + 1, loader.left)
        to_execute = Signal(range(64))
        prepared = inside.signal("prepared")
        packs = packed & ~prepared
        m.d.comb += to_execute.eq(packs + 1)
        with m.If(packs | inside.signal("intake.copies")):
            m.d.comb += to_execute.eq(packs + 1 + busy_loader)
        longest_to_execute = most + 1 + 2
        to_receive = Mux(received, 1, Mux(owed, memory.left, most) + 1)
        to_ask = Mux(self.bad, 1, Mux(segment.valid, fetch.left, most))
        own_data = waiting & reads
        from_data = Signal(range(128))  # through the states behind DATA, to CHECKED, and on
        after_checked = 1 + 1 + 1 + most + most + longest_to_execute  # CHECKED, then ADD … DATA of the next
        left = Signal(range(256))
        m.d.comb += from_data.eq(to_receive + latency + after_checked)
        with m.If(waiting & ready):
            m.d.comb += left.eq(to_execute)
        with m.Elif(waiting):
            with m.Switch(stage):
                with m.Case(ADD):
                    m.d.comb += left.eq(2 + 2 * most + longest_to_execute)
                with m.Case(ADDRESS):
                    m.d.comb += left.eq(1 + 2 * most + longest_to_execute)
                with m.Case(ASK):
                    m.d.comb += left.eq(to_ask + most + longest_to_execute)
                with m.Case(DATA):
                    m.d.comb += left.eq(Mux(own_data, to_ask, 1) + longest_to_execute)
        with m.Else():
            with m.Switch(stage):
                with m.Case(OFF):
                    m.d.comb += left.eq(0)
                with m.Case(ADD):
                    m.d.comb += left.eq(2 + most + 1 + most + 1 + latency + after_checked)
                with m.Case(ADDRESS):
                    m.d.comb += left.eq(1 + most + 1 + most + 1 + latency + after_checked)
                with m.Case(ASK):
                    m.d.comb += left.eq(to_ask + 1 + most + 1 + latency + after_checked)
                with m.Case(DATA):
                    m.d.comb += left.eq(1 + from_data)
                with m.Case(RECEIVE):
                    m.d.comb += left.eq(from_data)
                with m.Case(CHECK):
                    m.d.comb += left.eq(checker.left + after_checked)
                with m.Case(CHECKED):
                    m.d.comb += left.eq(after_checked)
        rank = Signal(range(512))
        to_end = Mux(executing, Mux(ends, 1, engine.left + 1), 0)
        with m.If(state == RUN):
            m.d.comb += rank.eq(left + to_end + 1)
        with m.Elif(state == STOPPING):
            fetching = Mux(sequencer.stop, Mux(self.fetch_idle, 0, stopping.left), most + 1)
            m.d.comb += rank.eq(1 + 2 * reset_cycles(CONFIG) + fetching + Mux(storing, to_end, 0))
        with m.Elif(state == ENDING):
            m.d.comb += rank.eq(1)
        with m.Elif(state == ABORT):
            m.d.comb += rank.eq(1 + inside.signal("left"))

        # Since the start, the last instruction's start, or the reason to stop.
        since = Signal(range(512))
        was_running = past(m, state == RUN, "was_running")
        with m.If((state == IDLE) | ((state == RUN) & goes) | was_running & (state == STOPPING)):
            m.d.sync += since.eq(0)
        with m.Else():
            m.d.sync += since.eq(since + 1)
        m.d.comb += [
            Assert(implies((state == RUN) | (state == ENDING), since + rank <= cycles(most, latency))),
            Assert(implies(state == ENDING, ~executing & ~waiting & ~prepared & (stage == CHECKED))),
            Assert(implies((state == STOPPING) & was_running, rank <= stop_cycles(most))),
            Assert(implies(((state == STOPPING) | (state == ABORT)) & ~was_running, since + rank < stop_cycles(most))),
            Assert(implies(state == IDLE, ~executing)),
            Assert(
                implies(
                    past(m, sequencer.busy, "busy") & ~sequencer.busy,
                    sequencer.done | sequencer.error | past(m, inside.signal("cleared") | sequencer.clear, "cleared"),
                )
            ),
            Cover((state == IDLE) & sequencer.done),
        ]

        # What an induction has to know.
        address, behind, cause = (inside.signal(f"intake.{name}") for name in ("address", "behind", "cause"))
        at_work = (state == RUN) & (stage != OFF)
        end = Signal(ADDRESS_BITS + 1)  # of the instructions that executed or execute
        with m.If(state == IDLE):
            m.d.sync += end.eq(self.program)
        with m.Elif(goes):
            m.d.sync += end.eq(end + BYTES)
        here = Signal(ADDRESS_BITS + 1)
        m.d.comb += [
            here.eq(end + Mux(waiting, BYTES, 0)),
            Assert(sequencer.stop | held(m, segment.valid, segment.ready, segment.payload.as_value(), "segment")),
            Assert(state <= ABORT),
            Assert(implies(state == ABORT, ~storing & ~was_running)),
            Assert(inside.signal("left") < 2 * reset_cycles(CONFIG)),
            Assert((state == IDLE) == ~sequencer.busy),
            Assert(stopped == ((state != IDLE) & (state != RUN))),
            Assert(implies(state == RUN, ~sequencer.stop)),
            Assert(implies(((state == STOPPING) & ~was_running) | (state == ABORT), sequencer.stop)),
            Assert(implies(state != RUN, ~goes)),
            Assert(implies(state == IDLE, stage == OFF)),
            Assert(implies(state == RUN, stage != OFF)),
            Assert(implies((state == STOPPING) & ~was_running, stage == OFF)),
            Assert(implies(state == ABORT, stage == OFF)),
            Assert(implies(ready, waiting)),
            Assert(inside.signal("intake.faulty") == (cause != Cause.NONE)),
            Assert(~(packed & inside.signal("intake.copies"))),
            Assert(implies(waiting, (stage != OFF))),
            Assert(implies(waiting & ~ready, (stage >= ADD) & (stage <= DATA))),
            Assert(implies(waiting & ready, stage >= RECEIVE)),
            Assert(implies(owed & ~stopped, ~outside)),
            Assert(implies((stage == ASK) | (stage == RECEIVE) | (stage == CHECK), ~outside)),
            Assert(implies(sequencer.execute, executing)),
            Assert(implies(inside.signal("gathering") | storing, executing)),
            Assert(implies(sequencer.prepare, prepared)),
            Assert(implies(prepared & (state == RUN), waiting & ready & packed)),
            Assert(implies(state == IDLE, ~prepared)),
            # Instructions lie one behind the other, each within the memory.
            Assert(implies(at_work, address == here)),
            Assert(implies(at_work & (stage >= ADDRESS), behind == address + BYTES)),
            Assert(implies(at_work & (stage >= ASK) & ~outside, behind <= self.limit)),
            Assert(implies(at_work & outside & ((stage == DATA) | (stage == CHECKED)), cause != Cause.NONE)),
            Assert(implies(at_work, (here == self.program) | (here <= self.limit))),
            Assert(implies(state != IDLE, (end == self.program) | (end <= self.limit))),
            Assert(implies(owed & ~stopped, (stage == DATA) | (stage == RECEIVE))),
            Assert(implies(owed & stopped, (state == STOPPING) & (was_running | past(m, was_running, "began")))),
            Assert(implies(stage == RECEIVE, owed | received)),
            Assert(implies((stage == DATA) & ~outside, owed | received)),
            Assert(implies(owed & ~stopped, ~received)),
            Assert(implies(stage <= ASK, ~received)),
        ]
        return m


BREAKS = [
    (
        "sequencer",
        "with m.If(self.stop & self.fetch_idle & ~storing):",
        "with m.If(self.stop & self.fetch_idle & storing):",
        12,
    ),
]


def test_idle_within_the_bound(tmp_path: Path) -> None:
    assert prove(Runs(), tmp_path, depth=1)
    assert prove(Runs(1, 1), tmp_path, mode="cover", depth=10, engine=Z3_STEPS)


@pytest.mark.parametrize(("where", "old", "new", "depth"), BREAKS)
def test_notices(where: str, old: str, new: str, depth: int, tmp_path: Path) -> None:
    """With models that answer at once, so that a counterexample is short."""
    runs = Runs(1, 1, **{where: [(old, new)]})
    assert not prove(runs, tmp_path, mode="bmc", depth=depth, engine=Z3_STEPS)
