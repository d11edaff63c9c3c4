"""`nmgen board-sim`: a board in simulation, its UART behind a pseudo-terminal."""

import argparse
import json
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nmgen.commands.build import MEMORY_MHZ, MHZ
from nmgen.console.options import add_configuration, configuration_of, given_configuration, number
from nmgen.console.progress import say as say_line
from nmgen.console.progress import stages
from nmgen.fpga.bitstream import find_board
from pruning.files.reading import regular_file
from rtl.params import InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from boards.parts.sdram.chips import SdramChip
    from nmgen.compiler.program import Program
    from nmgen.simulate.board_sim import RunningBoard

NAME = "board-sim"
HELP = "Simulate a board with its memory: nmgen load and nmgen run work on the port that it prints."
EXAMPLE = "nmgen board-sim ulx3s-85f --preload build/minilm.nmp"
BUILDS = Path("build/board-sim")
EVERY_S = 10.0
FLASH_MAX = 1 << 24  # bytes
CORE_MHZ = MHZ["encoder"]

BROKEN = 1  # exit status: a rule of the SDRAM


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="ulx3s-85f or icesugar-pro")
    parser.add_argument(
        "--preload",
        metavar="P.nmp",
        type=Path,
        help="a program that is in the memory from the start; the board is of its configuration, but for --pe",
    )
    parser.add_argument(
        "--flash", metavar="FILE", type=Path, help="what nmgen flash wrote, in the flash: the board reads it first"
    )
    parser.add_argument("--memory", metavar="CHIP", help="the SDRAM, by its name (the first that the board may have)")
    parser.add_argument(
        "--core-mhz",
        metavar="MHZ",
        type=number("core-mhz", 1, 400),
        default=CORE_MHZ,
        help=f"clock of the core ({CORE_MHZ:g})",
    )
    parser.add_argument(
        "--memory-mhz",
        metavar="MHZ",
        type=number("memory-mhz", 1, 400),
        default=MEMORY_MHZ,
        help=f"the memory's ({MEMORY_MHZ:g})",
    )
    parser.add_argument(
        "--build", metavar="DIR", type=Path, default=BUILDS, help=f"where builds are kept for the next run ({BUILDS})"
    )
    add_configuration(parser, StaConfig)


def run(args: argparse.Namespace) -> int:
    from nmgen.driver.places import places_of
    from nmgen.simulate.board_sim import BoardSimulation

    chip = _chip(args)
    if args.flash is not None:
        _check_flash(args)
    program = _program(args, chip)
    config = configuration_of(args, StaConfig) if program is None else _made_of(program.config, args.pe)
    with TemporaryDirectory() as scratch:
        preload = None
        if program is not None:
            preload = Path(scratch) / "memory.bin"
            preload.write_bytes(places_of(program, chip.bytes)[0])
        with stages() as say:
            simulation = BoardSimulation(
                find_board(args.board),
                config,
                chip,
                core_mhz=args.core_mhz,
                memory_mhz=args.memory_mhz,
                folder=args.build,
                say=say,
            )
        with simulation.started(preload, args.flash, speed=True) as board:
            if args.json:
                facts = {"port": board.port, "board": args.board, "memory": chip.name, "preload": program is not None}
                print(json.dumps({**facts, "core_mhz": args.core_mhz, "memory_mhz": args.memory_mhz}), flush=True)
            else:
                print(f"port: {board.port}", flush=True)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
            return _watch(board)


def _made_of(config: StaConfig, pe: str | None) -> StaConfig:
    """A program's configuration, of other processing elements where these are told: they compute the same."""
    return config if pe in (None, config.pe) else replace(config, pe=pe, device="", soft_rows=0)


def _check_flash(args: argparse.Namespace) -> None:
    from boards.parts.flash import MAGIC

    if find_board(args.board).flash is None:
        raise InputError(f"the image of {args.board} reads no flash")
    with regular_file(args.flash, FLASH_MAX) as (file, _):
        if file.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{args.flash} is not what nmgen flash writes")


def _chip(args: argparse.Namespace) -> "SdramChip":
    """The SDRAM by its name, one that the board may have."""
    board = find_board(args.board)
    name = args.memory or board.memories[0]
    if name not in board.memories:
        raise InputError(f"memory is {name}, must be one of {', '.join(board.memories)} on {args.board}")
    from boards.parts.sdram.chips import CHIPS

    return CHIPS[name]


def _program(args: argparse.Namespace, chip: "SdramChip") -> "Program | None":
    """The program that is to be in the memory; None where there is none."""
    if args.preload is None:
        return None
    from nmgen.compiler.program import load

    if flags := [flag for flag in given_configuration(args, StaConfig) if flag != "--pe"]:
        raise InputError(
            f"{args.preload} is compiled for one configuration: {flags[0]} is for a board without a program"
        )
    program = load(args.preload)
    if len(program.memory) > chip.bytes:
        raise InputError(
            f"{args.preload} has {len(program.memory):,} bytes, must be at most the {chip.bytes:,} of {chip.name}"
        )
    return program


def _watch(board: "RunningBoard") -> int:
    """Say now and then how fast it is, until a rule of its SDRAM is broken.

    Raises
    ------
    InputError : it ends by anything else
    """
    from nmgen.simulate.board_sim import ending

    said, before, last = time.monotonic(), 0, ""
    for line in board.lines():
        if line.startswith("sdram:"):
            print(f"nmgen: {line}", file=sys.stderr)
            return BROKEN
        if (found := re.match(r"cycles (\d+) busy (\d+)", line)) is None:
            last = f": {line}"
            continue
        now = time.monotonic()
        if now - said >= EVERY_S:
            cycles, thousands = int(found[1]), (int(found[1]) - before) / (now - said) / 1000
            say_line(f"{cycles:,} cycles, {thousands:,.0f} thousand a second; busy for {int(found[2]):,}")
            said, before = now, cycles
    raise InputError(f"the simulated board ended: {ending(board.process.wait())}{last}")
