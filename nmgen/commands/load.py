"""`nmgen load`: bring a program into the memory of a board."""

import argparse
import json
import time
from pathlib import Path

from nmgen.console.options import bounded
from nmgen.console.progress import stages
from nmgen.driver.port import BAUD

NAME = "load"
HELP = "Load a program into a board's memory; what is there already is not sent."
EXAMPLE = "nmgen load build/minilm.nmp --port /dev/ttyUSB0"


def add_port(parser: argparse.ArgumentParser) -> None:
    """Where the board is."""
    parser.add_argument("--port", metavar="DEV", required=True, help="serial port of the board, /dev/ttyUSB0 say")
    parser.add_argument(
        "--baud", metavar="BAUD", type=bounded("baud", 9600, 12_000_000), default=BAUD, help=f"of the image ({BAUD})"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    add_port(parser)


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import load
    from nmgen.driver.board import Board
    from nmgen.driver.port import SerialWire

    program = load(args.file)
    wire = SerialWire(args.port, args.baud)
    wire.quiet()
    begin = time.monotonic()
    with stages() as say:
        board = Board(wire, args.port)
        sent = board.load(program, lambda done, of: say(f"loading {done / of:.0%} of {of:,} bytes"))
    seconds = time.monotonic() - begin
    if args.json:
        print(json.dumps({"file": str(args.file), "bytes": len(program.memory), "sent": sent, "seconds": seconds}))
    else:
        print(f"{args.file}: {len(program.memory):,} bytes, {sent:,} of them sent, {seconds:.1f} s")
    return 0
