"""The layer that a board's self-test has built in, and the memory image of its products.

The layer is small and divides nothing: one token more than there are rows, one channel more than two column tiles, a
last group that is one short. It is drawn so that its results depend on every bit of every value, index, bias, mult and
shift. `image(config, flip=...)` flips one bit, to see that the self-test notices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boards.selftest import OUT_BYTES, Image, Run
from rtl.array.requantise import SHIFT_BITS, requantise
from rtl.params import Config, InputError, ceil_div
from rtl.product import Product
from sim.golden import layer as golden
from sim.image.product import Region, pack_activations, pack_weights, parameter_bytes

SEED = 2208
LEAST_K = 96  # long enough that a denser pattern takes more cycles
LEAST_GROUPS = 3
LEAST = 16  # smallest magnitude of a value: a flipped bit of the other operand then moves the sum by as much
LARGEST_RESULT = 30000  # just below saturation, where a result would no longer depend on every bit
SHIFTS = (9, 15)  # from, to: with any one bit flipped these are still shifts that the format allows
DRAWS = 1000

Int8 = NDArray[np.int8]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Operands and right results of one product.

    Attributes
    ----------
    x : int8 [tokens, k]
    w : int8 [channels, k], exactly N' non-zeros a group
    bias, mult, shift : integers [channels]
    y : int16 [tokens, channels]
    """

    product: Product
    x: Int8
    w: Int8
    bias: Int64
    mult: Int64
    shift: Int64
    y: NDArray[np.signedinteger]

    @property
    def name(self) -> str:
        pattern = self.product.pattern
        return "dense" if pattern.dense else f"{pattern.n}:{self.product.config.m}"


def layers(config: Config) -> list[Layer]:
    """The built-in layer at three densities: 1:M, half, dense (at M = 2 the first two are one). Always the same."""
    rng = np.random.default_rng(SEED)
    m = config.m
    tokens = min(config.rows + 1, config.max_tokens)
    groups = min(max(LEAST_GROUPS, ceil_div(LEAST_K, m)), config.max_groups)
    k = groups * m - 1
    channels = 2 * config.cols + 1
    x = _activations(rng, tokens, k, m)
    dense = _values(rng, channels * k).reshape(channels, k)
    made = []
    for n in sorted({1, m // 2, m}):
        product = Product(config=config, tokens=tokens, k=k, channels=channels, pattern_n=n, out_bits=8 * OUT_BYTES)
        w = _largest(dense, n, m)
        drawn = [_requantiser(rng, sums) for sums in golden.product(x, w).T]
        bias, mult, shift = np.array(drawn, np.int64).T
        y = golden.linear(x, w, bias, mult, shift, product.out_bits)
        made.append(Layer(product=product, x=x, w=w, bias=bias, mult=mult, shift=shift, y=y))
    return made


def image(config: Config, flip: tuple[str, int] | None = None) -> Image:
    """The memory of the self-test, with one bit flipped where asked.

    Parameters
    ----------
    flip : a region's name ("x", "weights 1:4", "golden dense" …, see `regions`) and a bit of it, bit i being bit i % 8
        of its byte i // 8
    """
    built = layers(config)
    parts = {"x": pack_activations(built[0].product, built[0].x).tobytes()}
    for layer in built:
        parameters = parameter_bytes(layer.bias, layer.mult, layer.shift)
        parts[f"weights {layer.name}"] = pack_weights(layer.product, layer.w, parameters).tobytes()
        parts[f"golden {layer.name}"] = layer.y.astype("<i2").tobytes()
    where = regions(config)
    contents = bytearray(where["y"].end)
    for name, part in parts.items():
        contents[where[name].address : where[name].address + len(part)] = part
    check = where["check"]
    beats = np.frombuffer(contents[: check.address], np.uint8).reshape(-1, config.port_bytes)
    contents[check.address : check.end] = np.bitwise_xor.reduce(beats).tobytes()
    if flip is not None:
        name, bit = flip
        if name not in where or not 0 <= bit < 8 * where[name].size:
            raise InputError(f"flip is {flip}, must be one of {', '.join(where)} and a bit of it")
        contents[where[name].address + bit // 8] ^= 1 << bit % 8
    runs = [
        Run(
            name=layer.name,
            product=layer.product,
            w_address=where[f"weights {layer.name}"].address,
            golden_address=where[f"golden {layer.name}"].address,
        )
        for layer in built
    ]
    return Image(contents=bytes(contents), runs=runs, x_address=where["x"].address, y_address=where["y"].address)


def regions(config: Config) -> dict[str, Region]:
    """What lies where, from a beat on: x, of each product its weights and its golden, the check, the results y.

    The golden's region is as long as its results, without what is left of its last beat.
    """
    built = layers(config)
    product, beat = built[0].product, config.port_bytes
    sizes = {"x": product.tokens * product.x_row_beats * beat}
    for layer in built:
        sizes[f"weights {layer.name}"] = layer.product.column_tiles * layer.product.w_tile_beats * beat
        sizes[f"golden {layer.name}"] = layer.y.size * OUT_BYTES
    sizes |= {"check": beat, "y": product.tokens * product.y_stride}
    found = {}
    address = 0
    for name, size in sizes.items():
        found[name] = Region(name, address, size)
        address += ceil_div(size, beat) * beat
    return found


def _values(rng: np.random.Generator, count: int, *, distinct: bool = False) -> Int8:
    """Random values, LEAST … 127 in magnitude, of either sign."""
    allowed = np.array([value for value in range(-127, 128) if abs(value) >= LEAST], np.int8)
    return rng.choice(allowed, count, replace=not distinct)


def _activations(rng: np.random.Generator, tokens: int, k: int, m: int) -> Int8:
    """[tokens, k]; those of the first token's groups differ from one another, so that a wrong index is seen."""
    x = _values(rng, tokens * k).reshape(tokens, k)
    for start in range(0, k, m):
        x[0, start : start + m] = _values(rng, min(m, k - start), distinct=True)
    return x


def _largest(dense: Int8, n: int, m: int) -> Int8:
    """The n largest magnitudes of each group of m, the rest zero."""
    channels, k = dense.shape
    groups = np.zeros((channels, ceil_div(k, m) * m), np.int64)
    groups[:, :k] = np.abs(dense.astype(np.int64))
    order = np.argsort(groups.reshape(channels, -1, m), axis=-1, kind="stable")
    kept = np.zeros(order.shape, np.bool_)
    np.put_along_axis(kept, order[..., m - n :], True, axis=-1)
    return np.where(kept.reshape(channels, -1)[:, :k], dense, 0).astype(np.int8)


def _requantiser(rng: np.random.Generator, sums: Int64) -> tuple[int, int, int]:
    """Bias, mult and shift of a channel with these sums, each bit of which changes a result."""
    largest = int(np.abs(sums).max())
    for _ in range(DRAWS):
        bias = int(rng.integers(-largest, largest, endpoint=True))
        shift = int(rng.integers(*SHIFTS, endpoint=True))
        scale = rng.uniform(0.5, 1) * LARGEST_RESULT / max(1, int(np.abs(sums + bias).max()))
        drawn = bias, max(1, min(0xFFFF, round(scale * 2**shift))), shift
        if _each_bit_counts([int(value) for value in sums], *drawn):
            return drawn
    raise AssertionError(f"no requantiser found for sums of up to {largest}")


def _each_bit_counts(sums: list[int], bias: int, mult: int, shift: int) -> bool:
    """Whether flipping any one bit of the parameters changes the result of a sum."""
    flipped = [((bias ^ 1 << bit) if bit < 31 else bias ^ -(1 << 31), mult, shift) for bit in range(32)]
    flipped += [(bias, mult ^ 1 << bit, shift) for bit in range(16)]
    flipped += [(bias, mult, shift ^ 1 << bit) for bit in range(SHIFT_BITS)]
    bits = 8 * OUT_BYTES
    right = [requantise(value, bias, mult, shift, bits) for value in sums]
    return all(
        any(requantise(value, *other, bits) != want for value, want in zip(sums, right, strict=True))
        for other in flipped
    )
