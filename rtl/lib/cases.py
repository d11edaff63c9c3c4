"""A Switch over the values 0 … count − 1 that is right for one value, too."""

from collections.abc import Iterator

from amaranth.hdl import Module, ValueLike


def cases(m: Module, selector: ValueLike, count: int) -> Iterator[int]:
    """Run a loop's body once for each value of the selector, inside that value's Case.

    With one value there is nothing to switch on: amaranth 0.5.10 turns a Switch on a signal of no bits into
    RTLIL from which yosys drops the statements, without a message.
    """
    if count == 1:
        yield 0
        return
    with m.Switch(selector):
        for value in range(count):
            with m.Case(value):
                yield value
