"""`nmgen run`: texts to embeddings on a board."""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.commands.load import add_port
from nmgen.console.files import written_whole
from nmgen.console.progress import stages
from rtl.params import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program

NAME = "run"
HELP = "Run a program on a board: texts in, embeddings out. It is loaded first where it is not there."
EXAMPLE = 'nmgen run build/minilm.nmp --port /dev/ttyUSB0 --text "A man is playing a guitar." "It rains."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", metavar="TEXT", nargs="+", help="texts, as many as you like")
    what.add_argument("--file", dest="texts", metavar="FILE.txt", type=Path, help="a text a line")
    what.add_argument("--image", metavar="FILE", type=Path, nargs="+", help="pictures, for a ViT")
    parser.add_argument(
        "--output", metavar="y.npy", type=Path, help="where to write the results, float32 [texts, width]"
    )
    add_port(parser)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from nmgen.compiler.program import load
    from nmgen.driver.board import Board
    from nmgen.driver.port import SerialWire

    program = load(args.file)
    inputs = _inputs(args)
    places = len(program.sequences)
    wire = SerialWire(args.port, args.baud)
    wire.quiet()
    results: list[NDArray[np.float32]] = []
    runs: list[dict[str, Any]] = []
    with stages() as say:
        board = Board(wire, args.port)
        board.load(program, lambda done, of: say(f"loading {done / of:.0%} of {of:,} bytes"))
        for begin in range(0, len(inputs), places):
            say(f"{begin} of {len(inputs)}")
            some = inputs[begin : begin + places]
            # What is left of the places repeats the last one: a program runs all of its sequences.
            found, seconds = _run(args, board, program, some + some[-1:] * (places - len(some)))
            results.append(found[: len(some)])
            cycles = board.cycles
            core = 1000 * cycles / (board.hello.core_khz * 1000)
            runs += [{"cycles": cycles, "core_ms": core, "ms": 1000 * seconds}] * len(some)
    every = np.concatenate(results)
    if args.output:
        with written_whole(args.output) as output, output.open("wb") as stream:
            np.save(stream, every)
    if args.json:
        rows = [
            {"input": str(one), **how, "result": row.tolist()}
            for one, how, row in zip(inputs, runs, every, strict=True)
        ]
        print(json.dumps(rows, indent=2))
    else:
        _show(inputs, runs, every)
    return 0


def _inputs(args: argparse.Namespace) -> list[Any]:
    if args.texts is None:
        return list(args.text or args.image)
    from pruning.files.reading import read_text

    lines = [line for line in read_text(args.texts).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{args.texts} has no text")
    return lines


def _run(
    args: argparse.Namespace, board: Any, program: "Program", inputs: list[Any]
) -> "tuple[NDArray[np.float32], float]":
    """([inputs, width], seconds on the board and the link): embeddings of length 1, or logits."""
    import numpy as np

    from nmgen.families.known import family_of_program

    pictures = program.takes_pictures
    asked = argparse.Namespace(
        file=args.file, ids=None, text=None if pictures else inputs, image=inputs if pictures else None
    )
    given = family_of_program(program).given(asked, program, lambda text: None)
    started = time.monotonic()
    memory = board.run(given.memory)
    seconds = time.monotonic() - started
    (scale,) = [one.scale for one in given.program.results if one.name == given.result]
    found = given.program.result(given.result, memory)[: given.count].astype(np.float32) * np.float32(scale)
    if given.result == "embedding":
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return found, seconds


def _show(inputs: list[Any], runs: list[dict[str, Any]], every: "NDArray[np.float32]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for name, justify in (("input", "left"), ("cycles", "right"), ("core ms", "right"), ("ms", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("result")
    for one, how, row in zip(inputs, runs, every, strict=True):
        begin = " ".join(f"{value:.4f}" for value in row[:4]) + (" …" if len(row) > 4 else "")
        table.add_row(str(one), f"{how['cycles']:,}", f"{how['core_ms']:.1f}", f"{how['ms']:.1f}", begin)
    Console(soft_wrap=True).print(table)
