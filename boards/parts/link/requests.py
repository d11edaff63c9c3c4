"""What requests of a host do: to memory, to the accelerator's registers, to the board's own."""

from collections.abc import Sequence
from dataclasses import astuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.link import BOARD_REGISTERS, EXECUTED_ONCE, HELLO, PAYLOAD_MAX, REQUEST, Hello, Operation, Status
from boards.parts.link.crc import CRC_BITS, START, step
from boards.parts.link.frames import HALF
from rtl.lib.port import ControlPort, MemoryPort
from rtl.params import ADDRESS_BITS

WORD_BYTES = 4

HEADER = data.StructLayout({"sequence": 8, "operation": 8, "length": 16, "address": ADDRESS_BITS})


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
    held, length, address, data, release : of a `FrameReceiver`
    answer : to a `FrameSender`, stream out
    memory : `MemoryPort`, out
    control : `ControlPort` of the accelerator, out
    board : its own registers, in
    ready : the memory can be used, in
    """

    def __init__(self, port_bytes: int, hello: Hello, board_registers: int) -> None:
        self._port_bytes = port_bytes
        self._hello = hello
        super().__init__(
            {
                "held": In(1),
                "length": In(range(HALF)),
                "address": Out(range(HALF)),
                "data": In(8),
                "release": Out(1),
                "answer": Out(stream.Signature(9)),
                "memory": Out(MemoryPort(port_bytes)),
                "control": In(ControlPort()),
                "board": In(32).array(board_registers),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat_bytes = self._port_bytes
        header = Signal(HEADER)
        expected = Signal(8)
        status = Signal(Status)
        argument = Signal(32)  # the payload of SET and CHECKSUM
        beat = Signal(8 * beat_bytes)
        byte = Signal(range(max(beat_bytes, REQUEST.size) + 1))  # of the beat, the header or the word
        left = Signal(32)  # bytes of memory that are still to be read or written
        address = Signal(ADDRESS_BITS)
        answer_length = Signal(16)
        sent = Signal(16)  # bytes of the answer's payload
        crc = Signal(CRC_BITS)
        word = Signal(32)  # to answer with
        operation = header.operation
        memory, control = self.memory, self.control

        # A byte of the frame is there in the cycle after its address.
        frame_at = Signal(range(HALF))
        ahead = Signal()  # data is the byte at frame_at − 1
        m.d.comb += self.address.eq(frame_at)
        self._checks(m, header, expected, status)
        m.d.comb += [
            memory.read_request.payload.address.eq(address),
            memory.write_request.payload.address.eq(address),
            memory.write_data.payload.data.eq(beat),
            memory.write_data.payload.strobe.eq(-1),
            control.address.eq(header.address),
            control.write_data.eq(argument),
        ]

        with m.FSM():
            with m.State("idle"):
                m.d.sync += [frame_at.eq(0), ahead.eq(0), byte.eq(0)]
                with m.If(self.held):
                    m.next = "header"
            with m.State("header"):
                m.d.sync += [frame_at.eq(frame_at + 1), ahead.eq(1)]
                with m.If(ahead):
                    m.d.sync += [header.eq(Cat(header.as_value()[8:], self.data)), byte.eq(byte + 1)]
                    with m.If(byte == REQUEST.size - 1):
                        m.d.sync += [frame_at.eq(REQUEST.size), ahead.eq(0), byte.eq(0)]
                        m.next = "argument"
            with m.State("argument"):  # the first word of the payload, whether it is looked at or not
                m.d.sync += [frame_at.eq(frame_at + 1), ahead.eq(1)]
                with m.If(ahead):
                    m.d.sync += [argument.eq(Cat(argument[8:], self.data)), byte.eq(byte + 1)]
                    with m.If(byte == WORD_BYTES - 1):
                        m.d.sync += [frame_at.eq(REQUEST.size), ahead.eq(0), byte.eq(0)]
                        m.next = "execute"
            with m.State("execute"):
                self._execute(m, header, argument, expected, status, left, address, answer_length, crc, word)

            with m.State("get"):  # the register's value is there a cycle after its address
                m.d.sync += word.eq(
                    Mux(
                        header.address < BOARD_REGISTERS,
                        control.read_data,
                        Array(self.board)[header.address[2:10] - BOARD_REGISTERS // 4 % 256],
                    )
                )
                m.next = "answer"

            with m.State("gather"):  # a beat to write
                m.d.sync += [frame_at.eq(frame_at + 1), ahead.eq(1)]
                with m.If(ahead):
                    m.d.sync += [beat.eq(Cat(beat[8:], self.data) if beat_bytes > 1 else self.data), byte.eq(byte + 1)]
                    with m.If(byte == beat_bytes - 1):
                        m.d.sync += [frame_at.eq(frame_at), ahead.eq(0), byte.eq(0)]
                        m.next = "write request"
            with m.State("write request"):
                m.d.comb += memory.write_request.valid.eq(1)
                with m.If(memory.write_request.ready):
                    m.next = "write"
            with m.State("write"):
                m.d.comb += memory.write_data.valid.eq(1)
                with m.If(memory.write_data.ready):
                    m.d.sync += [address.eq(address + beat_bytes), left.eq(left - beat_bytes)]
                    m.next = "gather"
                    with m.If(left == beat_bytes):
                        m.next = "answer"

            with m.State("sum request"):
                m.d.comb += memory.read_request.valid.eq(1)
                with m.If(memory.read_request.ready):
                    m.next = "sum beat"
            with m.State("sum beat"):
                m.d.comb += memory.read_data.ready.eq(1)
                m.d.sync += [beat.eq(memory.read_data.payload), byte.eq(0)]
                with m.If(memory.read_data.valid):
                    m.d.sync += [address.eq(address + beat_bytes), left.eq(left - beat_bytes)]
                    m.next = "sum"
            with m.State("sum"):
                m.d.sync += [crc.eq(step(crc, beat[:8])), beat.eq(beat >> 8), byte.eq(byte + 1)]
                with m.If(byte == beat_bytes - 1):
                    m.next = "sum request"
                    with m.If(left == 0):
                        m.next = "summed"
            with m.State("summed"):
                m.d.sync += word.eq(~crc)
                m.next = "answer"

            with m.State("answer"):
                # The request is done with: the next one is read while this one's answer is sent.
                m.d.comb += self.release.eq(1)
                m.d.sync += [byte.eq(0), sent.eq(0)]
                m.next = "answer header"
            with m.State("answer header"):
                parts = Array([header.sequence, status, answer_length[:8], answer_length[8:]])
                last = (byte == 3) & (answer_length == 0)
                m.d.comb += [self.answer.valid.eq(1), self.answer.payload.eq(Cat(parts[byte[:2]], last))]
                with m.If(self.answer.ready):
                    m.d.sync += byte.eq(byte + 1)
                    with m.If(byte == 3):
                        m.d.sync += byte.eq(0)
                        m.next = "payload"
                        with m.If(answer_length == 0):
                            m.next = "idle"
                        with m.Elif((operation == Operation.READ) & (status == Status.DONE)):
                            m.next = "read request"
            with m.State("payload"):
                self._payload(
                    m, Mux((operation == Operation.HELLO), self._hello_byte(sent), word[:8]), sent, answer_length
                )
                with m.If(self.answer.ready):
                    m.d.sync += [word.eq(word >> 8), sent.eq(sent + 1)]
                    with m.If(sent == answer_length - 1):
                        m.next = "idle"
            with m.State("read request"):
                m.d.comb += memory.read_request.valid.eq(1)
                with m.If(memory.read_request.ready):
                    m.next = "read beat"
            with m.State("read beat"):
                m.d.comb += memory.read_data.ready.eq(1)
                m.d.sync += [beat.eq(memory.read_data.payload), byte.eq(0)]
                with m.If(memory.read_data.valid):
                    m.d.sync += address.eq(address + beat_bytes)
                    m.next = "read bytes"
            with m.State("read bytes"):
                self._payload(m, beat[:8], sent, answer_length)
                with m.If(self.answer.ready):
                    m.d.sync += [beat.eq(beat >> 8), sent.eq(sent + 1), byte.eq(byte + 1)]
                    with m.If(sent == answer_length - 1):
                        m.next = "idle"
                    with m.Elif(byte == beat_bytes - 1):
                        m.next = "read request"
        return m

    def _checks(self, m: Module, header: data.View, expected: Signal, status: Signal) -> None:
        """`good`: the request is one that can be executed. Comparisons, registered while the argument is read."""
        beat_bytes, size = self._port_bytes, self._hello.memory_bytes
        payload = self.length - REQUEST.size
        words = Signal()
        good = Signal(name="good")
        whole = Signal()
        within = Signal()
        address, length = header.address, header.length
        beat_mask = beat_bytes - 1
        m.d.sync += [
            whole.eq(
                ((address & beat_mask) == 0) & ((length & beat_mask) == 0) & (length != 0) & (length <= PAYLOAD_MAX)
            ),
            within.eq(Cat(address, 0) + length <= size),
            words.eq(payload == WORD_BYTES),
            good.eq(0),
        ]
        registers = BOARD_REGISTERS + 4 * len(self.board)
        with m.Switch(header.operation):
            with m.Case(Operation.HELLO):
                m.d.sync += good.eq(payload == 0)
            with m.Case(Operation.WRITE):
                m.d.sync += good.eq(whole & within & (payload == length))
            with m.Case(Operation.READ):
                m.d.sync += good.eq(whole & within & (payload == 0))
            with m.Case(Operation.CHECKSUM):
                m.d.sync += good.eq(words & ((address & beat_mask) == 0) & (length == WORD_BYTES))
            with m.Case(Operation.SET):
                m.d.sync += good.eq(words & (length == WORD_BYTES) & (address < BOARD_REGISTERS) & (address[:2] == 0))
            with m.Case(Operation.GET):
                m.d.sync += good.eq((payload == 0) & (address < registers) & (address[:2] == 0))
        self._good = good

    def _execute(
        self,
        m: Module,
        header: data.View,
        argument: Signal,
        expected: Signal,
        status: Signal,
        left: Signal,
        address: Signal,
        answer_length: Signal,
        crc: Signal,
        word: Signal,
    ) -> None:
        """Decide what the request is, and begin with it."""
        operation = header.operation
        behind = Signal(8)  # how many numbers the request is before the one expected
        fresh = behind == 0
        once = Cat(operation == known for known in EXECUTED_ONCE).any()
        of_memory = Cat(operation == known for known in (Operation.WRITE, Operation.READ, Operation.CHECKSUM)).any()
        m.d.comb += behind.eq(expected - header.sequence)
        m.d.sync += [
            status.eq(Status.DONE),
            answer_length.eq(0),
            left.eq(header.length),
            address.eq(header.address),
            crc.eq(START),
            word.eq(expected),
        ]
        m.next = "answer"
        is_hello = (operation == Operation.HELLO) & self._good
        with m.If(fresh | is_hello):
            m.d.sync += expected.eq(header.sequence + 1)
        with m.If(is_hello):
            m.d.sync += answer_length.eq(HELLO.size)
        with m.Elif(behind[7]):  # more than half of the numbers: it is ahead
            m.d.sync += [status.eq(Status.OUT_OF_ORDER), answer_length.eq(1)]
        with m.Elif(~self._good):
            m.d.sync += status.eq(Status.BAD_REQUEST)
        with m.Elif(of_memory & ~self.ready):
            m.d.sync += status.eq(Status.NOT_READY)
        with m.Elif(once & ~fresh):
            pass  # it was executed, and only its answer was lost
        with m.Else():
            with m.Switch(operation):
                with m.Case(Operation.WRITE):
                    m.next = "gather"
                with m.Case(Operation.READ):
                    m.d.sync += answer_length.eq(header.length)
                with m.Case(Operation.CHECKSUM):
                    m.d.sync += [left.eq(argument), answer_length.eq(WORD_BYTES)]
                    # Whole beats within the memory, or none at all.
                    end = Cat(header.address, 0) + argument
                    with m.If(((argument & (self._port_bytes - 1)) != 0) | (end > self._hello.memory_bytes)):
                        m.d.sync += [status.eq(Status.BAD_REQUEST), answer_length.eq(0)]
                    with m.Elif(argument == 0):
                        m.next = "summed"
                    with m.Else():
                        m.next = "sum request"
                with m.Case(Operation.SET):
                    m.d.comb += self.control.write.eq(1)
                with m.Case(Operation.GET):
                    m.d.sync += answer_length.eq(WORD_BYTES)
                    m.next = "get"

    def _payload(self, m: Module, byte: Value, sent: Signal, answer_length: Signal) -> None:
        m.d.comb += [self.answer.valid.eq(1), self.answer.payload.eq(Cat(byte, sent == answer_length - 1))]

    def _hello_byte(self, at: Signal) -> Value:
        words: Sequence[int] = astuple(self._hello)
        return Array(Const(byte, 8) for byte in HELLO.pack(*words))[at[: (HELLO.size - 1).bit_length()]]
