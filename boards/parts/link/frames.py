"""Frames of `boards.link`: out of bytes, and into bytes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.link import ESCAPE, FLAG, FLIP, PAYLOAD_MAX, REQUEST
from boards.parts.link.crc import CRC_BITS, RESIDUE, START, step

FRAME_MAX = REQUEST.size + PAYLOAD_MAX + 4  # bytes, CRC included
HALF = 1 << (FRAME_MAX - 1).bit_length()


class FrameReceiver(wiring.Component):
    """Keeps requests whose CRC is right; one is held for its reader while the next one comes in.

    A frame that ends while the one before is still held is dropped. So is one that is too long or too short, or
    has a wrong CRC. The host sends it again.

    Members
    -------
    byte, valid : from the UART, in
    held : a frame is there, out
    length : its bytes without the CRC, while held, out
    address : of a byte of it, in
    data : that byte, a cycle later, out
    release : the reader is done with it, in
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "byte": In(8),
                "valid": In(1),
                "held": Out(1),
                "length": Out(range(HALF)),
                "address": In(range(HALF)),
                "data": Out(8),
                "release": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bytes = store = memory.Memory(shape=8, depth=2 * HALF, init=[])
        write, read = store.write_port(), store.read_port()
        half = Signal()  # that is filled
        count = Signal(range(HALF + 1))  # bytes so far; HALF: too many
        escaped = Signal()
        crc = Signal(CRC_BITS, init=START)
        is_flag, is_escape = self.byte == FLAG, self.byte == ESCAPE
        value = Mux(escaped, self.byte ^ FLIP, self.byte)
        right = (crc == RESIDUE) & ~escaped & (count >= REQUEST.size + 4) & (count <= FRAME_MAX)
        m.d.comb += [
            write.addr.eq(Cat(count[:-1], half)),
            write.data.eq(value),
            write.en.eq(self.valid & ~count[-1]),
            read.addr.eq(Cat(self.address, ~half)),
            self.data.eq(read.data),
        ]
        with m.If(self.release):
            m.d.sync += self.held.eq(0)
        with m.If(self.valid):
            with m.If(is_flag):
                m.d.sync += [count.eq(0), escaped.eq(0), crc.eq(START)]
                with m.If(right & ~self.held):
                    m.d.sync += [half.eq(~half), self.held.eq(1), self.length.eq(count - 4)]
            with m.Elif(is_escape):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += [escaped.eq(0), crc.eq(step(crc, value)), count.eq(count + ~count[-1])]
        return m


class FrameSender(wiring.Component):
    """Puts flags around a frame, its CRC behind it, and escapes within.

    Members
    -------
    frame : stream of bytes in, `last` with the last one
    characters : stream to the UART, out
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "frame": In(stream.Signature(9)),  # the byte, and bit 8: it is the last
                "characters": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        out = self.characters
        crc = Signal(CRC_BITS, init=START)
        byte = Signal(8)
        last = Signal()
        crc_left = Signal(range(5))  # bytes of the CRC, this one included; 0 within the frame
        must_escape = (byte == FLAG) | (byte == ESCAPE)
        m.d.comb += out.valid.eq(1)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += out.valid.eq(0)
                m.d.sync += [crc.eq(START), crc_left.eq(0)]
                with m.If(self.frame.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += out.payload.eq(FLAG)
                with m.If(out.ready):
                    m.next = "take"
            with m.State("take"):
                m.d.comb += [out.valid.eq(0), self.frame.ready.eq(1)]
                m.d.sync += [byte.eq(self.frame.payload[:8]), last.eq(self.frame.payload[8])]
                with m.If(self.frame.valid):
                    m.d.sync += crc.eq(step(crc, self.frame.payload[:8]))
                    m.next = "byte"
            with m.State("byte"):
                m.d.comb += out.payload.eq(Mux(must_escape, ESCAPE, byte))
                with m.If(out.ready):
                    m.next = "next"
                    with m.If(must_escape):
                        m.next = "escaped"
            with m.State("escaped"):
                m.d.comb += out.payload.eq(byte ^ FLIP)
                with m.If(out.ready):
                    m.next = "next"
            with m.State("next"):
                m.d.comb += out.valid.eq(0)
                m.next = "take"
                with m.If((crc_left == 0) & last):
                    m.d.sync += [crc_left.eq(4), byte.eq(~crc[:8]), crc.eq(crc >> 8)]
                    m.next = "byte"
                with m.Elif(crc_left > 1):
                    m.d.sync += [crc_left.eq(crc_left - 1), byte.eq(~crc[:8]), crc.eq(crc >> 8)]
                    m.next = "byte"
                with m.Elif(crc_left == 1):
                    m.next = "end"
            with m.State("end"):
                m.d.comb += out.payload.eq(FLAG)
                with m.If(out.ready):
                    m.next = "idle"
        return m
