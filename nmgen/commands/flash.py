"""`nmgen flash`: a program as a board's flash takes it."""

import argparse
import json
from pathlib import Path
from zlib import crc32

from nmgen.console.files import written_whole
from rtl.params import InputError

NAME = "flash"
HELP = "Write what a board's flash takes of a program: the board then has it in memory by itself after power-on."
EXAMPLE = "nmgen flash build/minilm-1of8.nmp -o build/minilm.flash"
BOARD = "ulx3s-85f"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    parser.add_argument("--board", default=BOARD, help=f"the board ({BOARD})")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, required=True, help="the file to write")


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import load
    from nmgen.driver.places import places_of
    from nmgen.fpga.bitstream import find_board

    board = find_board(args.board)
    if board.flash is None:
        raise InputError(f"the image of {board.name} reads no flash")
    program = load(args.file)
    from boards.parts.flash import HEADER, MAGIC

    room = board.flash.bytes - board.flash.offset - HEADER.size
    memory, _ = places_of(program, room)
    if len(memory) > room:
        raise InputError(
            f"{args.file} has {len(memory):,} bytes, must be at most {room:,} behind the bitstream in the flash of "
            f"{board.name}: compile with --table-bits 8, or a sparser model"
        )
    with written_whole(args.output) as output, output.open("wb") as file:
        file.write(HEADER.pack(MAGIC, len(memory), crc32(memory)))
        file.write(memory)
    command = board.flash.program.format(offset=board.flash.offset, file=args.output)
    if args.json:
        size = HEADER.size + len(memory)
        print(json.dumps({"file": str(args.output), "bytes": size, "offset": board.flash.offset, "program": command}))
    else:
        print(f"{args.output}: {HEADER.size + len(memory):,} bytes of {room + HEADER.size:,}")
        print(f"write it:  {command}")
    return 0
