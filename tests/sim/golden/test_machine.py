"""The machine against the definitions, element by element in plain Python."""

from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.array.requantise import requantise
from rtl.product import Product
from rtl.sta.isa import Columns, Op, assemble
from rtl.sta.params import StaConfig
from sim.golden import twins
from sim.golden.machine import Machine, MachineError
from sim.image.product import pack_weights
from sim.image.program import pack_narrow_rows, pack_parameters, pack_table, pack_wide_rows, parameter_units
from sim.image.unpack import unpack_weights
from tests.sim.operands import pruned

CONFIGS = [
    StaConfig(n=2, m=4, rows=3, cols=4, drain=4, port_bytes=8, max_tokens=12, max_k=48, hidden=24, store_words=192),
    StaConfig(n=3, m=8, rows=2, cols=6, drain=4, port_bytes=4, max_tokens=12, max_k=48, hidden=22, store_words=192),
    StaConfig(n=1, m=16, rows=4, cols=8, drain=8, port_bytes=2, max_tokens=12, max_k=64, hidden=33, store_words=192),
]


def narrow(value: int, bits: int) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, value))


def rescaled(y16: int, factor: int, shift: int) -> int:
    return narrow((y16 * factor + (1 << (shift - 1))) >> shift, 8)


class Rig:
    """A machine with random contents, memory that can be appended to, and plain views of its state."""

    def __init__(self, config: StaConfig, seed: int) -> None:
        self.config, self.rng = config, np.random.default_rng(seed)
        self.machine = Machine(config, bytes(1 << 16), fill=self.rng)
        self.end = 0

    def put(self, data: np.ndarray) -> int:
        data = np.ascontiguousarray(data).view(np.uint8).ravel()
        address, self.end = self.end, self.end + -(-len(data) // 64) * 64
        self.machine.memory[address : address + len(data)] = data
        return address

    def byte(self, base: int, pitch: int, token: int, element: int) -> int:
        """Element of a token's row in the store, by the words of isa.py."""
        w, rows = self.config.store_word_bytes, self.config.rows
        value = self.machine.store[token % rows, base + token // rows * pitch + element // w, element % w]
        return int(value.astype(np.int8))

    def residual(self) -> list[list[int]]:
        return self.machine.residual.tolist()

    def gather(self, first: int, tokens: int, channels: int, spread: int = 32768) -> None:
        """Random elements and their sums."""
        rows = self.rng.integers(-spread, spread, (tokens, channels))
        packed = pack_wide_rows(self.config, rows)
        self.machine.execute(
            {
                "opcode": Op.GATHER,
                "first_token": first,
                "tokens": tokens,
                "channels": channels,
                "address": self.put(packed),
                "beats": packed.shape[1] // self.config.port_bytes,
                "ids_address": self.put(np.arange(tokens, dtype="<u4")),
            }
        )


def parameters(rng: np.random.Generator, channels: int, spread: int, bits: int) -> dict[str, np.ndarray]:
    mult = rng.integers(1 << 12, 1 << 16, channels)
    return {
        "bias": rng.integers(-spread, spread + 1, channels),
        "mult": mult,
        "shift": np.clip(np.round(np.log2(mult * float(spread))) - (bits - 2), 1, 47).astype(np.int64),
        "negate": rng.integers(0, 2, channels),
        "rescale": rng.integers(1, 512, channels),
    }


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("pattern_n", [1, 2, 3, 4])
def test_weights_come_back(config: StaConfig, pattern_n: int) -> None:
    rng = np.random.default_rng(pattern_n)
    product = Product(config=config, tokens=1, k=37, channels=13, pattern_n=pattern_n)
    w = pruned(rng, rng.integers(-127, 128, (13, 37)).astype(np.int8), pattern_n, config.m)
    p = parameters(rng, 13, 1 << 20, 8)
    found, fields = unpack_weights(product, pack_weights(product, w, parameter_units(**p)))
    padded = np.zeros(found.shape, np.int64)
    padded[:13, :37] = w
    assert np.array_equal(found, padded)
    for name, values in p.items():
        assert np.array_equal(getattr(fields, name)[:13], values), name
        assert not getattr(fields, name)[13:].any(), name


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    config=st.sampled_from(CONFIGS),
    kind=st.sampled_from(["plain", "table", "set", "add"]),
    pattern_n=st.integers(1, 16),
    seed=st.integers(0, 2**32 - 1),
)
def test_product_with_weights(config: StaConfig, kind: str, pattern_n: int, seed: int) -> None:
    rig = Rig(config, seed)
    rng, c = rig.rng, config
    tokens, k = int(rng.integers(1, 7)), int(rng.integers(1, 33))
    channels = int(rng.integers(1, min(23, c.hidden + 1)))
    product = Product(config=c, tokens=tokens, k=k, channels=channels, pattern_n=min(pattern_n, c.m))
    w = pruned(rng, rng.integers(-127, 128, (channels, k)).astype(np.int8), product.pattern_n, c.m)
    p = parameters(rng, channels, 74 * 74 * 4, 16 if kind in ("set", "add") else 8)
    table = rng.integers(-32768, 32768, 256)
    rig.machine.execute(
        {"opcode": Op.TABLE, "address": rig.put(pack_table(c, table)), "beats": -(-512 // c.port_bytes)}
    )
    first = c.rows * int(rng.integers(0, 2))
    packed = pack_weights(product, w, parameter_units(**p))
    i = {
        "opcode": Op.PRODUCT,
        "to_residual": int(kind in ("set", "add")),
        "to_store": int(kind in ("plain", "table")),
        "table": int(kind == "table"),
        "add": int(kind == "add"),
        "pattern_n": product.pattern_n,
        "tokens": tokens,
        "channels": channels,
        "first_token": first,
        "groups": product.groups,
        "x_base": 1,
        "x_pitch": 7,
        "y_base": 60,
        "y_pitch": 8,
        "address": rig.put(packed),
        "beats": len(packed) // c.port_bytes,
        "tile_beats": product.w_tile_beats,
        "rescale_shift": 9 if kind == "table" else 0,
    }
    x = [[rig.byte(1, 7, t, j) for j in range(k)] for t in range(tokens)]
    before = rig.residual()
    effects = rig.machine.execute(i)
    written = {"store": 0, "residual": 0}
    for effect in effects:
        written[effect.where] += len(effect.index)
    width = -(-channels // c.drain_lanes) * c.drain_lanes
    assert written == {"store": tokens * width * i["to_store"], "residual": tokens * width * i["to_residual"]}
    for t in range(tokens):
        for channel in range(width):
            there = channel < channels
            acc = sum(x[t][j] * int(w[channel, j]) for j in range(k)) if there else 0
            bias, mult, shift, negate, factor = (int(p[name][channel]) if there else 0 for name in p)
            y = requantise(-acc if negate else acc, bias, mult, shift, 16 if i["to_residual"] else 8) if there else 0
            if kind == "table":
                y = rescaled(int(table[y & 0xFF]), factor, 9)
            if kind == "add":
                y = narrow(before[first + t][channel] + y, 16)
            if i["to_residual"]:
                assert rig.machine.residual[first + t, channel] == y
            else:
                assert rig.byte(60, 8, t, channel) == y


@settings(max_examples=60, deadline=None, derandomize=True)
@given(config=st.sampled_from(CONFIGS), seed=st.integers(0, 2**32 - 1))
def test_attention(config: StaConfig, seed: int) -> None:
    """Scores, row maxima, exponentials, context, by the formulas of the softmax."""
    rig = Rig(config, seed)
    rng, c = rig.rng, config
    keys, size = int(rng.integers(1, 10)), int(rng.integers(1, 20))
    groups = -(-size // c.m)
    first = c.rows * int(rng.integers(0, min(2, 1 + (c.max_tokens - keys) // c.rows)))
    mult, shift = int(rng.integers(1 << 15, 1 << 16)), int(rng.integers(20, 24))
    scale = rng.choice([0.001, 0.02, 0.2])
    table = twins.exponential_table(scale)
    address, beats = rig.put(pack_table(c, table)), -(-512 // c.port_bytes)
    rig.machine.execute({"opcode": Op.TABLE, "which": 1, "address": address, "beats": beats})
    k = [[rig.byte(60, 6, t, j) for j in range(groups * c.m)] for t in range(keys)]
    v = [[rig.byte(60, 6, t, j) for j in range(size)] for t in range(keys)]
    q = [[rig.byte(1, 6, t, j) for j in range(groups * c.m)] for t in range(keys)]
    common = {"opcode": Op.PRODUCT, "to_store": 1, "pattern_n": c.m, "tokens": keys, "first_token": first}
    common |= {"c_base": 60, "c_pitch": 6, "x_pitch": 6, "y_pitch": 6}
    rig.machine.execute(
        common
        | {"columns": Columns.KEYS, "maximum": 1, "channels": keys, "groups": groups, "x_base": 1, "y_base": 110}
        | {"mult": mult, "shift": shift}
    )
    scores = [
        [requantise(sum(a * b for a, b in zip(q[t], row, strict=True)), 0, mult, shift, 8) for row in k]
        for t in range(keys)
    ]
    assert scores == [[rig.byte(110, 6, t, j) for j in range(keys)] for t in range(keys)]
    tops = [max(row) for row in scores]
    assert rig.machine.maxima[:keys].tolist() == tops
    context = {"columns": Columns.VALUES, "channels": size, "groups": -(-keys // c.m), "x_base": 110, "y_base": 1}
    rig.machine.execute(common | context | {"mult": mult, "shift": 14, "keys": keys})
    for t in range(keys):
        carry, emitted = 128, []
        for s in scores[t]:
            before, carry = carry, carry + int(table[tops[t] - s])
            emitted.append((carry >> 8) - (before >> 8))
        total = sum(emitted)
        b, wide = total.bit_length(), c.sum_bits
        n = total << (wide - b)
        quotient = min(65535, ((mult << (wide - 1)) + (n >> 1)) // n)
        for j in range(size):
            acc = sum(p * v[key][j] for key, p in enumerate(emitted))
            assert rig.byte(1, 6, t, j) == requantise(acc, 0, quotient, 14 + b - 1, 8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    config=st.sampled_from(CONFIGS),
    spread=st.sampled_from([1, 2, 300, 32768]),
    plain=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_norm(config: StaConfig, spread: int, plain: bool, seed: int) -> None:
    rig = Rig(config, seed)
    rng, c = rig.rng, config
    tokens, channels = int(rng.integers(1, 7)), int(rng.integers(1, c.hidden + 1))
    p = parameters(rng, channels, 1 << 17, 16)
    packed = pack_parameters(c, parameter_units(**p))
    rig.gather(0, tokens, channels, spread)
    r = rig.residual()
    epsilon = int(rng.choice([0, 1, 12345, (1 << 32) - 1]))
    rig.machine.execute(
        {
            "opcode": Op.NORM,
            "to_residual": 1,
            "to_store": 1,
            "normalise": int(not plain),
            "tokens": tokens,
            "channels": channels,
            "address": rig.put(packed),
            "beats": packed.shape[0] * packed.shape[1],
            "tile_beats": packed.shape[1],
            "y_base": 3,
            "y_pitch": 9,
            "rescale_shift": 12,
            "epsilon": epsilon,
        }
    )
    for t in range(tokens):
        total, squares = sum(r[t][:channels]), sum(x * x for x in r[t][:channels])
        variance = channels * squares - total * total + epsilon
        e = 0
        if variance:
            while not 1 << 38 <= (variance << (-2 * e) if e < 0 else variance >> (2 * e)) < 1 << 40:
                e += 1 if variance >= 1 << 40 else -1
        s = isqrt(variance << (-2 * e) if e < 0 else variance >> (2 * e)) if variance else 1
        root = min((1 << 17) - 1, ((1 << 36) + (s >> 1)) // s)
        for channel in range(channels):
            z = ((channels * r[t][channel] - total) * root + (1 << (19 + e))) >> (20 + e)
            z = narrow(z, c.z_bits) if variance else 0
            z = r[t][channel] if plain else z
            bias, mult, shift, negate, factor = (int(p[name][channel]) for name in p)
            y = requantise(-z if negate else z, bias, mult, shift, 16)
            assert rig.machine.residual[t, channel] == y
            assert rig.byte(3, 9, t, channel) == rescaled(y, factor, 12)
        assert rig.machine.sums[0, t] == rig.machine.residual[t, :channels].sum()


@pytest.mark.parametrize("config", CONFIGS)
def test_gather_pool_store_and_load(config: StaConfig) -> None:
    rig = Rig(config, 7)
    c, rng = config, rig.rng
    rows = rng.integers(-32768, 32768, (9, 19))
    packed = pack_wide_rows(c, rows)
    ids = rng.integers(0, 9, 5)
    gather = {
        "opcode": Op.GATHER,
        "first_token": c.rows,
        "tokens": 5,
        "channels": 19,
        "address": rig.put(packed),
        "beats": packed.shape[1] // c.port_bytes,
        "ids_address": rig.put(ids.astype("<u4")),
    }
    rig.machine.execute(gather)
    assert np.array_equal(rig.machine.residual[c.rows : c.rows + 5, :19], rows[ids])
    rig.machine.execute(gather | {"add": 1})
    assert np.array_equal(rig.machine.residual[c.rows : c.rows + 5, :19], np.clip(2 * rows[ids], -32768, 32767))
    want = rig.machine.residual[c.rows : c.rows + 5, :19].sum(axis=0).tolist()
    pool = {"opcode": Op.POOL, "first_token": c.rows, "tokens": 5, "channels": 19, "mult": 52429, "shift": 18}
    rig.machine.execute(pool)
    pooled = [requantise(x, 0, 52429, 18, 16) for x in want]
    assert rig.machine.residual[c.rows, :19].tolist() == pooled
    target = 1 << 12
    store = {"opcode": Op.STORE, "which": 1, "first_token": c.rows, "tokens": 2, "channels": 19, "address": target}
    rig.machine.execute(store)
    assert rig.machine.memory[target : target + 38].view("<i2").tolist() == pooled
    row = -(-38 // c.port_bytes) * c.port_bytes
    second = rig.machine.memory[target + row : target + row + 38].view("<i2")
    assert second.tolist() == rig.machine.residual[c.rows + 1, :19].tolist()
    load = {"opcode": Op.LOAD, "tokens": 4, "groups": 2, "y_base": 5, "y_pitch": 6, "address": rig.put(packed)}
    size = -(-2 * c.m // c.port_bytes) * c.port_bytes
    rig.machine.execute(load | {"beats": 4 * size // c.port_bytes})
    store = {"opcode": Op.STORE, "tokens": 4, "groups": 2, "x_base": 5, "x_pitch": 6, "address": target}
    rig.machine.execute(store)
    for t in range(4):
        got = rig.machine.memory[target + t * size :][: 2 * c.m]
        assert np.array_equal(got, packed.ravel()[t * size :][: 2 * c.m])


def test_programs_end_and_bad_ones_are_refused() -> None:
    config = CONFIGS[0]
    code = assemble([{"opcode": Op.POOL, "tokens": 1, "channels": 1, "shift": 1}, {}])
    assert [done.number for done in Machine(config, code).run()] == [0]
    with pytest.raises(MachineError, match="memory ends at 64"):
        Machine(config, code[:64]).finish()
    with pytest.raises(MachineError, match="RESERVED"):
        Machine(config, bytes(63) + b"\x01").finish()
    for wrong, message in [
        ({"opcode": Op.POOL, "tokens": 13, "channels": 1}, "tokens: 13, must be from 1 to 12"),
        ({"opcode": Op.POOL, "tokens": 1, "channels": 1, "first_token": 1}, "first_token modulo rows: 1, must be 0"),
        ({"opcode": Op.POOL, "tokens": 1, "channels": 25}, "channels: 25, must be from 1 to 24"),
        ({"opcode": 9}, "opcode 9"),
    ]:
        with pytest.raises(MachineError, match=message):
            Machine(config, code).execute(wrong)


LEAST: dict[str, dict[str, int]] = {
    "POOL": {"tokens": 1, "channels": 1, "shift": 1},
    "GATHER": {"tokens": 1, "channels": 1, "beats": 1},
    "LOAD": {"tokens": 1, "groups": 1, "beats": 1},
    "STORE": {"tokens": 1, "groups": 1, "address": 1 << 12},
    "STORE residual": {"which": 1, "tokens": 1, "channels": 1, "address": 1 << 12},
    "NORM": {"tokens": 1, "channels": 1, "to_residual": 1},
    "NORM to store": {"tokens": 1, "channels": 1, "to_store": 1, "rescale_shift": 1},
    "PRODUCT": {"tokens": 1, "channels": 1, "groups": 1, "pattern_n": 1, "to_store": 1},
    "PRODUCT by table": {"tokens": 1, "channels": 1, "groups": 1, "pattern_n": 1, "to_store": 1, "table": 1}
    | {"rescale_shift": 1},
    "PRODUCT keys": {"columns": Columns.KEYS, "tokens": 1, "channels": 1, "groups": 1, "to_store": 1, "shift": 1},
    "PRODUCT values": {"columns": Columns.VALUES, "tokens": 1, "channels": 1, "groups": 1, "to_store": 1, "keys": 1},
}


@pytest.mark.parametrize("kind", LEAST)
def test_the_least_of_each(kind: str) -> None:
    """One token, channel, group, step of a shift, the first word of the store: executed; none of one: refused."""
    c = StaConfig(n=1, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=4, max_k=8, hidden=4, store_words=8)
    f = {"opcode": Op[kind.split()[0]], **LEAST[kind]}
    if kind.startswith("PRODUCT"):
        product = Product(config=c, tokens=1, k=c.m, channels=1, pattern_n=1)
        beats = product.w_tile_beats
        f |= {"pattern_n": c.m} if "columns" in f else {"tile_beats": beats, "beats": beats}
        f |= {"mult": 1 << 15, "shift": 15} if kind == "PRODUCT values" else {}
    if kind.startswith("NORM"):
        beats = pack_parameters(c, parameter_units(*[np.ones(1, np.int64)] * 5)).shape[1]
        f |= {"tile_beats": beats, "beats": beats, "normalise": 1}

    def refusal(**change: int) -> str:
        machine = Machine(c, bytes(1 << 13))
        machine.tables[1] = twins.exponential_table(0.02)
        try:
            machine.execute(f | change)
        except MachineError as error:
            return str(error)
        return ""

    assert refusal() == ""
    for name in ("tokens", "channels", "groups", "keys", "rescale_shift"):
        if name in f:
            assert refusal(**{name: 0}).startswith(f"{name}: 0, must be from 1 to "), name


@pytest.mark.parametrize("config", CONFIGS)
def test_gather_of_8_bit_rows(config: StaConfig) -> None:
    """Each element by its row's scale; saturates; a scale that is none gives 0."""
    rig = Rig(config, 9)
    c, rng = config, rig.rng
    elements = rng.integers(-128, 128, (6, 19))
    mult, shift = rng.integers(0, 1 << 16, 6), np.array([1, 8, 14, 20, 47, 0])
    packed = pack_narrow_rows(c, elements, mult, shift)
    ids = [3, 0, 1, 2, 4, 5]
    rig.machine.execute(
        {
            "opcode": Op.GATHER,
            "narrow": 1,
            "tokens": 6,
            "channels": 19,
            "address": rig.put(packed),
            "beats": packed.shape[1] // c.port_bytes,
            "ids_address": rig.put(np.array(ids, "<u4")),
        }
    )
    want = [
        [requantise(int(x), 0, int(mult[i]), int(shift[i]), 16) if shift[i] else 0 for x in elements[i]] for i in ids
    ]
    assert rig.machine.residual[:6, :19].tolist() == want
