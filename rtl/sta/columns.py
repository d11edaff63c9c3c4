"""The column buffer of STA: weights from memory, keys or values from the store, while the array works on a tile."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..params import BIAS_BITS, MULT_BITS
from ..requantise import SHIFT_BITS
from .params import RESCALE_BITS, StaConfig


def column_address(config: StaConfig) -> data.StructLayout:
    """A step of a column tile, as the banks take it.

    A tile's steps count 0 … groups · ⌈pattern/n⌉ − 1, whatever the pattern and the source. Step i is sub = i mod S
    of word = i div S, S = steps_a_group: a word holds S steps, which is one group where the pattern is dense. The
    halves alternate from tile to tile of all products, the first tile after reset lies in half 0; no start resets it.
    """
    return data.StructLayout({"half": 1, "sub": range(config.steps_a_group), "word": range(config.max_groups)})


class ChannelParameters(data.Struct):
    """The 64 bits that an output channel has in memory."""

    bias: signed(BIAS_BITS)
    mult: unsigned(MULT_BITS)
    shift: unsigned(SHIFT_BITS)
    negate: unsigned(1)
    rescale: unsigned(RESCALE_BITS)
