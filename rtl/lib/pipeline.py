"""Registers: chains that keep signals in step with a pipeline, and counts whose ends are compared in advance."""

from typing import Any, NamedTuple

from amaranth.hdl import Module, Mux, Signal, ValueLike


def delayed(m: Module, value: Any, cycles: int, *, name: str, reset: bool = False) -> Any:
    """The value, a Signal or a View, as it was `cycles` clock cycles ago, at least 1.

    Data needs no reset. Ask for one where the value says that something is valid.
    """
    for i in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{i}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value


class Tally(NamedTuple):
    """A count, and that it is 0, and the most: registers. And whether it will be 0 in the next cycle."""

    count: Signal
    none: Signal
    full: Signal
    next_none: Signal


def tally(m: Module, most: int, more: ValueLike, less: ValueLike, *, name: str) -> Tally:
    """A count from 0 to `most`, up by `more` and down by `less` after a cycle.

    What hangs on it need not wait for a comparison. `more` and `less` may be late: they only choose.
    """
    count = Signal(range(most + 1), name=name)
    one = Signal(name=f"{name}_one")
    nearly = Signal(name=f"{name}_nearly")
    none = Signal(init=1, name=f"{name}_none")
    full = Signal(name=f"{name}_full")
    next_none = Signal(name=f"{name}_next_none")
    m.d.comb += [
        one.eq(count == 1),
        nearly.eq(count == most - 1),
        next_none.eq(Mux(more, none & less, Mux(less, one, none))),
    ]
    m.d.sync += [
        count.eq(Mux(less, Mux(more, count, count - 1), Mux(more, count + 1, count))),
        none.eq(next_none),
        full.eq(Mux(less, full & more, Mux(more, nearly, full))),
    ]
    return Tally(count, none, full, next_none)
