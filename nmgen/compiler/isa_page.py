"""docs/isa.md and docs/isa.h, from the tables that the hardware is made of: ``python -m nmgen.compiler.isa_page``."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from nmgen.console.files import written_whole
from rtl.lib.register_map import REGISTER_BITS, Register
from rtl.sta.isa import BYTES, FIELDS, USED, WORDS, Columns, Op
from rtl.sta.legality import ID_BYTES, SCALE_BYTES, TABLE_BYTES, Cause
from rtl.sta.registers import REGISTERS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, HEADER = DOCS / "isa.md", DOCS / "isa.h"
MADE_BY = "python -m nmgen.compiler.isa_page"

OPS: dict[Op, str] = {
    Op.END: "The program is done.",
    Op.PRODUCT: "A matrix product: row operands from the store, column operands as `columns` says; its results are "
    "requantised and go to the store, by way of the activation table if `table` is set, or to the residual.",
    Op.NORM: "LayerNorm of the residual, or with `normalise` 0 its elements as they are, with parameters of each "
    "channel; to the residual, and rescaled to the store.",
    Op.POOL: "The sum of the tokens' residuals, requantised, becomes the residual of the first of them.",
    Op.GATHER: f"For each token a {ID_BYTES}-byte number from `ids_address` on; the row of 16-bit elements of that "
    "number, at `address` + number · `beats` beats, is added to the token's residual, or becomes it. With `narrow` the "
    f"elements have 8 bits; in front of them are {SCALE_BYTES} bytes, padded to whole beats: mult (2 bytes, "
    "little-endian), shift (1 … 47), 0. Each element is requantised with these to 16 bits, without a bias.",
    Op.LOAD: "Rows of 8-bit elements, one a token, from memory into the store.",
    Op.STORE: "Rows of the store (8-bit elements), or of the residual (16-bit), one a token, into memory.",
    Op.TABLE: f"{TABLE_BYTES // 2} entries of 16 bits become the activation table, or the table of the exponential.",
}

COLUMNS: dict[Columns, str] = {
    Columns.MEMORY: "packed weights with parameters of each channel, from memory. With `weight_groups` they lie in "
    "planes: a column tile has so many groups of weights, of at most N values each, of which group i is multiplied "
    "with group i mod `groups` of the token. Parameters of tile t lie from `address` + t · p beats on, p being those "
    "of a tile's parameters, and its weights from `planes_address` + t · `planes_pitch` beats on; `beats` and "
    "`tile_beats` count both. So programs of several densities read the first planes of the same memory",
    Columns.KEYS: "tokens of the store; `maximum` keeps each token's largest result for the softmax",
    Columns.VALUES: "channels of `keys` tokens of the store; row operands are the exponentials of scores, and results "
    "are divided by their sum",
}

CAUSES: dict[Cause, str] = {
    Cause.NONE: "nothing is wrong",
    Cause.OPCODE: "there is no such opcode",
    Cause.RESERVED: "a bit is set that the opcode does not use",
    Cause.FLAGS: "no such `columns`; a PRODUCT or NORM with no destination; `add` without `to_residual`; `table` "
    "without `to_store` or with `to_residual`; `maximum` without KEYS; KEYS or VALUES with `to_residual`, `table` or "
    "`weight_groups`; `more_heads` with MEMORY",
    Cause.TOKENS: "`tokens` is 0, they go beyond max_tokens, or `first_token` is no multiple of rows; or all heads "
    "together have more token tiles than max(16, ⌈max_tokens / rows⌉)",
    Cause.CHANNELS: "`channels` is 0, more than hidden where the residual is used, or more than max_tokens of KEYS",
    Cause.GROUPS: "`groups` is 0 or more than max_groups, or `weight_groups` more than max_groups · ⌈M / N⌉",
    Cause.PATTERN: "`pattern_n` is not from 1 to M, with `weight_groups` from 1 to N, with KEYS and VALUES M",
    Cause.KEYS: "`keys` is not from 1 to max_tokens, or ⌈keys / M⌉ is not `groups`",
    Cause.SHIFT: "`shift` is not from 1 to 47, or `rescale_shift` is 0 where 16 bits go to the store",
    Cause.STORE: "a region does not lie within the store",
    Cause.BEATS: "`beats` or `tile_beats` is not what the sizes and the pattern need",
    Cause.ADDRESS: "an access to memory outside [0, limit), or not at the beginning of a beat",
    Cause.BUS: "the memory reported an error",
}

RULES = f"""
A program is a sequence of instructions in memory, from the address in `program` on; END ends it. An instruction is
{BYTES} bytes, {WORDS} little-endian words of 32 bits, and begins with a beat of the memory port. Bits that its opcode
does not use are zero.

Tokens are absolute: `first_token` is a multiple of the array's rows. Addresses in the store begin at the instruction's
first token tile: word j of token first_token + i lies in bank i mod rows at base + ⌊i / rows⌋ · pitch + j. Element c of
a token's row is byte c mod W of word ⌊c / W⌋, W being the larger of M and the bytes of a beat. Addresses in memory are
bytes, at the beginning of a beat; a row of a token is padded to whole beats.

One PRODUCT with KEYS, or with VALUES, does several heads of an attention, `more_heads` + 1, one after another. Head h
has its row operands at `x_base` + h · ⌈`groups` · M / W⌉ and its results at `y_base` + h · ⌈`channels` / W⌉; its keys
lie at `c_base` + h · ⌈`groups` · M / W⌉, or its values at `c_base` + h · ⌈`channels` / W⌉. Maxima that KEYS with
`maximum` keeps stay until the next such KEYS; a VALUES that reads them has the same `tokens` and `more_heads`. No
head's results may lie where any head's operands are.

Instructions execute one after another. While one executes, the next one is fetched and checked, and what it reads is
asked for, weights and parameters up to the column buffer. Nothing is read ahead past a GATHER. What LOAD and GATHER
read is not read ahead past a STORE. So an instruction sees what those before it did; a program must not write its own
instructions, weights or tables.

An instruction that is illegal, or that reads or writes outside [0, limit), does nothing, and is reported when all
before it are finished. Rows that a GATHER's numbers lead to, and column tiles of a PRODUCT whose weights lie in planes,
are checked when they are asked for. After an error nothing starts until a clear; store, residual and tables then hold
what they held.
""".strip()


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    lines = [list(map(str, row)) for row in rows]
    names = list(heads)
    return [f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *lines)]


def _bits(low: int, bits: int) -> str:
    return str(low) if bits == 1 else f"{low + bits - 1}:{low}"


def field_macros(prefix: str, register: Register) -> list[str]:
    """The fields of a register for C: shift and mask of each."""
    lines = []
    for field in register.fields:
        name = f"{prefix}_{register.name.upper()}_{field.name.upper()}"
        lines += [f"#define {name}_SHIFT {field.low}u", f"#define {name}_MASK 0x{field.mask:x}u"]
    return lines


def page() -> str:
    """docs/isa.md."""
    fields = [(f.word, _bits(f.low, f.bits), f"`{name}`", f.what) for name, f in FIELDS.items()]
    lines = [
        "# Instructions and control registers of STA",
        "",
        f"Made by `{MADE_BY}` from `rtl/sta/isa.py`, `rtl/sta/legality.py` and `rtl/sta/registers.py`: change those.",
        "[isa.h](isa.h) has the same for C. What the numbers are is in [numerics.md](numerics.md).",
        "",
        "## Programs",
        "",
        RULES,
        "",
        "## Fields",
        "",
        *_table(("word", "bits", "field", "holds"), fields),
        "",
        "## Opcodes",
        "",
    ]
    for op, what in OPS.items():
        lines += [f"### {op.value} {op.name}", "", what, ""]
        if op == Op.PRODUCT:
            lines += _table(
                ("`columns`", "", "column operands"), ((one.value, one.name, COLUMNS[one]) for one in Columns)
            )
            lines += [""]
        if USED[op]:
            lines += [f"Fields: {', '.join(f'`{name}`' for name in USED[op])}.", ""]
    lines += [
        "## Causes",
        "",
        "Of several that apply the lowest is reported.",
        "",
        *_table(("cause", "", "when"), ((cause.value, cause.name, what) for cause, what in CAUSES.items())),
        "",
        "## Control registers",
        "",
        f"{REGISTER_BITS} bits each. While a program runs, writes change nothing but for a clear. What is written to a",
        "register of read-write can be read again; a reset makes it 0.",
        "",
        *register_tables(REGISTERS),
    ]
    return "\n".join(lines) + "\n"


def register_tables(registers: Mapping[str, Register]) -> list[str]:
    """Markdown of control registers, and of their fields."""
    return [
        *_table(
            ("offset", "register", "access", "holds"),
            ((f"0x{r.offset:02X}", f"`{r.name}`", r.access, r.about) for r in registers.values()),
        ),
        "",
        "Their fields; what lies between them reads as 0:",
        "",
        *_table(
            ("register", "bits", "field", "means"),
            (
                (f"`{register.name}`", _bits(f.low, f.bits), f"`{f.name}`", f.about)
                for register in registers.values()
                for f in register.fields
            ),
        ),
    ]


def header() -> str:
    """docs/isa.h."""

    def enum(name: str, members: Iterable[Op | Columns | Cause]) -> list[str]:
        constants = ",\n".join(f"    NMGEN_{name.upper()}_{one.name} = {one.value}" for one in members)
        return [f"enum nmgen_{name} {{\n{constants}\n}};", ""]

    lines = [
        f"/* Instructions and control registers of STA. Made by {MADE_BY}; docs/isa.md explains them. */",
        "#ifndef NMGEN_ISA_H",
        "#define NMGEN_ISA_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define NMGEN_INSTRUCTION_WORDS {WORDS}",
        "",
        *enum("op", Op),
        *enum("columns", Columns),
        *enum("cause", Cause),
        "/* Fields of an instruction: word, lowest bit, bits. */",
    ]
    for name, f in FIELDS.items():
        values = {"WORD": f.word, "LOW": f.low, "BITS": f.bits}
        lines += [f"#define NMGEN_FIELD_{name.upper()}_{what} {value}" for what, value in values.items()]
    lines += [
        "",
        "/* NMGEN_SET(code, TOKENS, 128): of 16 words that were zero. */",
        "#define NMGEN_SET(code, field, value) \\",
        "    ((code)[NMGEN_FIELD_##field##_WORD] |= (uint32_t)(value) << NMGEN_FIELD_##field##_LOW)",
        "",
        "/* Byte offsets of the control registers. */",
        *(f"#define NMGEN_REGISTER_{name.upper()} 0x{register.offset:02X}" for name, register in REGISTERS.items()),
        "",
        "/* Their fields. */",
        *(line for register in REGISTERS.values() for line in field_macros("NMGEN", register)),
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def write(page_path: Path = PAGE, header_path: Path = HEADER) -> None:
    """Both files, each whole or not at all."""
    for path, text in ((page_path, page()), (header_path, header())):
        with written_whole(path) as written:
            written.write_text(text)


if __name__ == "__main__":
    write()
