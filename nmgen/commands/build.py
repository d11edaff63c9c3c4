"""`nmgen build`: a self-test image for a board, from synthesis to the bitstream."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from nmgen.console.options import add_configuration, bounded, number
from nmgen.console.progress import StageProgress
from nmgen.fpga.bitstream import Build, build, find_board
from nmgen.fpga.targets import configuration_for, of_board
from nmgen.fpga.tools import ToolError
from rtl.params import Config

NAME = "build"
HELP = "Build a self-test image for a board: a bitstream, its timing and resources, and how to load it."
EXAMPLE = "nmgen build ulx3s-85f --n 2 --m 4 --rows 4 --cols 4 -o build/ulx3s"

RIGHT, MISSED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="ulx3s-85f or icesugar-pro")
    parser.add_argument("-o", dest="out", metavar="DIR", type=Path, help="for selftest.bit and the logs (build/BOARD)")
    parser.add_argument(
        "--mhz", metavar="MHZ", type=number("mhz", 1, 400), default=50.0, help="clock of the design (50)"
    )
    parser.add_argument(
        "--seed", metavar="SEED", type=bounded("seed", 1, 2**31 - 1), default=1, help="of place and route (1)"
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=bounded("seeds", 1, 100),
        default=3,
        help="seeds that are tried, until one meets the clock; else the best is kept (3)",
    )
    add_configuration(parser)


def run(args: argparse.Namespace) -> int:
    board = find_board(args.board)
    config = configuration_for(args, Config, of_board(board))
    out = args.out if args.out is not None else Path("build") / args.board
    try:
        result = build(
            args.board, config, out, mhz=args.mhz, seed=args.seed, seeds=args.seeds, progress=StageProgress()
        )
    except ToolError as error:
        print(f"nmgen: {error}", file=sys.stderr)
        return MISSED
    if args.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        show(result)
    return RIGHT if result.timing_met else MISSED


def show(result: Build) -> None:
    """Print what a person at the board needs."""
    verdict = "met" if result.timing_met else "MISSED"
    print(f"{result.title}: {result.bitstream}")
    print(f"timing {verdict}: {result.fmax_mhz:g} MHz possible, {result.mhz:g} MHz asked for")
    if len(result.tried) > 1:
        print(f"  seed {result.seed} is the best of {', '.join(map(str, result.tried))}")
    if result.config["pe"] == "ecp5":
        print("  inside of DSP slices nothing is timed: see docs/results.md")
    for name, used in result.used.items():
        of = f" of {result.available[name]}" if name in result.available else ""
        print(f"  {name:<12}{used:>7}{of}")
    print(f"load it:  {result.program}")
    print(f"listen:   {result.baud} baud, 8N1; the report comes again every two seconds")
    print(f"LEDs:     {result.leds}")
