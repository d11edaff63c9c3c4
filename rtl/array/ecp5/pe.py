"""The processing element in DSP slices: selectors of the fabric before multipliers and adders of the slices."""

from amaranth.hdl import Module, Mux, Signal, signed

from rtl.array.ecp5.floorplan import Site
from rtl.array.ecp5.selector import Selector
from rtl.array.ecp5.slice import DspSlice
from rtl.array.pe import ProcessingElement
from rtl.array.steps import ACTIVATION_BITS, OPERAND_BITS, operand
from rtl.lib.timing import align, hard_register, relay
from rtl.params import Config, ceil_div


class SliceProcessingElement(ProcessingElement):
    """A processing element of which two lanes at a time lie in one DSP slice.

    ::

        row_in ──┬─────────────────[register]──► row_out
                 ├─►[select]─►┌──────────────┐
                 ├─►[select]─►│ × + × + sum  ├─►[partial]─►[+]─► result
        column_in┴────────────└─[register]───┘──► column_out

    A step that is not valid adds zeros: bubbles travel with the data, and the slice needs no enable. Where selectors
    have a register, all else that belongs to the step comes a cycle later too.
    """

    def __init__(self, config: Config, sites: list[Site] | None = None) -> None:
        super().__init__(config)
        self._sites = sites

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        self._pass_on(m)
        marks = {mark: relay(m, self.row_in[mark], name=mark, reset=True) for mark in ("valid", "first", "last")}
        m.d.comb += [self.row_out[mark].eq(register) for mark, register in marks.items()]
        keep = align(m, marks["last"], c.selector_cycles + DspSlice.LATENCY, name="keep", reset=True)
        row, column = (self.row_out, self.column_out) if c.selector_cycles else (self.row_in, self.column_in)
        load = align(m, marks["first"], 1, name="load") if c.selector_cycles else marks["first"]

        sums = []
        for number in range(ceil_div(c.n, 2)):
            m.submodules[f"slice_{number}"] = dsp = DspSlice(
                c.accumulator_bits, self._sites[number] if self._sites else None
            )
            m.d.comb += dsp.load.eq(load)
            for i, lane in enumerate(range(2 * number, min(2 * number + 2, c.n))):
                m.submodules[f"selector_{lane}"] = selector = Selector(c.m, ACTIVATION_BITS)
                selected = Signal(signed(OPERAND_BITS), name=f"selected_{lane}", reset_less=True)
                m.d.comb += [
                    *(selector.inputs[p].eq(self.row_in.group[p]) for p in range(c.m)),
                    selector.select.eq(self.column_in.indices[lane]),
                    dsp.a[i].eq(selected),
                    dsp.b[i].eq(hard_register(m, column.weights[lane], name=f"weight_{lane}")),
                ]
                m.d.sync += selected.eq(Mux(row.valid, operand(selector.output, row.unsigned), 0))
            partial = Signal(signed(c.accumulator_bits), name=f"partial_{number}", reset_less=True)
            with m.If(keep):
                m.d.sync += partial.eq(dsp.total)
            sums.append(partial)
        while len(sums) > 1:
            pairs = []
            for i in range(0, len(sums), 2):
                pair = Signal(signed(c.accumulator_bits), name=f"sum_{len(sums)}_{i}", reset_less=True)
                m.d.sync += pair.eq(sum(sums[i + 1 : i + 2], start=sums[i]))
                pairs.append(pair)
            sums = pairs
        m.d.comb += self.result.eq(sums[0])
        return m
