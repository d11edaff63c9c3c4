"""The selection decoder: from a bitmap to the position in the group that each lane takes."""

from itertools import combinations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.params import Config, ceil_div


class BitmapRanks(wiring.Component):
    """For each position of a group's bitmap, the number of bits set below it. Combinational.

    A tree of full adders (carry-save): carry chains are slow for so few bits.

    Members
    -------
    bitmap : M bits, in
    ranks : one a position, out
    """

    def __init__(self, config: Config) -> None:
        super().__init__({"bitmap": In(config.m), "ranks": Out(range(config.m)).array(config.m)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for position in range(len(self.bitmap)):
            rank: list[Value] = []
            column = [*self.bitmap[:position]]  # bits of the same weight
            while column:
                carries: list[Value] = []
                while len(column) > 1:
                    three, column = column[:3], column[3:]
                    name = f"{position}_{len(rank)}_{len(carries)}"
                    one, carry = Signal(name=f"sum_{name}"), Signal(name=f"carry_{name}")
                    m.d.comb += [
                        one.eq(Cat(three).xor()),
                        carry.eq(Cat(a & b for a, b in combinations(three, 2)).any()),
                    ]
                    column.append(one)
                    carries.append(carry)
                rank += column
                column = carries
            m.d.comb += self.ranks[position].eq(Cat(rank))
        return m


class BitmapDecoder(wiring.Component):
    """Turns a group's bitmap into the positions that the lanes take in one step. Combinational.

    Lane i of step s takes the (s·N + i)-th set bit, counted from the lowest; where there are not as
    many, 0 (the weight there is 0 as well).

    Members
    -------
    bitmap : M bits, in
    ranks : of the bitmap, `BitmapRanks`, in
    step : of the group, 0 … ⌈M/N⌉ − 1, in
    indices : one a lane, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "bitmap": In(config.m),
                "ranks": In(range(config.m)).array(config.m),
                "step": In(range(ceil_div(config.m, config.n))),
                "indices": Out(config.index_bits).array(config.n),
            }
        )

    @staticmethod
    def compute(bitmap: int, step: int, n: int, m: int) -> list[int]:
        positions = [p for p in range(m) if bitmap >> p & 1][step * n : (step + 1) * n]
        return positions + [0] * (n - len(positions))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        steps = ceil_div(c.m, c.n)
        taken = [Signal(range(steps * c.n), name=f"taken_{lane}") for lane in range(c.n)]
        for step in cases(m, self.step, steps):
            m.d.comb += [rank.eq(step * c.n + lane) for lane, rank in enumerate(taken)]
        for lane, rank in enumerate(taken):
            index: Value = Const(0)
            for position in range(c.m):
                takes = self.bitmap[position] & (self.ranks[position] == rank)
                index |= position & takes.replicate(c.index_bits)
            m.d.comb += self.indices[lane].eq(index)
        return m
