"""A multiplexer in the ECP5's own: LUTs in pairs behind the multiplexers of the fabric."""

from amaranth.hdl import Cat, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, registered

TWO_TO_ONE = Const(0xCACA, 16)  # of a LUT: input B where C, else A
STAGE = 3  # bits of the index that choose in a cycle: LUT4, PFUMX, L6MUX21


class Selector(wiring.Component):
    """Takes one of 2, 4, 8, 16 or 32 equally wide inputs.

    A LUT4 takes one of two; PFUMX and L6MUX21 of the fabric join these without more LUTs. yosys knows them only as
    parts of functions of 5, 6 and 7 inputs, and takes about twice as many LUTs. Of 16 and 32 inputs a register keeps
    what is chosen of each eight.

    Members
    -------
    inputs : `number` of `width` bits each, in
    select : in
    output : inputs[select], `Config.selector_cycles` later, out
    """

    def __init__(self, number: int, width: int) -> None:
        super().__init__({"inputs": In(width).array(number), "select": In(range(number)), "output": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        selects = list(self.select[:STAGE])
        if len(self.select) > STAGE:
            selects.extend(align(m, self.select[STAGE:], 1, name="select_late"))
        for bit in range(len(self.output)):
            level = [value[bit] for value in self.inputs]
            for depth, select in enumerate(selects):
                if depth == STAGE:
                    level = list(registered(m, Cat(level), name=f"of_eight_{bit}"))
                level = [
                    self._pair(m, depth, low, high, select, f"{bit}_{depth}_{i}")
                    for i, (low, high) in enumerate(zip(level[::2], level[1::2], strict=True))
                ]
            m.d.comb += self.output[bit].eq(level[0])
        return m

    def _pair(self, m: Module, depth: int, low: Signal, high: Signal, select: Signal, name: str) -> Signal:
        """high where select, else low."""
        out = Signal(name=f"pair_{name}")
        if depth % STAGE == 0:
            cell = Instance("LUT4", p_INIT=TWO_TO_ONE, i_A=low, i_B=high, i_C=select, i_D=0, o_Z=out)
        elif depth % STAGE == 1:
            cell = Instance("PFUMX", i_ALUT=high, i_BLUT=low, i_C0=select, o_Z=out)
        else:
            cell = Instance("L6MUX21", i_D0=low, i_D1=high, i_SD=select, o_Z=out)
        m.submodules[f"mux_{name}"] = cell
        return out
