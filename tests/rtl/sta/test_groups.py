"""Tokens in a group's own count, for every number of rows and groups."""

from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator, SimulatorContext

from rtl.sta.groups import own_first_token
from rtl.sta.params import StaConfig


def test_own_first_token() -> None:
    m = Module()
    token = Signal(16)
    own = {}
    for rows in range(1, 33):
        for groups in (groups for groups in range(1, rows + 1) if rows % groups == 0):
            config = StaConfig(rows=rows, max_tokens=97, groups=groups)
            own[rows, groups] = Signal(range(config.row_group.max_tokens), name=f"token_{rows}_{groups}")
            m.d.comb += own[rows, groups].eq(own_first_token(config, token))

    async def testbench(ctx: SimulatorContext) -> None:
        for (rows, groups), found in own.items():
            for first in range(0, 97, rows):
                ctx.set(token, first)
                await ctx.delay(1e-9)
                assert ctx.get(found) == first // groups, (rows, groups, first)

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
