"""The CRC-32 of bytes that come slowly, a bit a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

POLYNOMIAL = 0xEDB88320  # of CRC-32, the lowest bit first
RESIDUE = 0xDEBB20E3  # what is in the register behind a frame and its CRC
BYTE_CYCLES = 8


class SerialCrc(wiring.Component):
    """CRC-32 as zlib has it.

    A character of the UART takes 40 cycles and more. A bit after another takes a fourth of the logic of a byte at once.

    Members
    -------
    start : begin anew, in
    byte, valid : goes into the CRC, in; while not `busy`
    busy : a byte is under way, for BYTE_CYCLES from the cycle behind `valid` on, out
    crc : out, of the bytes since `start`
    matches : the last four of them are the CRC of those before, out
    """

    start: In(1)
    byte: In(8)
    valid: In(1)
    busy: Out(1)
    crc: Out(32)
    matches: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(32, init=-1)
        bits = Signal(8)
        left = Signal(range(BYTE_CYCLES + 1))
        shifted = register >> 1
        m.d.comb += [
            self.busy.eq(left != 0),
            self.crc.eq(~register),
            self.matches.eq(register == RESIDUE),
        ]
        with m.If(self.busy):
            m.d.sync += [
                register.eq(Mux(register[0] ^ bits[0], shifted ^ POLYNOMIAL, shifted)),
                bits.eq(bits >> 1),
                left.eq(left - 1),
            ]
        with m.If(self.valid):
            m.d.sync += [bits.eq(self.byte), left.eq(BYTE_CYCLES)]
        with m.If(self.start):
            m.d.sync += [register.eq(-1), left.eq(0)]
        return m
