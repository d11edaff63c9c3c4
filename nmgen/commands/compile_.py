"""`nmgen compile`: a model to a program of STA."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.options import ELASTIC_ARTEFACT
from nmgen.console.progress import stages
from nmgen.models.model_program import add_model_arguments, program_of, warn
from rtl.params import InputError

if TYPE_CHECKING:
    from nmgen.compiler.program import Program

NAME = "compile"
HELP = "Compile a model to a program that STA runs: instructions, weights and tables in one memory image."
EXAMPLE = """\
nmgen compile build/minilm/2of8.safetensors --seq 32 --batch 4 -o build/minilm.nmp
  nmgen compile minilm --pattern 2:8 --lengths 16,32,64,128 -o build/minilm.nmp
  nmgen compile build/elastic/elastic.safetensors --elastic --m 16 --seq 32 -o build/elastic.nmp"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL_OR_ARTEFACT", help="an artefact of nmgen prune, a Hugging Face folder, or minilm"
    )
    add_model_arguments(parser, ELASTIC_ARTEFACT)
    parser.add_argument("-o", dest="out", metavar="P.nmp", type=Path, required=True, help="the program")


def run(args: argparse.Namespace) -> int:
    try:
        with stages() as say:
            program, warning = program_of(args, say)
    except ModuleNotFoundError as missing:
        raise InputError(f"compile needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None
    program.save(args.out)
    if args.json:
        print(json.dumps({"file": str(args.out), **describe(program)}, indent=2))
    else:
        _show(str(args.out), program)
    warn(warning)
    return 0


def describe(program: "Program") -> dict[str, Any]:
    """A program's facts, ready for JSON."""
    sparser = program.densities[1:]
    return {
        "configuration": asdict(program.config),
        "instructions": len(program.names),
        "address": program.address,
        "memory_bytes": len(program.memory),
        "regions": {region.name: [region.address, region.size] for region in program.regions},
        "sequences": [asdict(one) for one in program.sequences],
        "results": [asdict(result) for result in program.results],
        "notes": list(program.notes),
        "about": dict(program.about),
        **({"shorter": [describe(one) for one in program.shorter]} if program.shorter else {}),
        **({"densities": {one: describe(program.at(one)) for one in sparser}} if sparser else {}),
    }


def _show(title: str, program: "Program") -> None:
    c, about = program.config, program.about
    given = "patches" if program.takes_pictures else "ids"
    print(
        f"{title}: {len(program.names)} instructions\n"
        f"  {'pictures ' if program.takes_pictures else 'sequences'}    {_sequences(program)} tokens\n"
        f"  memory       {len(program.memory):,} bytes: {given} at {program.region(given).address:#x}, "
        f"program at {program.address:#x}\n"
        f"  results      "
        + ", ".join(f"{result.name} at {result.address:#x}" for result in program.results)
        + f"\n  store        {about['store_words_used']} of {c.store_words} words a bank\n"
        f"  array        {c.rows} x {c.cols}, N = {c.n}, M = {c.m}, {c.port_bytes} bytes a beat"
    )
    for one in program.others:
        named = f"density {one.density}" if one.density != program.density else "shorter"
        print(f"  {named:12} {_sequences(one)} tokens, program at {one.address:#x}")
    for note in program.notes:
        print(f"  note: {note}")


def _sequences(program: "Program") -> str:
    """Their tokens."""
    lengths = [one.tokens for one in program.sequences]
    return f"{len(lengths)} x {lengths[0]}" if len(set(lengths)) == 1 else ", ".join(map(str, lengths))
