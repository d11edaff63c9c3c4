"""Instructions as the engines see them."""

from amaranth.hdl import Module, Signal, ValueLike
from amaranth.lib import data

from rtl.lib.timing import replicate
from rtl.params import Config
from rtl.sta.isa import FIELDS


def instruction_layout(config: Config) -> data.StructLayout:
    """Every field of `isa.FIELDS` by its name, wide enough for legal instructions."""
    most = {
        "tokens": config.max_tokens,
        "first_token": config.max_tokens,
        "groups": config.max_groups,
        "pattern_n": config.m,
    }
    return data.StructLayout(
        {name: range(most[name] + 1) if name in most else field.bits for name, field in FIELDS.items()}
    )


def own_instruction(m: Module, begins: ValueLike, instruction: data.View, *, name: str) -> tuple[Signal, data.View]:
    """A start, and its instruction, two cycles after `begins`, `replicate`d for the engine that works on it.

    The instruction is to be steady for a cycle behind `begins`.
    """
    begun = Signal(name=f"{name}_begun")
    started = Signal(name=f"{name}_start")
    m.d.sync += [begun.eq(begins), started.eq(begun)]
    return started, replicate(m, instruction, name=f"{name}_instruction", enable=begun)
