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

    All three are registers: what hangs on them need not wait for a comparison. `less` may be late: it only chooses.
    """
    count = Signal(range(most + 1), name=name)
    stays = Signal(range(most + 1), name=f"{name}_stays")  # without `less`
    falls = Signal(range(most + 1), name=f"{name}_falls")  # with it
    none = Signal(init=1, name=f"{name}_none")
    full = Signal(name=f"{name}_full")
    m.d.comb += [stays.eq(count + more), falls.eq(count + more - 1)]
    m.d.sync += [
        count.eq(Mux(less, falls, stays)),
        none.eq(Mux(less, falls == 0, stays == 0)),
        full.eq(Mux(less, falls == most, stays == most)),
    ]
    return count, none, full
