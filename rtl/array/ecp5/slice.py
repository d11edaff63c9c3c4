"""A DSP slice of an ECP5: two products and their running sum."""

from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.ecp5.floorplan import Site
from rtl.array.steps import OPERAND_BITS, WEIGHT_BITS

WIDTH = 18  # of a multiplier's operands
LOW = 2 * WIDTH - OPERAND_BITS - WEIGHT_BITS  # of a sum in the slice's result: operands are aligned to the left
RESULT_BITS = 54
# What stands for the clock that the ALU allows, whose ports nextpnr does not time. Project Trellis has delays of the
# multiplier, speed grade 6: 1.33 ns from its pipeline register to its product, 3.93 ns through all of it, 0.08 ns that
# its input registers want. The ALU, a sum of three, is taken to be no slower than the multiplier, a sum of many.
MOST_MHZ = 187


class DspSlice(wiring.Component):
    """Adds a[0]·b[0] + a[1]·b[1] to a sum in every cycle: two MULT18X18D and the ALU54B beside them.

    ::

        a[0], b[0] ─►[register]─►[×]─►[register]─┐
        a[1], b[1] ─►[register]─►[×]─►[register]─┴─►[+]─►[register]─► total
        load ───────►[register]──────►[register]────►0 or ▲ total

    The registers are the slice's own; none has a reset. nextpnr wants the multipliers' output registers off where an
    ALU follows, and leaves the ALU's ports out of its timing analysis.

    Members
    -------
    a : activations, 9 bits signed, in
    b : weights, 8 bits signed, in
    load : the sum begins with these operands, in
    total : the sum, `LATENCY` cycles after its last operands, out
    """

    LATENCY = 3

    def __init__(self, accumulator_bits: int, site: Site | None = None) -> None:
        self._bels = [{"a_BEL": bel} for bel in site.bels] if site else [{}, {}, {}]
        super().__init__(
            {
                "a": In(signed(OPERAND_BITS)).array(2),
                "b": In(signed(WEIGHT_BITS)).array(2),
                "load": In(1),
                "total": Out(signed(accumulator_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Constants of the slice's own: nextpnr routes them, and one for all would have to go to every slice. Operands'
        # low bits take no wire: a plain 0.
        low, high = self._constant(m, "low", 0), self._constant(m, "high", 1)
        alu_inputs: dict[str, Any] = {"i_CLK0": ClockSignal(), "i_CE0": high, "i_RST0": low}
        for i in range(2):
            alu_inputs |= self._multiplier(m, i, low, high)

        # Products and C are added; C is nothing, or the sum so far.
        keep = ~self.load
        sum_so_far = [keep, low, keep]
        opcode = Cat(high, low, high, low, *sum_so_far, low, low, high, low)
        result = Signal(RESULT_BITS)
        m.submodules.alu = Instance(
            "ALU54B",
            **self._bels[2],
            p_REG_OPCODEOP0_0_CLK="CLK0",
            p_REG_OPCODEOP0_1_CLK="CLK0",
            p_REG_OPCODEOP1_0_CLK="CLK0",
            p_REG_OPCODEOP1_1_CLK="CLK0",
            p_REG_OPCODEIN_0_CLK="CLK0",
            p_REG_OPCODEIN_1_CLK="CLK0",
            p_REG_OUTPUT0_CLK="CLK0",
            p_REG_OUTPUT1_CLK="CLK0",
            **alu_inputs,
            **_bits("i_OP", opcode),
            **_bits("o_R", result),
        )
        m.d.comb += self.total.eq(result[LOW : LOW + len(self.total)].as_signed())
        return m

    def _multiplier(self, m: Module, i: int, low: Signal, high: Signal) -> dict[str, Any]:
        """One of the two; returns what the ALU takes from it. Those are no wires of the fabric, but nextpnr checks
        that they are there."""
        product = Signal(2 * WIDTH, name=f"product_{i}")
        product_signed = Signal(name=f"product_{i}_signed")
        operands = [Signal(WIDTH, name=f"operand_{i}_{name}") for name in "ab"]
        m.submodules[f"multiplier_{i}"] = Instance(
            "MULT18X18D",
            **self._bels[i],
            p_REG_INPUTA_CLK="CLK0",
            p_REG_INPUTB_CLK="CLK0",
            p_REG_PIPELINE_CLK="CLK0",
            i_CLK0=ClockSignal(),
            i_CE0=high,
            i_RST0=low,
            i_SIGNEDA=high,
            i_SIGNEDB=high,
            i_SOURCEA=low,
            i_SOURCEB=low,
            o_SIGNEDP=product_signed,
            **_bits("i_A", Cat(Const(0, WIDTH - OPERAND_BITS), self.a[i])),
            **_bits("i_B", Cat(Const(0, WIDTH - WEIGHT_BITS), self.b[i])),
            **_bits("o_P", product),
            **_bits("o_ROA", operands[0]),
            **_bits("o_ROB", operands[1]),
        )
        side = "AB"[i]
        return {
            **_bits(f"i_M{side}", product),
            **_bits(f"i_{side}", Cat(*operands)),
            f"i_SIGNEDI{side}": product_signed,
        }

    @staticmethod
    def _constant(m: Module, name: str, value: int) -> Signal:
        tie = Signal(name=f"tie_{name}")
        init = Const(0xFFFF * value, 16)
        m.submodules[f"tie_{name}"] = Instance("LUT4", a_keep=1, p_INIT=init, i_A=0, i_B=0, i_C=0, i_D=0, o_Z=tie)
        return tie


def _bits(port: str, value: Value) -> dict[str, Value]:
    """Primitives have a port for each bit: the port's name, then the bit's number."""
    return {f"{port}{i}": value[i] for i in range(len(value))}
