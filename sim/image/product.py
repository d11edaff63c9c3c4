"""The memory image of a product: what lies in external memory before the start, and the results after it.

The sizes and the order of the beats are rtl.product.Product's. `tests/sim/plain_image.py` builds the same image a bit
at a time, straight from the format's description; the two are tested equal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.engine.register_table import register_values
from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX, InputError, ceil_div, units_in_beats
from rtl.product import Product

Bytes = NDArray[np.uint8]

GUARD_BEATS = 4  # beats between the regions that nothing may touch


@dataclass(frozen=True)
class Region:
    """A piece of memory: byte address of its first byte, and its bytes."""

    name: str
    address: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class Layout:
    """Where everything lies, in bytes, all beat-aligned. r is empty unless the product requantises per row."""

    x: Region
    w: Region
    r: Region
    y: Region

    @property
    def size(self) -> int:
        """Bytes of the whole memory, the last guard included."""
        return self.y.end + self.x.address

    def registers(self, product: Product) -> dict[str, int]:
        """What to write into the control registers before the start."""
        return register_values(
            product,
            x_address=self.x.address,
            w_address=self.w.address,
            r_address=self.r.address,
            y_address=self.y.address,
        )


def layout(product: Product) -> Layout:
    """Lay out a product's regions one after another, with guards before, between and after them."""
    beat = product.config.port_bytes
    sizes = {
        "x": product.tokens * product.x_row_beats * beat,
        "w": product.column_tiles * product.w_tile_beats * beat,
        "r": product.r_beats * beat,
        "y": product.tokens * product.y_stride,
    }
    regions = {}
    address = GUARD_BEATS * beat
    for name, size in sizes.items():
        regions[name] = Region(name, address, size)
        address += size + GUARD_BEATS * beat
    return Layout(**regions)


def build(
    product: Product,
    x: NDArray[np.int8],
    w: NDArray[np.int8],
    bias: NDArray[np.integer],
    mult: NDArray[np.integer],
    shift: NDArray[np.integer],
) -> Bytes:
    """The whole memory before the start, zeros where nothing lies.

    Parameters
    ----------
    x : int8 [tokens, k]
    w : int8 [channels, k], dense form, at most N' non-zeros in each group of M
    bias, mult, shift : integers [channels], or [tokens] where the product requantises per row
    """
    expect("x", x, (product.tokens, product.k), np.int8)
    expect("w", w, (product.channels, product.k), np.int8)
    check_requantiser(product, bias, mult, shift)
    regions = layout(product)
    memory = np.zeros(regions.size, np.uint8)
    memory[regions.x.address : regions.x.end] = pack_activations(product, x)
    parameters = parameter_bytes(bias, mult, shift)
    if product.per_row:
        memory[regions.r.address : regions.r.end] = pack_row_parameters(product, parameters)
        parameters = np.zeros((product.channels, 8), np.uint8)
    memory[regions.w.address : regions.w.end] = pack_weights(product, w, parameters)
    return memory


def expect(name: str, array: NDArray, shape: tuple[int, ...], dtype: type) -> None:
    """InputError unless an operand has this shape and dtype."""
    if array.dtype != dtype:
        raise InputError(f"{name} is of dtype {array.dtype}, must be {np.dtype(dtype)}")
    if array.shape != shape:
        raise InputError(f"{name} has shape {list(array.shape)}, must be {list(shape)}")


def check_requantiser(
    product: Product, bias: NDArray[np.integer], mult: NDArray[np.integer], shift: NDArray[np.integer]
) -> None:
    """InputError unless the requantiser's parameters have their length and bounds."""
    half = 1 << (BIAS_BITS - 1)
    bounds = {
        "bias": (bias, -half, half - 1),
        "mult": (mult, 0, (1 << MULT_BITS) - 1),
        "shift": (shift, 1, SHIFT_MAX),
    }
    length, what = (product.tokens, "token") if product.per_row else (product.channels, "channel")
    for name, (array, low, high) in bounds.items():
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"{name} is of dtype {array.dtype}, must be an integer")
        if array.shape != (length,):
            raise InputError(f"{name} has shape {list(array.shape)}, must be {[length]}")
        bad = np.flatnonzero((array < low) | (array > high))
        if bad.size:
            raise InputError(f"{name} of {what} {bad[0]} is {array[bad[0]]}, must be from {low} to {high}")


def pack_activations(product: Product, x: NDArray[np.int8]) -> Bytes:
    """One token after another, each padded with zeros to whole groups and whole beats."""
    rows = np.zeros((product.tokens, product.x_row_beats * product.config.port_bytes), np.int8)
    rows[:, : product.k] = x
    return rows.view(np.uint8).reshape(-1)


def parameter_bytes(bias: NDArray[np.integer], mult: NDArray[np.integer], shift: NDArray[np.integer]) -> Bytes:
    """[count, 8]: bias in bits 31:0, mult in 47:32, shift in 55:48, zero above, little-endian."""
    packed = np.zeros((len(bias), 8), np.uint8)
    packed[:, 0:4] = bias.astype("<i4").view(np.uint8).reshape(-1, 4)
    packed[:, 4:6] = mult.astype("<u2").view(np.uint8).reshape(-1, 2)
    packed[:, 6] = shift
    return packed


def pack_row_parameters(product: Product, parameters: Bytes) -> Bytes:
    """One 64-bit unit a token. parameters: [tokens, 8]."""
    return in_beats(parameters[np.newaxis], product.config.port_bytes).reshape(-1)


def pack_weights(product: Product, w: NDArray[np.int8], parameters: Bytes) -> Bytes:
    """Column tile after column tile: parameters, selection and values, their beats in the order of the tile plan.

    Parameters
    ----------
    w : int8 [channels, k], or [channels, groups of weights · m] where these lie in planes
    parameters : uint8 [channels, 8]
    """
    values, positions = lane_pairs(product, w)
    planes = {
        "parameters": _parameter_plane(product, parameters),
        "selection": _selection_plane(product, positions),
        "values": _value_plane(product, values),
    }
    first = {}
    beats = 0
    for name, plane in planes.items():
        first[name] = beats
        beats += plane.shape[1]
    order = [first[name] + beat for name, beat in product.tile_plan()]
    if len(order) != beats:
        raise AssertionError(f"the tile plan has {len(order)} beats, the planes have {beats}")
    return np.concatenate(list(planes.values()), axis=1)[:, order].reshape(-1)


def lane_pairs(product: Product, w: NDArray[np.int8]) -> tuple[NDArray[np.int8], Bytes]:
    """The pairs of every group: (values, positions), each [column tile, column, group, N'].

    A group gives exactly N' pairs in ascending position: its non-zeros and, where those are fewer, its lowest zeros.
    Channels beyond the last give zeros throughout.

    Raises
    ------
    InputError : a group has more than N' non-zeros.
    """
    c, n = product.config, product.pattern_n
    shape = (product.column_tiles, c.cols, product.packed_groups, c.m)
    padded = np.zeros((shape[0] * shape[1], shape[2] * shape[3]), np.int8)
    padded[: product.channels, : w.shape[1]] = w
    groups = padded.reshape(shape)
    if product.pattern.dense:
        positions = np.broadcast_to(np.arange(c.m, dtype=np.uint8), shape).copy()
    else:
        zero = groups == 0
        excess = np.argwhere(c.m - zero.sum(axis=-1) > n)
        if excess.size:
            tile, column, group = excess[0]
            raise InputError(
                f"weights of channel {tile * c.cols + column}, group {group} have more than {n} non-zeros: "
                f"they break the pattern {n}:{c.m}"
            )
        # A stable sort puts the non-zeros first and keeps both kinds in ascending position.
        chosen = np.argsort(zero, axis=-1, kind="stable")[..., :n]
        positions = np.sort(chosen, axis=-1).astype(np.uint8)
    values = np.take_along_axis(groups, positions, axis=-1)
    positions.reshape(shape[0] * shape[1], -1)[product.channels :] = 0
    return values, positions


def in_beats(units: Bytes, beat: int) -> Bytes:
    """Cut [tile, count, unit] into [tile, beats, beat]; units and beats are counted in the same atoms, bits or bytes.

    A unit that fits goes into one beat with as many others as fit whole; a larger one takes whole beats of its own.
    """
    tiles, count, unit = units.shape
    units_a_beat, beats_a_unit = units_in_beats(unit, beat)
    whole = np.zeros((tiles, ceil_div(count, units_a_beat) * units_a_beat, unit), np.uint8)
    whole[:, :count] = units
    rows = whole.reshape(tiles, -1, units_a_beat * unit)
    padded = np.zeros((tiles, rows.shape[1], beats_a_unit * beat), np.uint8)
    padded[:, :, : rows.shape[2]] = rows
    return padded.reshape(tiles, -1, beat)


def _parameter_plane(product: Product, parameters: Bytes) -> Bytes:
    c = product.config
    columns = np.zeros((product.column_tiles * c.cols, 8), np.uint8)
    columns[: product.channels] = parameters
    slots = np.zeros((product.column_tiles, c.slots_a_row * c.drain_lanes, 8), np.uint8)
    slots[:, : c.cols] = columns.reshape(product.column_tiles, c.cols, 8)
    return in_beats(slots.reshape(product.column_tiles, c.slots_a_row, -1), c.port_bytes)


def _steps(product: Product, pairs: NDArray) -> NDArray:
    """[tile, column, group, N'] in the order of the lanes: [tile, step, lane, column], zero beyond N'."""
    lanes, steps = product.pattern.lanes, product.pattern.steps
    tiles, columns, groups, n = pairs.shape
    filled = np.zeros((tiles, columns, groups, steps * lanes), pairs.dtype)
    filled[..., :n] = pairs
    return filled.reshape(tiles, columns, groups * steps, lanes).transpose(0, 2, 3, 1)


def _value_plane(product: Product, values: NDArray[np.int8]) -> Bytes:
    steps = _steps(product, values)
    return in_beats(steps.reshape(*steps.shape[:2], -1).view(np.uint8), product.config.port_bytes)


def _selection_plane(product: Product, positions: Bytes) -> Bytes:
    c = product.config
    tiles, columns, groups, _ = positions.shape
    if product.pattern.coding == "counted":
        return np.zeros((tiles, 0, c.port_bytes), np.uint8)
    if product.pattern.coding == "index":
        steps = _steps(product, positions)
        bits = (steps[..., np.newaxis] >> np.arange(c.index_bits, dtype=np.uint8) & 1).astype(np.uint8)
        units = bits.reshape(tiles, steps.shape[1], -1)
    else:
        bits = np.zeros((tiles, columns, groups, c.m), np.uint8)
        np.put_along_axis(bits, positions, 1, axis=-1)
        bits.reshape(tiles * columns, -1)[product.channels :] = 0
        units = bits.transpose(0, 2, 1, 3).reshape(tiles, groups, -1)
    return np.packbits(in_beats(units, 8 * c.port_bytes), axis=-1, bitorder="little")


def result_offsets(product: Product) -> NDArray[np.int64]:
    """[tokens, channels]: where the first byte of each result lies, from y_address."""
    cols, out_bytes = product.config.cols, product.out_bits // 8
    channel = np.arange(product.channels, dtype=np.int64)
    within = channel // cols * product.config.pitch(out_bytes) + channel % cols * out_bytes
    return np.arange(product.tokens, dtype=np.int64)[:, np.newaxis] * product.y_stride + within


def result_bytes(product: Product) -> NDArray[np.bool_]:
    """[bytes of region y]: which of them the product writes. Gaps and channels beyond the last are none of them."""
    written = np.zeros(product.tokens * product.y_stride, np.bool_)
    for byte in range(product.out_bits // 8):
        written[result_offsets(product) + byte] = True
    return written


def unpack_results(product: Product, y: Bytes) -> NDArray[np.signedinteger]:
    """The results, [tokens, channels] int8 or int16, out of the bytes of region y."""
    offsets = result_offsets(product)
    if product.out_bits == 8:
        return y[offsets].view(np.int8)
    pairs = np.stack([y[offsets], y[offsets + 1]], axis=-1)
    return pairs.view("<i2")[..., 0].astype(np.int16)
