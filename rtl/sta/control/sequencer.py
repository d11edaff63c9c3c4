"""The sequencer: executes a program's instructions one at a time and prepares the next one meanwhile."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.states import States
from rtl.lib.timing import align, registered
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import Segment
from rtl.sta.control.intake import Intake
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.isa import BYTES
from rtl.sta.latencies import reset_cycles
from rtl.sta.legality import CAUSE_BITS, Cause
from rtl.sta.params import StaConfig


class Sequencer(wiring.Component):
    """Runs a program from the start to its END, or to the first error.

    Up to three instructions are in flight: one executes; `upcoming` is legal, its data is requested and, where that is
    packed weights or parameters, the column loader works on it; a third one is fetched and checked. `execute` comes two
    cycles after the instruction before has finished, if the upcoming one is ready.

    It is deadlock-free. Whatever is first in the fetch is taken by a consumer that waits for nothing behind it: an
    instruction by a register that was free when it was requested; data of the current instruction by its engine. Data
    of the upcoming one may wait there until it executes or the column loader takes it, since the current one needs
    nothing from memory that was requested later. Only GATHER requests data while it executes: nothing is requested
    behind its ids until it has finished. What LOAD and GATHER read is not requested while a STORE writes.

    An instruction that is illegal or reads outside its memory has no effect, and is reported when all before it have
    finished. Rows of a GATHER outside memory, and errors of the memory, are reported at once. Then the fetch is
    stopped, its outstanding beats are dropped (a STORE runs to its end, so that every burst gets its beats), `abort`
    resets the engines, and the machine is idle with `error`, until `clear`. A clear while it runs ends the same way
    without an error. An error of the memory also turns `done` into `error`.

    Members
    -------
    start : pulse, taken when neither busy nor in error, in
    program : byte address of the first instruction, in; limit : bytes of memory, in; both steady while busy
    clear : pulse, in
    segment : to `fetch.FetchUnit`, out; instruction_beats : its `instruction`, in
    stop : to the fetch, which has it a cycle later, out; fetch_idle, bad, bad_address : from it, in
    fault, fault_address : the memory reported an error, in; its beats come all the same
    upcoming : the next instruction, defined in the cycles of `prepare`, `begins` and `execute`, out
    prepare : pulse: the column loader starts on `upcoming`, a PRODUCT from MEMORY or a NORM, out
    loader_idle : the column loader may be started; low from the cycle after its start, in
    begins : pulse: `upcoming` executes from the next cycle on, out
    execute : pulse, a cycle after begins, out
    finished : pulse, in the cycle of `execute` at the earliest, in
    load : the column loader starts on `upcoming`: in the cycle of prepare, or of the execute of KEYS or VALUES, out
    abort : resets all engines but the fetch, one after another (`timing.reset_cycles`), out
    busy, done, error : out
    cause, cause_address : `Cause`, with the instruction's address; of ADDRESS and BUS, that of the memory, out
    place : address of the instruction that executes, or is next, out
    executing : an instruction executes, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        instruction = instruction_layout(config)
        super().__init__(
            {
                "start": In(1),
                "program": In(ADDRESS_BITS),
                "limit": In(ADDRESS_BITS),
                "clear": In(1),
                "segment": Out(stream.Signature(Segment)),
                "instruction_beats": In(stream.Signature(8 * config.port_bytes)),
                "stop": Out(1),
                "fetch_idle": In(1),
                "bad": In(1),
                "bad_address": In(ADDRESS_BITS),
                "fault": In(1),
                "fault_address": In(ADDRESS_BITS),
                "upcoming": Out(instruction),
                "prepare": Out(1),
                "loader_idle": In(1),
                "begins": Out(1),
                "execute": Out(1),
                "finished": In(1),
                "load": Out(1),
                "abort": Out(1),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
                "cause_address": Out(ADDRESS_BITS),
                "place": Out(ADDRESS_BITS),
                "executing": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        states = States(m, "idle", "run", "end", "stop", "abort")
        stopped = Signal()  # in `end`, `stop` and `abort`; registered, since it resets all of the intake
        intake = Intake(self._config)
        m.submodules.intake = ResetInserter(stopped)(intake)
        wiring.connect(m, intake.segment, wiring.flipped(self.segment))
        wiring.connect(m, wiring.flipped(self.instruction_beats), intake.beats)

        executing = Signal()
        prepared = Signal()
        goes = Signal()
        ends = Signal()  # relay of `finished`, which comes from all engines
        gathering = Signal()  # a GATHER executes
        storing = Signal()  # a STORE does
        m.d.sync += ends.eq(self.finished)
        m.d.comb += [
            intake.begin.eq(states["run"]),
            intake.program.eq(self.program),
            intake.limit.eq(self.limit),
            intake.gathering.eq(gathering),
            intake.storing.eq(storing),
            self.upcoming.eq(intake.upcoming),
            self.begins.eq(goes),
            self.executing.eq(executing),
        ]

        # The column loader gets the upcoming instruction as soon as it is idle.
        prepares = Signal()
        m.d.comb += [
            prepares.eq(
                states["run"]
                & (intake.waiting & intake.ready & intake.packed & ~prepared)
                & (self.loader_idle & ~self.execute & ~self.prepare)
            ),
            goes.eq(
                states["run"]
                & (intake.waiting & intake.ready)
                & (~executing | ends)
                & (prepared | ~intake.packed)
                & (self.loader_idle | ~intake.copies)
            ),
            intake.taken.eq(goes),
        ]
        m.d.sync += [self.prepare.eq(prepares), self.execute.eq(goes)]
        m.d.sync += self.load.eq(prepares | (goes & intake.copies))
        with m.If(prepares):
            m.d.sync += prepared.eq(1)
        with m.If(executing & ends):
            m.d.sync += [executing.eq(0), gathering.eq(0), storing.eq(0), self.place.eq(self.place + BYTES)]
        with m.If(goes):
            m.d.sync += [executing.eq(1), prepared.eq(0)]
            m.d.sync += [gathering.eq(intake.gathers), storing.eq(intake.stores)]

        cleared = Signal()  # while it ran
        bad = Signal()  # of an upcoming instruction: when all before it are finished
        wrong = Signal()  # the same
        fails = Signal()
        records = Signal()  # the address of what is wrong
        resets = reset_cycles(self._config)
        left = Signal(range(2 * resets))  # cycles, of `abort` and behind it
        last_left = Signal()  # left == 0
        stopped_fetch = align(m, self.stop, 1, name="stopped_fetch", reset=True)  # which has it a cycle later
        rests = registered(m, stopped_fetch & self.fetch_idle, name="rests", reset=True)
        m.d.sync += self.stop.eq(states["stop"] | states["abort"])
        m.d.comb += [
            self.busy.eq(~states["idle"]),
            bad.eq(self.bad & (~executing | gathering)),
            wrong.eq(intake.wrong & ~executing),
            fails.eq(self.fault | bad | wrong | self.clear),
        ]
        with m.If(records):
            m.d.sync += self.cause_address.eq(
                Mux(self.fault, self.fault_address, Mux(bad, self.bad_address, intake.wrong_address))
            )
        with m.If(states["idle"]):
            with m.If(self.clear):
                m.d.sync += [self.done.eq(0), self.error.eq(0), self.cause.eq(Cause.NONE)]
            with m.Elif(self.done & self.fault):  # the last writes' answers may come late
                m.d.comb += records.eq(1)
                m.d.sync += [self.done.eq(0), self.error.eq(1), self.cause.eq(Cause.BUS)]
            with m.Elif(self.start & ~self.error):
                m.d.sync += [self.done.eq(0), self.place.eq(self.program)]
                states.move("idle", "run")
        with m.If(states["run"]):
            m.d.comb += records.eq(self.fault | bad | wrong)
            with m.If(fails):
                m.d.sync += self.cause.eq(Mux(self.fault, Cause.BUS, Mux(bad, Cause.ADDRESS, intake.cause)))
                m.d.sync += stopped.eq(1)
                states.move("run", "stop")
            with m.Elif(intake.ended & ~executing):
                m.d.sync += stopped.eq(1)
                states.move("run", "end")
            with m.If(self.clear):
                m.d.sync += [self.cause.eq(Cause.NONE), cleared.eq(1)]
        with m.If(states["end"]):
            m.d.sync += stopped.eq(0)
            with m.If(self.fault):
                m.d.comb += records.eq(1)
                m.d.sync += [self.error.eq(1), self.cause.eq(Cause.BUS)]
            with m.Elif(~self.clear):
                m.d.sync += self.done.eq(1)
            states.move("end", "idle")
        with m.If(states["stop"]):
            m.d.sync += self.done.eq(0)
            with m.If(self.clear):
                m.d.sync += [self.cause.eq(Cause.NONE), cleared.eq(1)]
            m.d.sync += left.eq(2 * resets - 1)
            with m.If(rests & ~storing):
                states.move("stop", "abort")
        with m.If(states["abort"]):  # long enough that all engines are in reset at once, and then none
            m.d.comb += self.abort.eq(left >= resets)
            with m.If(self.clear):
                m.d.sync += [self.cause.eq(Cause.NONE), cleared.eq(1)]
            m.d.sync += [left.eq(left - 1), last_left.eq(left == 1)]
            with m.If(last_left):
                m.d.sync += stopped.eq(0)
                m.d.sync += [executing.eq(0), gathering.eq(0), storing.eq(0), prepared.eq(0), cleared.eq(0)]
                m.d.sync += self.error.eq(~cleared & ~self.clear)
                states.move("abort", "idle")
        return m
