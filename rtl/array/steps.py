"""What travels through the array in a step: a group of activations along a row, weights down a column."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from rtl.params import Config

ROW_BITS = 9  # int8 activations, or the unsigned 8-bit exponential of softmax
WEIGHT_BITS = 8


def row_step(config: Config) -> data.StructLayout:
    """One row's operands of a step.

    group : M activations, 9 bits signed
    valid : this is a step; without it the processing elements keep what they have
    first, last : the step begins, ends a sum; 0 where it is none
    """
    return data.StructLayout({"group": data.ArrayLayout(signed(ROW_BITS), config.m), "valid": 1, "first": 1, "last": 1})


def column_step(config: Config) -> data.StructLayout:
    """One column's operands of a step: for each lane a weight, 8 bits signed, and its position in the group."""
    return data.StructLayout(
        {
            "weights": data.ArrayLayout(signed(WEIGHT_BITS), config.n),
            "indices": data.ArrayLayout(unsigned(config.index_bits), config.n),
        }
    )
