"""Instructions at random: legal ones of every kind, and ones that are nearly legal."""

import random

from rtl.params import SHIFT_MAX, ceil_div
from rtl.sta.isa import BYTES, FIELDS, USED, WORDS, Columns, Op, decode, encode
from rtl.sta.legality import (
    TABLE_BYTES,
    TileBeats,
    gathered_row_beats,
    max_heads,
    most_weight_groups,
    parameter_beats,
    residual_row_beats,
    store_row_beats,
)
from rtl.sta.params import StaConfig

KINDS = (
    "memory",
    "memory to residual",
    "memory by table",
    "memory in planes",
    "keys",
    "values",
    "norm",
    "pool",
    "gather",
    "gather of 8 bits",
    "load",
    "store",
    "store residual",
    "table",
)

CONFIGURATIONS = {
    "base": StaConfig(),
    "odd": StaConfig(n=3, m=16, rows=3, cols=5, drain=4, port_bytes=64, max_tokens=20, max_k=100, hidden=41),
    "small": StaConfig(n=2, m=4, rows=4, cols=4, port_bytes=4, max_tokens=32, max_k=64, hidden=48, store_words=96),
    "one": StaConfig(n=1, m=32, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=1, max_k=32, hidden=1, store_words=1),
    "wide": StaConfig(n=4, m=16, rows=8, cols=16, drain=8, port_bytes=32, max_tokens=40, hidden=80, store_words=300),
    "narrow": StaConfig(
        n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=1, max_k=2, hidden=1, store_words=64
    ),
    "long": StaConfig(n=1, m=8, rows=2, cols=2, drain=2, max_tokens=8, max_k=65536, hidden=64, store_words=16384),
}


class Random:
    """Random instructions of a configuration, whose memory ends at the limit."""

    def __init__(self, config: StaConfig, rng: random.Random, limit: int) -> None:
        self._config = config
        self._rng = rng
        self._limit = limit

    def _up_to(self, most: int) -> int:
        """From 1 to most, the bounds more often than others."""
        return self._rng.choice([1, most, self._rng.randint(1, most), min(most, self._rng.randint(1, 8))])

    def _address(self, beats: int) -> int:
        size = self._config.port_bytes
        most = self._limit // size - beats
        return size * self._rng.choice([0, most, self._rng.randint(0, most)])

    def _region(self, name: str, tokens: int, words: int) -> dict[str, int]:
        """Words that fit, or None of them does: base and pitch zero."""
        c = self._config
        tiles = ceil_div(tokens, c.rows)
        spare = max(c.store_words - words, 0)
        pitch = self._up_to(max(spare // (tiles - 1), 1)) if tiles > 1 and spare else self._rng.randint(0, 3)
        pitch = min(pitch, spare // (tiles - 1)) if tiles > 1 else pitch
        base = self._rng.choice([0, spare - (tiles - 1) * pitch])
        return {f"{name}_base": base, f"{name}_pitch": pitch}

    def _tokens(self) -> dict[str, int]:
        c = self._config
        first = c.rows * self._rng.choice([0, self._rng.randint(0, (c.max_tokens - 1) // c.rows)])
        return {"first_token": first, "tokens": self._up_to(c.max_tokens - first)}

    def _heads(self, f: dict[str, int], *words: int) -> int:
        """As many as fit, of so many words each."""
        c = self._config
        most = min(max_heads(c, ceil_div(f["tokens"], c.rows)), c.store_words // max(words))
        heads = self._up_to(max(most, 1))
        f["more_heads"] = heads - 1
        return heads

    def legal(self, kind: str) -> dict[str, int]:
        c, rng = self._config, self._rng
        word = c.store_word_bytes
        f: dict[str, int] = {}
        if kind != "table":
            f |= self._tokens()
        tokens = f.get("tokens", 0)
        most_groups = min(c.max_groups, max(c.store_words * word // c.m, 1))
        groups = self._up_to(most_groups)
        group_words = ceil_div(groups * c.m, word)
        most_channels = min(c.hidden, c.store_words * word)
        channels = self._up_to(most_channels)
        channel_words = ceil_div(channels, word)
        if kind.startswith("memory"):
            pattern_n, weight_groups = rng.randint(1, c.m), 0
            if kind == "memory in planes":
                pattern_n, weight_groups = rng.randint(1, c.n), self._up_to(most_weight_groups(c))
            weights_beats = TileBeats.of(c, pattern_n).beats(weight_groups or groups)
            tiles, tile_beats = ceil_div(channels, c.cols), parameter_beats(c) + weights_beats
            f |= {"opcode": Op.PRODUCT, "pattern_n": pattern_n, "groups": groups, "tile_beats": tile_beats}
            f |= {"channels": channels, "beats": tiles * tile_beats}
            f |= self._region("x", tokens, group_words)
            f["address"] = self._address(f["beats"])
            if weight_groups:
                pitch = weights_beats + rng.choice([0, 1, rng.randint(0, 50)])
                f["address"] = self._address(tiles * parameter_beats(c))
                f |= {"weight_groups": weight_groups, "planes_pitch": pitch}
                f["planes_address"] = self._address((tiles - 1) * pitch + weights_beats)
            if kind == "memory to residual":
                f |= {"to_residual": 1, "add": rng.randint(0, 1)}
            if kind != "memory to residual" or rng.random() < 0.5:
                f |= {"to_store": 1, **self._region("y", tokens, channel_words), "rescale_shift": rng.randint(1, 31)}
            if kind == "memory by table":
                f["table"] = 1
        elif kind == "keys":
            keys = self._up_to(c.max_tokens)
            f |= {"opcode": Op.PRODUCT, "columns": Columns.KEYS, "pattern_n": c.m, "groups": groups, "channels": keys}
            f |= {"to_store": 1, "maximum": 1, "mult": rng.getrandbits(16), "shift": rng.randint(1, SHIFT_MAX)}
            heads = self._heads(f, group_words, ceil_div(keys, word))
            f |= self._region("x", tokens, heads * group_words) | self._region("c", keys, heads * group_words)
            f |= self._region("y", tokens, heads * ceil_div(keys, word))
        elif kind == "values":
            keys = self._up_to(min(c.max_tokens, most_groups * c.m))
            groups = ceil_div(keys, c.m)
            f |= {"opcode": Op.PRODUCT, "columns": Columns.VALUES, "pattern_n": c.m, "groups": groups}
            f |= {"channels": channels, "keys": keys, "to_store": 1, "mult": 40000, "shift": rng.randint(1, SHIFT_MAX)}
            group_words = ceil_div(groups * c.m, word)
            heads = self._heads(f, group_words, channel_words)
            f |= self._region("x", tokens, heads * group_words) | self._region("c", keys, heads * channel_words)
            f |= self._region("y", tokens, heads * channel_words)
        elif kind == "norm":
            beats = ceil_div(channels, c.cols) * parameter_beats(c)
            f |= {"opcode": Op.NORM, "channels": channels, "tile_beats": parameter_beats(c), "beats": beats}
            f |= {"normalise": rng.randint(0, 1), "epsilon": rng.getrandbits(32), "address": self._address(beats)}
            f |= rng.choice([{"to_residual": 1}, {}])
            if "to_residual" not in f or rng.random() < 0.5:
                f |= {"to_store": 1, "rescale_shift": rng.randint(1, 31), **self._region("y", tokens, channel_words)}
        elif kind == "pool":
            channels = self._up_to(c.hidden)
            f |= {"opcode": Op.POOL, "channels": channels, "mult": rng.getrandbits(16), "shift": rng.randint(1, 47)}
        elif kind in ("gather", "gather of 8 bits"):
            channels = self._up_to(c.hidden)
            narrow = kind != "gather"
            beats = gathered_row_beats(c, channels, narrow)
            f |= {"opcode": Op.GATHER, "channels": channels, "narrow": int(narrow), "beats": beats}
            f |= {"add": rng.randint(0, 1), "ids_address": self._address(ceil_div(4 * tokens, c.port_bytes))}
            f["address"] = self._address(8 * f["beats"])
        elif kind == "load":
            beats = tokens * store_row_beats(c, groups)
            f |= {"opcode": Op.LOAD, "groups": groups, "beats": beats, "address": self._address(beats)}
            f |= self._region("y", tokens, group_words)
        elif kind == "store":
            f |= {"opcode": Op.STORE, "groups": groups, **self._region("x", tokens, group_words)}
            f["address"] = self._address(tokens * store_row_beats(c, groups))
        elif kind == "store residual":
            f |= {"opcode": Op.STORE, "which": 1, "channels": channels}
            f["address"] = self._address(tokens * residual_row_beats(c, channels))
        elif kind == "table":
            beats = TABLE_BYTES // c.port_bytes
            f = {"opcode": Op.TABLE, "which": rng.randint(0, 1), "beats": beats, "address": self._address(beats)}
        return f

    def changed(self) -> bytes:
        """A legal instruction with one field changed, to something near its bounds or to anything; or one bit."""
        rng = self._rng
        legal = self.legal(rng.choice(KINDS))
        if rng.random() < 0.1:
            code = int.from_bytes(encode(legal), "little") ^ 1 << rng.randrange(8 * BYTES)
            return code.to_bytes(BYTES, "little")
        name = rng.choice(["opcode", *USED[Op(legal["opcode"])]])
        most = (1 << FIELDS[name].bits) - 1
        value = legal.get(name, 0)
        c = self._config
        bounds = [0, 1, most, c.max_tokens, c.max_groups, c.hidden, c.m, c.store_words, c.rows, c.cols, self._limit]
        near = value + rng.choice([-1, 1, -c.rows, c.rows, -c.port_bytes, c.port_bytes])
        legal[name] = rng.choice([near, near, rng.choice(bounds) + rng.randint(-1, 1), rng.getrandbits(32)]) & most
        return encode(legal)

    def words(self) -> bytes:
        """Random words; of some only the fields that the opcode uses are not zero."""
        rng = self._rng
        code = b"".join(rng.getrandbits(32).to_bytes(4, "little") for _ in range(WORDS))
        if rng.random() < 0.3:
            return code
        op = rng.choice(list(Op))
        f = decode(code)
        return encode({"opcode": op} | {name: f[name] for name in USED[op] if rng.random() < 0.7})
