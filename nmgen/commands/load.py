"""`nmgen load`: bring a program into the memory of a board."""

import argparse
import json
import time
from pathlib import Path

from boards.link import BAUD
from nmgen.console.options import bounded
from nmgen.console.progress import stages

NAME = "load"
HELP = "Load a program into a board's memory; what is there already is not sent."
EXAMPLE = "nmgen load build/minilm.nmp --port /dev/ttyUSB0"


def add_port(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the board is."""
    parser.add_argument("--port", metavar="DEV", required=True, help="serial port of the board, /dev/ttyUSB0 say")
    parser.add_argument(
        "--baud", metavar="BAUD", type=bounded("baud", 9600, 12_000_000), default=BAUD, help=f"of the image ({BAUD})"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    add_port(parser)


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import load
    from nmgen.driver.board import connected

    program = load(args.file)
    begin = time.monotonic()
    with stages() as say:
        say("waiting for the board")
        with connected(args.port, args.baud) as board:
            sent = board.load(program, say)
            size = board.loaded_bytes
    seconds = time.monotonic() - begin
    if args.json:
        print(json.dumps({"file": str(args.file), "bytes": size, "sent": sent, "seconds": seconds}))
    else:
        print(f"{args.file}: {size:,} bytes, {sent:,} of them sent, {seconds:.1f} s")
    return 0
