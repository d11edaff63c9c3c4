"""The configuration of STA, and what follows from it beside what `rtl.params.Config` says. Standard library only."""

from dataclasses import dataclass, fields
from math import gcd

from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX, Config, InputError, ceil_div, check_range, signed_bits

EXP_CARRIED_BITS = 8  # fraction bits of an exponential: not emitted but carried along the row
EXP_BITS = 8 + EXP_CARRIED_BITS  # of an entry of the exponential's table: 8 bits are emitted
EXP_ONE = 255 << EXP_CARRIED_BITS  # the entry of the row's maximum
Z_FRACTION = 16  # bits behind the point of a normalised element
RADICAND_BITS = 40  # of the shifted variance: its root has 20 bits, more than the reciprocal
ROOT_BITS = 17  # of the mantissa of 1 / √variance
RESIDUAL_BITS = 16
RESCALE_BITS = 9
# The 64 bits that an output channel has in memory: lowest bit and bits of each field. The bias is signed.
CHANNEL_FIELDS = {
    "bias": (0, BIAS_BITS),
    "mult": (32, MULT_BITS),
    "shift": (48, SHIFT_MAX.bit_length()),
    "negate": (54, 1),
    "rescale": (55, RESCALE_BITS),
}
TABLE_ENTRIES = 256  # of an activation table, and of the exponential's


@dataclass(frozen=True, kw_only=True)
class StaConfig(Config):
    """What a generated STA is made for.

    Parameters
    ----------
    hidden : channels of the residual, 1 … 4096; rounded up to whole slots of the drain
    store_words : words of one bank of the activation store, 1 … 65536
    groups : of rows, each with a post-processor and a residual memory of its own, a divisor of rows; results leave
        the array `drain` a cycle from each. Not groups of M elements
    """

    hidden: int = 384
    store_words: int = 2048
    groups: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("hidden", self.hidden, 1, 4096)
        check_range("store_words", self.store_words, 1, 1 << 16)
        check_range("groups", self.groups, 1, self.rows)
        if self.rows % self.groups:
            raise InputError(f"groups is {self.groups}, must divide rows = {self.rows}")

    @property
    def rows_side_by_side(self) -> bool:
        """Each row has a bank of the activation store, which is most of the block RAM, and a softmax."""
        return True

    @property
    def columns_abreast(self) -> int:
        """Three of an ECP5 where groups are large or elements many: those whose DSP slices are side by side in an
        LFE5U-85F. With a register in each element, to pass all of a group on, an 8x8 array with M = 16 and one of 8x16
        with M = 8 have more than find a place: docs/timing.md."""
        return 3 if self.pe == "ecp5" and (self.m > 8 or self.rows * self.cols > 64) else 1

    @property
    def drain_lanes(self) -> int:
        """Results that leave the array a cycle: a power of two that divides cols and a word, so that the results of a
        cycle lie in one word of the store."""
        return gcd(self.drain, self.cols, self.store_word_bytes)

    @property
    def store_depth(self) -> int:
        return self.store_words

    @property
    def steps_a_group(self) -> int:
        """Steps of a group where the pattern is dense."""
        return ceil_div(self.m, self.n)

    @property
    def residual_words(self) -> int:
        """Words of a token in the residual memory; a word holds drain_lanes elements."""
        return ceil_div(self.hidden, self.drain_lanes)

    @property
    def residual_elements(self) -> int:
        """Elements of a token in the residual memory, which holds whole words."""
        return self.residual_words * self.drain_lanes

    @property
    def residual_sum_bits(self) -> int:
        """Holds the sum of a token's elements in the residual memory; signed."""
        return signed_bits(self.residual_elements << (RESIDUAL_BITS - 1))

    @property
    def group_rows(self) -> int:
        """Rows of a group, which are neighbours: group k has rows k · group_rows …"""
        return self.rows // self.groups

    @property
    def copy_lanes(self) -> int:
        """Neighbouring banks of the store that keys and values are copied from at a time: a power of two; one where
        there is one group of rows."""
        return gcd(self.groups, self.rows, self.cols, self.m)

    def own_tokens(self, group: int, tokens: int) -> int:
        """How many of an instruction's tokens lie in the rows of a group."""
        tiles, rest = divmod(tokens, self.rows)
        return tiles * self.group_rows + min(max(rest - group * self.group_rows, 0), self.group_rows)

    @property
    def row_group(self) -> "StaConfig":
        """What the post-processor of a group is made for: of one group, the whole."""
        if self.groups == 1:
            return self
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        own |= {"rows": self.group_rows, "groups": 1, "max_tokens": self.max_tiles * self.group_rows, "soft_rows": 0}
        return RowGroup(**own, sum_width=self.accumulator_bits)

    @property
    def is_group(self) -> bool:
        """Of one of several groups of rows."""
        return False

    @property
    def max_tiles(self) -> int:
        """Token tiles."""
        return ceil_div(self.max_tokens, self.rows)

    @property
    def maxima_tiles(self) -> int:
        """Token tiles of all heads of a PRODUCT of keys or values together: a row keeps a maximum for each. A LUT RAM
        of an ECP5 has 16 words."""
        return max(16, self.max_tiles)

    @property
    def sum_bits(self) -> int:
        """Holds the sum of the exponentials of a row of scores."""
        return (255 * self.max_tokens).bit_length()

    @property
    def z_bits(self) -> int:
        """Holds a normalised element: at most √hidden in magnitude."""
        return signed_bits(64 << Z_FRACTION)

    @property
    def accumulator_bits(self) -> int:
        """Also holds a normalised element, and the sum of all tokens of a residual channel."""
        return max(super().accumulator_bits, self.z_bits, signed_bits(self.max_tokens << (RESIDUAL_BITS - 1)))


@dataclass(frozen=True, kw_only=True)
class RowGroup(StaConfig):
    """One of several groups of rows: a post-processor is made for its rows and their tokens, counted from 0.

    Parameters
    ----------
    sum_width : bits of a sum of the array, which is of all tokens
    """

    sum_width: int

    @property
    def is_group(self) -> bool:
        return True

    @property
    def accumulator_bits(self) -> int:
        return self.sum_width
