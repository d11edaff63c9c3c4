"""Timing by name: registers that a design has for its clock, not for what it computes.

Each call says which kind of register it makes, so that a reader can tell function from timing.

| name | why | cost, of a value of W bits |
|---|---|---|
| `align` | keeps a value in step with a pipeline beside it | W flip-flops for each cycle of the pipeline |
| `registered` | ends a pipeline stage: logic, and its result a cycle later | W flip-flops, a cycle |
| `relay` | cuts a long wire, and means nothing: only the clock needs it | W flip-flops, a cycle to `align` with |
| `hard_register` | inside of a multiplier or block RAM, which is slow without | a cycle, no flip-flop if packed |
| `replicate` | a copy for some of the sinks, to be near these | W flip-flops a copy, a cycle |
| `lookahead` | a flag decided in the cycle before it is used | logic for all that may happen until then; no cycle |
| `tally` | a count with flags that are decided so | a few LUTs; no cycle |
| `preload` | registers load while idle, not at a start from far away | nothing |
| `gated`, `cleared` | a value or 0, by gates instead of a reset | an input of a LUT a bit |

A wire across a large ECP5 takes most of a cycle at 130 MHz: a signal from far away does little more than arrive.
What that gained is in docs/timing.md.
"""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value, ValueLike


def _registers(m: Module, value: Any, cycles: int, name: str, reset: bool) -> Any:
    for i in range(1, cycles + 1):
        register = Signal(value.shape(), name=f"{name}_{i}", reset_less=not reset)
        m.d.sync += register.eq(value)
        value = register
    return value


def align(m: Module, value: Any, cycles: int, *, name: str, reset: bool = False) -> Any:
    """The value, a Signal or a View, as it was `cycles` clock cycles ago, at least 1: in step with a pipeline.

    `cycles` is what the pipeline takes, by a name where it has one. Data needs no reset. Ask for one where the value
    says that something is valid.
    """
    return _registers(m, value, cycles, name, reset)


def registered(m: Module, value: Any, *, name: str, reset: bool = False) -> Any:
    """What the logic of this cycle makes of its inputs, in the next cycle."""
    return _registers(m, value, 1, name, reset)


def relay(m: Module, value: Any, *, cycles: int = 1, name: str, reset: bool = False) -> Any:
    """The value a cycle or more later, from registers that the placer may put on the way.

    Signals that cross the array or go to many units pass a relay a row, a column or a unit.
    """
    return _registers(m, value, cycles, name, reset)


def hard_register(m: Module, value: Any, *, cycles: int = 1, name: str) -> Any:
    """Operands before a multiplier, products behind it, words behind a block RAM, for registers inside of these.

    It has neither enable nor reset, and the multiplier or memory has to be its only neighbour on that side: else the
    tool cannot pack it.
    """
    return _registers(m, value, cycles, name, reset=False)


def replicate(
    m: Module, value: Any, *, name: str, enable: ValueLike = 1, distinct_init: int | None = None, reset: bool = False
) -> Any:
    """The value a cycle later, in a register for some of its sinks alone.

    Synthesis makes one register of those that have the same input, enable and initial value, wherever their sinks are.
    So each copy has to differ from the others in one of

    * `enable`: that of its own sinks, where there is one. What the copy holds without it nobody looks at
    * `distinct_init`: what it begins with, which nobody looks at: the first load comes before the first look
    * its input: `~replicate(m, ~value, …)` holds the complement; and of a value that is steady each copy may take the
      one before, so that the last one has it some cycles later
    """
    register = Signal(value.shape(), name=name, init=distinct_init, reset_less=not reset)
    if isinstance(enable, int):
        m.d.sync += register.eq(value)
    else:
        with m.If(enable):
            m.d.sync += register.eq(value)
    return register


def lookahead(m: Module, flag: Signal, decision: ValueLike) -> None:
    """In the next cycle `flag` is what is decided in this one, of what the next cycle will be.

    Who uses the flag waits for no comparison and no far signal. The decision has to count what happens in this cycle:
    inputs that come late only choose between decisions that are ready. `last.eq(left == 2)` beside
    `left.eq(left - 1)` is the same, and plain enough without a call.
    """
    m.d.sync += flag.eq(decision)


def preload(m: Module, idle: ValueLike) -> AbstractContextManager[None]:
    """`with preload(m, ~runs):` stands around what registers begin with, loaded in every idle cycle.

    Loaded at the start alone they would all be enabled by it, which comes from far away; so it sets one flag, `runs`.
    What is loaded in an idle cycle nobody looks at, but for the last time before the start.
    """
    condition: AbstractContextManager[None] = m.If(idle)
    return condition


def gated(value: Value, gate: Value) -> Value:
    """The value where the gate is 1, else 0, by an AND.

    Of `Mux(gate, value, 0)` before a register synthesis makes a synchronous reset, a wire to each slice that has to be
    there long before the clock; and registers with a reset do not go into multipliers.
    """
    return value & gate.replicate(len(value))


def cleared(value: Value, clear: Value) -> Value:
    """0 where `clear` is 1, else the value: as `gated`."""
    return value & ~clear.replicate(len(value))


class Tally(NamedTuple):
    """A count, and that it is 0, and the most: registers. And whether it will be 0 in the next cycle."""

    count: Signal
    none: Signal
    full: Signal
    next_none: Signal


def tally(m: Module, most: int, more: ValueLike, less: ValueLike, *, name: str) -> Tally:
    """A count from 0 to `most`, up by `more` and down by `less` after a cycle.

    Its flags are registered; `more` and `less` may come late, since they drive only muxes.
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
