"""STA's instructions, executed one after another in numpy: what the hardware has to do, to the byte.

Machine is the state that programs can see: memory, store, residual, its sums, tables, row maxima. Executing an
instruction gives what it wrote, so that the hardware's state can be compared after each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import ceil_div, round_up
from rtl.product import Product
from rtl.sta.isa import BYTES, FIELDS, Columns, Instruction, Op, decode
from rtl.sta.legality import fault, gathered_row_beats, head_words, segments
from rtl.sta.params import TABLE_ENTRIES, StaConfig
from sim.golden.twins import Int, emit, normalise, reciprocal, requantise, rescale, root_of, saturate
from sim.image.unpack import (
    ChannelParameters,
    parameter_beats,
    unpack_narrow_rows,
    unpack_parameters,
    unpack_weights,
    unpack_wide_rows,
)

Bytes = NDArray[np.uint8]


class MachineError(ValueError):
    """An instruction that the hardware refuses, or whose effect nobody defines."""


@dataclass(frozen=True)
class Effect:
    """What an instruction wrote to one memory.

    Parameters
    ----------
    where : 'store', 'residual', 'maximum', 'activation', 'exponential' or 'memory'
    index : int64 [count]. store: byte (bank · store_words + word) · W + byte of the word; residual: element token ·
        residual_words · L + channel; maximum: head · tokens of whole tiles + token of the instruction; tables: entry;
        memory: byte address
    values : [count], uint8 of the store and of memory, else integers
    """

    where: str
    index: Int
    values: NDArray


@dataclass(frozen=True)
class Executed:
    """An instruction of a program, and what it did."""

    number: int
    instruction: dict[str, int]
    effects: list[Effect]


class Machine:
    """One STA with its memory.

    Parameters
    ----------
    memory : uint8 [bytes], the image; it is copied
    fill : None for zeros in store and residual, else a generator for random contents, as a chip that is switched on
    """

    def __init__(
        self, config: StaConfig, memory: Bytes | bytes, *, fill: np.random.Generator | None = None, address: int = 0
    ) -> None:
        self.config, self.address = config, address
        self.memory = np.array(np.frombuffer(memory, np.uint8))
        self.store = np.zeros((config.rows, config.store_words, config.store_word_bytes), np.uint8)
        self.residual = np.zeros((config.max_tokens, config.residual_words * config.drain_lanes), np.int64)
        self.sums = np.zeros((2, config.max_tokens), np.int64)  # of a token's elements, and of their squares
        self.maxima = np.zeros(config.maxima_tiles * config.rows, np.int64)  # of the heads that were scored last
        self.tables = np.zeros((2, TABLE_ENTRIES), np.int64)  # activation, exponential
        if fill is not None:
            self.store[:] = fill.integers(0, 256, self.store.shape)
            self.residual[:] = fill.integers(-32768, 32768, self.residual.shape)
            self.maxima[:] = fill.integers(-128, 128, self.maxima.shape)

    # --- programs ------------------------------------------------------------------------------
    def run(self, address: int | None = None) -> Iterator[Executed]:
        """Execute from a byte address, the program's unless given, up to and without END."""
        at = self.address if address is None else address
        number = 0
        while True:
            code = self._read(at, BYTES).tobytes()
            if cause := fault(self.config, code, len(self.memory)):
                raise MachineError(f"instruction {number} at {at} is illegal: {cause.name}")
            instruction = decode(code)
            if instruction["opcode"] == Op.END:
                return
            yield Executed(number, instruction, self.execute(instruction))
            at += BYTES
            number += 1

    def finish(self) -> None:
        """Execute the whole program."""
        for _ in self.run():
            pass

    def execute(self, instruction: Instruction) -> list[Effect]:
        """Execute one instruction, by the names of its fields; absent ones are zero. Returns what it wrote."""
        i = dict.fromkeys(FIELDS, 0) | dict(instruction)
        engines = {
            Op.PRODUCT: self._product,
            Op.NORM: self._norm,
            Op.POOL: self._pool,
            Op.GATHER: self._gather,
            Op.LOAD: self._load,
            Op.STORE: self._store,
            Op.TABLE: self._table,
        }
        if i["opcode"] not in engines:
            raise MachineError(f"opcode {i['opcode']} is not executed")
        opcode = Op(i["opcode"])
        if opcode != Op.TABLE:
            first, tokens = i["first_token"], i["tokens"]
            self._check("tokens", tokens, 1, self.config.max_tokens - first)
            self._check("first_token modulo rows", first % self.config.rows, 0, 0)
        return engines[opcode](i)

    # --- engines -------------------------------------------------------------------------------
    def _product(self, i: dict[str, int]) -> list[Effect]:
        c = self.config
        self._check("groups", i["groups"], 1, c.max_groups)
        self._check("channels", i["channels"], 1, 65535)
        columns = Columns(i["columns"])
        if columns == Columns.MEMORY:
            return self._linear(i, self.rows(i["x_base"], i["x_pitch"], i["tokens"], i["groups"] * c.m))
        if i["to_residual"] or i["table"]:
            raise MachineError("results of keys and values go to the store in 8 bits")
        self._check("pattern_n", i["pattern_n"], c.m, c.m)
        if columns == Columns.VALUES:
            self._check("keys", i["keys"], 1, i["groups"] * c.m)
        tiles = ceil_div(i["tokens"], c.rows)
        self._check("token tiles of all heads", (i["more_heads"] + 1) * tiles, 1, c.maxima_tiles)
        strides = dict(zip(("x_base", "c_base", "y_base"), head_words(c, i), strict=True))
        effects = []
        for head in range(i["more_heads"] + 1):
            own = i | {base: i[base] + head * words for base, words in strides.items()}
            effects += self._head(own, columns, head * tiles * c.rows + np.arange(i["tokens"]))
        return effects

    def _head(self, i: dict[str, int], columns: Columns, kept: Int) -> list[Effect]:
        """Scores or context of a head; kept : where its tokens' maxima are"""
        c = self.config
        x = self.rows(i["x_base"], i["x_pitch"], i["tokens"], i["groups"] * c.m)
        width = round_up(i["channels"], c.cols)
        if columns == Columns.KEYS:
            k = self.rows(i["c_base"], i["c_pitch"], width, i["groups"] * c.m)
            y = requantise(_matmul(x, k), 0, i["mult"], i["shift"], 8)
            effects = []
            if i["maximum"]:
                self.maxima[kept] = y[:, : i["channels"]].max(axis=1)
                effects = [_effect("maximum", kept, self.maxima[kept])]
            return effects + self._to_store(i, y)
        keys = i["keys"]
        values = self.rows(i["c_base"], i["c_pitch"], keys, width)
        weights = emit(x, self.maxima[kept], self.tables[1], keys)
        mult, shift = reciprocal(c, weights.sum(axis=1), i["mult"], i["shift"])
        self._check("shift of a row", int(shift.max()), 0, 47)  # 0 where nothing is divided by: all results are 0
        accumulated = _matmul(weights[:, :keys], values.T)
        y = requantise(accumulated, 0, mult[:, np.newaxis], shift[:, np.newaxis], 8)
        return self._to_store(i, y)

    def _linear(self, i: dict[str, int], x: Int) -> list[Effect]:
        c = self.config
        product = Product(
            config=c,
            tokens=i["tokens"],
            k=i["groups"] * c.m,
            channels=i["channels"],
            pattern_n=i["pattern_n"],
            weight_groups=i["weight_groups"],
        )
        self._check("tile_beats", i["tile_beats"], product.w_tile_beats, product.w_tile_beats)
        beats = product.column_tiles * product.w_tile_beats
        self._check("beats", i["beats"], beats, beats)
        parts = [self._read(address, size * c.port_bytes) for address, size in segments(c, i)]
        weights, p = unpack_weights(product, np.concatenate(parts))
        group = np.arange(product.packed_groups) % product.groups  # of x, that each of the weights is multiplied with
        accumulated = _matmul(x.reshape(len(x), -1, c.m)[:, group].reshape(len(x), -1), weights)
        accumulated = np.where(p.negate, -accumulated, accumulated)
        if i["to_residual"]:
            y = requantise(accumulated, p.bias, p.mult, p.shift, 16)
            effects = self._to_residual(i, y, add=bool(i["add"]))
            if i["to_store"]:
                effects += self._to_store(i, rescale(y, p.rescale, i["rescale_shift"]))
            return effects
        y = requantise(accumulated, p.bias, p.mult, p.shift, 8)
        if i["table"]:
            self._check("rescale_shift", i["rescale_shift"], 1, 31)
            y = rescale(self.tables[0][y & 0xFF], p.rescale, i["rescale_shift"])
        return self._to_store(i, y)

    def _norm(self, i: dict[str, int]) -> list[Effect]:
        c = self.config
        channels = i["channels"]
        self._check("channels", channels, 1, c.hidden)
        tiles = ceil_div(channels, c.cols)
        self._check("tile_beats", i["tile_beats"], parameter_beats(c), parameter_beats(c))
        self._check("beats", i["beats"], tiles * parameter_beats(c), tiles * parameter_beats(c))
        packed = self._read(i["address"], i["beats"] * c.port_bytes)
        p = _first(unpack_parameters(c, packed.reshape(tiles, -1, c.port_bytes)), channels)
        tokens = slice(i["first_token"], i["first_token"] + i["tokens"])
        z = self.residual[tokens, :channels]
        if i["normalise"]:
            total, squares = self.sums[:, tokens]
            z = normalise(c, z, channels, root_of(total, squares, channels, i["epsilon"]))
        y = requantise(np.where(p.negate, -z, z), p.bias, p.mult, p.shift, 16)
        effects = []
        if i["to_residual"]:
            effects += self._to_residual(i, y, add=False)
        if i["to_store"]:
            self._check("rescale_shift", i["rescale_shift"], 1, 31)
            effects += self._to_store(i, rescale(y, p.rescale, i["rescale_shift"]))
        return effects

    def _pool(self, i: dict[str, int]) -> list[Effect]:
        self._check("channels", i["channels"], 1, self.config.hidden)
        total = self.residual[i["first_token"] : i["first_token"] + i["tokens"], : i["channels"]].sum(axis=0)
        y = requantise(total, 0, i["mult"], i["shift"], 16)
        return self._to_residual(i | {"tokens": 1}, y[np.newaxis], add=False)

    def _gather(self, i: dict[str, int]) -> list[Effect]:
        c = self.config
        self._check("channels", i["channels"], 1, c.hidden)
        beats = gathered_row_beats(c, i["channels"], bool(i["narrow"]))
        self._check("beats of a row", i["beats"], beats, beats)
        size = beats * c.port_bytes
        ids = self._read(i["ids_address"], 4 * i["tokens"]).view("<u4").astype(np.int64)
        rows = np.stack([self._read(i["address"] + int(row) * size, size) for row in ids])
        if i["narrow"]:
            elements, mult, shift = unpack_narrow_rows(c, rows, i["channels"])
            values = requantise(elements, 0, mult[:, np.newaxis], shift[:, np.newaxis], 16)
        else:
            values = unpack_wide_rows(rows, i["channels"])
        return self._to_residual(i, values, add=bool(i["add"]))

    def _load(self, i: dict[str, int]) -> list[Effect]:
        c = self.config
        self._check("groups", i["groups"], 1, c.max_groups)
        size = round_up(i["groups"] * c.m, c.port_bytes)
        self._check("beats", i["beats"] * c.port_bytes, i["tokens"] * size, i["tokens"] * size)
        rows = self._read(i["address"], i["tokens"] * size).reshape(i["tokens"], size)
        return self._write_rows(i["y_base"], i["y_pitch"], rows)

    def _store(self, i: dict[str, int]) -> list[Effect]:
        c = self.config
        if i["which"]:
            self._check("channels", i["channels"], 1, c.hidden)
            elements = self.residual[i["first_token"] : i["first_token"] + i["tokens"], : i["channels"]]
            rows = np.ascontiguousarray(elements.astype("<i2")).view(np.uint8)
        else:
            self._check("groups", i["groups"], 1, c.max_groups)
            rows = self.rows(i["x_base"], i["x_pitch"], i["tokens"], i["groups"] * c.m).astype(np.int8).view(np.uint8)
        pitch = round_up(rows.shape[1], c.port_bytes)
        index = i["address"] + np.arange(i["tokens"])[:, np.newaxis] * pitch + np.arange(rows.shape[1])
        self._check("end of the results", int(index.max()) + 1, 1, len(self.memory))
        self.memory[index] = rows
        return [_effect("memory", index, rows)]

    def _table(self, i: dict[str, int]) -> list[Effect]:
        size = 2 * TABLE_ENTRIES
        self._check("beats", i["beats"], ceil_div(size, self.config.port_bytes), ceil_div(size, self.config.port_bytes))
        entries = self._read(i["address"], size).view("<u2" if i["which"] else "<i2").astype(np.int64)
        self.tables[i["which"]] = entries
        return [_effect("exponential" if i["which"] else "activation", np.arange(TABLE_ENTRIES), entries)]

    # --- memory, store, residual ---------------------------------------------------------------
    def _read(self, address: int, size: int) -> Bytes:
        if address + size > len(self.memory):
            raise MachineError(f"bytes {address} to {address + size} are read, memory ends at {len(self.memory)}")
        return self.memory[address : address + size]

    def _where(self, base: int, pitch: int, tokens: int, size: int) -> tuple[Int, Int]:
        """(bank, word) of each token's words, both broadcast to [tokens, words]; words beyond the store wrap."""
        token = np.arange(tokens)[:, np.newaxis]
        words = np.arange(ceil_div(size, self.config.store_word_bytes))
        return token % self.config.rows, base + token // self.config.rows * pitch + words

    def rows(self, base: int, pitch: int, tokens: int, size: int) -> Int:
        """The first `size` bytes of each token's row, signed, [tokens, size]."""
        bank, word = self._where(base, pitch, tokens, size)
        found = self.store[bank, word % self.config.store_words].reshape(tokens, -1)
        return found[:, :size].view(np.int8).astype(np.int64)

    def _write_rows(self, base: int, pitch: int, rows: Bytes) -> list[Effect]:
        """Write the first bytes of each token's row, [tokens, bytes]."""
        tokens, size = rows.shape
        w = self.config.store_word_bytes
        bank, word = self._where(base, pitch, tokens, size)
        self._check("last word of the store", int(word.max()), 0, self.config.store_words - 1)
        byte = np.arange(size)
        words = np.broadcast_to(word, (tokens, word.shape[1]))[:, byte // w]
        self.store[bank, words, byte % w] = rows
        index = (bank * self.config.store_words + words) * w + byte % w
        return [_effect("store", index, rows)]

    def _slots(self, i: dict[str, int], y: Int) -> Int:
        """The channels that there are of y [tokens, columns], and zeros up to a whole slot."""
        slots = np.zeros((len(y), round_up(i["channels"], self.config.drain_lanes)), np.int64)
        slots[:, : i["channels"]] = y[:, : i["channels"]]
        return slots

    def _to_store(self, i: dict[str, int], y: Int) -> list[Effect]:
        return self._write_rows(i["y_base"], i["y_pitch"], self._slots(i, y).astype(np.int8).view(np.uint8))

    def _to_residual(self, i: dict[str, int], y: Int, *, add: bool) -> list[Effect]:
        """Renews the sums of the tokens as well."""
        self._check("channels", i["channels"], 1, self.config.hidden)
        tokens = i["first_token"] + np.arange(i["tokens"])
        y = self._slots(i, y)
        width = y.shape[1]
        if add:
            y = saturate(self.residual[tokens, :width] + y, 16)
        self.residual[tokens, :width] = y
        self.sums[:, tokens] = y.sum(axis=1), (y * y).sum(axis=1)
        return [_effect("residual", tokens[:, np.newaxis] * self.residual.shape[1] + np.arange(width), y)]

    @staticmethod
    def _check(what: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            wanted = str(low) if low == high else f"from {low} to {high}"
            raise MachineError(f"{what}: {value}, must be {wanted}")


def _first(p: ChannelParameters, channels: int) -> ChannelParameters:
    return ChannelParameters(
        bias=p.bias[:channels],
        mult=p.mult[:channels],
        shift=p.shift[:channels],
        negate=p.negate[:channels],
        rescale=p.rescale[:channels],
    )


def _matmul(x: Int, w: NDArray) -> Int:
    """x · wᵀ; exact in float64, which multiplies faster."""
    return (x.astype(np.float64) @ w.astype(np.float64).T).astype(np.int64)


def _effect(where: str, index: Int, values: NDArray) -> Effect:
    return Effect(where, np.ravel(index).astype(np.int64), np.ravel(values).copy())
