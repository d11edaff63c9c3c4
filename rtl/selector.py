"""A multiplexer, described for any technology."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cases import cases


class Selector(wiring.Component):
    """Takes one of several equally wide inputs. Combinational.

    Members
    -------
    inputs : `number` of `width` bits each, in
    select : in
    output : inputs[select], out
    """

    def __init__(self, number: int, width: int) -> None:
        self._number = number
        super().__init__(
            {"inputs": In(width).array(number), "select": In(range(number)), "output": Out(width)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i in cases(m, self.select, self._number):
            m.d.comb += self.output.eq(self.inputs[i])
        return m
