"""Token tiles: the exact quotient, for every number of rows."""

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator, SimulatorContext

from rtl.sta.operands.tiles import token_tile
from rtl.sta.params import StaConfig


def test_token_tile() -> None:
    m = Module()
    token = Signal(16)
    tiles = {}
    for rows in range(1, 33):
        config = StaConfig(rows=rows, max_tokens=97)
        tiles[rows] = Signal(range(config.max_tiles), name=f"tile_{rows}")
        m.d.comb += tiles[rows].eq(token_tile(config, token))

    async def testbench(ctx: SimulatorContext) -> None:
        for rows, tile in tiles.items():
            for first in range(0, 97, rows):
                ctx.set(token, first)
                await ctx.delay(1e-9)
                assert ctx.get(tile) == first // rows, (rows, first)

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
