"""What travels through the array in a step: a group of activations along a row, weights down a column."""

from amaranth.hdl import Cat, Value, signed, unsigned
from amaranth.lib import data

from rtl.params import Config

ACTIVATION_BITS = 8
WEIGHT_BITS = 8
OPERAND_BITS = ACTIVATION_BITS + 1  # of a multiplier: an activation, signed or not
PRODUCT_BITS = 16  # at most 255 · 128 in magnitude


def row_step(config: Config) -> data.StructLayout:
    """One row's operands of a step.

    group : M activations of 8 bits
    unsigned : they are exponentials of the softmax, 0 … 255; else int8
    valid : this is a step; without it the processing elements keep what they have
    first, last : the step begins, ends a sum; 0 where it is none
    """
    group = data.ArrayLayout(ACTIVATION_BITS, config.m)
    return data.StructLayout({"group": group, "unsigned": 1, "valid": 1, "first": 1, "last": 1})


def operand(activation: Value, is_unsigned: Value) -> Value:
    """An activation as a multiplier takes it, OPERAND_BITS signed."""
    return Cat(activation, activation[-1] & ~is_unsigned).as_signed()


def column_step(config: Config) -> data.StructLayout:
    """One column's operands of a step: for each lane a weight, 8 bits signed, and its position in the group."""
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(signed(WEIGHT_BITS), config.n),
            "indices": data.ArrayLayout(unsigned(config.index_bits), config.n),
        }
    )
