"""Chains of registers that keep signals in step with a pipeline."""

from typing import Any

from amaranth.hdl import Module, Signal


def delayed(m: Module, value: Any, cycles: int, *, name: str, reset: bool = False) -> Any:
    """The value, a Signal or a View, as it was `cycles` clock cycles ago, at least 1.

    Data needs no reset. Ask for one where the value says that something is valid.
    """
    for i in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{i}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value
