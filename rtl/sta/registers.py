"""The control registers of STA, and its counters."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.port import ControlPort, register_layout, written
from rtl.lib.register_map import REGISTER_BITS, Field, Register, register_map
from rtl.lib.timing import align, registered
from rtl.params import ADDRESS_BITS, VERSION
from rtl.sta.control.status import Status
from rtl.sta.legality import CAUSE_BITS
from rtl.sta.params import StaConfig


def version_number() -> int:
    """What `version` reads."""
    major, minor, patch = (int(part) for part in VERSION.split("."))
    return major << 16 | minor << 8 | patch


REGISTERS: dict[str, Register] = register_map(
    (
        Register("id", 0x00, "read", "identification of version and configuration", reset=None),
        Register(
            "version",
            0x04,
            "read",
            "version of nmgen that made it",
            (
                Field("patch", 0, 8, "its third number"),
                Field("minor", 8, 8, "its second number"),
                Field("major", 16, 16, "its first number"),
            ),
            reset=version_number(),
        ),
        Register(
            "control",
            0x08,
            "write",
            "what to do, once",
            (
                Field("start", 0, 1, "start the program; nothing while one runs, after an error, or with a clear"),
                Field("clear", 1, 1, "end a program that runs; forget an error"),
            ),
        ),
        Register(
            "status",
            0x0C,
            "read",
            "where it stands",
            (
                Field("busy", 0, 1, "a program runs"),
                Field("done", 1, 1, "it is finished"),
                Field("error", 2, 1, "it stopped; nothing starts until a clear"),
            ),
        ),
        Register("cause", 0x10, "read", "why it stopped", (Field("cause", 0, CAUSE_BITS, "`Cause`"),)),
        Register(
            "cause_address",
            0x14,
            "read",
            "of an illegal instruction its address; of a bad access or bus error, the memory's",
        ),
        Register(
            "pc",
            0x18,
            "read",
            "program counter: address of the instruction that executes; after an error, of the first not finished",
        ),
        Register("program", 0x1C, "read-write", "byte address of the program"),
        Register("limit", 0x20, "read-write", "bytes of memory that the program may use: [0, limit)"),
        Register(
            "interrupt",
            0x24,
            "read-write",
            "when the interrupt is up",
            (Field("done", 0, 1, "when done"), Field("error", 1, 1, "at an error")),
        ),
        Register("cycles", 0x28, "read", "cycles from the start write to done or error"),
        Register("steps", 0x2C, "read", "of these, cycles in which the array takes a step"),
        Register("waits_memory", 0x30, "read", "cycles in which it waits for memory"),
        Register("waits_drain", 0x34, "read", "cycles in which it waits for results to drain"),
        Register("watch", 0x38, "read-write", "address of an instruction whose cycles are kept"),
        Register("watch_begin", 0x3C, "read", "`cycles` when it began to execute"),
        Register("watch_end", 0x40, "read", "`cycles` when it was finished"),
    )
)
KEPT = tuple(register.name for register in REGISTERS.values() if register.access == "read-write")
COUNTERS = ("cycles", "steps", "waits_memory", "waits_drain", "watch_begin", "watch_end")


class Registers(wiring.Component):
    """`REGISTERS` in hardware. While a program runs, writes but for a clear are ignored.

    Members
    -------
    control : the control port
    start, clear : in the cycle after the control write, out
    program, limit : steady while busy, out
    status : `Status` of the sequencer, in
    stepping, waits_memory, waits_drain : in this cycle, in; each counts a cycle later
    interrupt : level, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        events = ("stepping", "waits_memory", "waits_drain")
        super().__init__(
            {
                "control": Out(ControlPort()),
                "start": Out(1),
                "clear": Out(1),
                "program": Out(ADDRESS_BITS),
                "limit": Out(ADDRESS_BITS),
                **{name: In(1) for name in events},
                "status": In(Status()),
                "interrupt": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        status = Signal(register_layout(REGISTERS["status"]))
        self._commands(m, status)
        kept = self._kept(m, status.busy)
        counters = self._counters(m, kept["watch"])
        # What stopped the program is forgotten as soon as a clear is written.
        cause = Mux(self.clear, 0, self.status.cause)
        stopped = {"cause": cause, "cause_address": self.status.cause_address, "pc": self.status.pc}
        identity = {"id": self._config.identification, "version": REGISTERS["version"].reset}
        self._read(m, {**kept, **counters, **identity, **stopped, "status": status.as_value()})
        enabled = data.View(register_layout(REGISTERS["interrupt"]), kept["interrupt"])
        m.d.comb += [
            self.program.eq(kept["program"]),
            self.limit.eq(kept["limit"]),
            self.interrupt.eq((status.done & enabled.done) | (status.error & enabled.error)),
        ]
        return m

    def _commands(self, m: Module, status: data.View) -> None:
        """Start and clear. In `status` they count from the cycle after their write on."""
        writes_control = Signal()
        starting = Signal()
        clearing = Signal()
        command = written(self.control, REGISTERS["control"])
        m.d.comb += [
            writes_control.eq(self.control.write & (self.control.address == REGISTERS["control"].offset)),
            self.clear.eq(clearing),
            self.start.eq(starting),
            status.busy.eq(self.status.busy | starting),
            status.done.eq(self.status.done & ~starting & ~clearing),
            status.error.eq(self.status.error & ~clearing),
        ]
        m.d.sync += [
            clearing.eq(writes_control & command.clear),
            starting.eq(writes_control & command.start & ~command.clear & ~status.busy & ~status.error),
        ]

    def _kept(self, m: Module, busy: Value) -> dict[str, Signal]:
        """The registers that keep what is written to them, by name."""
        kept = {name: Signal(REGISTERS[name].bits, init=REGISTERS[name].reset, name=name) for name in KEPT}
        with m.If(self.control.write & ~busy):
            with m.Switch(self.control.address):
                for name, register in kept.items():
                    with m.Case(REGISTERS[name].offset):
                        m.d.sync += register.eq(self.control.write_data)
        return kept

    def _counters(self, m: Module, watch: Value) -> dict[str, Signal]:
        """Counters, by name. `cycles` counts those of the write and of the start, and every one while busy."""
        counters = {name: Signal(REGISTERS[name].bits, name=f"{name}_count") for name in COUNTERS}
        events = {
            name: registered(m, event & self.status.busy, name=name, reset=True)
            for name, event in (
                ("steps", self.stepping),
                ("waits_memory", self.waits_memory),
                ("waits_drain", self.waits_drain),
            )
        }
        # The watched instruction's counts are sampled a cycle late: meanwhile `pc` is compared, in two halves.
        half = ADDRESS_BITS // 2
        watched = Signal(2)
        begins = Signal()
        ends = Signal()
        before = align(m, counters["cycles"], 1, name="before")
        m.d.sync += [
            watched[0].eq(self.status.pc[:half] == watch[:half]),
            watched[1].eq(self.status.pc[half:] == watch[half:]),
            begins.eq(self.status.execute & self.status.busy),
            ends.eq(self.status.finished & self.status.busy),
        ]
        with m.If(watched.all() & begins):
            m.d.sync += counters["watch_begin"].eq(before)
        with m.If(watched.all() & ends):
            m.d.sync += counters["watch_end"].eq(before)
        with m.If(self.start):
            m.d.sync += [counter.eq(0) for counter in counters.values()]
            m.d.sync += counters["cycles"].eq(2)
        with m.Else():
            m.d.sync += counters["cycles"].eq(counters["cycles"] + self.status.busy)
            m.d.sync += [counters[name].eq(counters[name] + event) for name, event in events.items()]
        return counters

    def _read(self, m: Module, values: Mapping[str, ValueLike]) -> None:
        """A mux of four, then of the fours: the address comes late."""
        address = self.control.address
        count = 1 + max(register.offset for register in REGISTERS.values()) // 16
        fours = [Signal(REGISTER_BITS, name=f"four_{i}", reset_less=True) for i in range(count)]
        m.d.sync += [four.eq(0) for four in fours]
        for word in cases(m, address[2:4], 4):
            for name, value in values.items():
                four, position = divmod(REGISTERS[name].offset // 4, 4)
                if position == word:
                    m.d.sync += fours[four].eq(value)
        none = address[:2].any().replicate(4)  # unaligned: no register
        which = registered(m, address[4:] | none, name="which")
        with m.Switch(which):
            for i, four in enumerate(fours):
                with m.Case(i):
                    m.d.comb += self.control.read_data.eq(four)
