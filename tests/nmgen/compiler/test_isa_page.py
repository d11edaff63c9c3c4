"""docs/isa.md and docs/isa.h are current, and C sets the bits that Python sets."""

import subprocess
from pathlib import Path

from nmgen.compiler.isa_page import CAUSES, HEADER, MADE_BY, OPS, PAGE, header, page, write
from rtl.sta.isa import FIELDS, Op, encode
from rtl.sta.legality import Cause
from rtl.sta.registers import REGISTERS


def test_current() -> None:
    """What the tables say now; else: python -m nmgen.compiler.isa_page."""
    assert PAGE.read_text() == page(), MADE_BY
    assert HEADER.read_text() == header(), MADE_BY


def test_complete() -> None:
    text = page()
    assert {*OPS} == {*Op}
    assert {*CAUSES} == {*Cause}
    for name in (*FIELDS, *REGISTERS):
        assert f"`{name}`" in text
        assert name.upper() in header()


def test_written(tmp_path: Path) -> None:
    write(tmp_path / "isa.md", tmp_path / "isa.h")
    assert (tmp_path / "isa.md").read_text() == page()
    assert (tmp_path / "isa.h").read_text() == header()


def test_header_in_c(tmp_path: Path) -> None:
    """Compiles without a warning, twice included; every field where `isa.encode` puts it."""
    values = {name: (0x9E37_79B9 * (i + 1)) & ((1 << f.bits) - 1) for i, (name, f) in enumerate(FIELDS.items())}
    sets = "\n".join(f"    NMGEN_SET(code, {name.upper()}, {value}u);" for name, value in values.items())
    (tmp_path / "isa.h").write_text(header())
    (tmp_path / "main.c").write_text(f"""
#include <stdio.h>
#include "isa.h"
#include "isa.h"

int main(void) {{
    uint32_t code[NMGEN_INSTRUCTION_WORDS] = {{0}};
{sets}
    return fwrite(code, 4, NMGEN_INSTRUCTION_WORDS, stdout) != 16 || NMGEN_OP_TABLE != {Op.TABLE.value};
}}
""")
    strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *strict, "main.c", "-o", "main"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run([tmp_path / "main"], check=True, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == encode(values)  # a little-endian machine
