"""An adder of gated numbers, in the carry chain of an ECP5 alone."""

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

# Of a CCU2C's half, inputs A, B of the first number, C, D of the second: it passes the carry on where its LUT4 is 1;
# where that is 0, both bits are equal, and the carry is the LUT2 of A and B that the lowest four bits describe.
SUM = Const(0x7888, 16)  # (A & B) ^ (C & D); A & B
SUM_OF_INVERTED = Const(0xB444, 16)  # (~A & B) ^ (C & D); ~A & B


class GatedAdder(wiring.Component):
    """sum = (first where first_gate, else 0) + (second where second_gate, else 0) + carry. Combinational.

    A half CCU2C a bit and no other LUT: the gates are inputs of the carry chain's own LUTs. nextpnr adds one CCU2C
    by which the carry goes in.

    Members
    -------
    first, second : two's complement or not, in; of an adder with `inverted`, first is inverted before its gate
    first_gate, second_gate, carry : in
    sum : modulo 2^width, out
    """

    def __init__(self, width: int, *, inverted: bool = False) -> None:
        self._init = SUM_OF_INVERTED if inverted else SUM
        super().__init__(
            {
                "first": In(width),
                "first_gate": In(1, init=1),
                "second": In(width),
                "second_gate": In(1, init=1),
                "carry": In(1),
                "sum": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(self.sum)
        carry = self.carry
        for low in range(0, width, 2):
            ports = {"i_CIN": carry}
            for half in range(2):
                # An input that is always 1 takes no wire; one that is always 0 can.
                bit = low + half
                used = bit < width
                ports |= {
                    f"i_A{half}": self.first[bit] if used else 1,
                    f"i_B{half}": self.first_gate if used else 1,
                    f"i_C{half}": self.second[bit] if used else 1,
                    f"i_D{half}": self.second_gate if used else 1,
                }
                if used:
                    ports[f"o_S{half}"] = self.sum[bit]
            if low + 2 < width:
                carry = Signal(name=f"carry_{low + 2}")
                ports["o_COUT"] = carry
            m.submodules[f"bits_{low}"] = Instance(
                "CCU2C", p_INIT0=self._init, p_INIT1=self._init, p_INJECT1_0="NO", p_INJECT1_1="NO", **ports
            )
        return m
