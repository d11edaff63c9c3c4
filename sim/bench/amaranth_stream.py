"""Put, get and assert for streams in testbenches of the Amaranth simulator.

Each coroutine returns right after the clock edge of its transfer and leaves the stream idle, so calls that follow
one another without an await in between transfer back to back, one a cycle. `gaps` inserts random idle cycles first.
"""

from typing import Any

from amaranth.hdl import Signal, ValueLike
from amaranth.lib import stream
from amaranth.sim import SimulatorContext

from sim.bench.gaps import NO_GAPS, Gaps


async def until(ctx: SimulatorContext, signal: Signal, *sampled: ValueLike, level: int = 1) -> tuple[Any, ...]:
    """Wait for a clock edge at which the signal has this level; what is sampled there.

    `TickTrigger.until` does the same, but looks at every edge, which takes longer than a small design does, and leaves
    a generator open in a background testbench, which Python reports.
    """
    while True:
        if ctx.get(signal) != level:
            await ctx.changed(signal)
        _, _, found, *values = await ctx.tick().sample(signal, *sampled)
        if found == level:
            return tuple(values)


async def stream_put(ctx: SimulatorContext, port: stream.Interface, value: Any, *, gaps: Gaps = NO_GAPS) -> None:
    """Offer one payload until it is taken."""
    while gaps.stall():
        await ctx.tick()
    ctx.set(port.payload, value)
    ctx.set(port.valid, 1)
    await until(ctx, port.ready)
    ctx.set(port.valid, 0)


async def stream_get(ctx: SimulatorContext, port: stream.Interface, *, gaps: Gaps = NO_GAPS) -> Any:
    """Take one payload. While held back, an offer once made must stay as it is."""
    offered = None
    while gaps.stall():
        _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
        assert offered is None or (valid and payload == offered), f"offer {offered!r} was withdrawn or changed"
        offered = payload if valid else None
    ctx.set(port.ready, 1)
    (payload,) = await until(ctx, port.valid, port.payload)
    ctx.set(port.ready, 0)
    assert offered is None or payload == offered, f"offer {offered!r} was changed to {payload!r}"
    return payload


async def stream_assert(ctx: SimulatorContext, port: stream.Interface, want: Any, *, gaps: Gaps = NO_GAPS) -> None:
    """Take one payload and compare it."""
    got = await stream_get(ctx, port, gaps=gaps)
    assert got == want, f"got {got!r}, want {want!r}"
