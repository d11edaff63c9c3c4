"""A UART that listens."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


class Receiver(wiring.Component):
    """Receives characters of 8 data bits, no parity, one stop bit.

    A bit is sampled in its middle. After a character without a stop bit nothing is received until the line is high.

    Parameters
    ----------
    divisor : cycles of a bit, at least 4

    Members
    -------
    rx : the pin, in
    byte, valid : a character, for one cycle, out; it cannot be held back
    """

    def __init__(self, divisor: int) -> None:
        assert divisor >= 4
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
                # From the edge to the middle of the first data bit; the synchroniser took two cycles of it.
                m.d.sync += [cycles_left.eq(self._divisor + self._divisor // 2 - 3), bits_left.eq(8)]
                with m.If(~rx):
                    m.next = "bits"
            with m.State("bits"):
                with m.If(cycles_left == 0):
                    m.d.sync += [cycles_left.eq(self._divisor - 1), bits_left.eq(bits_left - 1)]
                    with m.If(bits_left == 0):  # the stop bit
                        m.d.sync += self.valid.eq(rx)
                        m.next = "line"
                    with m.Else():
                        m.d.sync += self.byte.eq(Cat(self.byte[1:], rx))
            with m.State("line"):
                with m.If(rx):
                    m.next = "idle"
        return m
