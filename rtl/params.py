"""The one configuration of an accelerator, and everything that follows from it.

Standard library only: the pruner and the estimate import this without Amaranth or torch.
"""

import re
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256

from rtl.lib.register_map import Field, Register, register_map

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
TECHNOLOGY = ("pe", "device", "soft_rows")  # parameters that change how a result is made, not what it is
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


def check_range(name: str, value: int, low: int, high: int) -> None:
    """InputError unless the value is an integer from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}, must be an integer from {low} to {high}")


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
        for field in fields(self):
            if field.name not in TECHNOLOGY:
                check_range(field.name, getattr(self, field.name), 1, 1 << 16)
        if self.m not in (2, 4, 8, 16, 32):
            raise InputError(f"m is {self.m}, must be 2, 4, 8, 16 or 32")
        if self.n > self.m:
            raise InputError(f"n is {self.n}, must be at most m = {self.m}")
        check_range("rows", self.rows, 1, 32)
        check_range("cols", self.cols, 1, 32)
        if self.drain not in (1, 2, 4, 8):
            raise InputError(f"drain is {self.drain}, must be 1, 2, 4 or 8")
        if self.port_bytes not in (1, 2, 4, 8, 16, 32, 64):
            raise InputError(f"port_bytes is {self.port_bytes}, must be 1, 2, 4, 8, 16, 32 or 64")
        check_range("max_tokens", self.max_tokens, 1, 4096)
        check_range("max_k", self.max_k, self.m, 1 << 16)
        if not isinstance(self.device, str) or not re.fullmatch(r"[\w.-]{0,40}", self.device):
            raise InputError(f"device is {self.device!r}, must be a name such as LFE5U-85F")
        if self.pe not in BACK_ENDS:
            raise InputError(f"pe is {self.pe!r}, must be {' or '.join(BACK_ENDS)}")
        if self.pe == "portable" and self.device:
            raise InputError(f"device is {self.device}, of which nothing is known to portable PEs; give pe ecp5")
        check_range("soft_rows", self.soft_rows, 0, 0 if self.pe == "portable" else self.rows)

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
        """Holds the longest sum of any 9-bit row operands times any 8-bit weights, exactly."""
        terms = max(self.max_groups * self.m, round_up(self.max_tokens, self.m))
        return signed_bits(terms * 256 * 128)

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

REGISTERS: dict[str, Register] = register_map(
    (
        Register("id", 0x00, "read", "identification of version and configuration", reset=None),
        Register("control", 0x04, "write", "what to do, once", (Field("start", 0, 1, "start a product"),)),
        Register(
            "status",
            0x08,
            "read",
            "where it stands",
            (Field("busy", 0, 1, "a product runs"), Field("done", 1, 1, "the last one is finished")),
        ),
        Register("cycles", 0x0C, "read", "cycles from the start write to the last accepted write beat"),
        Register("tokens", 0x10, "read-write", "tokens of the product, 1 … max_tokens"),
        Register("groups", 0x14, "read-write", "groups of M along the input dimension, 1 … max_groups"),
        Register("channels", 0x18, "read-write", "output channels, 1 … 65535"),
        Register(
            "mode",
            0x1C,
            "read-write",
            "how the product is made",
            (
                Field("pattern_n", 0, 6, "N' of the layer's pattern N':M"),
                Field("wide", 8, 1, "16-bit results"),
                Field("per_row", 9, 1, "requantise per row"),
            ),
        ),
        Register("x_address", 0x20, "read-write", "byte address of the activations"),
        Register("x_beats", 0x24, "read-write", "beats of all activations"),
        Register("w_address", 0x28, "read-write", "byte address of the packed weights"),
        Register("w_tile_beats", 0x2C, "read-write", "beats of one column tile of packed weights"),
        Register("w_beats", 0x30, "read-write", "beats of all packed weights"),
        Register("r_address", 0x34, "read-write", "byte address of the requantisation parameters per row"),
        Register("r_beats", 0x38, "read-write", "beats of the requantisation parameters per row, 0 where per channel"),
        Register("y_address", 0x3C, "read-write", "byte address of the results"),
        Register("y_stride", 0x40, "read-write", "bytes from one token's results to the next"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """How a layer of pattern n:m runs on a configuration's lanes."""

    config: Config
    n: int

    def __post_init__(self) -> None:
        check_range("pattern_n", self.n, 1, self.config.m)

    @property
    def dense(self) -> bool:
        return self.n == self.config.m

    @property
    def coding(self) -> str:
        """How the selection is coded: 'index', 'bitmap', or 'counted' where dense."""
        return selection_coding(self.n, self.config.m)

    @property
    def lanes(self) -> int:
        """Lanes that a step fills."""
        return min(self.n, self.config.n)

    @property
    def steps(self) -> int:
        """Steps a group takes."""
        return ceil_div(self.n, self.config.n)


def selection_coding(n: int, m: int) -> str:
    """The coding of n of m positions: whichever takes fewer bits, index at a tie; none where dense."""
    if n == m:
        return "counted"
    return "index" if n * (m.bit_length() - 1) <= m else "bitmap"


def units_in_beats(unit_bits: int, port_bits: int) -> tuple[int, int]:
    """(units a beat, beats a unit) where beats hold whole units, or units whole beats; one of them is 1."""
    if unit_bits <= port_bits:
        return port_bits // unit_bits, 1
    return 1, ceil_div(unit_bits, port_bits)


@dataclass(frozen=True, kw_only=True)
class Product:
    """One matrix product, x[tokens, k] · w[channels, k]ᵀ, as a configuration runs it.

    Raises
    ------
    InputError : a dimension out of the configuration's bounds.
    """

    config: Config
    tokens: int
    k: int
    channels: int
    pattern_n: int
    out_bits: int = 8
    per_row: bool = False

    def __post_init__(self) -> None:
        check_range("tokens", self.tokens, 1, self.config.max_tokens)
        check_range("k", self.k, 1, self.config.max_groups * self.config.m)
        check_range("channels", self.channels, 1, CHANNELS_MAX)
        if self.out_bits not in (8, 16):
            raise InputError(f"out_bits is {self.out_bits}, must be 8 or 16")
        self.pattern  # noqa: B018  (checks pattern_n)

    @property
    def pattern(self) -> Pattern:
        return Pattern(config=self.config, n=self.pattern_n)

    @property
    def groups(self) -> int:
        return ceil_div(self.k, self.config.m)

    @property
    def steps(self) -> int:
        """Steps of one tile."""
        return self.groups * self.pattern.steps

    @property
    def token_tiles(self) -> int:
        return ceil_div(self.tokens, self.config.rows)

    @property
    def column_tiles(self) -> int:
        return ceil_div(self.channels, self.config.cols)

    @property
    def multiplies(self) -> int:
        """Multiplies that the pattern needs, with the unpadded k: tokens · channels · k · N'/M.

        A last group that is cut short by k needs min(n, what is left) of its positions.
        """
        whole, rest = divmod(self.k, self.config.m)
        return self.tokens * self.channels * (whole * self.pattern_n + min(rest, self.pattern_n))

    def utilisation(self, cycles: int) -> float:
        """Needed multiplies over the multiplier slots of that many cycles."""
        c = self.config
        return self.multiplies / (cycles * c.rows * c.cols * c.n)

    # --- memory image --------------------------------------------------------------------------
    @property
    def x_row_beats(self) -> int:
        return ceil_div(self.groups * self.config.m, self.config.port_bytes)

    @property
    def value_unit_bits(self) -> int:
        """Values of one step: lanes · cols bytes, lane after lane."""
        return self.pattern.lanes * self.config.cols * 8

    @property
    def selection_unit_bits(self) -> int:
        """Selection of one step (index) or of one group (bitmap), 0 where counted."""
        c = self.config
        coding = self.pattern.coding
        if coding == "index":
            return self.pattern.lanes * c.cols * c.index_bits
        return c.cols * c.m if coding == "bitmap" else 0

    @property
    def selection_unit_steps(self) -> int:
        """Steps that one selection unit serves."""
        return self.pattern.steps if self.pattern.coding == "bitmap" else 1

    @property
    def parameter_unit_bits(self) -> int:
        """Parameters of one slot of the drain."""
        return self.config.drain_lanes * PARAMETER_BYTES * 8

    def tile_plan(self) -> list[tuple[str, int]]:
        """The beats of one column tile in order: ('parameters' | 'selection' | 'values', its index there).

        Parameters come first, then each beat when the first step that uses it is next:
        selection before values.
        """
        port = self.config.port_bytes * 8
        units, beats = units_in_beats(self.parameter_unit_bits, port)
        plan = [("parameters", i) for i in range(ceil_div(self.config.slots_a_row, units) * beats)]
        v_units, v_beats = units_in_beats(self.value_unit_bits, port)
        s_units, s_beats = (0, 0)
        if self.selection_unit_bits:
            s_units, s_beats = units_in_beats(self.selection_unit_bits, port)
            s_units *= self.selection_unit_steps
        values = selections = 0
        for step in range(self.steps):
            if s_units and step % s_units == 0:
                plan += [("selection", selections + i) for i in range(s_beats)]
                selections += s_beats
            if step % v_units == 0:
                plan += [("values", values + i) for i in range(v_beats)]
                values += v_beats
        return plan

    @cached_property
    def w_tile_beats(self) -> int:
        return len(self.tile_plan())

    @property
    def r_beats(self) -> int:
        """Beats of the parameters per row, where used."""
        if not self.per_row:
            return 0
        units, beats = units_in_beats(PARAMETER_BYTES * 8, self.config.port_bytes * 8)
        return ceil_div(self.tokens, units) * beats

    @property
    def y_stride(self) -> int:
        return round_up(self.column_tiles * self.config.pitch(self.out_bits // 8), self.config.port_bytes)

    @property
    def bytes_read(self) -> int:
        """Bytes that the accelerator reads: activations, packed weights, parameters."""
        beats = self.tokens * self.x_row_beats + self.column_tiles * self.w_tile_beats + self.r_beats
        return beats * self.config.port_bytes

    @property
    def bytes_written(self) -> int:
        """Bytes of results that it writes (strobed ones only)."""
        return self.tokens * self.channels * self.out_bits // 8

    def registers(self, *, x_address: int, w_address: int, y_address: int, r_address: int = 0) -> dict[str, int]:
        """What to write into the control registers before the start."""
        return {
            "tokens": self.tokens,
            "groups": self.groups,
            "channels": self.channels,
            "mode": REGISTERS["mode"].value(pattern_n=self.pattern_n, wide=self.out_bits == 16, per_row=self.per_row),
            "x_address": x_address,
            "x_beats": self.tokens * self.x_row_beats,
            "w_address": w_address,
            "w_tile_beats": self.w_tile_beats,
            "w_beats": self.column_tiles * self.w_tile_beats,
            "r_address": r_address,
            "r_beats": self.r_beats,
            "y_address": y_address,
            "y_stride": self.y_stride,
        }


# --- timing ------------------------------------------------------------------------------------
READ_LATENCY = 2  # of the operands' buffers: memory, register
OPERAND_CYCLES = 1 + READ_LATENCY  # from the feeder's decision to a step at the array: address register, buffer
REQUANTISER_LATENCY = 5
READER_SAMPLE = 1  # from the row's number to the results of column 0: a register
FIFO_CYCLES = 3  # from a beat's arrival to its consumer: block RAM, its output, register
ENTER_CYCLES = 2  # from a segment's last beat, or from the start, until the next one's first may be delivered
LOADED_CYCLES = 2  # from a column tile's last entry until the decision for its first step
RELEASE_CYCLES = 2  # from the decision for its last step until column 0 is done with it; column c is c cycles later


def reader_latency(config: Config) -> int:
    """Cycles from a row's number to its results: the number's register, two stages, and one a column."""
    return READER_SAMPLE + 2 + config.cols - 1


def slot_latency(config: Config) -> int:
    """Cycles from the numbers of a row and of a slot of it to the results: those of the row, and select the slot."""
    return reader_latency(config) + 1


def drain_latency(config: Config) -> int:
    """Cycles from reading a slot to the result buffer: the row, the slot of it, the requantiser."""
    return slot_latency(config) + REQUANTISER_LATENCY


def drain_start(config: Config) -> int:
    """Cycles from the decision to issue a tile's last step until its first slot is read.

    Element (r, c) has its result OPERAND_CYCLES + r + c + pe_latency cycles after the decision. Slots are read one a
    cycle, row after row, and column c of a slot READER_SAMPLE + c cycles later: element (0, 0) needs the start latest.
    """
    return OPERAND_CYCLES + config.pe_latency - READER_SAMPLE


def drain_window(config: Config) -> int:
    """Cycles from a tile's first slot until the decision to issue the next tile's last step is safe.

    Slot j of row r is read r·slots + j cycles after the first, and has to be looked at before the next result comes:
    the latest is the last slot of the last row. May be negative.
    """
    rows, slots = config.rows, config.slots_a_row
    return rows * (slots - 1) + READER_SAMPLE + 1 - OPERAND_CYCLES - config.pe_latency
