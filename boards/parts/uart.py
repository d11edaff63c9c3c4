"""A UART: transmitter and receiver."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from rtl.params import InputError

FRAME_BITS = 10  # start, eight data bits from the lowest on, stop
DIVISOR_MIN = 4  # cycles of a bit that is received


def baud_divisor(clock_hz: float, baud: int, *, least: int = 1) -> int:
    """Cycles of a bit, to the nearest; a receiver bears 2 % of error.

    least : DIVISOR_MIN where there is a receiver

    Raises
    ------
    InputError : the clock cannot make that baud rate.
    """
    divisor = max(1, round(clock_hz / baud))
    if divisor < least:
        raise InputError(f"baud rate is {baud}, must be at most {clock_hz / least:.0f} at {clock_hz / 1e6:g} MHz")
    if abs(clock_hz / divisor / baud - 1) > 0.02:
        raise InputError(f"baud rate is {baud}, must divide {clock_hz / 1e6:g} MHz to within 2 %")
    return divisor


class Transmitter(wiring.Component):
    """Sends characters as 8 data bits, no parity, one stop bit.

    The start bit begins in the cycle after a character is taken; the next character is taken in the stop bit's last
    cycle at the earliest, so frames follow one another without a gap.

    Parameters
    ----------
    divisor : cycles of a bit

    Members
    -------
    characters : stream of 8 bits, in
    tx : the pin, high while idle, out
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"characters": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        frame = Signal(FRAME_BITS, init=-1)
        bits_left = Signal(range(FRAME_BITS + 1))
        cycles_left = Signal(range(self._divisor))
        bit_ends = Signal()
        m.d.comb += [
            bit_ends.eq(cycles_left == 0),
            self.characters.ready.eq((bits_left == 0) | ((bits_left == 1) & bit_ends)),
            self.tx.eq(frame[0]),
        ]
        m.d.sync += cycles_left.eq(cycles_left - 1)
        with m.If(bit_ends):
            m.d.sync += [frame.eq(Cat(frame[1:], Const(1, 1))), cycles_left.eq(self._divisor - 1)]
            with m.If(bits_left != 0):
                m.d.sync += bits_left.eq(bits_left - 1)
        with m.If(self.characters.valid & self.characters.ready):
            m.d.sync += [
                frame.eq(Cat(Const(0, 1), self.characters.payload, Const(1, 1))),
                bits_left.eq(FRAME_BITS),
                cycles_left.eq(self._divisor - 1),
            ]
        return m


class Receiver(wiring.Component):
    """Receives characters of 8 data bits, no parity, one stop bit.

    A bit is sampled in its middle. After a character without a stop bit nothing is received until the line is high.

    Parameters
    ----------
    divisor : cycles of a bit, at least DIVISOR_MIN

    Members
    -------
    rx : the pin, in
    byte, valid : a character, for one cycle, out; it cannot be held back. It comes half a bit and three cycles behind
        the begin of its stop bit
    """

    def __init__(self, divisor: int) -> None:
        self._divisor = divisor
        super().__init__({"rx": In(1), "byte": Out(8), "valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rx = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        cycles_left = Signal(range(self._divisor + self._divisor // 2))
        bits_left = Signal(range(9))
        m.d.sync += [self.valid.eq(0), cycles_left.eq(cycles_left - 1)]
        with m.FSM():
            with m.State("idle"):
                # From the edge, in this cycle, to the middle of the first data bit.
                m.d.sync += [cycles_left.eq(self._divisor + self._divisor // 2 - 1), bits_left.eq(8)]
                with m.If(~rx):
                    m.next = "bits"
            with m.State("bits"):
                with m.If(cycles_left == 0):
                    m.d.sync += [cycles_left.eq(self._divisor - 1), bits_left.eq(bits_left - 1)]
                    with m.If(bits_left == 0):  # the stop bit
                        m.d.sync += self.valid.eq(rx)
                        m.next = "idle"  # at once: the next start bit of a fast sender may begin in the next cycle
                        with m.If(~rx):
                            m.next = "break"
                    with m.Else():
                        m.d.sync += self.byte.eq(Cat(self.byte[1:], rx))
            with m.State("break"):
                with m.If(rx):
                    m.next = "idle"
        return m
