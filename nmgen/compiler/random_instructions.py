"""Random legal instructions of STA, one after another: combinations that no compiler makes.

Nothing is read that was not written, and nothing while it is written: a third of the store that an instruction writes
to is none that it reads from, and VALUES comes right behind the KEYS whose scores it takes.
"""

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.memory_map import Memory
from nmgen.compiler.program import Placed, Program, Result
from rtl.params import MULT_BITS, InputError, ceil_div, round_up
from rtl.product import Product
from rtl.sta.isa import Columns, Op, assemble
from rtl.sta.legality import gathered_row_beats, max_heads, parameter_beats, residual_row_beats, store_row_beats
from rtl.sta.params import EXP_ONE, TABLE_ENTRIES, StaConfig
from sim.image.product import pack_weights
from sim.image.program import pack_narrow_rows, pack_parameters, pack_table, pack_wide_rows, parameter_units

Fields = dict[str, int]

ROWS = 9  # of a table that GATHER reads
KINDS = ("product", "product", "attention", "attention", "norm", "norm", "pool", "gather", "load", "store", "table")


def random_instructions(
    rng: random.Random, config: StaConfig, count: int = 12, kinds: Sequence[str] = KINDS, each: Sequence[str] = ()
) -> tuple[Program, NDArray[np.uint8]]:
    """A program that fills the store, the residual and the tables, then does so many things; and its memory.

    kinds : what it does, one as often as it stands there
    each : what it does, in this order, in the place of things that are drawn

    Raises
    ------
    InputError : the store is too small.
    """
    drawn = _Drawn(rng, config)
    drawn.fill()
    for number in range(len(each) or count):
        getattr(drawn, each[number] if each else rng.choice(kinds))()
    return drawn.program()


class _Drawn:
    def __init__(self, rng: random.Random, config: StaConfig) -> None:
        self._rng, self._c = rng, config
        self._numbers = np.random.default_rng(rng.getrandbits(64))
        self._memory = Memory()
        self._instructions: list[Fields] = []
        self._results: list[Result] = []  # of each STORE all that it writes
        # Words of a bank that are used: as many as three LOADs of all tokens fill with whole words, in thirds.
        self._tiles = ceil_div(config.max_tokens, config.rows)
        self._row = min(config.store_words // 3 // self._tiles, config.max_groups * config.m // config.store_word_bytes)
        self._third = self._row * self._tiles
        if not self._row:
            raise InputError(f"store_words is {config.store_words}, too few for three words a token")

    def program(self) -> tuple[Program, NDArray[np.uint8]]:
        address = self._memory.put("program", assemble([*self._instructions, {"opcode": Op.END}]))
        names = [f"{i} {Op(one['opcode']).name}" for i, one in enumerate(self._instructions)]
        found = Program(
            config=self._c,
            memory=self._memory.image(),
            address=address,
            names=tuple(names),
            regions=tuple(self._memory.regions),
            sequences=(Placed(0, 1),) if self._results else (),
            results=tuple(self._results),
        )
        return found, np.array(np.frombuffer(found.memory, np.uint8))

    # --- instructions --------------------------------------------------------------------------
    def fill(self) -> None:
        c = self._c
        for which in (0, 1):
            self.table(which)
        self.gather({"tokens": c.max_tokens}, c.hidden)
        for third in range(3):
            place = {"y_base": third * self._third, "y_pitch": self._row}
            self._load({"tokens": c.max_tokens, "groups": self._most_groups} | place)
            if c.max_tokens > c.rows and c.max_tokens % c.rows:
                # The rows of the last token tile that it leaves out: tiles of other instructions begin anywhere.
                place["y_base"] += self._third - self._row
                self._load({"tokens": c.rows, "groups": self._most_groups} | place)

    def table(self, which: int | None = None) -> None:
        which = self._rng.randrange(2) if which is None else which
        entries = self._numbers.integers(-32768, 32768, TABLE_ENTRIES)
        if which:
            entries = np.sort(self._numbers.integers(0, EXP_ONE + 1, TABLE_ENTRIES))[::-1]
        packed = pack_table(self._c, entries)
        self._add(Op.TABLE, which=which, address=self._memory.put("table", packed), beats=self._beats(packed))

    def gather(self, some: Fields | None = None, channels: int = 0) -> None:
        """Into some tokens, which it sets, or into any."""
        add = int(some is None and self._rng.random() < 0.5)
        some = some or self._tokens()
        channels = channels or self._up_to(self._c.hidden)
        narrow = self._rng.random() < 0.5
        if narrow:
            elements = self._numbers.integers(-128, 128, (ROWS, channels))
            rows = pack_narrow_rows(
                self._c, elements, self._numbers.integers(0, 1 << MULT_BITS, ROWS), self._numbers.integers(1, 24, ROWS)
            )
        else:
            rows = pack_wide_rows(self._c, self._numbers.integers(-32768, 32768, (ROWS, channels)))
        ids = self._numbers.integers(0, ROWS, some["tokens"]).astype("<u4").view(np.uint8)
        self._add(
            Op.GATHER,
            **some,
            add=add,
            narrow=int(narrow),
            channels=channels,
            address=self._memory.put("rows", rows),
            beats=gathered_row_beats(self._c, channels, narrow),
            ids_address=self._memory.put("ids", ids),
        )

    def load(self) -> None:
        tokens, groups = self._tokens(), self._up_to(self._most_groups)
        self._load(
            tokens
            | {"groups": groups}
            | self._region("y", tokens["tokens"], groups * self._c.m, self._rng.randrange(3))
        )

    def store(self) -> None:
        """Rows of the store or of the residual; behind a STORE nothing is asked for before it has finished."""
        c, tokens = self._c, self._tokens()
        which = self._rng.randrange(2)
        if which:
            fields = {"channels": self._up_to(c.hidden)}
            beats = residual_row_beats(c, fields["channels"])
        else:
            groups = self._up_to(self._most_groups)
            fields = {"groups": groups}
            fields |= self._region("x", tokens["tokens"], groups * c.m, self._rng.randrange(3))
            beats = store_row_beats(c, groups)
        size = round_up(tokens["tokens"] * beats * c.port_bytes, 2)
        address = self._memory.put("stored", bytes(size))
        self._add(Op.STORE, **tokens, **fields, which=which, address=address)
        name = f"{len(self._instructions) - 1} STORE"
        self._results.append(Result(name, address, pitch=size, channels=size // 2, scale=1.0))

    def product(self) -> None:
        c, rng = self._c, self._rng
        tokens, (read, write, _) = self._tokens(), self._thirds()
        to_residual = rng.random() < 0.5
        to_store = not to_residual or rng.random() < 0.5
        groups = self._up_to(self._most_groups)
        most = min(c.hidden, self._most_bytes) if to_residual else self._most_bytes
        channels = self._up_to(min(most, 4 * c.cols))
        pattern_n = rng.choice((c.n, c.m, rng.randint(1, c.m)))
        planes = pattern_n <= c.n and rng.random() < 0.5
        product = Product(
            config=c,
            tokens=tokens["tokens"],
            k=groups * c.m,
            channels=channels,
            pattern_n=pattern_n,
            weight_groups=self._up_to(groups * c.steps_a_group) if planes else 0,
        )
        weight_groups = product.packed_groups
        order = self._numbers.random((channels, weight_groups, c.m)).argsort(axis=2)
        weights = np.where(order < pattern_n, self._numbers.integers(-128, 128, (channels, weight_groups, c.m)), 0)
        spread = 73.0 * 73.0 * (weight_groups * pattern_n) ** 0.5
        units = self._units(channels, spread, 6000.0 if to_residual else 40.0)
        packed = pack_weights(product, weights.reshape(channels, -1).astype(np.int8), units)
        f = tokens | {"pattern_n": pattern_n, "groups": groups, "channels": channels, "beats": self._beats(packed)}
        f |= self._region("x", tokens["tokens"], groups * c.m, read)
        f |= self._planes(product, packed) if planes else {"address": self._memory.put("weights", packed)}
        if to_residual:
            f |= {"to_residual": 1, "add": rng.randint(0, 1)}
        if to_store:
            f |= {"to_store": 1} | self._region("y", tokens["tokens"], channels, write)
            table = not to_residual and rng.random() < 0.5
            if table or to_residual:
                f |= {"table": int(table), "rescale_shift": rng.randint(8, 16)}
        self._add(Op.PRODUCT, **f, tile_beats=product.w_tile_beats)

    def _planes(self, product: Product, packed: NDArray[np.uint8]) -> Fields:
        """Parameters of all tiles, and planes with something behind each tile's, which other densities would read."""
        c, first = self._c, parameter_beats(self._c)
        tiles = packed.reshape(product.column_tiles, product.w_tile_beats, c.port_bytes)
        behind = self._rng.randint(0, 3)
        shape = product.column_tiles, product.w_tile_beats - first + behind, c.port_bytes
        planes = self._numbers.integers(0, 256, shape).astype(np.uint8)
        planes[:, : shape[1] - behind] = tiles[:, first:]
        return {
            "address": self._memory.put("parameters", tiles[:, :first]),
            "planes_address": self._memory.put("planes", planes),
            "planes_pitch": shape[1],
            "weight_groups": product.weight_groups,
        }

    def attention(self) -> None:
        """Scores of some heads, then what they weigh."""
        c, rng = self._c, self._rng
        tokens, (first, scores, last) = self._tokens(), self._thirds()
        queries = tokens["tokens"]
        keys = self._up_to(min(c.max_tokens, self._most_groups * c.m))
        groups, channels = self._up_to(min(self._most_groups, 4)), self._up_to(self._most_bytes)
        rows = {"x": (queries, groups * c.m), "keys": (keys, groups * c.m), "scores": (queries, keys)}
        rows |= {"values": (keys, channels), "context": (queries, channels)}  # tokens, bytes of each
        most = min(self._third // (self._words(size) * ceil_div(count, c.rows)) for count, size in rows.values())
        heads = self._up_to(min(most, max_heads(c, ceil_div(queries, c.rows))))
        common = tokens | {"pattern_n": c.m, "to_store": 1, "more_heads": heads - 1}

        def region(name: str, of: str, third: int) -> Fields:
            count, size = rows[of]
            return self._region(name, count, heads * self._words(size) * c.store_word_bytes, third)

        y = region("y", "scores", scores)
        self._add(
            Op.PRODUCT,
            **common,
            **region("x", "x", first),
            **region("c", "keys", first),
            **y,
            columns=Columns.KEYS,
            maximum=1,
            channels=keys,
            groups=groups,
            mult=rng.randint(1 << 15, (1 << 16) - 1),
            shift=rng.randint(20, 24),
        )
        self._add(
            Op.PRODUCT,
            **common,
            **region("c", "values", first),
            **region("y", "context", last),
            x_base=y["y_base"],
            x_pitch=y["y_pitch"],
            columns=Columns.VALUES,
            channels=channels,
            groups=ceil_div(keys, c.m),
            keys=keys,
            mult=rng.randint(1 << 15, (1 << 16) - 1),
            shift=rng.randint(13, 16),
        )

    def norm(self) -> None:
        """Of rows as long as those that were written last: the sums are theirs."""
        c, rng = self._c, self._rng
        tokens, channels = self._tokens(), self._up_to(min(c.hidden, self._most_bytes))
        self.gather(tokens, channels)
        packed = pack_parameters(c, self._units(channels, float(1 << 16), 6000.0))
        to_residual = rng.random() < 0.5
        f = tokens | {"channels": channels, "to_residual": int(to_residual), "normalise": int(rng.random() < 0.8)}
        f |= {"address": self._memory.put("parameters", packed), "beats": self._beats(packed)}
        if not to_residual or rng.random() < 0.5:
            f |= {"to_store": 1, "rescale_shift": rng.randint(10, 18)}
            f |= self._region("y", tokens["tokens"], channels, rng.randrange(3))
        self._add(Op.NORM, **f, tile_beats=packed.shape[1], epsilon=rng.choice((0, rng.getrandbits(32))))

    def pool(self) -> None:
        mult, shift = self._rng.randint(1 << 15, (1 << 16) - 1), self._rng.randint(15, 20)
        self._add(Op.POOL, **self._tokens(), channels=self._up_to(self._c.hidden), mult=mult, shift=shift)

    # --- parts of them -------------------------------------------------------------------------
    def _add(self, op: Op, **fields: int) -> None:
        self._instructions.append({"opcode": int(op)} | {name: int(value) for name, value in fields.items() if value})

    def _load(self, f: Fields) -> None:
        beats = f["tokens"] * store_row_beats(self._c, f["groups"])
        rows = self._numbers.integers(0, 256, beats * self._c.port_bytes).astype(np.uint8)
        self._add(Op.LOAD, **f, address=self._memory.put("activations", rows), beats=beats)

    def _beats(self, packed: NDArray[np.uint8]) -> int:
        return packed.size // self._c.port_bytes

    def _units(self, channels: int, spread: float, wanted: float) -> NDArray[np.uint8]:
        """Parameters that bring accumulators of that spread to the wanted one."""
        draw = self._numbers
        mult = draw.integers(1 << 15, 1 << 16, channels)
        shift = np.log2(mult * spread / wanted).round().clip(1, 47).astype(np.int64)
        bias = draw.normal(0, spread / 2, channels).round()
        return parameter_units(bias, mult, shift, draw.integers(0, 2, channels), draw.integers(1, 512, channels))

    def _up_to(self, most: int) -> int:
        """From 1 to most, the bounds more often than others."""
        return self._rng.choice((1, most, self._rng.randint(1, most), self._rng.randint(1, most)))

    def _tokens(self) -> Fields:
        c = self._c
        first = c.rows * self._rng.choice((0, self._rng.randint(0, (c.max_tokens - 1) // c.rows)))
        return {"first_token": first, "tokens": self._up_to(c.max_tokens - first)}

    def _thirds(self) -> tuple[int, int, int]:
        first, second, third = self._rng.sample(range(3), 3)
        return first, second, third

    @property
    def _most_bytes(self) -> int:
        """Of a token's row."""
        return self._row * self._c.store_word_bytes

    @property
    def _most_groups(self) -> int:
        return self._most_bytes // self._c.m

    def _words(self, size: int) -> int:
        """Of a row of so many bytes."""
        return ceil_div(size, self._c.store_word_bytes)

    def _region(self, name: str, tokens: int, size: int, third: int) -> Fields:
        """Rows of so many bytes somewhere in a third."""
        row = self._words(size)
        tiles = ceil_div(tokens, self._c.rows)
        spare = self._third - row * tiles
        pitch = row + (self._rng.randint(0, spare // (tiles - 1)) if tiles > 1 else 0)
        base = self._rng.randint(0, self._third - row - (tiles - 1) * pitch)
        return {f"{name}_base": third * self._third + base, f"{name}_pitch": pitch}
