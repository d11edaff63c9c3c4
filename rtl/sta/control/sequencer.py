"""The sequencer: executes a program's instructions one at a time and prepares the next one meanwhile."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.states import States
from rtl.lib.timing import align, registered, relay
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import Segment
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.control.intake import Intake
from rtl.sta.control.status import Status
from rtl.sta.isa import BYTES
from rtl.sta.latencies import reset_cycles
from rtl.sta.legality import Cause
from rtl.sta.params import StaConfig


class Current(NamedTuple):
    """What is going on: registers, all 0 after an abort."""

    executing: Signal  # an instruction
    gathering: Signal  # a GATHER
    storing: Signal  # a STORE
    prepared: Signal  # the column loader has the upcoming instruction


class Sequencer(wiring.Component):
    """Runs a program from the start to its END, or to the first error.

    Up to three instructions are in flight: one executes; `upcoming` is legal, its data is requested and, where that is
    packed weights or parameters, the column loader works on it; a third one is fetched and checked. `execute` comes two
    cycles after the instruction before has finished, if the upcoming one is ready.

    It is deadlock-free. Whatever is first in the fetch is taken by a consumer that waits for nothing behind it: an
    instruction by a register that was free when it was requested; data of the current instruction by its unit. Data
    of the upcoming one may wait there until it executes or the column loader takes it, since the current one needs
    nothing from memory that was requested later. Only GATHER requests data while it executes: nothing is requested
    behind its ids until it has finished. What LOAD and GATHER read is not requested while a STORE writes.

    An instruction that is illegal or reads outside its memory has no effect, and is reported when all before it have
    finished. Rows of a GATHER outside memory, column tiles of a PRODUCT from planes, and errors of the memory, are
    reported at once. Then the fetch is stopped, its outstanding beats are dropped (a STORE runs to its end, so that
    every burst gets its beats), `abort` resets the units, and the machine is idle with `error`, until `clear`. A clear
    while it runs ends the same way without an error. An error of the memory also turns `done` into `error`.

    Members
    -------
    start : pulse, taken when neither busy nor in error, in
    program : byte address of the first instruction, in; limit : bytes of memory, in; both steady while busy
    clear : pulse, in
    segment : to `fetch.FetchUnit`, out; instruction_beats : its `instruction`, in
    stop : to the fetch, which has it a cycle later, out; fetch_idle, bad, bad_address : from it, in
    fault, fault_address : the memory reported an error, in; its beats come all the same
    upcoming : the next instruction, defined in the cycles of `prepare` and `begins`; in that of `execute` the one that
        has just begun, out
    prepare : pulse: the column loader starts on `upcoming`, a PRODUCT from MEMORY or a NORM, out
    loader_idle : the column loader may be started; low from the cycle after its start, in
    begins : pulse: `upcoming` executes from the next cycle on, out
    execute : pulse, a cycle after begins, out
    finished : pulse, in the cycle of `execute` at the earliest, in
    fill : the column loader starts on `upcoming`: in the cycle of prepare, or of the execute of KEYS or VALUES, out
    abort : resets all units but the fetch, one after another (`latencies.reset_cycles`), out
    status : `Status`, out
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
                "fill": Out(1),
                "abort": Out(1),
                "status": Out(Status()),
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
        m.d.comb += [
            intake.begin.eq(states["run"]),
            intake.program.eq(self.program),
            intake.limit.eq(self.limit),
            self.upcoming.eq(intake.upcoming),
            self.status.busy.eq(~states["idle"]),
        ]
        current = self._execute(m, states["run"], intake)
        bad, illegal = self._errors(m, states, intake, current)
        cleared = Signal()  # while it ran
        self._run(m, states, intake, current, bad=bad, illegal=illegal, stopped=stopped, cleared=cleared)
        self._stop(m, states, current, stopped=stopped, cleared=cleared)
        return m

    def _execute(self, m: Module, runs: Signal, intake: Intake) -> Current:
        """Begin an instruction when the one before has finished, and prepare the one behind it."""
        current = Current(*(Signal(name=name) for name in Current._fields))
        executing, prepared = current.executing, current.prepared
        prepares = Signal()
        ends = relay(m, self.finished, name="ends", reset=True)  # it comes from all units
        m.d.comb += [
            # The column loader gets the upcoming instruction as soon as it is idle.
            prepares.eq(
                runs
                & (intake.waiting & intake.ready & intake.packed & ~prepared)
                & (self.loader_idle & ~self.execute & ~self.prepare)
            ),
            self.begins.eq(
                runs
                & (intake.waiting & intake.ready)
                & (~executing | ends)
                & (prepared | ~intake.packed)
                & (self.loader_idle | ~intake.copies)
            ),
            self.prepare.eq(registered(m, prepares, name="prepare", reset=True)),
            self.execute.eq(align(m, self.begins, 1, name="execute", reset=True)),
            self.fill.eq(registered(m, prepares | (self.begins & intake.copies), name="fill", reset=True)),
            intake.taken.eq(self.begins),
            intake.gathering.eq(current.gathering),
            intake.storing.eq(current.storing),
            self.status.execute.eq(self.execute),
            self.status.finished.eq(self.finished & executing),
        ]
        with m.If(prepares):
            m.d.sync += prepared.eq(1)
        with m.If(executing & ends):
            m.d.sync += [executing.eq(0), current.gathering.eq(0), current.storing.eq(0)]
            m.d.sync += self.status.pc.eq(self.status.pc + BYTES)
        with m.If(self.begins):
            m.d.sync += [executing.eq(1), prepared.eq(0)]
            m.d.sync += [current.gathering.eq(intake.gathers), current.storing.eq(intake.stores)]
        return current

    def _errors(self, m: Module, states: States, intake: Intake, current: Current) -> tuple[Signal, Signal]:
        """When all before it are finished: the upcoming instruction reads outside its memory, or is illegal.

        Holds the address of what is wrong.
        """
        bad = Signal(name="bad_access")
        illegal = Signal()
        m.d.comb += [
            bad.eq(self.bad & (~current.executing | current.gathering | intake.in_planes)),
            illegal.eq(intake.illegal & ~current.executing),
        ]
        stops = states["run"] & (self.fault | bad | illegal)
        with m.If(
            stops | (states["end"] & self.fault) | (states["idle"] & ~self.clear & self.status.done & self.fault)
        ):
            m.d.sync += self.status.cause_address.eq(
                Mux(self.fault, self.fault_address, Mux(bad, self.bad_address, intake.illegal_address))
            )
        return bad, illegal

    def _run(
        self,
        m: Module,
        states: States,
        intake: Intake,
        current: Current,
        *,
        bad: Signal,
        illegal: Signal,
        stopped: Signal,
        cleared: Signal,
    ) -> None:
        """States from a start to the end of the program, or to what stops it."""
        with m.If(states["idle"]):
            with m.If(self.clear):
                m.d.sync += [self.status.done.eq(0), self.status.error.eq(0), self.status.cause.eq(Cause.NONE)]
            with m.Elif(self.status.done & self.fault):  # the last writes' answers may come late
                m.d.sync += [self.status.done.eq(0), self.status.error.eq(1), self.status.cause.eq(Cause.BUS)]
            with m.Elif(self.start & ~self.status.error):
                m.d.sync += [self.status.done.eq(0), self.status.pc.eq(self.program)]
                states.move("idle", "run")
        with m.If(states["run"]):
            with m.If(self.fault | bad | illegal | self.clear):
                m.d.sync += self.status.cause.eq(Mux(self.fault, Cause.BUS, Mux(bad, Cause.ADDRESS, intake.cause)))
                m.d.sync += stopped.eq(1)
                states.move("run", "stop")
            with m.Elif(intake.ended & ~current.executing):
                m.d.sync += stopped.eq(1)
                states.move("run", "end")
            with m.If(self.clear):
                m.d.sync += [self.status.cause.eq(Cause.NONE), cleared.eq(1)]
        with m.If(states["end"]):
            m.d.sync += stopped.eq(0)
            with m.If(self.fault):
                m.d.sync += [self.status.error.eq(1), self.status.cause.eq(Cause.BUS)]
            with m.Elif(~self.clear):
                m.d.sync += self.status.done.eq(1)
            states.move("end", "idle")

    def _stop(self, m: Module, states: States, current: Current, *, stopped: Signal, cleared: Signal) -> None:
        """States from an error, or a clear: the fetch comes to rest, then the units are reset."""
        resets = reset_cycles(self._config)
        left = Signal(range(2 * resets))  # cycles, of `abort` and behind it
        last_left = Signal()  # left == 0
        m.d.comb += self.stop.eq(registered(m, states["stop"] | states["abort"], name="stop", reset=True))
        stopped_fetch = align(m, self.stop, 1, name="stopped_fetch", reset=True)  # which has it a cycle later
        rests = registered(m, stopped_fetch & self.fetch_idle, name="rests", reset=True)
        with m.If(states["stop"]):
            m.d.sync += self.status.done.eq(0)
            with m.If(self.clear):
                m.d.sync += [self.status.cause.eq(Cause.NONE), cleared.eq(1)]
            m.d.sync += left.eq(2 * resets - 1)
            with m.If(rests & ~current.storing):
                states.move("stop", "abort")
        with m.If(states["abort"]):  # long enough that all units are in reset at once, and then none
            m.d.comb += self.abort.eq(left >= resets)
            with m.If(self.clear):
                m.d.sync += [self.status.cause.eq(Cause.NONE), cleared.eq(1)]
            m.d.sync += [left.eq(left - 1), last_left.eq(left == 1)]
            with m.If(last_left):
                m.d.sync += [*(flag.eq(0) for flag in current), stopped.eq(0), cleared.eq(0)]
                m.d.sync += self.status.error.eq(~cleared & ~self.clear)
                states.move("abort", "idle")
