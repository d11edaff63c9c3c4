"""Models of the ECP5's primitives, for simulation of designs and of netlists that instantiate them."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

CELLS = Path(__file__).with_name("cells.v")


@cache
def primitives() -> frozenset[str]:
    """Names of what is modelled."""
    return frozenset(re.findall(r"^module (\w+)", CELLS.read_text(encoding="ascii"), re.MULTILINE))


def models(sources: Sequence[Path]) -> list[Path]:
    """The file of models, where Verilog files name a primitive that none of them defines; else none."""
    text = "\n".join(source.read_text(errors="replace") for source in sources)
    named = primitives() & set(re.findall(r"\w+", text))
    return [CELLS] if named - set(re.findall(r"^\s*module\s+(\w+)", text, re.MULTILINE)) else []
