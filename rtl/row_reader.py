"""Takes the results of one row after the other out of the array."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cases import cases
from .params import Config, ceil_div, reader_latency
from .pipeline import delayed
from .technology import selector

BLOCK = 4  # rows among which the first stage chooses: near each other, whatever the size of the array


class RowReader(wiring.Component):
    """Reads a row of results a cycle, the way in which the array fills: each column a cycle after the one before.

    ::

        row ─►[register]─┬────────────────►[register]─┬── …
                         ▼                            ▼
        results ──►[a row of each block]─►[a block]   [a row of each block]─►[a block]
                                               │                                 │
                                               ▼ cols − 1 registers              ▼ cols − 2
                                            outputs[0]                        outputs[1]

    So the number of the row goes no further in a cycle than from one column to the next, and a tile's first results
    can leave before its last ones are there. Column c is looked at `params.READER_SAMPLE` + c cycles after `row`.

    Members
    -------
    row : to be read, in
    results : of the array [row][column], in
    outputs : of each column, `params.reader_latency` cycles after `row`, out
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
        blocks = ceil_div(c.rows, BLOCK)
        within = BLOCK.bit_length() - 1
        row = self.row
        for column in range(c.cols):
            row = delayed(m, row, 1, name=f"row_{column}")
            block = Signal(range(blocks), name=f"block_{column}", reset_less=True)
            m.d.sync += block.eq(row[within:])
            chosen = []
            for number in range(blocks):
                rows = self.results[BLOCK * number : BLOCK * (number + 1)]
                value = Signal(shape, name=f"of_block_{column}_{number}", reset_less=True)
                if len(rows) == 1:
                    m.d.sync += value.eq(rows[0][column])
                else:
                    m.submodules[f"selector_{column}_{number}"] = choice = selector(c, BLOCK, c.accumulator_bits)
                    m.d.comb += [
                        *(choice.inputs[i].eq(results[column]) for i, results in enumerate(rows)),
                        choice.select.eq(row[:within]),
                    ]
                    m.d.sync += value.eq(choice.output)
                chosen.append(value)
            output = Signal(shape, name=f"output_{column}", reset_less=True)
            for i in cases(m, block, blocks):
                m.d.sync += output.eq(chosen[i])
            behind = c.cols - 1 - column
            m.d.comb += self.outputs[column].eq(
                delayed(m, output, behind, name=f"output_{column}") if behind else output
            )
        return m
