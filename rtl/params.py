"""The one configuration of an accelerator: its bounds, and the widths and sizes that follow from it.

Standard library only: the pruner and the estimate import this without Amaranth or torch.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256

VERSION = "0.1.0"

BURST_BEATS = 16  # longest read burst; four of them fill the beat FIFO
FIFO_BEATS = 64  # beats requested and not yet used: covers a memory latency of about 45 cycles
PARAMETER_TILES = 4  # column tiles whose parameters are kept: one filling, one computing, two draining
RESULT_TILES = 4  # tiles the result buffer holds: one draining, one leaving, two in flight
PARAMETER_BYTES = 8  # bias int32, mult uint16, shift uint8, one spare byte

ADDRESS_BITS = 32
BIAS_BITS = 32
MULT_BITS = 16
SHIFT_MAX = 47
BACK_ENDS = ("portable", "ecp5")  # of the processing elements
TECHNOLOGY = ("pe", "device", "soft_rows", "groups")  # parameters that change how a result is made, not what it is
CHANNELS_MAX = 65535


class InputError(ValueError):
    """What a user gave is out of bounds. The message is one line: the thing, its value, the bound."""


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    return ceil_div(a, b) * b


def power_of_two_at_least(a: int) -> int:
    return 1 << (a - 1).bit_length()


def signed_bits(magnitude: int) -> int:
    """Width of a two's complement number that holds −magnitude … +magnitude."""
    return magnitude.bit_length() + 1


def units_in_beats(unit_bits: int, port_bits: int) -> tuple[int, int]:
    """(units a beat, beats a unit) where beats hold whole units, or units whole beats; one of them is 1."""
    if unit_bits <= port_bits:
        return port_bits // unit_bits, 1
    return 1, ceil_div(unit_bits, port_bits)


def check_range(name: str, value: int, low: int, high: int) -> None:
    """InputError unless the value is an integer from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, must be an integer from {low} to {high}")


def check_choice(name: str, value: int, choices: Sequence[int]) -> None:
    """InputError unless the value is one of these integers."""
    if type(value) is not int or value not in choices:
        *others, last = choices
        raise InputError(f"{name} is {value!r}, must be {', '.join(map(str, others))} or {last}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a generated accelerator is made for. Checked here once, then trusted.

    Parameters
    ----------
    n : multipliers (lanes) of a processing element, 1 … m
    m : group size along the input dimension, one of 2, 4, 8, 16, 32
    rows, cols : size of the array, 1 … 32 each; rows carry tokens, columns output channels
    drain : results that leave the array a cycle, 1, 2, 4 or 8, all of one row
        (an array with fewer columns than that drains a whole row a cycle)
    port_bytes : bytes of a beat of the memory port, a power of two, 1 … 64
    max_tokens : tokens the activation store holds, 1 … 4096
    max_k : longest input dimension, m … 65536; rounded up to whole groups
    pe : what the processing elements are made of: portable, or the DSP slices of an ecp5
    device : of which the DSP slices are chosen, LFE5U-85F say; of another one than `ecp5.floorplan` knows, or of none,
        they are left to the placer
    soft_rows : the last rows of the array, multipliers of which are made of LUTs, 0 … rows; of pe = ecp5 only

    Raises
    ------
    InputError : a value out of its bounds, with the value and the bound.
    """

    n: int = 2
    m: int = 8
    rows: int = 8
    cols: int = 8
    drain: int = 4
    port_bytes: int = 16
    max_tokens: int = 128
    max_k: int = 1536
    pe: str = "portable"
    device: str = ""
    soft_rows: int = 0

    def __post_init__(self) -> None:
        check_choice("m", self.m, (2, 4, 8, 16, 32))
        if type(self.n) is int and self.n > self.m:
            raise InputError(f"n is {self.n}, must be at most m = {self.m}")
        check_range("n", self.n, 1, self.m)
        check_range("rows", self.rows, 1, 32)
        check_range("cols", self.cols, 1, 32)
        check_choice("drain", self.drain, (1, 2, 4, 8))
        check_choice("port_bytes", self.port_bytes, (1, 2, 4, 8, 16, 32, 64))
        check_range("max_tokens", self.max_tokens, 1, 4096)
        check_range("max_k", self.max_k, self.m, 1 << 16)
        if not isinstance(self.device, str) or not re.fullmatch(r"[\w.-]{0,40}", self.device):
            raise InputError(f"device is {self.device!r}, must be a name such as LFE5U-85F")
        if self.pe not in BACK_ENDS:
            raise InputError(f"pe is {self.pe!r}, must be {' or '.join(BACK_ENDS)}")
        if self.pe == "portable" and self.device:
            raise InputError(f"device is {self.device}, of which nothing is known to portable PEs; give pe ecp5")
        if self.pe == "portable" and self.soft_rows:
            raise InputError(f"soft_rows is {self.soft_rows!r}, which portable PEs do not have; give pe ecp5")
        check_range("soft_rows", self.soft_rows, 0, self.rows)

    # --- selection -----------------------------------------------------------------------------
    @property
    def index_bits(self) -> int:
        """Bits that name one position of a group."""
        return self.m.bit_length() - 1

    # --- buffers -------------------------------------------------------------------------------
    @property
    def max_groups(self) -> int:
        return ceil_div(self.max_k, self.m)

    @property
    def max_steps(self) -> int:
        """Steps of the longest tile, dense: the depth of one half of the column buffer."""
        return self.max_groups * ceil_div(self.m, self.n)

    @property
    def store_word_bytes(self) -> int:
        """Bytes of a word of the activation store: a whole beat and a whole group."""
        return max(self.m, self.port_bytes)

    @property
    def row_words(self) -> int:
        """Words that the longest token takes in the activation store."""
        return ceil_div(self.max_groups * self.m, self.store_word_bytes)

    @property
    def max_token_tiles(self) -> int:
        return ceil_div(self.max_tokens, self.rows)

    @property
    def store_depth(self) -> int:
        """Words of one bank of the activation store."""
        return self.max_token_tiles * self.row_words

    # --- numbers -------------------------------------------------------------------------------
    @property
    def accumulator_bits(self) -> int:
        """Holds the longest sum of any 8-bit row operands, signed or not, times any 8-bit weights, exactly."""
        terms = max(self.max_groups * self.m, round_up(self.max_tokens, self.m))
        return signed_bits(terms * 255 * 128)

    @property
    def biased_bits(self) -> int:
        """Holds any accumulator plus any bias, exactly."""
        return signed_bits((1 << (self.accumulator_bits - 1)) + (1 << (BIAS_BITS - 1)))

    # --- processing elements -------------------------------------------------------------------
    @property
    def pe_latency(self) -> int:
        """Cycles from the last step of a sum to its result."""
        if self.pe == "portable":
            return 8  # register, of each pair, select, to the multiplier, multiply, from it, add the lanes, accumulate
        assert self.pe == "ecp5"
        slices = ceil_div(self.n, 2)
        # Select, the slice's three registers, keep; a tree over the slices.
        return self.selector_cycles + 5 + (slices - 1).bit_length()

    @property
    def selector_cycles(self) -> int:
        """Cycles that the selectors of an ECP5 take, up to the register behind them: of more than eight, one."""
        return int(self.m > 8)

    @property
    def rows_side_by_side(self) -> bool:
        """Whether a floorplan gives each row of the array a part of the chip's width, at the price of its own clock."""
        return False

    @property
    def columns_abreast(self) -> int:
        """Columns that take a step in the same cycle, a group of activations from one register."""
        return 1

    def behind(self, column: int) -> int:
        """Cycles by which a column has its step later than column 0."""
        return column // self.columns_abreast

    # --- drain ---------------------------------------------------------------------------------
    @property
    def drain_lanes(self) -> int:
        """Results that really leave a cycle: those of one row, so no more than there are columns."""
        return min(self.drain, self.cols)

    @property
    def slots_a_row(self) -> int:
        """Cycles in which one row of results drains."""
        return ceil_div(self.cols, self.drain_lanes)

    def pitch(self, out_bytes: int) -> int:
        """Bytes from one column tile's results to the next, within a token's row in memory."""
        return power_of_two_at_least(self.cols * out_bytes)

    @property
    def architecture(self) -> dict[str, int]:
        """The parameters that a program, or packed weights, have to know."""
        return {name: value for name, value in asdict(self).items() if name not in TECHNOLOGY}

    @cached_property
    def identification(self) -> int:
        """32 bits that name version and configuration: the ID register."""
        text = f"nmgen {VERSION} {self.architecture}"
        return int.from_bytes(sha256(text.encode()).digest()[:4], "little")


PRESETS: dict[str, Config] = {
    "base": Config(),
    "small": Config(n=2, m=4, rows=4, cols=4, port_bytes=4, max_tokens=32, max_k=512),
    "sparse": Config(n=1, m=8),
    "wide": Config(n=4, m=16, rows=8, cols=16, drain=8, port_bytes=32),
}
