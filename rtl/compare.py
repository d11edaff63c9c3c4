"""A comparison by gates: a carry chain is slow to get on and off, where the numbers are short."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Greater(wiring.Component):
    """one > other. Combinational, a level of gates each time that the bits double.

    Members
    -------
    one, other : signed, in
    more : out
    """

    def __init__(self, bits: int) -> None:
        super().__init__({"one": In(signed(bits)), "other": In(signed(bits)), "more": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        one, other = self.one, self.other
        # More, or the same, of each bit from the lowest on; where the highest one is set the number is less.
        bits = len(one)
        more, same = Signal(bits, name="more_1"), Signal(bits, name="same_1")
        m.d.comb += [more.eq(Cat(one[:-1] & ~other[:-1], ~one[-1] & other[-1])), same.eq(~(one ^ other))]
        span = 1
        while len(more) > 1:  # of twice as many bits
            span *= 2
            wider = Signal(-(-bits // span), name=f"more_{span}")
            wider_same = Signal.like(wider, name=f"same_{span}")
            for i in range(len(wider)):
                low, high = 2 * i, min(2 * i + 1, len(more) - 1)
                m.d.comb += [
                    wider[i].eq(more[high] | (same[high] & more[low])),
                    wider_same[i].eq(same[high] & same[low]),
                ]
            more, same = wider, wider_same
        m.d.comb += self.more.eq(more)
        return m
