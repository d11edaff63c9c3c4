"""Instructions as the units see them."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

from rtl.lib.divider import ceil_shift
from rtl.lib.timing import align, replicate
from rtl.sta.isa import FIELDS
from rtl.sta.legality import max_heads, most_tile_beats
from rtl.sta.params import StaConfig


def instruction_layout(config: StaConfig) -> data.StructLayout:
    """Every field of `isa.FIELDS` by its name, wide enough for legal instructions.

    Of a group of rows, too: own_tokens, those of `tokens` that are its own and are written.
    """
    most = {
        "tokens": config.max_tokens,
        "first_token": config.max_tokens,
        "groups": config.max_groups,
        "pattern_n": config.m,
        "tile_beats": most_tile_beats(config),
        "more_heads": max_more_heads(config),
    }
    own = {"own_tokens": range(config.max_tokens + 1)} if config.is_group else {}
    return data.StructLayout(
        {name: range(most[name] + 1) if name in most else field.bits for name, field in FIELDS.items()} | own
    )


def max_more_heads(config: StaConfig) -> int:
    """Heads of a PRODUCT beside the first one, at most."""
    return max_heads(config, 1) - 1


def operand_words(config: StaConfig, instruction: data.View) -> Value:
    """Words of the store that a token's row operand takes: from one head to the next."""
    return ceil_shift(instruction.groups * config.m, config.store_word_bytes)


def result_words(config: StaConfig, instruction: data.View) -> Value:
    """The same of a token's 8-bit results."""
    return ceil_shift(instruction.channels, config.store_word_bytes)


def own_instruction(m: Module, begins: Value, instruction: data.View, *, name: str) -> tuple[Signal, data.View]:
    """A start, and its instruction, two cycles after `begins`, `replicate`d for the unit that works on it.

    The instruction is to be steady for a cycle behind `begins`.
    """
    begun = align(m, begins, 1, name=f"{name}_begun", reset=True)
    started = align(m, begun, 1, name=f"{name}_start", reset=True)
    return started, replicate(m, instruction, name=f"{name}_instruction", enable=begun)
