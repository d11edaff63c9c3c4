"""Comparators without one long carry chain, which is slow to enter and leave, and slow for wide numbers."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Greater(wiring.Component):
    """one > other. Combinational: a tree, one level of logic for each doubling of the width.

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
        # Greater, or equal, of each bit from the lowest on; a set sign bit makes the number less.
        bits = len(one)
        more, same = Signal(bits, name="more_1"), Signal(bits, name="same_1")
        m.d.comb += [more.eq(Cat(one[:-1] & ~other[:-1], ~one[-1] & other[-1])), same.eq(~(one ^ other))]
        span = 1
        while len(more) > 1:  # for groups of twice as many bits
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


class Beyond(wiring.Component):
    """value > limit, a cycle later. Two carry chains of half the width.

    Members
    -------
    value, limit : unsigned, `value` the wider one, in
    beyond : out
    """

    def __init__(self, value_bits: int, limit_bits: int) -> None:
        super().__init__({"value": In(value_bits), "limit": In(limit_bits), "beyond": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.limit)
        low, high, more = self.value[: bits // 2], self.value[bits // 2 : bits], self.value[bits:]
        limit_low, limit_high = self.limit[: bits // 2], self.limit[bits // 2 :]
        longer = Signal(reset_less=True)
        above = Signal(reset_less=True)
        level = Signal(reset_less=True)
        above_low = Signal(reset_less=True)
        m.d.comb += self.beyond.eq(longer | above | (level & above_low))
        # Written with `<`, for which yosys uses the carry alone; for `>` it compares each bit as well.
        m.d.sync += [
            longer.eq(more.any()),
            above.eq(limit_high < high),
            level.eq(~(high ^ limit_high).any()),  # yosys would put `==` behind the chain of `>`
            above_low.eq(limit_low < low),
        ]
        return m
