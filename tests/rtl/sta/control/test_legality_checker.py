"""The checker against its twin; what is legal, and every way in which an instruction is not."""

from collections import Counter

import pytest
from amaranth.hdl import Shape
from amaranth.sim import SimulatorContext

from rtl.params import ADDRESS_BITS
from rtl.product import Product
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.control.legality_checker import LegalityChecker
from rtl.sta.isa import BYTES, FIELDS, Columns, Op, encode
from rtl.sta.legality import Cause, TileBeats, fault, parameter_beats, segments, violation
from rtl.sta.params import StaConfig
from tests.rtl.simulate import run, seeded
from tests.rtl.sta.instructions import CONFIGURATIONS, KINDS, Random

EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)
LIMIT = 1 << 26


def checked(config: StaConfig, codes: list[bytes], limit: int = LIMIT) -> list[int]:
    """The causes that the hardware gives, each after LATENCY cycles."""
    dut = LegalityChecker(config)
    causes: list[int] = []

    async def testbench(ctx: SimulatorContext) -> None:
        ctx.set(dut.limit, limit)
        for code in codes:
            ctx.set(dut.code, int.from_bytes(code, "little"))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(LegalityChecker.LATENCY - 1):
                assert not ctx.get(dut.done)
                await ctx.tick()
            assert ctx.get(dut.done)
            causes.append(ctx.get(dut.cause))
            if len(causes) % 3 == 0:
                await ctx.tick()
                assert not ctx.get(dut.done)

    run(dut, testbench, limit=(LegalityChecker.LATENCY + 2) * len(codes))
    return causes


def test_layout() -> None:
    """Every field by its name, narrowed only where the checker allows no more."""
    config = StaConfig(max_tokens=32, max_k=64)
    members = {name: Shape.cast(shape).width for name, shape in instruction_layout(config).members.items()}
    narrow = {"tokens": 6, "first_token": 6, "groups": 4, "pattern_n": 4, "more_heads": 4}
    patterns = range(1, config.m + 1)
    most = max(Product(config=config, tokens=1, k=config.max_k, channels=1, pattern_n=n).w_tile_beats for n in patterns)
    narrow["tile_beats"] = most.bit_length()
    assert members == {name: field.bits for name, field in FIELDS.items()} | narrow


@EVERY
def test_tile_beats(name: str) -> None:
    """Those of the packed weights, whatever the pattern and the groups."""
    config = CONFIGURATIONS[name]
    rng = seeded(name)
    for pattern_n in range(1, config.m + 1):
        for groups in {1, config.max_groups, rng.randint(1, config.max_groups)}:
            product = Product(config=config, tokens=1, k=groups * config.m, channels=1, pattern_n=pattern_n)
            assert TileBeats.of(config, pattern_n).beats(groups) + parameter_beats(config) == product.w_tile_beats


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_legal(name: str, kind: str) -> None:
    config = CONFIGURATIONS[name]
    random = Random(config, seeded(name, kind), LIMIT)
    for _ in range(100):
        instruction = random.legal(kind)
        assert violation(config, encode(instruction), LIMIT) == Cause.NONE, instruction


@EVERY
def test_checker(name: str) -> None:
    """Legal ones, ones with a field changed, random words: what the twin says."""
    config = CONFIGURATIONS[name]
    random = Random(config, seeded(name), LIMIT)
    codes = [encode({"opcode": Op.END})]
    codes += [encode(random.legal(kind)) for kind in KINDS]
    codes += [random.changed() for _ in range(300)]
    codes += [random.words() for _ in range(60)]
    causes = checked(config, codes)
    for code, cause in zip(codes, causes, strict=True):
        assert cause == violation(config, code, LIMIT), (Cause(cause), code.hex())
    seen = Counter(causes)
    print({Cause(cause).name: count for cause, count in seen.items()})
    assert {Cause.NONE, Cause.OPCODE, Cause.RESERVED, Cause.TOKENS, Cause.CHANNELS, Cause.BEATS} <= {*seen}


CHANGES: dict[str, tuple[str, dict[str, int], Cause]] = {
    "no opcode": ("table", {"opcode": 8}, Cause.OPCODE),
    "unused field": ("pool", {"x_pitch": 1}, Cause.RESERVED),
    "no such columns": ("keys", {"columns": 3}, Cause.FLAGS),
    "nowhere": ("memory", {"to_store": 0}, Cause.FLAGS),
    "add to the store": ("memory", {"add": 1}, Cause.FLAGS),
    "table to residual": ("memory by table", {"to_residual": 1}, Cause.FLAGS),
    "maximum of weights": ("memory", {"maximum": 1}, Cause.FLAGS),
    "maximum of values": ("values", {"maximum": 1}, Cause.FLAGS),
    "scores to residual": ("keys", {"to_residual": 1}, Cause.FLAGS),
    "norm to nowhere": ("norm", {"to_residual": 0, "to_store": 0}, Cause.FLAGS),
    "no tokens": ("memory", {"tokens": 0}, Cause.TOKENS),
    "too many tokens": ("memory", {"tokens": 129, "first_token": 0}, Cause.TOKENS),
    "tokens behind the end": ("load", {"tokens": 121, "first_token": 8}, Cause.TOKENS),
    "within a tile": ("gather", {"tokens": 1, "first_token": 4}, Cause.TOKENS),
    "no channels": ("memory", {"channels": 0}, Cause.CHANNELS),
    "more than the residual's": ("pool", {"channels": 385}, Cause.CHANNELS),
    "too many keys": ("keys", {"channels": 129}, Cause.CHANNELS),
    "no groups": ("load", {"groups": 0}, Cause.GROUPS),
    "too many groups": ("memory", {"groups": 193}, Cause.GROUPS),
    "no pattern": ("memory", {"pattern_n": 0}, Cause.PATTERN),
    "pattern beyond M": ("memory", {"pattern_n": 9}, Cause.PATTERN),
    "keys in planes": ("keys", {"weight_groups": 1}, Cause.FLAGS),
    "too many groups in planes": ("memory in planes", {"weight_groups": 769}, Cause.GROUPS),
    "pattern in planes beyond N": ("memory in planes", {"pattern_n": 3}, Cause.PATTERN),
    "sparse keys": ("keys", {"pattern_n": 2}, Cause.PATTERN),
    "no keys": ("values", {"keys": 0}, Cause.KEYS),
    "keys of other groups": ("values", {"keys": 20, "groups": 2}, Cause.KEYS),
    "no shift": ("keys", {"shift": 0}, Cause.SHIFT),
    "long shift": ("pool", {"shift": 48}, Cause.SHIFT),
    "no shift behind a table": ("memory by table", {"rescale_shift": 0}, Cause.SHIFT),
    "row operands outside": ("store", {"x_base": 2048}, Cause.STORE),
    "results outside": ("load", {"y_base": 2048}, Cause.STORE),
    "keys outside": ("keys", {"c_base": 65535}, Cause.STORE),
    "values outside": ("values", {"c_base": 2048}, Cause.STORE),
    "a beat too few": ("table", {"beats": 31}, Cause.BEATS),
    "no beats": ("gather", {"beats": 0}, Cause.BEATS),
    "a tile too long": ("memory", {"tile_beats": 1 << 31}, Cause.BEATS),
    "weights too long": ("norm", {"beats": 1 << 31}, Cause.BEATS),
    "heads of weights": ("memory", {"more_heads": 1}, Cause.FLAGS),
    "written within a beat": ("store residual", {"address": 8}, Cause.ADDRESS),
    "written outside": ("store residual", {"address": LIMIT}, Cause.ADDRESS),
    "written around the end": ("store", {"address": (1 << 32) - 16}, Cause.ADDRESS),
}  # fmt: skip


def test_causes() -> None:
    """What each change of a legal instruction is called."""
    config = CONFIGURATIONS["base"]
    codes = []
    for name, (kind, change, cause) in CHANGES.items():
        legal = Random(config, seeded(name), LIMIT).legal(kind)
        codes.append(encode({**legal, **change}))
        assert violation(config, codes[-1], LIMIT) == cause, name
    assert checked(config, codes) == [cause for _, _, cause in CHANGES.values()]


def test_the_limit_is_the_end() -> None:
    """A STORE may write up to the limit, and not a beat beyond; what it writes are whole beats of each row."""
    config = CONFIGURATIONS["base"]
    store = {"opcode": Op.STORE, "which": 1, "tokens": 3, "channels": 9}  # 18 bytes a row: 2 beats of 16
    codes = [encode({**store, "address": 4096 - 96 + beyond}) for beyond in (0, 16, 32)]
    assert checked(config, codes, 4096) == [Cause.NONE, Cause.ADDRESS, Cause.ADDRESS]


@EVERY
def test_planes_within_memory(name: str) -> None:
    """What is read of random ones is all within; a beat less of memory is too little for the tile that ends last, and
    pitches with which addresses begin anew are refused."""
    config = CONFIGURATIONS[name]
    random = Random(config, seeded(name, "planes"), LIMIT)
    for _ in range(50):
        f = dict.fromkeys(FIELDS, 0) | random.legal("memory in planes")
        end = max(address + beats * config.port_bytes for address, beats in segments(config, f))
        assert fault(config, encode(f), end) == Cause.NONE
        assert fault(config, encode(f), end - 1) == Cause.ADDRESS
        if f["channels"] > config.cols:
            anew = f | {"planes_pitch": (1 << ADDRESS_BITS) // config.port_bytes % (1 << 32) or 1 << 31}
            assert fault(config, encode(anew), LIMIT) == Cause.ADDRESS


@pytest.mark.parametrize("columns", [Columns.KEYS, Columns.VALUES], ids=lambda columns: columns.name.lower())
def test_heads(columns: Columns) -> None:
    """All heads' rows lie in the store, to the last word; their token tiles are as many as maxima."""
    config = CONFIGURATIONS["base"]  # 16 tiles, words of 16 bytes
    common = {"opcode": Op.PRODUCT, "columns": columns, "pattern_n": 8, "to_store": 1, "shift": 1, "tokens": 17}
    if columns == Columns.KEYS:
        product = common | {"groups": 3, "channels": 40}
        words = {"x": 2, "c": 2, "y": 3}
    else:
        product = common | {"groups": 3, "keys": 20, "channels": 60}
        words = {"x": 2, "c": 4, "y": 4}
    codes, wanted = [], []
    for heads in (1, 2, 5):
        for region, each in words.items():
            last = config.store_words - heads * each
            codes += [encode(product | {"more_heads": heads - 1, f"{region}_base": last + i}) for i in (0, 1)]
            wanted += [Cause.NONE, Cause.STORE]
    for tokens, heads in ((17, 5), (17, 6), (16, 8), (16, 9), (1, 16), (1, 17), (1, 256), (128, 1), (128, 2), (65, 1)):
        codes.append(encode(product | {"tokens": tokens, "more_heads": heads - 1}))
        wanted.append(Cause.NONE if heads * -(-tokens // 8) <= 16 else Cause.TOKENS)
    assert [violation(config, code, LIMIT) for code in codes] == wanted
    assert checked(config, codes) == wanted


def test_all_heads_of_the_widest_results() -> None:
    """Words of all heads take more bits than a region's pitches."""
    config = CONFIGURATIONS["narrow"]
    product = {"opcode": Op.PRODUCT, "columns": Columns.VALUES, "pattern_n": 2, "to_store": 1, "shift": 1, "tokens": 1}
    product |= {"groups": 1, "keys": 1, "channels": 65535}
    codes = [encode(product | {"more_heads": heads - 1}) for heads in (1, 2, 8, 15, 16)]
    assert {violation(config, code, LIMIT) for code in codes} == {Cause.STORE}
    assert checked(config, codes) == [Cause.STORE] * len(codes)


def test_bits_of_no_field() -> None:
    """Each of them is reserved."""
    config = CONFIGURATIONS["base"]
    legal = int.from_bytes(encode(Random(config, seeded(0), LIMIT).legal("pool")), "little")
    used = {32 * f.word + f.low + i for f in FIELDS.values() for i in range(f.bits)}
    codes = [(legal | 1 << i).to_bytes(BYTES, "little") for i in range(8 * BYTES) if i not in used]
    assert checked(config, codes) == [Cause.RESERVED] * len(codes)
