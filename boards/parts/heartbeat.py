"""The level of an LED that shows that a design has its clock."""

from amaranth.hdl import Module, Signal


def heartbeat(m: Module, clock_hz: float) -> Signal:
    """Changes twice a second."""
    level = Signal(name="heartbeat")
    half_second = round(clock_hz / 2)
    cycles_left = Signal(range(half_second), name="heartbeat_cycles_left")
    m.d.sync += cycles_left.eq(cycles_left - 1)
    with m.If(cycles_left == 0):
        m.d.sync += [cycles_left.eq(half_second - 1), level.eq(~level)]
    return level
