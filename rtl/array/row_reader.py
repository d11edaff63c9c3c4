"""Reads the results out of the array, row by row, a slot of a row a cycle."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.array.latencies import reader_latency
from rtl.lib.cases import cases
from rtl.lib.timing import align, gated, relay
from rtl.params import Config, ceil_div


class RowReader(wiring.Component):
    """Reads a row of results a cycle, skewed as the array is: a column a cycle after the one before, or some at a time.

    ::

        row ─►[register]─┬────────────────►[register]─┬── …
                         ▼                            ▼
        results ──►[one of each pair]─►[or]         [one of each pair]─►[or]
                                         │                                │
                                         ▼ of the last column's           ▼ one less
                                       outputs[0]                       outputs[1]

    A 2:1 mux per pair, one-hot AND-OR: two levels of LUT4. The row number passes from column to column as the array's
    steps do, so no wire spans the array, and a tile's first results can leave before its last ones are ready. Column c
    is sampled `latencies.READER_SAMPLE` + `Config.behind(c)` cycles after `row`.

    Members
    -------
    row : to be read, in
    results : of the array [row][column], in
    outputs : of each column, `latencies.reader_latency` cycles after `row`, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        shape = signed(config.accumulator_bits)
        super().__init__(
            {
                "row": In(range(config.rows)),
                "results": In(shape).array(config.rows, config.cols),
                "outputs": Out(shape).array(config.cols),
            }
        )

    @staticmethod
    def latency(config: Config) -> int:
        return reader_latency(config)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        shape = signed(c.accumulator_bits)
        pairs = ceil_div(c.rows, 2)
        row = Signal(range(2 * pairs))
        which = row[0]
        of_pair = Signal(pairs)
        m.d.comb += [row.eq(self.row), of_pair.eq(Cat(row[1:] == number for number in range(pairs)))]
        for column in range(c.cols):
            if column == 0 or c.behind(column) > c.behind(column - 1):
                which = relay(m, which, name=f"which_{column}")
                of_pair = relay(m, of_pair, name=f"of_pair_{column}")
            chosen = []
            for number in range(pairs):
                rows = [results[column] for results in self.results[2 * number : 2 * number + 2]]
                value = Signal(shape, name=f"chosen_{column}_{number}", reset_less=True)
                m.d.sync += value.eq(gated(Mux(which, rows[-1], rows[0]), of_pair[number]))
                chosen.append(value)
            output = Signal(shape, name=f"output_{column}", reset_less=True)
            m.d.sync += output.eq(reduce(or_, chosen))
            behind = c.behind(c.cols - 1) - c.behind(column)
            m.d.comb += self.outputs[column].eq(align(m, output, behind, name=f"late_{column}") if behind else output)
        return m


class SlotReader(wiring.Component):
    """Reads a slot of results a cycle: its row, then the slot of it.

    Members
    -------
    row, slot : to be read, in
    results : of the array [row][column], in
    values : of each of the slot's lanes, `latencies.slot_latency` cycles later, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        shape = signed(config.accumulator_bits)
        super().__init__(
            {
                "row": In(range(config.rows)),
                "slot": In(range(config.slots_a_row)),
                "results": In(shape).array(config.rows, config.cols),
                "values": Out(shape).array(config.drain_lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.rows = rows = RowReader(c)
        m.d.comb += [
            rows.row.eq(self.row),
            *(rows.results[r][i].eq(self.results[r][i]) for r in range(c.rows) for i in range(c.cols)),
        ]
        slot = align(m, self.slot, reader_latency(c), name="slot")
        for lane in range(c.drain_lanes):
            value = Signal(signed(c.accumulator_bits), name=f"value_{lane}", reset_less=True)
            of_lane = rows.outputs[lane :: c.drain_lanes]
            for j in cases(m, slot, len(of_lane)):
                m.d.sync += value.eq(of_lane[j])
            m.d.comb += self.values[lane].eq(value)
        return m
