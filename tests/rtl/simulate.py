"""Runs a Component for a bounded number of cycles and records its ports in every one of them.

Cycle i is the time before clock edge i: inputs set in it and the outputs that go with them.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from functools import reduce
from typing import Any
from weakref import WeakKeyDictionary

from amaranth.hdl import ClockDomain, Const, Module, ShapeCastable, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator, SimulatorContext

from rtl.engine.register_table import register_values
from rtl.params import ceil_div
from rtl.product import Product
from sim.bench.gaps import NO_GAPS, Gaps

Testbench = Callable[[SimulatorContext], Awaitable[None]]


def run(dut: wiring.Component, *testbenches: Testbench, limit: int, watch: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Runs the testbenches to their end; an AssertionError if that takes more than `limit` cycles.

    Returns
    -------
    list : of every cycle, what the watched signals were in it, structs as integers
    """
    record: list[tuple[Any, ...]] = []
    values = [getattr(signal, "as_value", lambda signal=signal: signal)() for signal in watch]

    async def recorder(ctx: SimulatorContext) -> None:
        async for _, _, *sampled in ctx.tick().sample(*values):
            record.append(tuple(sampled))
            assert len(record) <= limit, f"not done after {limit} cycles"

    top = Module()
    top.domains.sync = ClockDomain()  # a combinational Component has none of its own
    top.submodules.dut = dut
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(recorder, background=True)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()
    return record


# By Component and port: the signals of the port, the last value, and that value as a number for each of the signals.
Driven = dict[tuple[wiring.Component, str], tuple[list[Value], Any, list[int]]]
_driven: WeakKeyDictionary[SimulatorContext, Driven] = WeakKeyDictionary()


def drive(ctx: SimulatorContext, dut: wiring.Component, inputs: Mapping[str, Any]) -> None:
    """Sets ports by their names: a number, a dict or list for a struct, a list for an array of ports.

    What a port was set to last is not made a number again, which would take most of the time.
    """
    driven = _driven.setdefault(ctx, {})
    for name, value in inputs.items():
        signals, last, numbers = driven.get((dut, name), ([], None, []))
        if last is None or last != value:
            port = reduce(getattr, name.split("."), dut)
            ports, values = (port, value) if isinstance(port, (list, tuple)) else ([port], [value])
            signals = [Value.cast(one) for one in ports]
            numbers = [_number(one, of) for one, of in zip(ports, values, strict=True)]
            driven[dut, name] = signals, deepcopy(value) if _is_plain(value) else None, numbers
        for signal, number in zip(signals, numbers, strict=True):
            ctx.set(signal, number)


def _number(port: Any, value: Any) -> int:
    shape = port.shape()
    number = Const.cast(shape.const(value)) if isinstance(shape, ShapeCastable) else Const(int(value), shape)
    return number.value


def _is_plain(value: Any) -> bool:
    """Of Python's own numbers alone, which compare as a whole."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    return isinstance(value, int) if parts is None else all(map(_is_plain, parts))


def trace(dut: wiring.Component, cycles: Sequence[Mapping[str, Any]], *watch: Any) -> list[tuple[Any, ...]]:
    """Drives cycle i with the ports that cycles[i] names, the others stay; returns the watched signals' record."""

    async def testbench(ctx: SimulatorContext) -> None:
        for inputs in cycles:
            drive(ctx, dut, inputs)
            await ctx.tick()

    return run(dut, testbench, limit=len(cycles), watch=watch)


def gaps(seed: int | None, name: str) -> Gaps:
    """Random gaps of one of a test's streams; none where the test's seed is None."""
    return NO_GAPS if seed is None else Gaps(f"{seed} {name}")


class Slow(Gaps):
    """Lets one of so many cycles through."""

    def __init__(self, cycles: int) -> None:
        super().__init__()
        self._cycles = cycles
        self._cycle = 0

    def stall(self) -> bool:
        self._cycle += 1
        return self._cycle % self._cycles != 0


def described(product: Product, **addresses: int) -> dict[str, Any]:
    """What the engines get to see of a product (`registers.descriptor`), from its definition."""
    c, n = product.config, product.pattern_n
    bits = {"index": n * c.index_bits, "bitmap": c.m}
    coding = "counted" if n == c.m else "index" if bits["index"] <= bits["bitmap"] else "bitmap"
    places = {"x_address": 0, "w_address": 0, "y_address": 0, **addresses}
    fields = register_values(product, **places)
    del fields["mode"]
    return {
        **fields,
        "steps": ceil_div(n, c.n) - 1,
        "lanes": min(n, c.n),
        "bitmap": coding == "bitmap",
        "counted": coding == "counted",
        "wide": product.out_bits == 16,
        "per_row": product.per_row,
    }


def seeded(*key: object) -> random.Random:
    """A random sequence of its own for each key, the same in each run."""
    return random.Random(repr(key))
