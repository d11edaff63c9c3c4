"""Frames of `boards.link`: out of bytes, and into bytes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.link import CRC, ESCAPE, FLAG, FLIP, PAYLOAD_MAX, REQUEST
from boards.parts.link.serial_crc import BYTE_CYCLES, SerialCrc
from rtl.lib.lut_ram import LutMemory

FRAME_MAX = REQUEST.size + PAYLOAD_MAX + CRC.size  # bytes
BUFFER_BYTES = 1 << (FRAME_MAX - 1).bit_length()  # of each of two: one that is held, one that is filled
BUFFER_PART = 64  # bytes, see LutMemory: two levels of multiplexers before its register, some more behind it
FRAME_LATENCY = 1 + LutMemory.LATENCY
IDLE_CYCLES = BYTE_CYCLES + 1  # between two bytes, at least: the CRC's, and a register behind it
FRAME_BYTE = data.StructLayout({"byte": 8, "last": 1})


class HeldFrame(wiring.Signature):
    """A request that was received, until its reader is done with it; seen from the receiver.

    Members
    -------
    held : it is there, out
    length : its bytes without the CRC, while held, out
    address : of a byte of it, in
    data : that byte, FRAME_LATENCY cycles later, out
    release : the reader is done with it, in
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "held": Out(1),
                "length": Out(range(BUFFER_BYTES)),
                "address": In(range(BUFFER_BYTES)),
                "data": Out(8),
                "release": In(1),
            }
        )


class FrameReceiver(wiring.Component):
    """Keeps requests whose CRC is right; one is held for its reader while the next one comes in.

    A frame that ends while the one before is still held is dropped. So is one that is too long or too short, or
    has a wrong CRC. The host sends it again.

    Members
    -------
    byte, valid : from the UART, in; at least IDLE_CYCLES cycles lie between two
    frame : `HeldFrame`, held two cycles behind its last flag, out
    """

    def __init__(self) -> None:
        super().__init__({"byte": In(8), "valid": In(1), "frame": Out(HeldFrame())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        frame = self.frame
        # In LUT RAM, because the core may take every block RAM.
        m.submodules.bytes = store = LutMemory(8, 2 * BUFFER_BYTES, BUFFER_PART)
        m.submodules.crc = crc = SerialCrc()
        filled = Signal()  # buffer
        count = Signal(range(BUFFER_BYTES + 1))  # bytes so far; BUFFER_BYTES: too many
        escaped = Signal()
        # Bytes come slowly, so what one is, and whether those before it are a frame, are registers.
        byte = Signal(8)
        valid = Signal()
        is_flag = Signal()
        is_escape = Signal()
        right = Signal()
        address = Signal.like(store.read_address)
        value = Mux(escaped, byte ^ FLIP, byte)
        whole = (count >= REQUEST.size + CRC.size) & (count <= FRAME_MAX) & ~escaped
        m.d.sync += [
            byte.eq(self.byte),
            valid.eq(self.valid),
            is_flag.eq(self.byte == FLAG),
            is_escape.eq(self.byte == ESCAPE),
            right.eq(whole & crc.matches),
            address.eq(Cat(frame.address, ~filled)),
        ]
        m.d.comb += [
            store.write.address.eq(Cat(count[:-1], filled)),
            store.write.data.eq(value),
            store.write.enable.eq(valid & ~count[-1]),
            store.read_address.eq(address),
            frame.data.eq(store.read_data),
            crc.start.eq(valid & is_flag),
            crc.byte.eq(value),
            crc.valid.eq(valid & ~is_flag & ~is_escape),
        ]
        with m.If(frame.release):
            m.d.sync += frame.held.eq(0)
        with m.If(valid):
            with m.If(is_flag):
                m.d.sync += [count.eq(0), escaped.eq(0)]
                with m.If(right & ~frame.held):
                    m.d.sync += [filled.eq(~filled), frame.held.eq(1), frame.length.eq(count - CRC.size)]
            with m.Elif(is_escape):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += [escaped.eq(0), count.eq(count + ~count[-1])]
        return m


class FrameSender(wiring.Component):
    """Puts flags around a frame, its CRC behind it, and escapes within.

    A byte of the frame is offered to the UART in the cycle behind the one in which it is taken.

    Members
    -------
    frame : stream of FRAME_BYTE, in
    characters : stream of 8 bits to the UART, out
    """

    def __init__(self) -> None:
        super().__init__({"frame": In(stream.Signature(FRAME_BYTE)), "characters": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        out, frame = self.characters, self.frame
        m.submodules.crc = crc = SerialCrc()
        byte = Signal(8)
        last = Signal()
        crc_bytes = Signal(range(CRC.size + 1))  # of the CRC, that are sent
        must_escape = (byte == FLAG) | (byte == ESCAPE)
        m.d.comb += [out.valid.eq(1), crc.byte.eq(frame.payload.byte), crc.valid.eq(frame.valid & frame.ready)]
        with m.FSM():
            with m.State("idle"):
                m.d.comb += [out.valid.eq(0), crc.start.eq(1)]
                m.d.sync += crc_bytes.eq(0)
                with m.If(frame.valid):
                    m.next = "begin"
            with m.State("begin"):
                m.d.comb += out.payload.eq(FLAG)
                with m.If(out.ready):
                    m.next = "take"
            with m.State("take"):
                m.d.comb += [out.valid.eq(0), frame.ready.eq(~crc.busy)]
                m.d.sync += [byte.eq(frame.payload.byte), last.eq(frame.payload.last)]
                with m.If(frame.valid & frame.ready):
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
                with m.If(~last):
                    m.next = "take"
                with m.Elif(~crc.busy):
                    m.d.sync += [byte.eq(crc.crc.word_select(crc_bytes, 8)), crc_bytes.eq(crc_bytes + 1)]
                    m.next = "byte"
                    with m.If(crc_bytes == CRC.size):
                        m.next = "end"
            with m.State("end"):
                m.d.comb += out.payload.eq(FLAG)
                with m.If(out.ready):
                    m.next = "idle"
        return m
