"""What STA's programs read from memory beside packed weights (`sim.image.product`): parameters, rows, tables, ids."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtl.params import PARAMETER_BYTES, Config, ceil_div, round_up
from rtl.sta.legality import SCALE_BYTES
from rtl.sta.params import CHANNEL_FIELDS, TABLE_ENTRIES
from sim.image.product import in_beats

Bytes = NDArray[np.uint8]


def parameter_units(
    bias: ArrayLike, mult: ArrayLike, shift: ArrayLike, negate: ArrayLike = 0, rescale: ArrayLike = 0
) -> Bytes:
    """[channels, 8]: `CHANNEL_FIELDS`, little-endian."""

    def field(name: str, values: ArrayLike) -> NDArray[np.uint64]:
        low, bits = CHANNEL_FIELDS[name]
        return (np.asarray(values).astype(np.int64).astype(np.uint64) & np.uint64((1 << bits) - 1)) << np.uint64(low)

    words = (
        field("bias", bias)
        | field("mult", mult)
        | field("shift", shift)
        | field("negate", negate)
        | field("rescale", rescale)
    )
    return np.atleast_1d(words).astype("<u8").view(np.uint8).reshape(-1, PARAMETER_BYTES)


def pack_parameters(config: Config, units: Bytes) -> Bytes:
    """The parameters of a NORM, column tile after column tile: [tiles, beats, bytes of a beat].

    units : [channels, 8]
    """
    tiles = ceil_div(len(units), config.cols)
    columns = np.zeros((tiles * config.cols, PARAMETER_BYTES), np.uint8)
    columns[: len(units)] = units
    slots = np.zeros((tiles, config.slots_a_row * config.drain_lanes, PARAMETER_BYTES), np.uint8)
    slots[:, : config.cols] = columns.reshape(tiles, config.cols, PARAMETER_BYTES)
    return in_beats(slots.reshape(tiles, config.slots_a_row, -1), config.port_bytes)


def pack_wide_rows(config: Config, rows: NDArray[np.integer]) -> Bytes:
    """Rows of 16-bit elements for a GATHER, each padded to whole beats: [rows, bytes]."""
    elements = np.ascontiguousarray(rows.astype("<i2")).view(np.uint8)
    return np.pad(elements, ((0, 0), (0, -elements.shape[1] % config.port_bytes)))


def pack_narrow_rows(
    config: Config, elements: NDArray[np.integer], mult: NDArray[np.integer], shift: NDArray[np.integer]
) -> Bytes:
    """Rows of 8-bit elements for a GATHER, each behind its scale, both padded to whole beats: [rows, bytes].

    elements : [rows, channels]; of each row mult and shift : [rows]
    """
    scales = np.zeros((len(elements), SCALE_BYTES), np.uint8)
    scales[:, :2] = mult.astype("<u2")[:, np.newaxis].view(np.uint8)
    scales[:, 2] = shift
    parts = (scales, np.ascontiguousarray(elements.astype(np.int8)).view(np.uint8))
    return np.hstack([np.pad(part, ((0, 0), (0, -part.shape[1] % config.port_bytes))) for part in parts])


def pack_table(config: Config, entries: NDArray[np.integer]) -> Bytes:
    """256 entries of 16 bits, signed or unsigned, padded to whole beats."""
    if entries.shape != (TABLE_ENTRIES,):
        raise ValueError(f"a table has shape {list(entries.shape)}, must be [{TABLE_ENTRIES}]")
    table = np.zeros(round_up(2 * TABLE_ENTRIES, config.port_bytes), np.uint8)
    table[: 2 * TABLE_ENTRIES] = entries.astype(np.int64).astype("<u2").view(np.uint8)
    return table
