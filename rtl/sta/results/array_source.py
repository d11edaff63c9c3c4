"""Results of the array, row after row of each tile, while it computes the next one."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.row_reader import SlotReader
from rtl.lib.timing import align, tally
from rtl.params import RESULT_TILES
from rtl.sta.control.instruction import instruction_layout, max_more_heads
from rtl.sta.isa import Columns
from rtl.sta.latencies import drain_start, source_latency
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import Slots, SlotWalk, destination_after


class ArraySource(wiring.Component):
    """Reads a slot a cycle: a tile's first one `latencies.drain_start` cycles after the decision to issue its last
    step, or right after the tile before. Unused rows are skipped.

    Members
    -------
    start, instruction : of a PRODUCT, in
    tile_end : a tile's last step was issued, in (registered once)
    results : of the array, in
    slots : results, `latencies.source_latency` cycles after they are read, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "tile_end": In(1),
                "results": In(signed(config.accumulator_bits)).array(config.rows, config.cols),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.walk = walk = SlotWalk(c, max_more_heads=max_more_heads(c))
        destination = walk.destination

        # Two registers of this latency are elsewhere: tile_end itself, and the count of complete tiles.
        softmax = Signal()
        early, late = drain_start(c, False) - 2, drain_start(c, True) - 2
        m.d.comb += softmax.eq(self.instruction.columns == Columns.VALUES)
        complete = align(m, self.tile_end, early, name="complete", reset=True)
        if late > early:
            with_sums = align(m, complete & softmax, late - early, name="with_sums", reset=True)
            complete = Mux(softmax, with_sums, complete)
        no_tile = tally(m, RESULT_TILES, complete, walk.advance & walk.tile_last, name="tiles").none
        m.d.comb += [walk.start.eq(self.start), walk.instruction.eq(self.instruction), walk.advance.eq(~no_tile)]

        m.submodules.reader = reader = SlotReader(c)
        m.d.comb += [
            reader.row.eq(destination.row),
            reader.slot.eq(destination.slot),
            *(reader.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
            *(self.slots.values[lane].eq(reader.values[lane]) for lane in range(c.drain_lanes)),
            self.slots.valid.eq(align(m, walk.advance, source_latency(c), name="valid", reset=True)),
            self.slots.destination.eq(destination_after(m, walk, source_latency(c))),
        ]
        return m
