"""When column tiles are in the column buffer (`rtl.sta.operands.columns`): from packed beats, copies of the store."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rtl.params import ceil_div, units_in_beats
from rtl.product import Product
from rtl.sta.latencies import BUSY_CYCLES, COPY_LATENCY
from rtl.sta.params import StaConfig


@dataclass(frozen=True)
class Packed:
    """A column tile from memory: when its beats are taken where none is waited for, from the first beat's cycle on.

    offsets : of each beat
    rest : cycles from the last beat to the last unit
    """

    offsets: Sequence[int]
    rest: int


def packed_parameters(config: StaConfig) -> Packed:
    """The parameters of a column tile: all that a NORM's tile has."""
    return _packed(_parameter_units(config))


def packed_weights(config: StaConfig, pattern_n: int, groups: int, weight_groups: int = 0) -> Packed:
    """A tile of a product with weights from memory, its parameters first."""
    product = Product(
        config=config,
        tokens=1,
        k=groups * config.m,
        channels=1,
        pattern_n=pattern_n,
        weight_groups=weight_groups,
    )
    port_bits = 8 * config.port_bytes
    values = units_in_beats(product.value_unit_bits, port_bits)
    selection = (0, 0)
    if product.selection_unit_bits:
        units, beats = units_in_beats(product.selection_unit_bits, port_bits)
        selection = units * product.selection_unit_steps, beats
    units_at = _parameter_units(config)
    for step in range(product.steps):
        beats = 0
        for every, count in (selection, values):
            if every and step % every == 0:
                beats += count
        units_at.append(beats)
    # A cycle lies between the parameters and the steps: what is left over of a beat is dropped.
    return _packed(units_at, gap_before=config.slots_a_row)


def _parameter_units(config: StaConfig) -> list[int]:
    """Beats that each slot's parameters need, beyond those of the slot before."""
    product = Product(config=config, tokens=1, k=config.m, channels=1, pattern_n=1)
    every, count = units_in_beats(product.parameter_unit_bits, 8 * config.port_bytes)
    return [count if slot % every == 0 else 0 for slot in range(config.slots_a_row)]


def _packed(beats_of: Iterable[int], gap_before: int = -1) -> Packed:
    """beats_of : of each unit, the beats that are taken for it; units go one a cycle, a cycle after their last beat.

    A beat may be taken in the cycle in which the unit before it goes; before unit `gap_before`, a cycle later.
    """
    offsets: list[int] = []
    goes = 0  # cycle of the unit before
    for number, beats in enumerate(beats_of):
        accept = goes + (number == gap_before)
        if beats:
            earliest = max(accept, offsets[-1] + 1) if offsets else 0
            offsets += range(earliest, earliest + beats)
            goes = offsets[-1] + 1
        else:
            goes = accept + 1
    return Packed(tuple(offsets), goes - offsets[-1])


@dataclass(frozen=True)
class Copied:
    """A column tile of keys or values: reads of the store, one a cycle, and columns that are filled without one.

    banks : of each read in order, the first of its banks
    unread : cycles for what is not read
    """

    banks: Sequence[int]
    unread: int


def copied_keys(config: StaConfig, groups: int, tile: int, columns: int) -> Copied:
    lanes, first = config.copy_lanes, tile * config.cols
    banks = [key % config.rows for key in range(first, first + columns, lanes) for _ in range(groups)]
    return Copied(banks, (config.cols // lanes - ceil_div(columns, lanes)) * groups)


def copied_values(config: StaConfig, keys: int, tile: int, columns: int) -> Copied:
    word = config.store_word_bytes
    pieces = (tile * config.cols % word + columns - 1) // word + 1
    return Copied([key % config.rows for key in range(0, keys, config.copy_lanes) for _ in range(pieces)], 0)


def copy_end(begin: int, tile: Copied, reads: frozenset[int] | set[int], lanes: int) -> int:
    """The cycle in which a copy that began in that cycle is done.

    reads : cycles in which the feeder decides for a step that reads a word
    lanes : neighbouring banks that are read at a time
    """
    if not reads:
        return begin + len(tile.banks) + COPY_LATENCY + tile.unread
    cycle = begin
    for bank in tile.banks:
        cycle += 1
        busy = bank + BUSY_CYCLES
        while cycle - busy in reads or any(cycle - busy - lane in reads for lane in range(1, lanes)):
            cycle += 1
    return cycle + COPY_LATENCY + tile.unread
