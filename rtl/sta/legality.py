"""What makes an instruction illegal: for the hardware, its model, and who loads a program. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from rtl.params import ADDRESS_BITS, PARAMETER_BYTES, SHIFT_MAX, Config, ceil_div, units_in_beats
from rtl.product import Product
from rtl.sta.isa import BYTES, FIELDS, USED, Columns, Op, decode, encode, tile_groups
from rtl.sta.params import RESIDUAL_BITS, TABLE_ENTRIES, StaConfig

ID_BYTES = 4  # of a row number that GATHER reads
SCALE_BYTES = 4  # of a row of 8-bit elements: mult (2 bytes, little-endian), shift, a byte of zero
TABLE_BYTES = 2 * TABLE_ENTRIES  # of a table in memory
CAUSE_BITS = 4


class Cause(IntEnum):
    """Why the machine stopped. Of several the lowest is reported."""

    NONE = 0
    OPCODE = 1  # no such opcode
    RESERVED = 2  # a bit is set that the opcode does not use
    FLAGS = 3  # column source or destinations that do not go together
    TOKENS = 4  # too few, too many, not from the first row of a tile, or of more heads than a row keeps maxima for
    CHANNELS = 5
    GROUPS = 6
    PATTERN = 7
    KEYS = 8  # none, too many, or not as many groups of them as the instruction says
    SHIFT = 9
    STORE = 10  # a region leaves the activation store
    BEATS = 11  # not what the unit will take
    ADDRESS = 12  # outside of the program's memory, or not at the beginning of a beat
    BUS = 13  # the memory reported an error


# --- beats of a tile of packed weights ---------------------------------------------------------
@dataclass(frozen=True)
class TileBeats:
    """Beats of a column tile of a pattern, as `product.Product.tile_plan` has them, without its parameters.

    steps : steps a group
    values : (units a beat, beats a unit) of the values, a unit a step
    selection : of the selection; no beats where it is counted
    selection_per_step : a unit of it a step; else a unit a group
    """

    steps: int
    values: tuple[int, int]
    selection: tuple[int, int]
    selection_per_step: bool

    @classmethod
    def of(cls, config: Config, pattern_n: int) -> "TileBeats":
        product = Product(config=config, tokens=1, k=config.m, channels=1, pattern_n=pattern_n)
        port_bits = 8 * config.port_bytes
        bits = product.selection_unit_bits
        return cls(
            steps=product.pattern.steps,
            values=units_in_beats(product.value_unit_bits, port_bits),
            selection=units_in_beats(bits, port_bits) if bits else (1, 0),
            selection_per_step=product.pattern.coding == "index",
        )

    def beats(self, groups: int) -> int:
        steps = groups * self.steps
        (v_units, v_beats), (s_units, s_beats) = self.values, self.selection
        selections = steps if self.selection_per_step else groups
        return ceil_div(steps, v_units) * v_beats + ceil_div(selections, s_units) * s_beats


def parameter_beats(config: Config) -> int:
    """Beats of the channel parameters of a column tile."""
    units, beats = units_in_beats(8 * PARAMETER_BYTES * config.drain_lanes, 8 * config.port_bytes)
    return ceil_div(config.slots_a_row, units) * beats


def most_weight_groups(config: StaConfig) -> int:
    """That a column tile may have: as many as the column buffer holds steps, and as the field can say."""
    return min(config.max_groups * config.steps_a_group, (1 << FIELDS["weight_groups"].bits) - 1)


def most_tile_beats(config: StaConfig) -> int:
    """Beats of the largest column tile."""
    plain = (TileBeats.of(config, n).beats(config.max_groups) for n in range(1, config.m + 1))
    planes = (TileBeats.of(config, n).beats(most_weight_groups(config)) for n in range(1, config.n + 1))
    return parameter_beats(config) + max(*plain, *planes)


# --- what the memory is asked for --------------------------------------------------------------
def instruction_beats(config: Config) -> int:
    return BYTES // config.port_bytes


def ids_beats(config: Config, tokens: int) -> int:
    return ceil_div(ID_BYTES * tokens, config.port_bytes)


def store_row_beats(config: Config, groups: int) -> int:
    """Beats of a token's row that goes to the store, or comes from it."""
    return ceil_div(groups * config.m, config.port_bytes)


def residual_row_beats(config: Config, channels: int) -> int:
    """Beats of a token's row that goes to the residual, or comes from it."""
    return ceil_div(channels * RESIDUAL_BITS // 8, config.port_bytes)


def scale_beats(config: Config) -> int:
    """Beats of the scale in front of a row of 8-bit elements."""
    return ceil_div(SCALE_BYTES, config.port_bytes)


def gathered_row_beats(config: Config, channels: int, narrow: bool) -> int:
    """Beats of a row that GATHER reads."""
    if narrow:
        return scale_beats(config) + ceil_div(channels, config.port_bytes)
    return residual_row_beats(config, channels)


def most_gathered_row_beats(config: StaConfig) -> int:
    return max(gathered_row_beats(config, config.hidden, narrow) for narrow in (False, True))


# --- heads of a PRODUCT of keys or values ------------------------------------------------------
def head_words(config: Config, instruction: Mapping[str, int]) -> tuple[int, int, int]:
    """Words of the store from one head to the next: of x_base, c_base and y_base."""
    operand = ceil_div(instruction["groups"] * config.m, config.store_word_bytes)
    result = ceil_div(instruction["channels"], config.store_word_bytes)
    return operand, operand if instruction["columns"] == Columns.KEYS else result, result


def max_heads(config: StaConfig, tiles: int) -> int:
    """Heads that an instruction may have, of so many token tiles each; 0 where these are too many for one."""
    return min(config.maxima_tiles // tiles, 1 << FIELDS["more_heads"].bits)


# --- the twin of LegalityChecker ---------------------------------------------------------------
def violation(config: StaConfig, code: bytes, limit: int = 1 << ADDRESS_BITS) -> Cause:
    """What `LegalityChecker` finds wrong with 64 bytes. What is read from memory is checked where it is asked for."""
    f = decode(code)
    c = config
    if f["opcode"] not in list(Op):
        return Cause.OPCODE
    op, columns = Op(f["opcode"]), f["columns"]
    if encode(f) != code or any(f[name] for name in FIELDS if name not in ("opcode", *USED[op])):
        return Cause.RESERVED
    if op == Op.END:
        return Cause.NONE
    product, norm, pool, gather, load, store = (
        op == one for one in (Op.PRODUCT, Op.NORM, Op.POOL, Op.GATHER, Op.LOAD, Op.STORE)
    )
    memory, keys, values = (product and columns == one for one in Columns)
    stores_store, stores_residual = store and not f["which"], store and bool(f["which"])
    to_store, to_residual = bool(f["to_store"]), bool(f["to_residual"])
    groups, channels, tokens = f["groups"], f["channels"], f["tokens"]

    flags = (
        product and columns not in list(Columns),
        (product or norm) and not (to_store or to_residual),
        product and f["add"] and not to_residual,
        product and f["table"] and (to_residual or not to_store),
        product and f["maximum"] and not keys,
        (keys or values) and (to_residual or f["table"]),
        f["weight_groups"] and not memory,
        f["more_heads"] and not (keys or values),
    )
    if any(flags):
        return Cause.FLAGS
    if op != Op.TABLE:
        first = f["first_token"]
        if not 1 <= tokens <= c.max_tokens - first or first % c.rows:
            return Cause.TOKENS
    heads = f["more_heads"] + 1
    if heads * ceil_div(tokens, c.rows) > c.maxima_tiles:
        return Cause.TOKENS
    in_residual = to_residual or norm or pool or gather or stores_residual
    if (product and channels == 0) or (in_residual and not 1 <= channels <= c.hidden):
        return Cause.CHANNELS
    if keys and channels > c.max_tokens:
        return Cause.CHANNELS
    weight_groups = f["weight_groups"]
    if (product or load or stores_store) and not 1 <= groups <= c.max_groups:
        return Cause.GROUPS
    if weight_groups > most_weight_groups(c):
        return Cause.GROUPS
    densest = c.n if weight_groups else c.m
    if product and not (1 <= f["pattern_n"] <= densest if memory else f["pattern_n"] == c.m):
        return Cause.PATTERN
    if values and not (1 <= f["keys"] <= c.max_tokens and ceil_div(f["keys"], c.m) == groups):
        return Cause.KEYS
    rescaled = (product and to_store and (f["table"] or to_residual)) or (norm and to_store)
    if ((keys or values or pool) and not 1 <= f["shift"] <= SHIFT_MAX) or (rescaled and f["rescale_shift"] == 0):
        return Cause.SHIFT

    def leaves(region: str, region_tokens: int, words: int) -> bool:
        last_tile = (region_tokens - 1) // c.rows
        return f[f"{region}_base"] + last_tile * f[f"{region}_pitch"] + heads * words > c.store_words

    group_words = ceil_div(groups * c.m, c.store_word_bytes)
    channel_words = ceil_div(channels, c.store_word_bytes)
    regions = (
        (product or stores_store) and leaves("x", tokens, group_words),
        keys and leaves("c", channels, group_words),
        values and leaves("c", f["keys"], channel_words),
        to_store and leaves("y", tokens, channel_words),
        load and leaves("y", tokens, group_words),
    )
    if any(regions):
        return Cause.STORE

    row_beats = residual_row_beats(c, channels) if stores_residual else store_row_beats(c, groups)
    if memory or norm:
        weights_beats = TileBeats.of(c, f["pattern_n"]).beats(tile_groups(f)) if memory else 0
        tile_beats = parameter_beats(c) + weights_beats
        beats = ceil_div(channels, c.cols) * tile_beats
        if f["tile_beats"] != tile_beats or f["beats"] != beats:
            return Cause.BEATS
    if load and f["beats"] != tokens * row_beats:
        return Cause.BEATS
    if gather and f["beats"] != gathered_row_beats(c, channels, bool(f["narrow"])):
        return Cause.BEATS
    if op == Op.TABLE and f["beats"] != ceil_div(TABLE_BYTES, c.port_bytes):
        return Cause.BEATS
    if store and outside(c, f["address"], tokens * row_beats, limit):
        return Cause.ADDRESS
    return Cause.NONE


def outside(config: Config, address: int, beats: int, limit: int) -> bool:
    """Whether beats from a byte address on are not all within memory, or do not begin with one."""
    return bool(address % config.port_bytes) or address + beats * config.port_bytes > limit


def segments(config: Config, instruction: Mapping[str, int]) -> list[tuple[int, int]]:
    """(byte address, beats) of what an instruction, all fields of it given, reads, in order.

    Of a GATHER these are its row numbers; row i is `beats` at address + i · beats · port_bytes. Addresses are modulo
    2^32.
    """
    f = instruction
    if f["opcode"] == Op.GATHER:
        return [(f["ids_address"], ids_beats(config, f["tokens"]))]
    if f["weight_groups"]:
        tiles = range(ceil_div(f["channels"], config.cols))
        found = [segment for tile in tiles for segment in _from_planes(config, f, tile)]
        return [(address % (1 << ADDRESS_BITS), beats) for address, beats in found]
    packed = f["opcode"] == Op.PRODUCT and f["columns"] == Columns.MEMORY
    return [(f["address"], f["beats"])] if packed or f["opcode"] in (Op.NORM, Op.LOAD, Op.TABLE) else []


def _from_planes(config: Config, f: Mapping[str, int], tile: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(byte address, beats) of a column tile's parameters, and of its planes."""
    first = parameter_beats(config)
    parameters = f["address"] + tile * first * config.port_bytes
    planes = f["planes_address"] + tile * f["planes_pitch"] * config.port_bytes
    return (parameters, first), (planes, f["tile_beats"] - first)


def fault(config: StaConfig, code: bytes, limit: int) -> Cause:
    """What stops the machine at 64 bytes: what its checker finds, or the fetch where it reads.

    Column tiles from planes have to lie one behind another: a program whose addresses go beyond 2^32 and begin anew is
    refused, too, though the machine would take it.
    """
    cause = violation(config, code, limit)
    if cause != Cause.NONE:
        return cause
    f = decode(code)
    if f["weight_groups"]:  # all other tiles lie between the first and the last
        last = ceil_div(f["channels"], config.cols) - 1
        read = [*_from_planes(config, f, 0), *_from_planes(config, f, last)]
    else:
        read = segments(config, f)
    return Cause.ADDRESS if any(outside(config, *segment, limit) for segment in read) else Cause.NONE
