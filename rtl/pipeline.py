"""Chains of registers that keep signals in step with a pipeline."""

from amaranth.hdl import Module, Shape, Signal, ValueCastable, ValueLike
from amaranth.lib import data


def delayed(m: Module, value: ValueLike, cycles: int, *, name: str, reset: bool = False) -> Signal | data.View:
    """The value as it was `cycles` clock cycles ago, at least 1.

    Data needs no reset. Ask for one where the value says that something is valid.
    """
    shape = value.shape() if isinstance(value, ValueCastable) else Shape.cast(value.shape())  # type: ignore[union-attr]
    stage: Signal | data.View | ValueLike = value
    for i in range(1, cycles + 1):
        register = Signal(shape, name=f"{name}_{i}", reset_less=not reset)
        m.d.sync += register.eq(stage)
        stage = register
    return stage  # type: ignore[return-value]
