"""The control registers of STA, and its counters."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.port import ControlPort
from rtl.lib.timing import registered
from rtl.params import ADDRESS_BITS, VERSION
from rtl.sta.legality import CAUSE_BITS
from rtl.sta.params import StaConfig

# Byte offset of each control register, and what it holds.
REGISTERS: dict[str, tuple[int, str]] = {
    "id": (0x00, "read: identification of version and configuration"),
    "version": (0x04, "read: major · 65536 + minor · 256 + patch"),
    "control": (0x08, "write bit 0: start; bit 1: clear, which also ends a program that runs"),
    "status": (0x0C, "read: bit 0 busy; bit 1 done; bit 2 error, nothing starts until a clear"),
    "cause": (0x10, "read: why it stopped, `Cause`"),
    "cause_address": (0x14, "read: of an illegal instruction its address; of a bad access or bus error, the memory's"),
    "place": (0x18, "read: address of the instruction that executes; after an error, of the first not finished"),
    "program": (0x1C, "byte address of the program"),
    "limit": (0x20, "bytes of memory that the program may use: [0, limit)"),
    "interrupt": (0x24, "the interrupt is up when: bit 0 done; bit 1 error"),
    "cycles": (0x28, "read: cycles from the start write to done or error"),
    "steps": (0x2C, "read: of these, cycles in which the array takes a step"),
    "waits_memory": (0x30, "read: cycles in which it waits for memory"),
    "waits_drain": (0x34, "read: cycles in which it waits for results to drain"),
    "watch": (0x38, "address of an instruction whose cycles are kept"),
    "watch_begin": (0x3C, "read: `cycles` when it began to execute"),
    "watch_end": (0x40, "read: `cycles` when it was finished"),
}
KEPT = ("program", "limit", "interrupt", "watch")  # read back what was written
COUNTER_BITS = 32


def version_number() -> int:
    major, minor, patch = (int(part) for part in VERSION.split("."))
    return major << 16 | minor << 8 | patch


class Registers(wiring.Component):
    """`REGISTERS` in hardware. While a program runs, writes but for a clear are ignored.

    Members
    -------
    control : the control port
    start, clear : in the cycle after the control write, out
    program, limit : steady while busy, out
    busy, done, error, cause, cause_address, place : from the sequencer, in
    execute, finished : the instruction at `place` begins, or finishes, in this cycle, in
    stepping, waits_memory, waits_drain : in this cycle, in; each counts a cycle later
    interrupt : level, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        events = ("busy", "done", "error", "execute", "finished", "stepping", "waits_memory", "waits_drain")
        super().__init__(
            {
                "control": Out(ControlPort()),
                "start": Out(1),
                "clear": Out(1),
                "program": Out(ADDRESS_BITS),
                "limit": Out(ADDRESS_BITS),
                **{name: In(1) for name in events},
                "cause": In(CAUSE_BITS),
                "cause_address": In(ADDRESS_BITS),
                "place": In(ADDRESS_BITS),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        offset = {name: at for name, (at, _) in REGISTERS.items()}
        kept = {name: Signal(2 if name == "interrupt" else ADDRESS_BITS, name=name) for name in KEPT}
        writes_control = Signal()
        starting = Signal()
        clearing = Signal()
        m.d.comb += [
            self.program.eq(kept["program"]),
            self.limit.eq(kept["limit"]),
            writes_control.eq(control.write & (control.address == offset["control"])),
            self.clear.eq(clearing),
            self.start.eq(starting),
        ]
        # What was written in the cycle before counts.
        busy = self.busy | starting
        done = self.done & ~starting & ~clearing
        error = self.error & ~clearing
        m.d.sync += [
            clearing.eq(writes_control & control.write_data[1]),
            starting.eq(writes_control & control.write_data[0] & ~control.write_data[1] & ~busy & ~error),
        ]
        with m.If(control.write & ~busy):
            with m.Switch(control.address):
                for name, register in kept.items():
                    with m.Case(offset[name]):
                        m.d.sync += register.eq(control.write_data)

        # Counters. `cycles` counts those of the write and of the start, and every one while busy.
        names = ("cycles", "steps", "waits_memory", "waits_drain", "watch_begin", "watch_end")
        counters = {name: Signal(COUNTER_BITS, name=f"{name}_count") for name in names}
        events = {
            name: registered(m, event & self.busy, name=name, reset=True)
            for name, event in (
                ("steps", self.stepping),
                ("waits_memory", self.waits_memory),
                ("waits_drain", self.waits_drain),
            )
        }
        # The watched instruction's counts are sampled a cycle late: meanwhile `place` is compared, in two halves.
        half = COUNTER_BITS // 2
        watched = Signal(2)
        begins = Signal()
        ends = Signal()
        before = Signal(COUNTER_BITS, reset_less=True)
        m.d.sync += [
            watched[0].eq(self.place[:half] == kept["watch"][:half]),
            watched[1].eq(self.place[half:] == kept["watch"][half:]),
            begins.eq(self.execute & self.busy),
            ends.eq(self.finished & self.busy),
            before.eq(counters["cycles"]),
        ]
        with m.If(watched.all() & begins):
            m.d.sync += counters["watch_begin"].eq(before)
        with m.If(watched.all() & ends):
            m.d.sync += counters["watch_end"].eq(before)
        with m.If(self.start):
            m.d.sync += [counter.eq(0) for counter in counters.values()]
            m.d.sync += counters["cycles"].eq(2)
        with m.Else():
            m.d.sync += counters["cycles"].eq(counters["cycles"] + self.busy)
            m.d.sync += [counters[name].eq(counters[name] + event) for name, event in events.items()]

        readable = {
            **kept,
            **counters,
            "id": self._config.identification,
            "version": version_number(),
            "status": Cat(busy, done, error),
            "cause": Mux(clearing, 0, self.cause),
            "cause_address": self.cause_address,
            "place": self.place,
        }
        # A mux of four, then of the fours: the address comes late.
        groups = 1 + max(offset.values()) // 16
        fours = [Signal(COUNTER_BITS, name=f"four_{i}", reset_less=True) for i in range(groups)]
        m.d.sync += [four.eq(0) for four in fours]
        for word in cases(m, control.address[2:4], 4):
            for name, value in readable.items():
                if offset[name] % 16 == 4 * word:
                    m.d.sync += fours[offset[name] // 16].eq(value)
        none = control.address[:2].any().replicate(4)  # unaligned: no register
        which = registered(m, control.address[4:] | none, name="which")
        with m.Switch(which):
            for i, four in enumerate(fours):
                with m.Case(i):
                    m.d.comb += control.read_data.eq(four)
        m.d.comb += self.interrupt.eq((done & kept["interrupt"][0]) | (error & kept["interrupt"][1]))
        return m
