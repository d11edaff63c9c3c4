"""`nmgen build`: an image for a board, from synthesis to the bitstream: a self-test, or the encoder."""

import argparse
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.console.options import add_configuration, bounded, number
from nmgen.console.progress import StageProgress
from nmgen.fpga.bitstream import Build, build, check_clock, find_board
from nmgen.fpga.targets import configuration_for, of_board
from nmgen.fpga.tools import ToolError
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from boards.board import Board
    from nmgen.fpga.encoder_image import EncoderBuild

NAME = "build"
HELP = "Build an image for a board, a self-test or the encoder: a bitstream, its timing, and how to load it."
EXAMPLE = "nmgen build ulx3s-85f --n 2 --m 4 --rows 4 --cols 4 -o build/ulx3s"
IMAGES = ("selftest", "encoder")
MHZ = {"selftest": 50.0, "encoder": 100.0}
MEMORY_MHZ = 120.0  # the first from 112.5 on that the PLL makes beside 100
ANY = "any"

RIGHT, MISSED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="ulx3s-85f or icesugar-pro")
    parser.add_argument(
        "--image",
        choices=IMAGES,
        default="selftest",
        help="selftest: products built into block RAM, and a report; encoder: runs programs, with nmgen load and run "
        "(selftest)",
    )
    parser.add_argument(
        "-o",
        dest="out",
        metavar="DIR",
        type=Path,
        help="for the bitstream and the logs (build/BOARD, build/BOARD-encoder)",
    )
    parser.add_argument(
        "--mhz", metavar="MHZ", type=number("mhz", 1, 400), help="clock of the design (50; of the encoder 100)"
    )
    parser.add_argument(
        "--memory", metavar="CHIP", help="of the encoder: the SDRAM, by its name, or any that the board may carry (any)"
    )
    parser.add_argument(
        "--memory-mhz",
        metavar="MHZ",
        type=number("memory-mhz", 1, 400),
        help=f"of the encoder: clock of the SDRAM ({MEMORY_MHZ:g})",
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
    add_configuration(parser, StaConfig)


def run(args: argparse.Namespace) -> int:
    board = find_board(args.board)
    args.mhz = args.mhz or MHZ[args.image]
    args.out = args.out or Path("build") / (args.board if args.image == "selftest" else f"{args.board}-{args.image}")
    try:
        return _encoder(args, board) if args.image == "encoder" else _selftest(args, board)
    except ToolError as error:
        print(f"nmgen: {error}", file=sys.stderr)
        return MISSED


def _selftest(args: argparse.Namespace, board: "Board") -> int:
    own = {field.name for field in fields(Config)}
    for name in ("memory", "memory_mhz", *(field.name for field in fields(StaConfig))):
        if name not in own and getattr(args, name) is not None:
            raise InputError(f"{name} is no parameter of the self-test; give --image encoder")
    config = configuration_for(args, Config, of_board(board))
    result = build(
        args.board, config, args.out, mhz=args.mhz, seed=args.seed, seeds=args.seeds, progress=StageProgress()
    )
    if args.json:
        print(json.dumps(asdict(result), indent=2))
    else:
        show(result)
    return RIGHT if result.timing_met else MISSED


def _encoder(args: argparse.Namespace, board: "Board") -> int:
    from boards.encoder import EncoderConfig
    from boards.link import BAUD
    from boards.parts.sdram.chips import CHIPS, common
    from nmgen.fpga.encoder_image import build_encoder

    memory = args.memory or ANY
    if memory not in (ANY, *board.memories):
        raise InputError(f"memory is {memory}, must be {ANY} or one of {', '.join(board.memories)} on {board.name}")
    config = EncoderConfig(
        sta=configuration_for(args, StaConfig, of_board(board)),
        chip=common(board.memories) if memory == ANY else CHIPS[memory],
        oscillator_mhz=board.oscillator_mhz,
        core_mhz=args.mhz,
        memory_mhz=args.memory_mhz or MEMORY_MHZ,
        baud=BAUD,
        flash_offset=board.flash.offset if board.flash else None,
    )
    check_clock(board, config.sta, args.mhz)
    result = build_encoder(board, config, args.out, seeds=range(args.seed, args.seed + args.seeds))
    if args.json:
        print(json.dumps(result.facts(), indent=2))
    else:
        show_encoder(result)
    return RIGHT if result.timing_met else MISSED


def show_encoder(result: "EncoderBuild") -> None:
    """Print what a person at the board needs."""
    print(f"{result.title}: {result.bitstream}")
    for name, clock in result.clocks.items():
        met = "met" if clock.possible >= clock.asked else "MISSED"
        print(f"  {name:<14}{clock.possible:7.1f} MHz possible, {clock.asked:g} asked for: {met}")
    if len(result.tried) > 1:
        print(f"  seed {result.seed} is the best of {', '.join(map(str, result.tried))}")
    if result.config["pe"] == "ecp5":
        print("  inside of DSP slices nothing is timed: see docs/results.md")
    for kind in ("LUT4", "CCU2C", "TRELLIS_FF", "DP16KD", "MULT18X18D"):
        print(f"  {kind:<14}{result.cells.get(kind, 0):7,}")
    print(f"load it:  {result.program}")
    print(f"then:     nmgen load P.nmp --port DEVICE, and nmgen run P.nmp --port DEVICE --text …; {result.baud} baud")


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
