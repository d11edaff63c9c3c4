"""The board's end of the link."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.link import Hello
from boards.parts.link.frames import FRAME_BYTE, FrameReceiver, FrameSender
from boards.parts.link.requests import Requests
from boards.parts.stream_register import StreamRegister
from boards.parts.uart import Receiver, Transmitter
from rtl.lib.port import ControlPort, MemoryPort


class Link(wiring.Component):
    """A UART through which a host reads and writes memory and registers.

    ::

        rx ─► receiver ─► frames ─► requests ─► memory, registers
        tx ◄─ transmitter ◄─ frames ◄─┘

    Parameters
    ----------
    divisor : cycles of a bit
    port_bytes, hello, board_registers : see `Requests`

    Members
    -------
    rx : pin, in
    tx : pin, out
    memory, control, board, initialised : see `Requests`
    """

    def __init__(self, divisor: int, port_bytes: int, hello: Hello, board_registers: int) -> None:
        self._divisor = divisor
        self._requests = Requests(port_bytes, hello, board_registers)
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1, init=1),
                "memory": Out(MemoryPort(port_bytes)),
                "control": In(ControlPort()),
                "board": In(32).array(board_registers),
                "initialised": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = Receiver(self._divisor)
        m.submodules.frame_receiver = frames = FrameReceiver()
        m.submodules.requests = requests = self._requests
        m.submodules.frame_sender = sender = FrameSender()
        m.submodules.transmitter = transmitter = Transmitter(self._divisor)
        connect(m, frames.frame, requests.frame)
        m.submodules.answer = answer = StreamRegister(FRAME_BYTE)
        connect(m, requests.answer, answer.words_in)
        connect(m, answer.words_out, sender.frame)
        connect(m, sender.characters, transmitter.characters)
        connect(m, requests.memory, flipped(self.memory))
        connect(m, flipped(self.control), requests.control)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            frames.byte.eq(receiver.byte),
            frames.valid.eq(receiver.valid),
            requests.initialised.eq(self.initialised),
            *(mine.eq(given) for mine, given in zip(requests.board, self.board, strict=True)),
        ]
        return m
