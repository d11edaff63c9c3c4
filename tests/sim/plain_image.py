"""The memory image of a product built the slow way, a number at a time, straight from the format's description.

Shares nothing with sim/image/product.py but the configuration and the regions' addresses.
"""

from math import ceil, log2

from rtl.product import Product


class Plane:
    """Units of a fixed width, cut into beats that hold whole units, or units that take whole beats."""

    def __init__(self, units: list[int], width: int, port_bits: int) -> None:
        self.beats: list[int] = []
        self.first_beat: list[int] = []  # of each unit
        self.beats_a_unit = ceil(width / port_bits)
        if width <= port_bits:
            a_beat = port_bits // width
            for i, unit in enumerate(units):
                if i % a_beat == 0:
                    self.beats.append(0)
                self.first_beat.append(len(self.beats) - 1)
                self.beats[-1] |= unit << (i % a_beat * width)
        else:
            for unit in units:
                self.first_beat.append(len(self.beats))
                for part in range(self.beats_a_unit):
                    self.beats.append(unit >> (part * port_bits) & ((1 << port_bits) - 1))
        self._sent = 0

    def until_unit(self, unit: int) -> list[int]:
        """The beats not yet sent, up to the last of this unit."""
        end = self.first_beat[unit] + self.beats_a_unit
        beats = self.beats[self._sent : end]
        self._sent = max(self._sent, end)
        return beats


def group_pairs(group: list[int], n: int) -> list[tuple[int, int]]:
    """The n (value, position) pairs of a group, ascending."""
    pairs = [(value, position) for position, value in enumerate(group) if value != 0]
    for position, value in enumerate(group):
        if value == 0 and len(pairs) < n:
            pairs.append((0, position))
    return sorted(pairs, key=lambda pair: pair[1])


def parameter_word(bias: int, mult: int, shift: int) -> int:
    return (bias & 0xFFFFFFFF) | mult << 32 | shift << 48


def tile_beats(product: Product, tile: int, w: list[list[int]], words: list[int]) -> list[int]:
    """The beats of one column tile. w: [channels][k]; words: one 64-bit parameter word a channel."""
    c, n = product.config, product.pattern_n
    port_bits = 8 * c.port_bytes
    lanes = min(n, c.n)
    steps_a_group = ceil(n / c.n)
    groups = ceil(product.k / c.m)
    drain = min(c.drain, c.cols)

    parameters = []
    for slot in range(ceil(c.cols / drain)):
        unit = 0
        for lane in range(drain):
            column = slot * drain + lane
            channel = tile * c.cols + column
            if column < c.cols and channel < product.channels:
                unit |= words[channel] << (64 * lane)
        parameters.append(unit)

    index_bits = int(log2(c.m))
    coding = "counted" if n == c.m else "index" if n * index_bits <= c.m else "bitmap"
    values = [0] * (groups * steps_a_group)
    indices = [0] * (groups * steps_a_group)
    bitmaps = [0] * groups
    for column in range(c.cols):
        channel = tile * c.cols + column
        if channel >= product.channels:
            continue
        row = w[channel] + [0] * (groups * c.m - product.k)
        for group in range(groups):
            pairs = group_pairs(row[group * c.m : (group + 1) * c.m], n)
            for i, (value, position) in enumerate(pairs):
                step, lane = group * steps_a_group + i // c.n, i % c.n
                values[step] |= (value & 0xFF) << (8 * (lane * c.cols + column))
                indices[step] |= position << (index_bits * (lane * c.cols + column))
                bitmaps[group] |= 1 << (column * c.m + position)

    value_plane = Plane(values, 8 * lanes * c.cols, port_bits)
    index_plane = Plane(indices, index_bits * lanes * c.cols, port_bits)
    bitmap_plane = Plane(bitmaps, c.m * c.cols, port_bits)
    parameter_plane = Plane(parameters, 64 * drain, port_bits)
    beats = parameter_plane.until_unit(len(parameters) - 1)
    for step in range(groups * steps_a_group):
        if coding == "index":
            beats += index_plane.until_unit(step)
        if coding == "bitmap":
            beats += bitmap_plane.until_unit(step // steps_a_group)
        beats += value_plane.until_unit(step)
    return beats


def weights(product: Product, w: list[list[int]], bias: list[int], mult: list[int], shift: list[int]) -> bytes:
    """The region of the weights. Per row, the channels' parameters are zero."""
    if product.per_row:
        words = [0] * product.channels
    else:
        words = [parameter_word(*three) for three in zip(bias, mult, shift, strict=True)]
    beats = []
    for tile in range(ceil(product.channels / product.config.cols)):
        beats += tile_beats(product, tile, w, words)
    return b"".join(beat.to_bytes(product.config.port_bytes, "little") for beat in beats)


def row_parameters(product: Product, bias: list[int], mult: list[int], shift: list[int]) -> bytes:
    """The region of the parameters per row, empty unless they are used."""
    if not product.per_row:
        return b""
    words = [parameter_word(*three) for three in zip(bias, mult, shift, strict=True)]
    plane = Plane(words, 64, 8 * product.config.port_bytes)
    return b"".join(beat.to_bytes(product.config.port_bytes, "little") for beat in plane.beats)


def activations(product: Product, x: list[list[int]]) -> bytes:
    """The region of the activations."""
    padded = ceil(product.k / product.config.m) * product.config.m
    row_bytes = ceil(padded / product.config.port_bytes) * product.config.port_bytes
    return b"".join(bytes(value & 0xFF for value in row).ljust(row_bytes, b"\0") for row in x)


def result_addresses(product: Product, token: int, channel: int) -> list[int]:
    """Byte offsets of a result from y_address, lowest byte first."""
    c, size = product.config, product.out_bits // 8
    pitch = 1
    while pitch < c.cols * size:
        pitch *= 2
    stride = ceil(ceil(product.channels / c.cols) * pitch / c.port_bytes) * c.port_bytes
    first = token * stride + channel // c.cols * pitch + channel % c.cols * size
    return list(range(first, first + size))
