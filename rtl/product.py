"""A matrix product as a configuration runs it: steps, tiles, the beats of its memory image. Standard library only."""

from dataclasses import dataclass
from functools import cached_property

from rtl.format import selection_coding
from rtl.params import (
    CHANNELS_MAX,
    PARAMETER_BYTES,
    Config,
    InputError,
    ceil_div,
    check_range,
    round_up,
    units_in_beats,
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


@dataclass(frozen=True, kw_only=True)
class Product:
    """One matrix product, x[tokens, k] · w[channels, k]ᵀ, as a configuration runs it.

    Parameters
    ----------
    weight_groups : of weights that lie in planes: groups of pattern n:m, of which group i is multiplied with group
        i mod ⌈k / m⌉ of x; 0 where each group of x has one

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
    weight_groups: int = 0

    def __post_init__(self) -> None:
        check_range("tokens", self.tokens, 1, self.config.max_tokens)
        check_range("k", self.k, 1, self.config.max_groups * self.config.m)
        check_range("channels", self.channels, 1, CHANNELS_MAX)
        if self.out_bits not in (8, 16):
            raise InputError(f"out_bits is {self.out_bits}, must be 8 or 16")
        pattern = self.pattern  # which is checked
        if self.weight_groups and pattern.steps > 1:
            raise InputError(f"pattern_n is {self.pattern_n}, must be at most {self.config.n} of weights in planes")
        most = self.config.max_groups * ceil_div(self.config.m, self.config.n)
        check_range("weight_groups", self.weight_groups, 0, most)

    @property
    def pattern(self) -> Pattern:
        return Pattern(config=self.config, n=self.pattern_n)

    @property
    def groups(self) -> int:
        return ceil_div(self.k, self.config.m)

    @property
    def packed_groups(self) -> int:
        """Groups of weights that a column tile has."""
        return self.weight_groups or self.groups

    @property
    def steps(self) -> int:
        """Steps of one tile."""
        return self.packed_groups * self.pattern.steps

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
        """Needed multiplies over those that all multipliers could do in that many cycles."""
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
