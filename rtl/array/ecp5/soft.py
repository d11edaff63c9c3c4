"""The processing element without DSP slices: its multipliers are carry chains.

A multiplier of 9 by 8 bits takes 36 CCU2C and 2 LUT4: 76 LUT-eq (LUT4 + 2 CCU2C). yosys 0.52 makes 307 of `a * b`,
234 with its pass `booth`: it finds no way to put the gates of partial products into the carry chain that adds them.
"""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.ecp5.adder import GatedAdder
from rtl.array.ecp5.selector import Selector
from rtl.array.pe import ProcessingElement
from rtl.array.steps import ACTIVATION_BITS, OPERAND_BITS, WEIGHT_BITS, operand
from rtl.lib.timing import align, registered, relay, replicate

HALF = WEIGHT_BITS // 2  # of a weight
HALF_BITS = OPERAND_BITS + HALF  # of an activation times half a weight


class HalfProduct(wiring.Component):
    """An activation times the upper or the lower four bits of a weight.

    Three carry chains of ten bits, one below the other: a times two bits, plus a times the third, then after a register
    plus or minus a times the fourth. 15 CCU2C and a LUT.

    Members
    -------
    a : 9 bits signed, in
    b : 4 bits, signed (upper) or not (lower), in
    product : 13 bits signed, a cycle later, out
    """

    def __init__(self, *, upper: bool) -> None:
        self._upper = upper
        super().__init__(
            {"a": In(signed(OPERAND_BITS)), "b": In(HALF), "product": Out(signed(HALF_BITS))},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.a, self.b
        m.submodules.two = two = GatedAdder(OPERAND_BITS + 1)  # from bit 1 of the product on
        m.submodules.three = three = GatedAdder(OPERAND_BITS + 1)  # from bit 2 on
        m.submodules.four = four = GatedAdder(OPERAND_BITS + 1, inverted=self._upper)  # from bit 3 on
        m.d.comb += [
            two.first.eq(a >> 1),
            two.first_gate.eq(b[0]),
            two.second.eq(a),
            two.second_gate.eq(b[1]),
            three.first.eq(a),
            three.first_gate.eq(b[2]),
            three.second.eq(two.sum.as_signed() >> 1),
        ]
        partial = Signal(signed(OPERAND_BITS + 3), reset_less=True)
        m.d.sync += partial.eq(Cat(a[0] & b[0], two.sum[0], three.sum))
        gate = replicate(m, b[3], name="gate", distinct_init=1)  # of the weight in the element below
        m.d.comb += [
            four.first.eq(align(m, a, 1, name="a")),
            four.first_gate.eq(gate),
            four.second.eq(partial >> 3),
            self.product.eq(Cat(partial[:3], four.sum)),
        ]
        if self._upper:
            m.d.comb += four.carry.eq(gate)  # -a = ~a + 1
        return m


class SoftProcessingElement(ProcessingElement):
    """A processing element of LUTs and carry chains, as fast to its result as `SliceProcessingElement`.

    ::

        row_in ──┬───────────────────────────────────────[register]──► row_out
                 ├─►[select]─┬─►[× upper half]─►[+]─┐
                 │           └─►[× lower half]─►[+]─┴─►[16 · upper + lower]─►[accumulator]─►[result]
                 ├─►[select]─ …                  ▲
        column_in┴──────────────── other lanes ──┴───────[register]──► column_out

    The lanes' half products are added up apart, two by two and a register after each addition, and joined at the end:
    carry chains are short then. A step that is not valid adds zeros. With N = 2, M = 8 a multiplier takes 134 LUT-eq,
    of which the selector is 36 and the accumulator 14.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        self._pass_on(m)
        marks = {mark: relay(m, self.row_in[mark], name=mark, reset=True) for mark in ("valid", "first", "last")}
        m.d.comb += [self.row_out[mark].eq(register) for mark, register in marks.items()]
        row = self.row_out if c.selector_cycles else self.row_in

        halves: dict[str, list[Signal]] = {"lower": [], "upper": []}
        for lane in range(c.n):
            m.submodules[f"selector_{lane}"] = selector = Selector(c.m, ACTIVATION_BITS)
            selected = Signal(signed(OPERAND_BITS), name=f"selected_{lane}", reset_less=True)
            m.d.comb += [
                *(selector.inputs[p].eq(self.row_in.group[p]) for p in range(c.m)),
                selector.select.eq(self.column_in.indices[lane]),
            ]
            m.d.sync += selected.eq(Mux(row.valid, operand(selector.output, row.unsigned), 0))
            weight = self.column_out.weights[lane]
            if c.selector_cycles:
                weight = align(m, weight, 1, name=f"weight_{lane}")
            for half, bits in (("lower", weight[:HALF]), ("upper", weight[HALF:])):
                m.submodules[f"{half}_{lane}"] = product = HalfProduct(upper=half == "upper")
                m.d.comb += [product.a.eq(selected), product.b.eq(bits)]
                halves[half].append(product.product)
        lower, upper = (self._sum(m, products, half) for half, products in halves.items())

        m.submodules.join = join = GatedAdder(len(upper))
        lane_sum = Signal(signed(HALF + len(join.sum)), reset_less=True)
        m.d.comb += [join.first.eq(lower >> HALF), join.second.eq(upper)]
        m.d.sync += lane_sum.eq(Cat(lower[:HALF], join.sum))

        # In step with lane_sum.
        keep = align(m, ~marks["first"], c.pe_latency - 2, name="keep")
        end = align(m, marks["last"], c.pe_latency - 2, name="end", reset=True)

        result = Signal(signed(c.accumulator_bits), reset_less=True)
        m.submodules.accumulate = accumulate = GatedAdder(c.accumulator_bits)
        m.d.comb += [
            accumulate.first.eq(lane_sum),
            accumulate.second.eq(registered(m, accumulate.sum, name="accumulator")),
            accumulate.second_gate.eq(keep),
            self.result.eq(result),
        ]
        with m.If(end):
            m.d.sync += result.eq(accumulate.sum)
        return m

    @staticmethod
    def _sum(m: Module, values: Sequence[Signal], name: str) -> Signal:
        """The sum of signed values: two by two, a register after each addition, at least one."""
        level = 0
        while level == 0 or len(values) > 1:
            sums = []
            for i in range(0, len(values), 2):
                pair = values[i : i + 2]
                total = pair[0]
                if len(pair) == 2:
                    m.submodules[f"add_{name}_{level}_{i}"] = adder = GatedAdder(len(total) + 1)
                    m.d.comb += [adder.first.eq(pair[0]), adder.second.eq(pair[1])]
                    total = adder.sum.as_signed()
                sums.append(registered(m, total, name=f"{name}_{level}_{i}"))
            values = sums
            level += 1
        return values[0]
