"""`nmgen board-sim`: a board in simulation, its UART behind a pseudo-terminal."""

import argparse
import re
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from nmgen.console.options import add_configuration, configuration_of, number
from nmgen.console.progress import say as say_line
from nmgen.console.progress import stages
from nmgen.fpga.bitstream import find_board
from rtl.params import InputError
from rtl.sta.params import StaConfig

NAME = "board-sim"
HELP = "Simulate a board with its memory: nmgen load and nmgen run work on the port that it prints."
EXAMPLE = "nmgen board-sim ulx3s-85f --preload build/minilm.nmp"
BUILDS = Path("build/board-sim")
EVERY_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="ulx3s-85f or icesugar-pro")
    parser.add_argument(
        "--preload",
        metavar="P.nmp",
        type=Path,
        help="a program that is in the memory from the start; its configuration",
    )
    parser.add_argument("--memory", metavar="CHIP", help="the SDRAM, by its name (the first that the board may have)")
    parser.add_argument(
        "--core-mhz", metavar="MHZ", type=number("core-mhz", 1, 400), default=100.0, help="clock of the core (100)"
    )
    parser.add_argument(
        "--memory-mhz", metavar="MHZ", type=number("memory-mhz", 1, 400), default=125.0, help="the memory's (125)"
    )
    add_configuration(parser, StaConfig)


def run(args: argparse.Namespace) -> int:
    from boards.parts.sdram.chips import CHIPS
    from nmgen.compiler.program import load
    from nmgen.simulate.board_sim import BoardSimulation

    board = find_board(args.board)
    name = args.memory or board.memories[0]
    if name not in board.memories:
        raise InputError(f"memory is {name}, must be one of {', '.join(board.memories)} on {args.board}")
    program = load(args.preload) if args.preload else None
    config = configuration_of(args, StaConfig) if program is None else program.config
    with TemporaryDirectory() as scratch:
        preload = None
        if program is not None:
            preload = Path(scratch) / "memory.bin"
            preload.write_bytes(program.memory)
        with stages() as say:
            simulation = BoardSimulation(
                config,
                CHIPS[name],
                core_mhz=args.core_mhz,
                memory_mhz=args.memory_mhz,
                folder=BUILDS,
                say=say,
            )
        with simulation.started(preload, speed=True) as child:
            assert child.stdout
            assert child.stderr
            print(f"port: {child.stdout.readline().strip()}", flush=True)
            print("Ctrl-C ends it.", file=sys.stderr, flush=True)
            threading.Thread(target=_tell, args=(child.stderr,), daemon=True).start()
            for line in child.stdout:  # what the memory's model has to say, if a rule is broken
                if line.startswith("sdram:"):
                    print(f"nmgen: {line.strip()}", file=sys.stderr)
            return 1 if child.wait() else 0


def _tell(lines: IO[str]) -> None:
    """The speed, now and then."""
    said, before = time.monotonic(), 0
    for line in lines:
        found = re.match(r"cycles (\d+) busy (\d+)", line)
        now = time.monotonic()
        if found and now - said >= EVERY_S:
            cycles, thousands = int(found[1]), (int(found[1]) - before) / (now - said) / 1000
            say_line(f"{cycles:,} cycles, {thousands:,.0f} thousand a second; busy for {int(found[2]):,}")
            said, before = now, cycles
