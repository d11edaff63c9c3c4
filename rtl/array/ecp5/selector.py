"""A multiplexer of cells of the ECP5."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, registered

TWO_TO_ONE = Const(0xCACA, 16)  # of a LUT: input B where C, else A
ENABLED = Const(0xCA00, 16)  # the same where D, else 0
EIGHT = 8  # inputs that are chosen from in a cycle
STAGE = 3  # bits of the index that choose one of them


class Selector(wiring.Component):
    """Takes one of 2, 4, 8, 16 or 32 equally wide inputs.

    Of up to eight, a LUT4 takes one of two; PFUMX and L6MUX21 of the fabric join these without more LUTs. yosys knows
    them only as parts of functions of 5, 6 and 7 inputs, and takes about twice as many LUTs.

    Of more, LUTs do all of it: each takes one of two where the index is in its two, else 0; an OR joins the four of
    eight inputs, a register keeps that of each eight, and the last bits of the index choose an eight. A PFUMX has its
    select input by the wire through which a flip-flop beside it gets what no LUT makes. A large group has as many of
    these as there are inputs, to pass it on to the next element, and they found no place: docs/timing.md.

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
        if len(self.inputs) <= EIGHT:
            for bit, chosen in enumerate(self.output):
                m.d.comb += chosen.eq(self._of_eight(m, bit))
            return m
        select, late = self.select[:STAGE], align(m, self.select[STAGE:], 1, name="select_late")
        pairs = EIGHT // 2
        enables = [Signal(name=f"enable_{pair}") for pair in range(pairs)]
        m.d.comb += [enable.eq(select[1:] == pair) for pair, enable in enumerate(enables)]
        eights = []
        for eight in range(len(self.inputs) // EIGHT):
            ones = (
                self._pair(m, eight * pairs + pair, select[0], enable, f"{eight}_{pair}")
                for pair, enable in enumerate(enables)
            )
            joined = Signal(len(self.output), name=f"joined_{eight}")
            m.d.comb += joined.eq(reduce(or_, ones))
            eights.append(registered(m, joined, name=f"eight_{eight}"))
        m.d.comb += self.output.eq(Array(eights)[late])
        return m

    def _pair(self, m: Module, pair: int, select: Value, enable: Signal, name: str) -> Signal:
        """The pair's second input where select, else its first; 0 without enable."""
        low, high = self.inputs[2 * pair], self.inputs[2 * pair + 1]
        out = Signal(len(self.output), name=f"pair_{name}")
        for bit in range(len(out)):
            m.submodules[f"mux_{name}_{bit}"] = Instance(
                "LUT4", p_INIT=ENABLED, i_A=low[bit], i_B=high[bit], i_C=select, i_D=enable, o_Z=out[bit]
            )
        return out

    def _of_eight(self, m: Module, bit: int) -> Value:
        """One bit of the input chosen, of up to eight."""
        level: list[Value] = [value[bit] for value in self.inputs]
        for depth, select in enumerate(self.select):
            level = [
                self._multiplexer(m, depth, low, high, select, f"{bit}_{depth}_{i}")
                for i, (low, high) in enumerate(zip(level[::2], level[1::2], strict=True))
            ]
        return level[0]

    def _multiplexer(self, m: Module, depth: int, low: Value, high: Value, select: Value, name: str) -> Signal:
        """high where select, else low: by the multiplexer of the fabric that follows `depth` others."""
        out = Signal(name=f"pair_{name}")
        if depth == 0:
            cell = Instance("LUT4", p_INIT=TWO_TO_ONE, i_A=low, i_B=high, i_C=select, i_D=0, o_Z=out)
        elif depth == 1:
            cell = Instance("PFUMX", i_ALUT=high, i_BLUT=low, i_C0=select, o_Z=out)
        else:
            cell = Instance("L6MUX21", i_D0=low, i_D1=high, i_SD=select, o_Z=out)
        m.submodules[f"mux_{name}"] = cell
        return out
