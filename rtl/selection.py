"""The selection decoder: which position of a group each lane takes, from a bitmap."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cases import cases
from .params import Config, ceil_div


class BitmapDecoder(wiring.Component):
    """Turns a group's bitmap into the positions that the lanes take in one step. Combinational.

    Lane i of step s takes the (s·N + i)-th set bit, counted from the lowest; where there are not as
    many, 0 (the weight there is 0 as well).

    Members
    -------
    bitmap : M bits, in
    step : of the group, 0 … ⌈M/N⌉ − 1, in
    indices : one a lane, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "bitmap": In(config.m),
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
        first = Signal(range(c.m))  # rank of the position that lane 0 takes
        for step in cases(m, self.step, ceil_div(c.m, c.n)):
            m.d.comb += first.eq(step * c.n)

        # A position's distance is its rank less `first`: the lane that takes it, if there is such a lane.
        # Ranks grow by at most one from position to position, so a lane's index is an OR of what matches.
        distances = []
        rank = Signal(range(c.m + 1), name="rank_0")
        for position in range(c.m):
            distance = Signal(range(-c.m, c.m), name=f"distance_{position}")
            m.d.comb += distance.eq(rank - first)
            distances.append(distance)
            next_rank = Signal(range(c.m + 1), name=f"rank_{position + 1}")
            m.d.comb += next_rank.eq(rank + self.bitmap[position])
            rank = next_rank
        for lane in range(c.n):
            index = 0
            for position in range(c.m):
                index |= Mux(self.bitmap[position] & (distances[position] == lane), position, 0)
            m.d.comb += self.indices[lane].eq(index)
        return m
