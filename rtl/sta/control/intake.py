"""The intake: fetches instructions, has them checked, and requests their data."""

from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.compare import Beyond
from rtl.lib.divider import ceil_shift
from rtl.lib.states import States
from rtl.lib.timing import preload, registered
from rtl.params import ADDRESS_BITS
from rtl.sta.control.fetch import Consumer, Segment
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.control.legality_checker import LegalityChecker
from rtl.sta.control.plane_segments import PlaneSegments
from rtl.sta.isa import BYTES, FIELDS, Columns, Op
from rtl.sta.legality import CAUSE_BITS, ID_BYTES, Cause, instruction_beats, parameter_beats
from rtl.sta.params import StaConfig


class Kinds(NamedTuple):
    """What the upcoming instruction is: registers, but for `reads`."""

    loads: Signal  # a LOAD
    gathers: Signal  # a GATHER
    tables: Signal  # a TABLE
    planes: Signal  # a PRODUCT with weights in planes
    reads: Signal  # it reads memory


class Intake(wiring.Component):
    """Holds the upcoming instruction, which is legal, and checks the one behind it.

    Segments are requested in the order instruction i + 1, data of instruction i, instruction i + 2, … An instruction is
    upcoming LegalityChecker.LATENCY + 3 cycles after its last beat at the earliest. A reset ends everything.

    Members
    -------
    begin, program : start at this byte address, steady from a cycle before `begin`; `begin` may last, in
    limit : bytes of memory, in
    segment : to the fetch, out; beats : of instructions, in
    storing : a STORE executes: no rows are requested, in
    gathering : a GATHER executes: nothing is requested, in
    in_planes : what is requested is of the PRODUCT that executes: its column tiles, from planes, out
    upcoming, waiting : the upcoming instruction, and its valid, out
    ready : its data, if any, has been requested, out
    packed : it takes packed weights or parameters, out
    copies : it is a PRODUCT of KEYS or VALUES, out; gathers, stores : a GATHER, a STORE, out
    taken : it begins to execute in this cycle, in
    ended : the next instruction is an END, out
    illegal : the next instruction is illegal, out; cause : `Cause`, out
    illegal_address : the instruction's, or with Cause.ADDRESS that of the memory, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "begin": In(1),
                "program": In(ADDRESS_BITS),
                "limit": In(ADDRESS_BITS),
                "segment": Out(stream.Signature(Segment)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "storing": In(1),
                "gathering": In(1),
                "in_planes": Out(1),
                "upcoming": Out(instruction_layout(config)),
                "waiting": Out(1),
                "ready": Out(1),
                "packed": Out(1),
                "copies": Out(1),
                "gathers": Out(1),
                "stores": Out(1),
                "taken": In(1),
                "ended": Out(1),
                "illegal": Out(1),
                "cause": Out(CAUSE_BITS),
                "illegal_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        passed = Signal()  # the next instruction becomes the upcoming one
        code, received = self._receive(m, passed)
        fields = {name: code[32 * f.word + f.low : 32 * f.word + f.low + f.bits] for name, f in FIELDS.items()}
        kinds = self._upcoming(m, fields, passed)
        self._states(m, code, fields, kinds, received=received, passed=passed)
        return m

    def _receive(self, m: Module, passed: Signal) -> tuple[Signal, Signal]:
        """The next instruction, from memory into a register; and whether all of it is there."""
        c = self._config
        code = Signal(8 * BYTES, reset_less=True)
        part = Signal(instruction_beats(c) + 1, init=1)  # which beat comes next, one-hot; the last bit: none
        received = Signal()
        m.d.comb += [received.eq(part[-1]), self.beats.ready.eq(~received)]
        # Each slice loads every cycle until its beat arrives.
        for i in range(instruction_beats(c)):
            with preload(m, part[i]):
                m.d.sync += code.word_select(i, 8 * c.port_bytes).eq(self.beats.payload)
        with m.If(self.beats.valid & ~received):
            m.d.sync += part.eq(part << 1)
        with m.If(passed):
            m.d.sync += part.eq(1)
        return code, received

    def _upcoming(self, m: Module, fields: dict[str, Value], passed: Signal) -> Kinds:
        """The upcoming instruction, and what it reads."""
        upcoming = Signal(instruction_layout(self._config), reset_less=True)
        kinds = Kinds(*(Signal(name=name) for name in Kinds._fields))
        opcode, columns = fields["opcode"], fields["columns"]
        product = opcode == Op.PRODUCT
        m.d.comb += [
            self.upcoming.eq(upcoming),
            self.gathers.eq(kinds.gathers),
            kinds.reads.eq(self.packed | kinds.loads | kinds.tables | kinds.gathers),
        ]
        with preload(m, ~self.waiting):  # what is passed on has been here for long
            m.d.sync += [upcoming[name].eq(value) for name, value in fields.items()]
        with m.If(passed):
            m.d.sync += [
                kinds.loads.eq(opcode == Op.LOAD),
                kinds.gathers.eq(opcode == Op.GATHER),
                kinds.tables.eq(opcode == Op.TABLE),
                kinds.planes.eq(product & (columns == Columns.MEMORY) & fields["weight_groups"].any()),
                self.stores.eq(opcode == Op.STORE),
                self.packed.eq((product & (columns == Columns.MEMORY)) | (opcode == Op.NORM)),
                self.copies.eq(product & (columns != Columns.MEMORY)),
            ]
        return kinds

    def _offer(self, m: Module, address: Signal, kinds: Kinds, *, asks_code: Value, asks_data: Signal) -> Signal:
        """Offer a segment to the fetch, a cycle later: the next instruction, or the upcoming one's data.

        Returns whether it is accepted in this cycle.
        """
        c, upcoming = self._config, self.upcoming
        offers = Signal()
        offered = Signal(Segment)
        asks = Signal()
        accepted = Signal()
        held = Signal()
        m.submodules.plane_segments = tiles = PlaneSegments(c)
        m.d.sync += asks.eq(offers & ~accepted & ~tiles.next_running)
        asked = registered(m, offered, name="asked")
        m.d.comb += [
            offers.eq(asks_code | (asks_data & self.waiting & kinds.reads & ~held)),
            held.eq(self.storing & (kinds.loads | kinds.gathers)),
            self.segment.valid.eq(asks | tiles.segment.valid),
            self.segment.payload.eq(Mux(asks, asked.as_value(), tiles.segment.payload.as_value())),
            accepted.eq(asks & self.segment.ready),
            tiles.start.eq(accepted & asks_data & kinds.planes),
            tiles.upcoming.eq(upcoming),
            tiles.taken.eq(self.taken),
            tiles.segment.ready.eq(self.segment.ready),
            self.in_planes.eq(tiles.segment.valid & tiles.of_current),
            offered.address.eq(address),
            offered.beats.eq(instruction_beats(c)),
            offered.consumer.eq(Consumer.INSTRUCTION),
        ]
        with m.If(asks_data):
            m.d.comb += [
                offered.address.eq(upcoming.address),
                offered.beats.eq(Mux(kinds.planes, parameter_beats(c), upcoming.beats)),
                offered.consumer.eq(Consumer.WEIGHTS),
            ]
            with m.If(kinds.loads):
                m.d.comb += offered.consumer.eq(Consumer.ROWS)
            with m.If(kinds.tables):
                m.d.comb += offered.consumer.eq(Consumer.TABLE)
            with m.If(kinds.gathers):
                m.d.comb += [
                    offered.address.eq(upcoming.ids_address),
                    offered.beats.eq(ceil_shift(upcoming.tokens * ID_BYTES, c.port_bytes)),
                    offered.consumer.eq(Consumer.IDS),
                ]
        return accepted

    def _states(
        self, m: Module, code: Signal, fields: dict[str, Value], kinds: Kinds, *, received: Signal, passed: Signal
    ) -> None:
        """For each instruction: request it, request the data of the one before, check it, pass it on."""
        states = States(m, "off", "add", "address", "ask", "data", "receive", "check", "checked")
        address = Signal(ADDRESS_BITS, reset_less=True)  # of the next instruction
        behind = Signal(ADDRESS_BITS + 1, reset_less=True)
        outside = Signal()  # it is not in memory: it is not asked for
        m.submodules.checker = checker = LegalityChecker(self._config)
        m.submodules.instruction_end = instruction_end = Beyond(len(behind), ADDRESS_BITS)
        m.d.sync += behind.eq(address + BYTES)
        m.d.comb += [
            checker.code.eq(code),
            checker.limit.eq(self.limit),
            instruction_end.value.eq(behind),
            instruction_end.limit.eq(self.limit),
            outside.eq(instruction_end.beyond),
        ]
        accepted = self._offer(m, address, kinds, asks_code=states["ask"] & ~outside, asks_data=states["data"])

        cause = Signal(CAUSE_BITS)
        faulty = Signal()  # cause != Cause.NONE
        is_end = Signal(reset_less=True)  # the code stays while it is checked
        m.d.sync += is_end.eq(fields["opcode"] == Op.END)
        m.d.comb += [self.cause.eq(cause), self.illegal_address.eq(address)]
        with m.If((cause == Cause.ADDRESS) & ~outside):  # a STORE's
            m.d.comb += self.illegal_address.eq(fields["address"])
        with m.If(self.taken):
            m.d.sync += [self.waiting.eq(0), self.ready.eq(0)]
        with m.If(states["off"]):
            m.d.sync += address.eq(self.program)  # so that `behind` is known when it begins
            with m.If(self.begin):
                states.move("off", "address")
        with m.If(states["add"]):
            states.move("add", "address")
        with m.If(states["address"]):
            states.move("address", "ask")
        with m.If(states["ask"]):
            m.d.sync += [cause.eq(Mux(outside, Cause.ADDRESS, Cause.NONE)), faulty.eq(outside)]
            with m.If(outside | accepted):
                states.move("ask", "data")
        with m.If(states["data"] & (~self.waiting | ~kinds.reads | accepted)):
            m.d.sync += self.ready.eq(self.waiting)
            with m.If(outside):
                states.move("data", "checked")
            with m.Else():
                states.move("data", "receive")
        with m.If(states["receive"] & received):
            m.d.comb += checker.start.eq(1)
            states.move("receive", "check")
        with m.If(states["check"]):
            m.d.sync += [cause.eq(checker.cause), faulty.eq(checker.cause != Cause.NONE)]
            with m.If(checker.done):
                states.move("check", "checked")
        with m.If(states["checked"] & ~self.waiting):
            with m.If(faulty):
                m.d.comb += self.illegal.eq(1)
            with m.Elif(is_end):
                m.d.comb += self.ended.eq(1)
            with m.Elif(~self.gathering):
                m.d.comb += passed.eq(1)
                m.d.sync += [self.waiting.eq(1), address.eq(behind)]
                states.move("checked", "add")
