"""`nmgen estimate`: how many cycles a program takes, without simulating it."""

import argparse
import json
from pathlib import Path
from typing import Any

from nmgen.configuration import bounded

NAME = "estimate"
HELP = "Estimate a program's cycles without a simulator: of each instruction, and in all."
EXAMPLE = "nmgen estimate build/minilm.nmp --mem-latency 30 --mhz 100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    parser.add_argument(
        "--mem-latency",
        metavar="CYCLES",
        type=bounded("mem-latency", 1, 1000),
        default=30,
        help="cycles from a read request to its first beat (30)",
    )
    parser.add_argument(
        "--mhz", metavar="MHZ", type=bounded("mhz", 1, 10000), default=100, help="clock, for the time it takes (100)"
    )
    parser.add_argument("--all", action="store_true", help="list each instruction")


def run(args: argparse.Namespace) -> int:
    from nmgen.estimate import Constants, estimate, total
    from nmgen.program import load

    program = load(args.program)
    found = estimate(program, Constants(memory=args.mem_latency))
    sums = total(program, found)
    sums["milliseconds"] = sums["cycles"] / (1000 * args.mhz)
    listed = [{"name": one.name, "opcode": one.op.name, "cycles": one.cycles, "beats": one.beats} for one in found]
    if args.json:
        about = {"file": str(args.program), "mem_latency": args.mem_latency, "mhz": args.mhz}
        print(json.dumps({**about, **sums, "instructions": listed}, indent=2))
        return 0
    if args.all:
        _list(listed)
    print(
        f"{args.program}: {sums['cycles']:,} cycles, {sums['milliseconds']:.3f} ms at {args.mhz} MHz\n"
        f"  utilisation  {sums['utilisation']:.1%}\n"
        f"  memory       {sums['beats'] * program.config.port_bytes:,} bytes\n"
        f"  by opcode    " + ", ".join(f"{name} {cycles:,}" for name, cycles in sums["cycles_by_opcode"].items())
    )
    return 0


def _list(listed: list[dict[str, Any]]) -> None:
    width = max((len(one["name"]) for one in listed), default=0)
    for one in listed:
        print(f"{one['cycles']:10,}  {one['opcode']:8}  {one['name']:{width}}  {one['beats']:,} beats")
