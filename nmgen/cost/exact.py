"""Multipliers and memories of a configuration on an ECP5, to the last one, and the block RAM that these take.

They are those of the Components; a test holds them equal to what elaboration finds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from nmgen.fpga.block_ram import MemoryShape
from rtl.lib.deep_memory import parts
from rtl.params import FIFO_BEATS, PARAMETER_BYTES, PARAMETER_TILES, Config, ceil_div, power_of_two_at_least
from rtl.sta.params import EXP_BITS, RESIDUAL_BITS, TABLE_ENTRIES, StaConfig
from rtl.sta.results.residual import WORDS as RESIDUAL_WORDS
from rtl.sta.results.writer import SCORE_BITS

SPARE_BITS = 10  # of the 64 bits of parameters: not kept
HALF_BITS = 9  # of the residual: halves of a word are whole block RAMs of so many bits
REQUANTISE = 2  # multipliers of a lane: the sum has more bits than one takes
LAYER_NORM = 4  # of a lane: a rescaler's, a square, and both parts of a scale


@dataclass(frozen=True)
class Memories:
    """So many of one shape. name : of the Component that they are in"""

    name: str
    count: int
    shape: MemoryShape

    @property
    def block_rams(self) -> int:
        return self.count * self.shape.block_rams

    @property
    def bits(self) -> int:
        """In block RAM."""
        return self.count * self.shape.width * self.shape.depth if self.shape.block_rams else 0


def memories(config: Config) -> list[Memories]:
    """All that may be block RAM, of a core where the configuration is one, else of an engine."""
    return list(_core(config) if isinstance(config, StaConfig) else _engine(config))


def block_rams(config: Config) -> int:
    return sum(one.block_rams for one in memories(config))


def memory_bits(config: Config) -> int:
    """In block RAM."""
    return sum(one.bits for one in memories(config))


def multipliers(config: Config) -> int:
    """Cells MULT18X18D: of elements in DSP slices both of a slice, used or not."""
    lanes = 2 * ceil_div(config.n, 2) if config.pe == "ecp5" else config.n
    array = (config.rows - config.soft_rows) * config.cols * lanes
    if isinstance(config, StaConfig):
        return array + config.groups * config.drain_lanes * (REQUANTISE + LAYER_NORM)
    return array + config.drain_lanes * REQUANTISE


def _whole(name: str, count: int, width: int, depth: int) -> Memories:
    """Memories that are written a whole word at a time."""
    return Memories(name, count, MemoryShape(width, depth, width))


def _engine(c: Config) -> Iterator[Memories]:
    yield _whole("fetch", 1, 8 * c.port_bytes, FIFO_BEATS - 1)
    column = c.n * (8 + c.index_bits)
    yield _whole("column_buffer", c.cols, column, 2 * c.max_steps)
    slot = 8 * PARAMETER_BYTES - SPARE_BITS
    yield _whole("column_buffer", 1, c.drain_lanes * slot, PARAMETER_TILES * c.slots_a_row)
    yield _whole("row_parameters", 1, slot, c.max_tokens)
    for depth in parts(c.store_depth):
        shape = MemoryShape(8 * c.store_word_bytes, depth, 8 * c.port_bytes)
        yield Memories("activation_store", c.rows, shape)


def _core(c: StaConfig) -> Iterator[Memories]:
    for depth in parts(c.store_words):
        yield Memories("store", c.rows, MemoryShape(8 * c.store_word_bytes, depth, 8))
    lanes = c.steps_a_group * c.n
    yield Memories("column_buffer", c.cols, MemoryShape(8 * lanes, 2 * c.max_groups, 8))
    steps = power_of_two_at_least(c.steps_a_group)
    yield _whole("column_buffer", c.cols, c.n * c.index_bits, 2 * steps * c.max_groups)
    yield _whole("softmax", c.rows * ceil_div(c.n, 2), EXP_BITS, TABLE_ENTRIES)
    group = c.row_group
    depth = group.max_tokens * group.residual_words
    width = group.drain_lanes * RESIDUAL_BITS
    middle = min(width, HALF_BITS * ceil_div(width, 2 * HALF_BITS))
    for half in (middle, width - middle):
        for first in range(0, depth, RESIDUAL_WORDS):
            yield _whole("residual", c.groups, half, min(RESIDUAL_WORDS, depth - first))
    yield _whole("writer", c.groups, SCORE_BITS, group.max_tokens)
