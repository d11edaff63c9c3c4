"""`nmgen disassemble`: what a program does, instruction after instruction."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.commands.compile_ import describe

if TYPE_CHECKING:
    from nmgen.compiler.program import Program

NAME = "disassemble"
HELP = "List a program's instructions, checked, and what lies where in its memory."
EXAMPLE = "nmgen disassemble build/minilm.nmp"

FLAGS = ("to_residual", "to_store", "table", "add", "maximum", "normalise")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.nmp", type=Path, help="what nmgen compile wrote")


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import load

    program = load(args.program)
    if args.json:
        said = {"file": str(args.program), **describe(program), "listing": _listed(program)}
        for one, about in zip(program.shorter, said.get("shorter", []), strict=True):
            about["listing"] = _listed(one)
        print(json.dumps(said, indent=2))
        return 0
    for one in program.every:
        if one is not program:
            density = f" at {one.density}" if one.density else ""
            print(f"\nfor {', '.join(str(sequence.tokens) for sequence in one.sequences)} tokens{density}:\n")
        _show(one)
    return 0


def _listed(program: "Program") -> list[dict[str, Any]]:
    named = zip(program.names, program.instructions, strict=True)
    return [{"name": name, **instruction} for name, instruction in named]


def _show(program: "Program") -> None:
    for region in program.regions:
        print(f"{region.address:08x}  {region.size:10,} bytes  {region.name}")
    print()
    width = max(map(len, program.names), default=0)
    for number, (name, instruction) in enumerate(zip(program.names, program.instructions, strict=True)):
        print(f"{program.address + 64 * number:08x}  {name:{width}}  {text(instruction)}")


def text(instruction: dict[str, int]) -> str:
    """An instruction on a line: opcode, source of columns and flags, then every other field that is not zero."""
    from rtl.sta.isa import Columns, Op

    op = Op(instruction.get("opcode", 0))
    words = [f"{op.name:8}"]
    if op == Op.PRODUCT:
        words.append(Columns(instruction.get("columns", 0)).name.lower())
    if op in (Op.STORE, Op.TABLE):
        which = instruction.get("which", 0)
        words.append((("store", "residual") if op == Op.STORE else ("activation", "exponential"))[which])
    words += [flag for flag in FLAGS if instruction.get(flag)]
    plain = {key: value for key, value in instruction.items() if key not in ("opcode", "columns", "which", *FLAGS)}
    words += [f"{key}={value:#x}" if "address" in key else f"{key}={value}" for key, value in plain.items()]
    return " ".join(words)
