"""What requests of a host do: to memory, to the accelerator's registers, to the board's own."""

from collections.abc import Sequence
from dataclasses import astuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from boards.link import (
    BOARD_REGISTERS,
    EXECUTED_ONCE,
    FILL,
    HELLO,
    NEED_MEMORY,
    PAYLOAD_MAX,
    REQUEST,
    Hello,
    Operation,
    Status,
)
from boards.parts.link.frames import BUFFER_BYTES, FRAME_BYTE, FRAME_LATENCY, HeldFrame
from rtl.lib.port import ControlPort, MemoryPort
from rtl.params import ADDRESS_BITS

WORD_BYTES = 4
VALUE_BYTES = 2  # of a FILL
CHECK_CYCLES = 4

HEADER = data.StructLayout({"sequence": 8, "operation": 8, "length": 16, "address": ADDRESS_BITS})
STEPS = data.StructLayout({"count": 16, "step": 16})  # of a FILL: of a row, then of the rows


class _Registers:
    """What the sections of `Requests` share.

    Attributes
    ----------
    frame_at, waited : address of a byte of the frame, and cycles since it was asked for
    header, argument : of the request; the first word of its payload, of a FILL the steps of a row
    rows, row : of a FILL: the steps of the rows; the address of the present one, in beats
    is_read, is_fill, is_hello, is_checksum : what it is
    value, strobe : of a FILL; which bytes of a beat are written
    size, end : bytes of memory that the request is about; beat behind the last of them
    good : it can be executed
    expected, behind : number of the next request; how many numbers the present one is before that
    byte : counts those of the header, of a word or of the beat
    address, left, beat : in memory, in beats; beats to go; a beat on its way
    begins : a request begins to be executed
    status, unsent, word : of the answer; bytes of its payload to go; that payload if it is no memory, from the lowest
        byte on
    """

    def __init__(self, port_bytes: int, memory_bytes: int) -> None:
        beats = memory_bytes // port_bytes
        self.frame_at = Signal(range(BUFFER_BYTES), name="frame_at")
        self.waited = Signal(range(FRAME_LATENCY + 1), name="waited")
        self.header = Signal(HEADER, name="header")
        self.argument = Signal(8 * WORD_BYTES, name="argument")
        self.rows = Signal(STEPS, name="rows")
        self.row = Signal(range(beats), name="row")
        self.is_read = Signal(name="is_read")
        self.is_fill = Signal(name="is_fill")
        self.is_hello = Signal(name="is_hello")
        self.is_checksum = Signal(name="is_checksum")
        self.value = Signal(8 * VALUE_BYTES, name="value")
        self.strobe = Signal(port_bytes, name="strobe")
        self.size = Signal(8 * WORD_BYTES, name="size")
        self.end = Signal(8 * WORD_BYTES + 1, name="end")
        self.good = Signal(name="good")
        self.expected = Signal(8, name="expected")
        self.behind = Signal(8, name="behind")
        self.byte = Signal(range(max(port_bytes, REQUEST.size) + 1), name="byte")
        self.address = Signal(range(beats), name="address")
        self.left = Signal(max(beats.bit_length(), 16), name="left")
        self.beat = Signal(8 * port_bytes, name="beat")
        self.begins = Signal(name="begins")
        self.status = Signal(Status, name="status")
        self.unsent = Signal(range(PAYLOAD_MAX + 1), name="unsent")
        self.word = Signal(8 * WORD_BYTES, name="word")


class Requests(wiring.Component):
    """Executes one request after another and answers each, see `boards.link`.

    Memory is read and written beat by beat, so that the accelerator waits for no more than one.

    Parameters
    ----------
    port_bytes : of a beat of the memory
    hello : what the board says of itself
    board_registers : how many words the board has of its own

    Members
    -------
    frame : `HeldFrame`, of a `FrameReceiver`, in
    answer : of FRAME_BYTE, to a `FrameSender`, stream out
    memory : `MemoryPort`, out
    control : `ControlPort` of the accelerator, out
    board : its own registers, in
    initialised : the memory can be used, in
    """

    def __init__(self, port_bytes: int, hello: Hello, board_registers: int) -> None:
        assert BOARD_REGISTERS.bit_count() == 1  # so one bit of an address says whose the register is
        assert WORD_BYTES * board_registers <= BOARD_REGISTERS
        self._port_bytes = port_bytes
        self._beat_shift = port_bytes.bit_length() - 1
        self._hello = hello
        super().__init__(
            {
                "frame": In(HeldFrame()),
                "answer": Out(stream.Signature(FRAME_BYTE)),
                "memory": Out(MemoryPort(port_bytes)),
                "control": In(ControlPort()),
                "board": In(32).array(board_registers),
                "initialised": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        r = _Registers(self._port_bytes, self._hello.memory_bytes)
        m.d.comb += [
            self.frame.address.eq(r.frame_at),
            self.memory.read_request.payload.address.eq(r.address << self._beat_shift),
            self.memory.write_request.payload.address.eq(r.address << self._beat_shift),
            self.memory.write_data.payload.data.eq(r.beat),
            self.memory.write_data.payload.strobe.eq(r.strobe),
            self.control.address.eq(r.header.address),
            self.control.write_data.eq(r.argument),
        ]
        self._check(m, r)
        with m.FSM():
            self._receive(m, r)
            with m.State("execute"):
                self._execute(m, r)
            with m.State("set"):
                m.d.comb += self.control.write.eq(1)
                m.next = "answer"
            with m.State("get"):  # the register's value is there a cycle after its address
                # The board's own begin at a power of two that is more bytes than they have.
                own = r.header.address[2:][: (len(self.board) - 1).bit_length()]
                is_own = (r.header.address & BOARD_REGISTERS).any()
                m.d.sync += r.word.eq(Mux(is_own, Array(self.board)[own], self.control.read_data))
                m.next = "answer"
            self._write(m, r)
            self._fill(m, r)
            self._fetch(m, r)
            self._answer(m, r)
        return m

    def _check(self, m: Module, r: "_Registers") -> None:
        """`good`: the request is one that can be executed, CHECK_CYCLES behind its argument.

        First its size, then where it ends, then one bit of each thing that is asked, then what its operation asks for.
        Its place in memory is in beats from then on.
        """
        address, length = r.header.address, r.header.length
        payload = self.frame.length - REQUEST.size
        shift = self._beat_shift
        beats = self._hello.memory_bytes >> shift
        registers = BOARD_REGISTERS + WORD_BYTES * len(self.board)
        # Of the payload: what it is. Of memory: whole beats, within it. Of a WRITE or READ: not nothing, not too much.
        empty, equal, word, fill = (Signal(name=name) for name in ("empty", "equal", "word", "fill"))
        whole, within, some = (Signal(name=name) for name in ("whole", "within", "some"))
        begins_within, can_set, can_get = (Signal(name=name) for name in ("begins_within", "can_set", "can_get"))
        aligned = address[:2] == 0
        m.d.sync += [
            *(
                signal.eq(r.header.operation == operation)
                for signal, operation in (
                    (r.is_read, Operation.READ),
                    (r.is_fill, Operation.FILL),
                    (r.is_hello, Operation.HELLO),
                    (r.is_checksum, Operation.CHECKSUM),
                )
            ),
            r.size.eq(Mux(r.is_checksum, r.argument, length)),
            r.end.eq(address[shift:] + r.size[shift:]),
            whole.eq((address | r.size)[:shift] == 0),
            within.eq(r.end <= beats),
            begins_within.eq(address[shift:] < beats),
            some.eq((length != 0) & (length <= PAYLOAD_MAX)),
            can_set.eq((address < BOARD_REGISTERS) & aligned),
            can_get.eq((address < registers) & aligned),
            empty.eq(payload == 0),
            equal.eq(payload == length),
            word.eq((payload == WORD_BYTES) & (length == WORD_BYTES)),
            fill.eq((payload == FILL.size) & (length == FILL.size) & r.argument[:16].any()),
            r.good.eq(0),
        ]
        with m.Switch(r.header.operation):
            with m.Case(Operation.HELLO):
                m.d.sync += r.good.eq(empty)
            with m.Case(Operation.WRITE):
                m.d.sync += r.good.eq(whole & within & some & equal)
            with m.Case(Operation.READ):
                m.d.sync += r.good.eq(whole & within & some & empty)
            with m.Case(Operation.CHECKSUM):
                m.d.sync += r.good.eq(whole & within & word)
            with m.Case(Operation.SET):
                m.d.sync += r.good.eq(word & can_set)
            with m.Case(Operation.GET):
                m.d.sync += r.good.eq(empty & can_get)
            with m.Case(Operation.FILL):
                m.d.sync += r.good.eq(fill & ~address[0] & begins_within)

    def _receive(self, m: Module, r: "_Registers") -> None:
        """The header, and the first word of the payload, whether it is looked at or not."""
        with m.State("idle"):
            m.d.sync += [r.frame_at.eq(0), r.waited.eq(0), r.byte.eq(0)]
            with m.If(self.frame.held):
                m.next = "header"
        with m.State("header"):
            self._take(m, r, r.header.as_value(), "argument")
        with m.State("argument"):
            self._take(m, r, r.argument, "check")
        with m.State("check"):
            shift = self._beat_shift
            m.d.sync += [
                r.byte.eq(r.byte + 1),
                r.address.eq(r.header.address[shift:]),
                r.left.eq(r.size[shift:]),
                r.behind.eq(r.expected - r.header.sequence),
            ]
            with m.If(r.byte == CHECK_CYCLES - 1):
                m.d.sync += r.byte.eq(0)
                m.next = "execute"

    def _take(self, m: Module, r: "_Registers", target: Value, then: str) -> None:
        """A state in which bytes of the frame go into a register until it is full; the one behind them is next."""
        m.d.sync += r.waited.eq(r.waited + 1)
        with m.If(r.waited == FRAME_LATENCY):
            m.d.sync += [
                target.eq(Cat(target, self.frame.data)[8:]),
                r.frame_at.eq(r.frame_at + 1),
                r.waited.eq(0),
                r.byte.eq(r.byte + 1),
            ]
            with m.If(r.byte == len(target) // 8 - 1):
                m.d.sync += r.byte.eq(0)
                m.next = then

    def _execute(self, m: Module, r: "_Registers") -> None:
        """Decide what the request is, and begin with it."""
        operation = r.header.operation
        fresh = r.behind == 0
        is_hello = r.is_hello & r.good
        once = Cat(operation == known for known in EXECUTED_ONCE).any()
        needs_memory = Cat(operation == known for known in NEED_MEMORY).any()
        not_ready = needs_memory & ~self.initialised
        m.d.sync += [
            r.status.eq(Status.DONE),
            r.unsent.eq(0),
            r.word.eq(r.expected),
            r.frame_at.eq(REQUEST.size),  # the payload, of which the argument is the first word
        ]
        m.d.comb += r.begins.eq(1)
        m.next = "answer"
        # What was not executed for lack of memory is expected still: asked again, it is no request of before.
        with m.If(is_hello | (fresh & ~not_ready)):
            m.d.sync += r.expected.eq(r.header.sequence + 1)
        with m.If(is_hello):
            m.d.sync += r.unsent.eq(HELLO.size)
        with m.Elif(r.behind[7]):  # more than half of the numbers: it is ahead
            m.d.sync += [r.status.eq(Status.OUT_OF_ORDER), r.unsent.eq(1)]
        with m.Elif(~r.good):
            m.d.sync += r.status.eq(Status.BAD_REQUEST)
        with m.Elif(not_ready):
            m.d.sync += r.status.eq(Status.NOT_READY)
        with m.Elif(once & ~fresh):
            pass  # it was executed, and only its answer was lost
        with m.Else():
            with m.Switch(operation):
                with m.Case(Operation.WRITE):
                    m.next = "gather"
                with m.Case(Operation.READ):
                    m.d.sync += r.unsent.eq(r.header.length)
                with m.Case(Operation.CHECKSUM):
                    m.d.sync += r.unsent.eq(WORD_BYTES)
                    m.next = "fetch"
                    with m.If(r.left == 0):
                        m.next = "summed"
                with m.Case(Operation.SET):
                    m.next = "set"
                with m.Case(Operation.GET):
                    m.d.sync += r.unsent.eq(WORD_BYTES)
                    m.next = "get"
                with m.Case(Operation.FILL):
                    m.d.sync += r.frame_at.eq(REQUEST.size + WORD_BYTES)
                    m.next = "fill rows"

    def _write(self, m: Module, r: "_Registers") -> None:
        """A beat after the other to memory: of a WRITE from the frame, of a FILL the same."""
        memory = self.memory
        with m.State("gather"):
            m.d.sync += r.strobe.eq(-1)
            self._take(m, r, r.beat, "write request")
        with m.State("write request"):
            m.d.comb += memory.write_request.valid.eq(1)
            with m.If(memory.write_request.ready):
                m.next = "write"
        with m.State("write"):
            m.d.comb += memory.write_data.valid.eq(1)
            with m.If(memory.write_data.ready):
                m.d.sync += r.left.eq(r.left - 1)
                with m.If(r.is_fill):
                    self._next_of_fill(m, r)
                with m.Else():
                    m.d.sync += r.address.eq(r.address + 1)
                    m.next = "gather"
                    with m.If(r.left == 1):
                        m.next = "answer"

    def _fill(self, m: Module, r: "_Registers") -> None:
        """The rest of a FILL's payload, and its first beat."""
        with m.State("fill rows"):
            self._take(m, r, r.rows.as_value(), "fill value")
        with m.State("fill value"):
            self._take(m, r, r.value, "fill")
        with m.State("fill"):
            first = Cat(Const(0, 1), r.header.address[1 : self._beat_shift])  # byte of the beat
            m.d.sync += [
                r.beat.eq(r.value.replicate(self._port_bytes // VALUE_BYTES)),
                r.strobe.eq(((1 << VALUE_BYTES) - 1) << first),
                r.row.eq(r.address),
                r.left.eq(STEPS(r.argument).count),
            ]
            m.next = "write request"
            with m.If(r.rows.count == 0):
                m.d.sync += r.status.eq(Status.BAD_REQUEST)
                m.next = "answer"

    def _next_of_fill(self, m: Module, r: "_Registers") -> None:
        """Where the value goes next, in the row or at the begin of the next one."""
        step = STEPS(r.argument)
        next_row = Signal.like(r.row)
        m.d.comb += next_row.eq(r.row + r.rows.step)
        m.d.sync += r.address.eq(r.address + step.step)
        m.next = "write request"
        with m.If(r.left == 1):
            m.d.sync += [
                r.address.eq(next_row),
                r.row.eq(next_row),
                r.left.eq(step.count),
                r.rows.count.eq(r.rows.count - 1),
            ]
            with m.If(r.rows.count == 1):
                m.next = "answer"

    def _fetch(self, m: Module, r: "_Registers") -> None:
        """A beat after the other from memory: into a CRC, or into the answer."""
        memory = self.memory
        m.submodules.crc = crc = CRC32_ETHERNET(data_width=8).create()
        m.d.comb += [
            crc.start.eq(r.begins),
            crc.data.eq(r.beat[:8]),
            memory.read_data.ready.eq(1),  # a beat comes behind its request alone
        ]
        with m.State("fetch"):
            m.d.comb += memory.read_request.valid.eq(1)
            with m.If(memory.read_request.ready):
                m.next = "fetched"
        with m.State("fetched"):
            m.d.sync += [r.beat.eq(memory.read_data.payload), r.byte.eq(0)]
            with m.If(memory.read_data.valid):
                m.d.sync += [r.address.eq(r.address + 1), r.left.eq(r.left - 1)]
                m.next = "sum"
                with m.If(r.is_read):
                    m.next = "send"
        with m.State("sum"):
            m.d.comb += crc.valid.eq(1)
            m.d.sync += [r.beat.eq(r.beat >> 8), r.byte.eq(r.byte + 1)]
            with m.If(r.byte == self._port_bytes - 1):
                m.next = "fetch"
                with m.If(r.left == 0):
                    m.next = "summed"
        with m.State("summed"):
            m.d.sync += r.word.eq(crc.crc)
            m.next = "answer"

    def _answer(self, m: Module, r: "_Registers") -> None:
        """Header and payload of the answer. The next request is received meanwhile."""
        answer = self.answer
        last = Signal()  # byte of the payload
        m.d.comb += last.eq(r.unsent == 1)
        with m.State("answer"):
            m.d.comb += self.frame.release.eq(1)
            m.d.sync += r.byte.eq(0)
            m.next = "answer header"
        with m.State("answer header"):
            parts = Array([r.header.sequence, r.status, r.unsent[:8], r.unsent[8:]])
            alone = r.unsent == 0
            m.d.comb += [answer.valid.eq(1), answer.payload.eq(Cat(parts[r.byte[:2]], (r.byte == 3) & alone))]
            with m.If(answer.ready):
                m.d.sync += r.byte.eq(r.byte + 1)
                with m.If(r.byte == 3):
                    m.next = "payload"
                    with m.If(alone):
                        m.next = "idle"
                    with m.Elif(r.is_read & (r.status == Status.DONE)):
                        m.next = "fetch"
        with m.State("payload"):
            is_hello = r.is_hello & (r.status == Status.DONE)
            m.d.comb += [
                answer.valid.eq(1),
                answer.payload.eq(Cat(Mux(is_hello, self._hello_byte(r.unsent), r.word[:8]), last)),
            ]
            with m.If(answer.ready):
                m.d.sync += [r.word.eq(r.word >> 8), r.unsent.eq(r.unsent - 1)]
                with m.If(last):
                    m.next = "idle"
        with m.State("send"):  # a beat
            m.d.comb += [answer.valid.eq(1), answer.payload.eq(Cat(r.beat[:8], last))]
            with m.If(answer.ready):
                m.d.sync += [r.beat.eq(r.beat >> 8), r.unsent.eq(r.unsent - 1), r.byte.eq(r.byte + 1)]
                with m.If(last):
                    m.next = "idle"
                with m.Elif(r.byte == self._port_bytes - 1):
                    m.next = "fetch"

    def _hello_byte(self, unsent: Signal) -> Value:
        """The first of so many bytes at the end of `Hello`."""
        words: Sequence[int] = astuple(self._hello)
        answer = HELLO.pack(*words)
        return Array(Const(answer[-left], 8) for left in range(HELLO.size + 1))[unsent[: HELLO.size.bit_length()]]
