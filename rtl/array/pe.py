"""The processing element: N multipliers, each behind a selector, and one accumulator."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.steps import PRODUCT_BITS, column_step, operand, row_step
from rtl.lib.timing import align, gated, hard_register, registered, relay
from rtl.params import Config


class ProcessingElement(wiring.Component):
    """Sums selected activations times weights, output-stationary (DMME, Fang et al. 2022).

    ::

        row_in ───┬►[register]─┬─────────────────────────────────► row_out
                  │            ├►[one of each pair]─►[or]─►[×]─┐
                  │            └►[one of each pair]─►[or]─►[×]─┴─►[+]─►[accumulator]─►[result]
        column_in ┴►[register]─┴─────────────────────────────────► column_out

    A register follows each of these. This one infers its multipliers and runs on any technology. A back end for one
    FPGA has the same ports and the same behaviour; only the latency may differ.

    Members
    -------
    row_in, row_out : `row_step`; out one cycle after in, for the neighbour to the right
    column_in, column_out : `column_step`; out one cycle after in, for the neighbour below
    result : the last complete sum, accumulator_bits signed; it changes `Config.pe_latency` cycles after the
        step marked `last` came in, and stays until the next one does

    Sums may follow each other without a gap; cycles that are not valid may come anywhere.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "row_in": In(row_step(config)),
                "row_out": Out(row_step(config)),
                "column_in": In(column_step(config)),
                "column_out": Out(column_step(config)),
                "result": Out(signed(config.accumulator_bits)),
            }
        )

    @staticmethod
    def compute(
        groups: Sequence[Sequence[int]], weights: Sequence[Sequence[int]], indices: Sequence[Sequence[int]]
    ) -> int:
        """The sum over the steps of each lane's weight times the activation that its index selects."""
        return sum(
            weight * group[index]
            for group, step_weights, step_indices in zip(groups, weights, indices, strict=True)
            for weight, index in zip(step_weights, step_indices, strict=True)
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        self._pass_on(m)

        # Of the two on each side the outer one may be the way to the multiplier and back.
        products = []
        for lane in range(c.n):
            selected = operand(self._selected(m, lane), align(m, self.row_out.unsigned, 1, name=f"unsigned_{lane}"))
            activation = hard_register(m, selected, cycles=2, name=f"operand_{lane}")
            weight = align(m, self.column_in.weights[lane], 4, name=f"weight_{lane}")
            products.append(hard_register(m, activation * weight, cycles=2, name=f"product_{lane}"))

        lane_sum = Signal(signed(PRODUCT_BITS + (c.n - 1).bit_length()), reset_less=True)
        m.d.sync += lane_sum.eq(sum(products[1:], start=products[0]))

        valid = self._marks(m, "valid", 7)
        first_next = self._marks(m, "first", 6)
        last = self._marks(m, "last", 7)
        # Cleared just before a sum begins, by the register's own reset, which needs no logic in front of the adder.
        accumulator = Signal(signed(c.accumulator_bits), reset_less=True)
        total = Signal(signed(c.accumulator_bits))
        result = Signal(signed(c.accumulator_bits), reset_less=True)
        m.d.comb += [total.eq(accumulator + lane_sum), self.result.eq(result)]
        with m.If(valid):
            m.d.sync += accumulator.eq(total)
        with m.If(first_next):
            m.d.sync += accumulator.eq(0)
        with m.If(last):
            m.d.sync += result.eq(total)
        return m

    def _selected(self, m: Module, lane: int) -> Value:
        """The activation that a lane selects, two cycles after the step: a 2:1 mux per pair, one-hot AND-OR.

        For eight positions that is five LUT4 a bit; of a plain mux synthesis makes eight. The registers between keep it
        from merging both stages.
        """
        c = self._config
        group = self.row_out.group
        index = self.column_in.indices[lane]
        odd = align(m, index[0], 1, name=f"odd_{lane}")
        chosen = []
        for number in range(c.m // 2):
            in_pair = registered(m, index[1:] == number, name=f"pair_{lane}_{number}") if c.m > 2 else Const(1)
            one = Mux(odd, group[2 * number + 1], group[2 * number])
            chosen.append(registered(m, gated(one, in_pair), name=f"chosen_{lane}_{number}"))
        return reduce(or_, chosen)

    def _pass_on(self, m: Module) -> None:
        m.d.comb += [
            self.row_out.group.eq(relay(m, self.row_in.group, name="group")),
            self.row_out.unsigned.eq(relay(m, self.row_in.unsigned, name="unsigned")),
            self.column_out.eq(relay(m, self.column_in, name="column")),
        ]

    def _marks(self, m: Module, mark: str, cycles: int) -> Signal:
        """The mark `cycles` later, seven to be in step with lane_sum; its first register also feeds the neighbour."""
        passed = relay(m, self.row_in[mark], name=mark, reset=True)
        m.d.comb += self.row_out[mark].eq(passed)
        return align(m, passed, cycles - 1, name=f"{mark}_late", reset=True)
