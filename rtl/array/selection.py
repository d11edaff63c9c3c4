"""The selection decoder: from a bitmap to the position in the group that each lane takes."""

from collections.abc import Sequence
from itertools import combinations

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import registered
from rtl.params import Config, ceil_div

RANKED_AT_ONCE = 8  # bits whose ranks take no more than a cycle at 130 MHz on an ECP5


class BitmapRanks(wiring.Component):
    """For each position of a group's bitmap, the number of bits set below it.

    Parameters
    ----------
    pipelined : a cycle later: ranks among the eight bits that a position lies in, and then the eights below. Else
        combinational

    Members
    -------
    bitmap : M bits, in
    ranks : one a position, out
    """

    def __init__(self, config: Config, *, pipelined: bool = False) -> None:
        self._pipelined = pipelined
        super().__init__({"bitmap": In(config.m), "ranks": Out(range(config.m)).array(config.m)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        positions = len(self.bitmap)
        size = RANKED_AT_ONCE if self._pipelined else positions
        eights: list[Value] = []  # bits set in each that lies below
        for first in range(0, positions, size):
            for position in range(first, min(first + size, positions)):
                rank = total(m, [*self.bitmap[first:position]], position - first, f"{position}")
                if self._pipelined:
                    own = registered(m, rank, name=f"own_{position}")
                    rank = total(m, [own, *eights], position, f"{position}_whole")
                m.d.comb += self.ranks[position].eq(rank)
            if first + size < positions:
                count = total(m, [*self.bitmap[first : first + size]], size, f"eight_{first}")
                eights.append(registered(m, count, name=f"eight_{first}"))
        return m


def total(m: Module, numbers: Sequence[Value], most: int, name: str) -> Value:
    """The sum of unsigned numbers, which is no more than `most`.

    A tree of full adders (carry-save): carry chains are slow for so few bits.
    """
    found: list[Value] = []
    width = most.bit_length()
    columns = [[number[weight] for number in numbers if weight < len(number)] for weight in range(width)]
    for weight, column in enumerate(columns):
        carries = columns[weight + 1] if weight + 1 < width else []
        made = 0
        while len(column) > 1:
            three, column = column[:3], column[3:]
            own = f"{name}_{weight}_{made}"
            one = Signal(name=f"sum_{own}")
            m.d.comb += one.eq(Cat(three).xor())
            column.append(one)
            if weight + 1 < width:
                carry = Signal(name=f"carry_{own}")
                m.d.comb += carry.eq(Cat(a & b for a, b in combinations(three, 2)).any())
                carries.append(carry)
            made += 1
        found += column
    return Cat(found)


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
