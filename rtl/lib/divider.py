"""Division: a bit a cycle, or by a power of two."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def ceil_shift(value: Value, divisor: int) -> Value:
    """⌈value / divisor⌉, the divisor a power of two."""
    return (value + (divisor - 1)) >> (divisor.bit_length() - 1)


class Divider(wiring.Component):
    """Restoring division: each step shifts a dividend bit into the remainder and a quotient bit in behind the dividend.

    The quotient must fit: dividend < divisor · 2^quotient_bits.

    Parameters
    ----------
    divisor_bits, quotient_bits : the dividend has as many bits as both

    Members
    -------
    load : takes the dividend, in
    dividend : in
    step : computes a bit, where it does not load, in
    divisor : steady while it steps, in
    quotient : complete after quotient_bits steps, out; undefined before and after
    """

    def __init__(self, divisor_bits: int, quotient_bits: int) -> None:
        super().__init__(
            {
                "load": In(1),
                "dividend": In(divisor_bits + quotient_bits),
                "step": In(1),
                "divisor": In(divisor_bits),
                "quotient": Out(quotient_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.divisor)
        remainder = Signal(bits, reset_less=True)
        rest = Signal.like(self.quotient, reset_less=True)  # of the dividend, then the quotient's bits so far
        wider = Signal(bits + 1)
        difference = Signal(signed(bits + 2))
        fits = Signal()
        m.d.comb += [
            wider.eq(Cat(rest[-1], remainder)),
            difference.eq(wider - self.divisor),
            fits.eq(difference >= 0),
            self.quotient.eq(rest),
        ]
        with m.If(self.load):
            m.d.sync += Cat(rest, remainder).eq(self.dividend)
        with m.Elif(self.step):
            m.d.sync += [remainder.eq(Mux(fits, difference, wider)), rest.eq(Cat(fits, rest))]
        return m
