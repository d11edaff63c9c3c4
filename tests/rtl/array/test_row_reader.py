"""The row reader: each column looked at in its cycle and in no other, all of a row out at once."""

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import READER_SAMPLE, reader_latency
from rtl.array.row_reader import RowReader
from rtl.params import Config
from rtl.sta.params import StaConfig
from tests.rtl.simulate import run, seeded

CYCLES = 80


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7])
@pytest.mark.parametrize(("cols", "abreast"), [(1, False), (2, False), (5, False), (2, True), (7, True)])
def test_rows(rows: int, cols: int, abreast: bool) -> None:
    """A random row a cycle, of results that change in every cycle, both ends among them."""
    config = StaConfig(m=16, rows=rows, cols=cols, pe="ecp5") if abreast else Config(rows=rows, cols=cols)
    assert (config.columns_abreast > 1) == abreast
    half = 1 << (config.accumulator_bits - 1)
    rng = seeded("row reader", rows, cols)
    read = [rng.randrange(rows) for _ in range(CYCLES)]
    results = [
        [[rng.choice([-half, half - 1, rng.randint(-half, half - 1)]) for _ in range(cols)] for _ in range(rows)]
        for _ in range(CYCLES)
    ]
    dut = RowReader(config)

    async def testbench(ctx: SimulatorContext) -> None:
        for row, values in zip(read, results, strict=True):
            ctx.set(dut.row, row)
            for r in range(rows):
                for c in range(cols):
                    ctx.set(dut.results[r][c], values[r][c])
            await ctx.tick()

    record = run(dut, testbench, limit=CYCLES, watch=dut.outputs)
    latency = reader_latency(config)
    assert RowReader.latency(config) == latency == READER_SAMPLE + 2 + config.behind(cols - 1)
    for cycle, outputs in enumerate(record[latency:]):
        row = read[cycle]
        assert list(outputs) == [results[cycle + READER_SAMPLE + config.behind(c)][row][c] for c in range(cols)], (
            f"cycle {cycle}"
        )
