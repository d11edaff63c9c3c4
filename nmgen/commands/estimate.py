"""`nmgen estimate`: how many cycles a program takes, or the one that a model is compiled to, without simulating it."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.console.options import (
    ELASTIC_ARTEFACT,
    ELASTIC_PROGRAM,
    add_mem_latency,
    add_memory_bytes_per_cycle,
    bounded,
)
from nmgen.console.progress import Say, stages
from nmgen.models.model_program import add_model_arguments, given, program_of, warn
from rtl.params import InputError

if TYPE_CHECKING:
    from nmgen.compiler.program import Program

NAME = "estimate"
HELP = "Estimate a program's or a model's cycles without a simulator: of each instruction, and in all."
EXAMPLE = """\
nmgen estimate build/minilm.nmp --mem-latency 30 --mhz 100
  nmgen estimate build/minilm.nmp --memory-bytes-per-cycle 2.4
  nmgen estimate minilm --pattern 2:8 --seq 128 --rows 16"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="P.nmp_OR_MODEL",
        help="what nmgen compile wrote; or what it takes, which is compiled first, by the flags that nmgen compile has",
    )
    add_mem_latency(parser)
    add_memory_bytes_per_cycle(parser)
    parser.add_argument(
        "--mhz", metavar="MHZ", type=bounded("mhz", 1, 10000), default=100, help="clock, for the time it takes (100)"
    )
    parser.add_argument("--all", action="store_true", help="list each instruction")
    add_model_arguments(parser, ELASTIC_ARTEFACT, ELASTIC_PROGRAM)


def run(args: argparse.Namespace) -> int:
    from nmgen.estimate.bandwidth import at_bandwidth
    from nmgen.estimate.cycles import Constants, Estimate, estimate, total

    def counted(program: "Program") -> list[Estimate]:
        found = estimate(program, Constants(memory=args.mem_latency))
        slow = args.memory_bytes_per_cycle
        return found if slow is None else at_bandwidth(program, found, slow)

    with stages() as say:
        program, warning = _program(args, say)
        say("counting cycles")
        found = counted(program)
        shorter = [total(one, counted(one)) for one in program.shorter]
        sparser = {name: program.at(name) for name in program.densities[1:]}
        densities = {name: total(one, counted(one)) for name, one in sparser.items()}
    sums = total(program, found)
    for each in (sums, *shorter, *densities.values()):
        each["milliseconds"] = each["cycles"] / (1000 * args.mhz)
    lengths = [{"tokens": tokens_of(one), **each} for one, each in zip(program.shorter, shorter, strict=True)]
    listed = [{"name": one.name, "opcode": one.op.name, "cycles": one.cycles, "beats": one.beats} for one in found]
    if args.json:
        memory = {"mem_latency": args.mem_latency, "memory_bytes_per_cycle": args.memory_bytes_per_cycle}
        about = {"file": args.model, **memory, "mhz": args.mhz}
        further: dict[str, Any] = {"shorter": lengths} if lengths else {}
        further |= {"density": program.density, "densities": densities} if densities else {}
        print(json.dumps({**about, **sums, **further, "instructions": listed}, indent=2))
    else:
        _show(args, program, sums, listed)
        for one in lengths:
            tokens = ", ".join(map(str, one["tokens"]))
            print(f"  of {tokens} tokens: {one['cycles']:,} cycles, {one['milliseconds']:.3f} ms")
        for name, one in densities.items():
            size = one["beats"] * program.config.port_bytes
            print(f"  at {name}: {one['cycles']:,} cycles, {one['milliseconds']:.3f} ms, {size:,} bytes")
    warn(warning)
    return 0


def tokens_of(program: "Program") -> list[int]:
    """Of each of its sequences."""
    return [sequence.tokens for sequence in program.sequences]


def _program(args: argparse.Namespace, say: Say) -> "tuple[Program, str]":
    """(program, warning): of the file, or of the model that is compiled for it."""
    from nmgen.compiler.program import is_program, load

    path = Path(args.model)
    if path.suffix == ".nmp" or (path.is_file() and is_program(path)):
        if flags := [flag for flag in given(args) if flag != "--density"]:
            raise InputError(f"{path} is a program, compiled for one configuration: {flags[0]} is for a model")
        program = load(path)
        try:
            return (program if args.density is None else program.at(args.density)), ""
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    try:
        return program_of(args, say)
    except ModuleNotFoundError as missing:
        raise InputError(f"estimate needs {missing.name}, which is not installed: pip install 'nmgen[prune]'") from None


def _show(args: argparse.Namespace, program: "Program", sums: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    if args.all:
        _list(listed)
    slow = "" if args.memory_bytes_per_cycle is None else f", about {args.memory_bytes_per_cycle:g} a cycle"
    density = "" if program.density is None else f" at {program.density}"
    print(
        f"{args.model}{density}: {sums['cycles']:,} cycles, {sums['milliseconds']:.3f} ms at {args.mhz} MHz\n"
        f"  utilisation  {sums['utilisation']:.1%}\n"
        f"  memory       {sums['beats'] * program.config.port_bytes:,} bytes{slow}\n"
        f"  by opcode    " + ", ".join(f"{name} {cycles:,}" for name, cycles in sums["cycles_by_opcode"].items())
    )


def _list(listed: list[dict[str, Any]]) -> None:
    width = max((len(one["name"]) for one in listed), default=0)
    for one in listed:
        print(f"{one['cycles']:10,}  {one['opcode']:8}  {one['name']:{width}}  {one['beats']:,} beats")
