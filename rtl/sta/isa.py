"""The instructions of STA: one table, of which everything else is made. Standard library only.

An instruction is 64 bytes, sixteen little-endian 32-bit words. What an opcode does not use is zero.
Tokens are absolute (`first_token`, a multiple of rows); store addresses begin at the instruction's first token tile:
token first_token + i, word j of a region lies in bank i mod rows at base + (i div rows) · pitch + j. Element c of a
token's row in the store is byte c mod W of word c div W, W = Config.store_word_bytes.

A PRODUCT of keys or values does `more_heads` + 1 heads one after another, each as if it were an instruction of its own.
They lie side by side: with each, x_base, c_base and y_base go on by the words that an operand, a key or value, and a
token's results take (`legality.head_words`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

BYTES = 64
WORDS = BYTES // 4


class Op(IntEnum):
    END = 0
    PRODUCT = 1
    NORM = 2
    POOL = 3
    GATHER = 4
    LOAD = 5
    STORE = 6
    TABLE = 7


class Columns(IntEnum):
    """Where the column operands of a PRODUCT come from."""

    MEMORY = 0  # packed weights
    KEYS = 1  # tokens of the store: scores = Q · Kᵀ
    VALUES = 2  # tokens of the store, transposed by the copy: context = softmax(scores) · V


@dataclass(frozen=True)
class Field:
    """Bits [low, low + bits) of a word of the instruction."""

    word: int
    low: int
    bits: int
    what: str


FIELDS: dict[str, Field] = {
    "opcode": Field(0, 0, 4, "what is done, `Op`"),
    "columns": Field(0, 8, 2, "source of the column operands, `Columns`"),
    "to_residual": Field(0, 10, 1, "16-bit results go to the residual"),
    "to_store": Field(0, 11, 1, "8-bit results go to the store"),
    "table": Field(0, 12, 1, "8-bit results pass the activation table (16 bits), then are rescaled to 8 bits"),
    "add": Field(0, 13, 1, "the residual is added to; else it is set"),
    "maximum": Field(0, 14, 1, "keep each token's maximum, for the softmax"),
    "normalise": Field(0, 15, 1, "NORM: subtract the mean, divide by the deviation; else take elements as they are"),
    "which": Field(0, 16, 1, "STORE: 0 the store, 1 the residual; TABLE: 0 activation, 1 exponential"),
    "narrow": Field(0, 17, 1, "GATHER: rows of 8-bit elements behind their scale, else of 16-bit elements"),
    "pattern_n": Field(0, 24, 6, "N' of the weights' pattern N':M; M for keys and values"),
    "tokens": Field(1, 0, 16, "tokens"),
    "channels": Field(1, 16, 16, "output channels; keys where columns are keys"),
    "first_token": Field(2, 0, 16, "the first of the tokens, a multiple of rows"),
    "groups": Field(2, 16, 16, "groups of M along the input dimension; of a LOAD or STORE, along a token's row"),
    "x_base": Field(3, 0, 16, "row operands, or what STORE reads: words in the store"),
    "x_pitch": Field(3, 16, 16, "words from one token tile to the next"),
    "c_base": Field(4, 0, 16, "keys or values: words in the store"),
    "c_pitch": Field(4, 16, 16, "words from one token tile to the next"),
    "y_base": Field(5, 0, 16, "8-bit results: words in the store"),
    "y_pitch": Field(5, 16, 16, "words from one token tile to the next"),
    "address": Field(6, 0, 32, "in memory: weights, parameters, table, rows"),
    "beats": Field(7, 0, 32, "all beats from that address; of a GATHER, of one row"),
    "tile_beats": Field(8, 0, 32, "beats of one column tile"),
    "ids_address": Field(9, 0, 32, "GATHER: 32-bit row numbers in memory, one a token"),
    "mult": Field(10, 0, 16, "requantisation of all channels alike: scores (KEYS), context (VALUES), POOL"),
    "shift": Field(10, 16, 6, "the same"),
    "rescale_shift": Field(10, 24, 5, "of the rescaling from 16 to 8 bits, 1 … 31"),
    "epsilon": Field(11, 0, 32, "NORM: added to the variance · hidden², in steps of the residual squared"),
    "keys": Field(12, 0, 16, "VALUES: keys, the length of the sum; scores beyond weigh nothing"),
    "weight_groups": Field(12, 16, 16, "MEMORY, weights in planes: groups of weights in a column tile; else 0"),
    "planes_address": Field(13, 0, 32, "the same: the first column tile's planes, `address` being its parameters'"),
    "planes_pitch": Field(14, 0, 32, "the same: beats from one column tile's planes to the next one's"),
    "more_heads": Field(15, 0, 8, "KEYS, VALUES: heads beside the first one, done after it"),
}

# What each opcode may have set; every other field is zero.
USED: dict[Op, tuple[str, ...]] = {
    Op.END: (),
    Op.PRODUCT: (
        "columns", "to_residual", "to_store", "table", "add", "maximum", "pattern_n", "tokens", "channels",
        "first_token", "groups", "x_base", "x_pitch", "c_base", "c_pitch", "y_base", "y_pitch", "address", "beats",
        "tile_beats", "mult", "shift", "rescale_shift", "keys", "weight_groups", "planes_address", "planes_pitch",
        "more_heads",
    ),
    Op.NORM: (
        "to_residual", "to_store", "normalise", "tokens", "channels", "first_token", "y_base", "y_pitch", "address",
        "beats", "tile_beats", "rescale_shift", "epsilon",
    ),
    Op.POOL: ("tokens", "channels", "first_token", "mult", "shift"),
    Op.GATHER: ("add", "narrow", "tokens", "channels", "first_token", "address", "beats", "ids_address"),
    Op.LOAD: ("tokens", "first_token", "groups", "y_base", "y_pitch", "address", "beats"),
    Op.STORE: ("which", "tokens", "channels", "first_token", "groups", "x_base", "x_pitch", "address"),
    Op.TABLE: ("which", "address", "beats"),
}  # fmt: skip

Instruction = Mapping[str, int]  # by the names of FIELDS; absent is zero


def encode(instruction: Instruction) -> bytes:
    """64 bytes.

    Raises
    ------
    ValueError : an unknown field, or a value that its bits do not hold.
    """
    words = [0] * WORDS
    for name, value in instruction.items():
        field = FIELDS.get(name)
        if field is None:
            raise ValueError(f"an instruction has no field {name!r}")
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{name} is {value}, must be from 0 to {(1 << field.bits) - 1}")
        words[field.word] |= value << field.low
    return b"".join(word.to_bytes(4, "little") for word in words)


def decode(code: bytes) -> dict[str, int]:
    """Every field of 64 bytes. Bits that no field has are ignored: `encode(decode(code)) != code` finds them."""
    words = [int.from_bytes(code[4 * i : 4 * i + 4], "little") for i in range(WORDS)]
    return {name: words[f.word] >> f.low & ((1 << f.bits) - 1) for name, f in FIELDS.items()}


def tile_groups(instruction: Instruction) -> int:
    """Groups of weights that a column tile of a PRODUCT has: of one plane, or of several."""
    return instruction.get("weight_groups", 0) or instruction.get("groups", 0)


def assemble(instructions: Iterable[Instruction]) -> bytes:
    """The instructions, one after another."""
    return b"".join(encode(instruction) for instruction in instructions)
