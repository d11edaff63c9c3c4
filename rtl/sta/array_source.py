"""The results of the array, row after row of each tile, while it works on the next one."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..cases import cases
from ..params import RESULT_TILES
from ..pipeline import delayed
from .decode import instruction_layout
from .isa import Columns
from .params import StaConfig
from .place import Slots, SlotWalk
from .timing import drain_start


class ArraySource(wiring.Component):
    """Reads a slot a cycle: a tile's first one `timing.drain_start` cycles after the decision to issue its last step,
    or right after the tile before. Rows that are not in use are left out.

    Members
    -------
    start, instruction : of a PRODUCT, in
    tile_end : a tile's last step was issued, in (registered once)
    results : of the array, in
    slots : results, a cycle after they are read, out
    """

    LATENCY = 1

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
        m.submodules.walk = walk = SlotWalk(c)
        place = walk.place

        # Two registers are in this path already: tile_end itself, and the count of complete tiles.
        softmax = Signal()
        early, late = drain_start(c, False) - 2, drain_start(c, True) - 2
        m.d.comb += softmax.eq(self.instruction.columns == Columns.VALUES)
        complete = delayed(m, self.tile_end, early, name="complete", reset=True)
        if late > early:
            with_sums = delayed(m, complete & softmax, late - early, name="with_sums", reset=True)
            complete = Mux(softmax, with_sums, complete)
        tiles = Signal(range(RESULT_TILES + 1))
        m.d.sync += tiles.eq(tiles + complete - (walk.go & walk.tile_last))
        m.d.comb += [walk.start.eq(self.start), walk.instruction.eq(self.instruction), walk.go.eq(tiles != 0)]

        # Select the row, then the slot of it.
        row_results = [Signal(signed(c.accumulator_bits), name=f"row_result_{i}") for i in range(c.cols)]
        for r in cases(m, place.row, c.rows):
            m.d.comb += [row_results[i].eq(self.results[r][i]) for i in range(c.cols)]
        for lane in range(c.drain_lanes):
            value = Signal(signed(c.accumulator_bits), name=f"value_{lane}", reset_less=True)
            lane_results = row_results[lane :: c.drain_lanes]
            for j in cases(m, place.slot, len(lane_results)):
                m.d.sync += value.eq(lane_results[j])
            m.d.comb += self.slots.values[lane].eq(value)
        m.d.comb += [
            self.slots.valid.eq(delayed(m, walk.go, self.LATENCY, name="valid", reset=True)),
            self.slots.place.eq(delayed(m, place, self.LATENCY, name="place")),
        ]
        return m
