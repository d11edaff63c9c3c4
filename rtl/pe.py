"""The processing element: N multipliers, each behind a selector, and one accumulator."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .params import Config
from .steps import ROW_BITS, WEIGHT_BITS, column_step, row_step


class ProcessingElement(wiring.Component):
    """Sums selected activations times weights, output-stationary (DMME, Fang et al. 2022).

    ::

        row_in ──┬─────────────[register]──► row_out
                 ├─►[select]─►[×]─┐
                 ├─►[select]─►[×]─┴─►[+]─►[accumulator]─►[result]
        column_in┴─────────────[register]──► column_out

    This one infers its multipliers and runs on any technology. A back end for one FPGA has the same
    ports and the same behaviour; only the latency may differ.

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

        # Multipliers of every FPGA absorb the registers before and after them if these have no reset.
        products = []
        for lane in range(c.n):
            selected = Signal(signed(ROW_BITS), name=f"selected_{lane}", reset_less=True)
            weight = Signal(signed(WEIGHT_BITS), name=f"weight_{lane}", reset_less=True)
            product = Signal(signed(ROW_BITS + WEIGHT_BITS), name=f"product_{lane}", reset_less=True)
            with m.Switch(self.column_in.indices[lane]):
                for position in range(c.m):
                    with m.Case(position):
                        m.d.sync += selected.eq(self.row_in.group[position])
            m.d.sync += [weight.eq(self.column_in.weights[lane]), product.eq(selected * weight)]
            products.append(product)

        lane_sum = Signal(signed(ROW_BITS + WEIGHT_BITS + (c.n - 1).bit_length()), reset_less=True)
        m.d.sync += lane_sum.eq(sum(products[1:], start=products[0]))

        valid = self._marks(m, "valid", reset=True)
        first = self._marks(m, "first", reset=False)
        last = self._marks(m, "last", reset=False)
        accumulator = Signal(signed(c.accumulator_bits), reset_less=True)
        total = Signal(signed(c.accumulator_bits))
        result = Signal(signed(c.accumulator_bits), reset_less=True)
        m.d.comb += [total.eq(Mux(first, 0, accumulator) + lane_sum), self.result.eq(result)]
        with m.If(valid):
            m.d.sync += accumulator.eq(total)
        with m.If(last):
            m.d.sync += result.eq(total)
        return m

    def _pass_on(self, m: Module) -> None:
        group = Signal.like(self.row_in.group, name="group", reset_less=True)
        column = Signal.like(self.column_in, name="column", reset_less=True)
        m.d.sync += [group.eq(self.row_in.group), column.eq(self.column_in)]
        m.d.comb += [self.row_out.group.eq(group), self.column_out.eq(column)]

    def _marks(self, m: Module, mark: str, *, reset: bool) -> Signal:
        """The mark in step with lane_sum, three cycles on; its first register also feeds the neighbour."""
        stage = self.row_in[mark]
        for i in range(3):
            register = Signal(name=f"{mark}_{i + 1}", reset_less=not reset)
            m.d.sync += register.eq(stage)
            stage = register
            if i == 0:
                m.d.comb += self.row_out[mark].eq(register)
        return stage
