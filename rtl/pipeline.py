"""Registers: chains that keep signals in step with a pipeline, and counts whose ends are compared in advance."""

from typing import Any

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


def tally(m: Module, most: int, more: ValueLike, less: ValueLike, *, name: str) -> tuple[Signal, Signal, Signal]:
    """A count from 0 to `most`, up by `more` and down by `less` after a cycle; and that it is 0, and `most`.

    All three are registers: what hangs on them need not wait for a comparison. `more` and `less` may be late: they only
    choose.
    """
    count = Signal(range(most + 1), name=name)
    one = Signal(name=f"{name}_one")
    nearly = Signal(name=f"{name}_nearly")
    none = Signal(init=1, name=f"{name}_none")
    full = Signal(name=f"{name}_full")
    m.d.comb += [one.eq(count == 1), nearly.eq(count == most - 1)]
    m.d.sync += [
        count.eq(Mux(less, Mux(more, count, count - 1), Mux(more, count + 1, count))),
        none.eq(Mux(more, none & less, Mux(less, one, none))),
        full.eq(Mux(less, full & more, Mux(more, nearly, full))),
    ]
    return count, none, full
