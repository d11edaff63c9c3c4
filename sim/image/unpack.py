"""Packed weights and rows back to numbers: the inverse of `sim.image.product.pack_weights` and `sim.image.program`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import PARAMETER_BYTES, SHIFT_MAX, Config, ceil_div, units_in_beats
from rtl.product import Product
from rtl.sta.legality import SCALE_BYTES, scale_beats
from rtl.sta.params import CHANNEL_FIELDS

Bytes = NDArray[np.uint8]
Int = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelParameters:
    """Of every column of every column tile in order, also of those beyond the last channel: each [columns]."""

    bias: Int
    mult: Int
    shift: Int
    negate: NDArray[np.bool_]
    rescale: Int


def parameter_beats(config: Config) -> int:
    """Beats of the parameters of a column tile."""
    units, beats = units_in_beats(config.drain_lanes * PARAMETER_BYTES * 8, 8 * config.port_bytes)
    return ceil_div(config.slots_a_row, units) * beats


def unpack_parameters(config: Config, tiles: Bytes) -> ChannelParameters:
    """tiles: [column tiles, beats, bytes of a beat]; beats behind those of the parameters are ignored."""
    units = _units(
        tiles[:, : parameter_beats(config)], config.slots_a_row, config.drain_lanes * PARAMETER_BYTES, config.port_bytes
    )
    columns = units.reshape(len(tiles), -1, PARAMETER_BYTES)[:, : config.cols]
    words = np.ascontiguousarray(columns).view("<u8").reshape(-1)

    def bits(name: str) -> Int:
        low, width = CHANNEL_FIELDS[name]
        return ((words >> np.uint64(low)) & np.uint64((1 << width) - 1)).astype(np.int64)

    return ChannelParameters(
        bias=bits("bias").astype(np.int32).astype(np.int64),
        mult=bits("mult"),
        shift=bits("shift"),
        negate=bits("negate").astype(np.bool_),
        rescale=bits("rescale"),
    )


def unpack_weights(product: Product, packed: Bytes) -> tuple[NDArray[np.int32], ChannelParameters]:
    """(weights [columns, groups of weights · m], parameters) of a region that `pack_weights` filled.

    A position that several pairs name counts their sum, as the array adds it.
    """
    c = product.config
    tiles = packed.reshape(product.column_tiles, product.w_tile_beats, c.port_bytes)
    of = {"parameters": [0], "selection": [0], "values": [0]}
    for beat, (plane, _) in enumerate(product.tile_plan()):
        of[plane].append(beat)
    lanes, steps = product.pattern.lanes, product.pattern.steps
    count = steps * lanes
    shape = (product.column_tiles, product.packed_groups, steps, lanes, c.cols)
    values = _units(tiles[:, of["values"][1:]], product.steps, lanes * c.cols, c.port_bytes).view(np.int8)
    values = values.reshape(shape).transpose(0, 4, 1, 2, 3).reshape(-1, product.packed_groups, count)
    positions = _positions(product, tiles[:, of["selection"][1:]])
    weights = np.zeros((product.column_tiles * c.cols, product.packed_groups, c.m), np.int32)
    for lane in range(count):
        if product.pattern.dense:
            if lane < c.m:
                weights[:, :, lane] = values[:, :, lane]
            continue
        place = positions[:, :, lane : lane + 1]
        there = np.take_along_axis(weights, place, axis=2)
        np.put_along_axis(weights, place, there + values[:, :, lane : lane + 1], axis=2)
    return weights.reshape(len(weights), -1), unpack_parameters(c, tiles)


def _positions(product: Product, beats: Bytes) -> Int:
    """[columns, groups, lanes of all steps]: the position that each pair names."""
    c = product.config
    lanes, steps = product.pattern.lanes, product.pattern.steps
    columns = product.column_tiles * c.cols
    coding = product.pattern.coding
    if coding == "counted":
        return np.zeros((columns, product.packed_groups, 0), np.int64)
    bits = np.unpackbits(beats, axis=-1, bitorder="little")
    if coding == "index":
        units = _units(bits, product.steps, lanes * c.cols * c.index_bits, 8 * c.port_bytes)
        fields = units.reshape(product.column_tiles, product.packed_groups, steps, lanes, c.cols, c.index_bits)
        index = (fields.astype(np.int64) << np.arange(c.index_bits)).sum(axis=-1)
        return index.transpose(0, 4, 1, 2, 3).reshape(columns, product.packed_groups, steps * lanes)
    units = _units(bits, product.packed_groups, c.cols * c.m, 8 * c.port_bytes)
    maps = units.reshape(product.column_tiles, product.packed_groups, c.cols, c.m).transpose(0, 2, 1, 3)
    ordered = np.argsort(1 - maps.reshape(columns, product.packed_groups, c.m), axis=2, kind="stable")
    index = np.zeros((columns, product.packed_groups, steps * lanes), np.int64)
    index[:, :, : product.pattern_n] = ordered[:, :, : product.pattern_n]
    return index


def _units(beats: NDArray[np.uint8], count: int, unit: int, beat: int) -> NDArray[np.uint8]:
    """[tile, beats, beat] back to [tile, count, unit], as `sim.image.product.in_beats` cut them."""
    tiles = len(beats)
    units_a_beat, beats_a_unit = units_in_beats(unit, beat)
    rows = beats.reshape(tiles, -1, beats_a_unit * beat)[:, :, : units_a_beat * unit]
    return np.ascontiguousarray(rows.reshape(tiles, -1, unit)[:, :count])


def unpack_wide_rows(rows: Bytes, channels: int) -> Int:
    """Elements [rows, channels] of rows of 16-bit ones."""
    return np.ascontiguousarray(rows[:, : 2 * channels]).view("<i2").astype(np.int64)


def unpack_narrow_rows(config: Config, rows: Bytes, channels: int) -> tuple[Int, Int, Int]:
    """(elements [rows, channels], mult [rows], shift [rows]) of rows of 8-bit elements."""
    scales = np.ascontiguousarray(rows[:, :SCALE_BYTES]).view("<u4")[:, 0].astype(np.int64)
    begin = scale_beats(config) * config.port_bytes
    elements = np.ascontiguousarray(rows[:, begin : begin + channels]).view(np.int8).astype(np.int64)
    shift_bits = (1 << SHIFT_MAX.bit_length()) - 1
    return elements, scales & 0xFFFF, scales >> 16 & shift_bits
