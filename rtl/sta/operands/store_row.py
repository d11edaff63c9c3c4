"""A step of a row as it leaves the activation store."""

from amaranth.hdl import signed
from amaranth.lib import data

from rtl.params import ceil_div
from rtl.sta.params import StaConfig


def store_row(config: StaConfig) -> data.StructLayout:
    """One row's operands of a step, before `RowSoftmax` makes a `row_step` of them.

    group : M elements, int8
    valid, first, last : as in `row_step`; without valid the rest is undefined
    sub : which step of the group, of a dense pattern
    softmax : the group holds scores; else activations, which pass unchanged
    tile : token tile of the row, counted through all heads of the instruction
    position : which group of the row, for the mask of the keys; used with softmax alone
    """
    return data.StructLayout(
        {
            "group": data.ArrayLayout(signed(8), config.m),
            "valid": 1,
            "first": 1,
            "last": 1,
            "sub": range(config.steps_a_group),
            "softmax": 1,
            "tile": range(config.maxima_tiles),
            "position": range(ceil_div(config.max_tokens, config.m)),
        }
    )
