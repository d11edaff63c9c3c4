"""Setting the memory up again while it refreshes, or reads: in any cycle, and across its clocks."""

from amaranth.sim import Simulator, SimulatorContext

from boards.parts.sdram.chips import CHIPS, REFRESHES_BEFORE_MODE, Timing
from boards.parts.sdram.controller import FORCED, Command, SdramController
from boards.parts.sdram.memory import DOMAIN, Sdram
from sim.bench.amaranth_stream import until

CHIP = CHIPS["MT48LC16M16A2-6A"]
TIMING = Timing(rcd=3, rp=3, ras=6, rfc=9, wr=2, mrd=2, refi=120, power_up=20)
BEAT = 4
SET_UP_CYCLES = 200  # at most: the refreshes before MODE, and what is under way


def restart_in_cycles(cycles: range, *, reading: bool) -> None:
    """A restart in each of these cycles behind a refresh, while chunks to read are offered or not."""
    dut = SdramController(CHIP, TIMING, BEAT)
    commands: list[Command] = []
    asked = given = 0

    async def restart(ctx: SimulatorContext) -> None:
        ctx.set(dut.chunks.valid, reading)
        ctx.set(dut.chunks.payload, {"write": 0, "beats": 1, "address": 64})
        await until(ctx, dut.initialised)
        for cycle in cycles:
            # Refreshes are looked for, since set-up takes as long whenever it begins.
            while ctx.get(dut.pins.command) != Command.REFRESH:
                await ctx.tick()
            await ctx.tick().repeat(cycle + 1)
            commands.clear()
            ctx.set(dut.restart, 1)
            for _ in range(SET_UP_CYCLES):
                await ctx.tick()
                if not ctx.get(dut.initialised):
                    break
            assert not ctx.get(dut.initialised), f"cycle {cycle} behind a refresh: restart is not seen"
            await ctx.tick().repeat(1 + cycle % 7)
            commands.clear()
            ctx.set(dut.restart, 0)
            for _ in range(SET_UP_CYCLES):
                await ctx.tick()
                if ctx.get(dut.initialised):
                    break
            assert ctx.get(dut.initialised), f"cycle {cycle} behind a refresh: not set up again"
            await ctx.tick().repeat(2)  # MODE is at the pins, and was heard
            said = [command for command in commands if command != Command.NOP]
            assert said == [Command.PRECHARGE, *[Command.REFRESH] * REFRESHES_BEFORE_MODE, Command.MODE], cycle
        ctx.set(dut.chunks.valid, 0)
        await ctx.tick().repeat(100)

    async def listen(ctx: SimulatorContext) -> None:
        nonlocal asked, given
        while True:
            _, _, command, taken, valid = await ctx.tick().sample(
                dut.pins.command, dut.chunks.valid & dut.chunks.ready, dut.read_valid
            )
            commands.append(command)
            asked += 2 * taken
            given += valid

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(restart)
    simulator.add_testbench(listen, background=True)
    simulator.run()
    assert given == asked
    assert (asked > 0) == reading


def test_a_restart_in_any_cycle() -> None:
    """Of the time between two refreshes."""
    restart_in_cycles(range(TIMING.refi), reading=False)


def test_a_restart_waits_for_what_is_read() -> None:
    """Behind the refreshes that were postponed, from the last of them on."""
    after = TIMING.rfc * (FORCED - 1)
    restart_in_cycles(range(after, after + 30), reading=True)


def test_a_glitch_of_restart_does_not_get_to_the_other_clock() -> None:
    """What is there between two edges only, many edges of the chip's clock long."""
    dut = Sdram(CHIP, TIMING, BEAT)

    async def glitch(ctx: SimulatorContext) -> None:
        await until(ctx, dut.initialised)
        for _ in range(10):
            await ctx.delay(20e-9)
            ctx.set(dut.restart, 1)
            await ctx.delay(50e-9)
            ctx.set(dut.restart, 0)
            await ctx.tick()
            assert ctx.get(dut.initialised)
        ctx.set(dut.restart, 1)
        await until(ctx, dut.initialised, level=0)

    simulator = Simulator(dut)
    simulator.add_clock(100e-9)
    simulator.add_clock(8e-9, domain=DOMAIN)
    simulator.add_testbench(glitch)
    simulator.run()
