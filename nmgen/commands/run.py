"""`nmgen run`: texts to embeddings, or pictures to classes, on a board."""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmgen.commands.load import add_port
from nmgen.console import tables
from nmgen.console.files import check_writable, written_whole
from nmgen.console.options import add_density, bounded
from nmgen.console.progress import Say, stages
from nmgen.families.interface import Given
from rtl.params import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nmgen.compiler.program import Program
    from nmgen.driver.board import Run

NAME = "run"
HELP = "Run a program on a board: texts in, embeddings out. It is loaded first where it is not there."
EXAMPLE = """\
nmgen run build/minilm.nmp --port /dev/ttyUSB0 --text "A man is playing a guitar." "It rains."
  nmgen run build/elastic.nmp --port /dev/ttyUSB0 --density auto --within 20 --text "It rains.\""""
AUTO = "auto"  # a density
SHOWN = 4  # numbers of a result, in the table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="P.nmp", type=Path, help="what nmgen compile wrote")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--text", metavar="TEXT", nargs="+", help="texts, as many as you like")
    what.add_argument("--file", dest="texts", metavar="FILE.txt", type=Path, help="a text a line")
    what.add_argument(
        "--image", metavar="FILE", type=Path, nargs="+", help="pictures for a ViT, as many files as you like"
    )
    parser.add_argument(
        "--output", metavar="y.npy", type=Path, help="where to write the results, float32 [inputs, width]"
    )
    parser.add_argument(
        "--loaded",
        action="store_true",
        help="the board's memory holds the program: compare only its instructions and input, not weights and tables",
    )
    add_density(parser, "; auto: the densest that is done --within")
    parser.add_argument(
        "--within",
        metavar="MS",
        type=bounded("within", 1, 1_000_000),
        help="with --density auto: milliseconds of a run, by nmgen estimate at the board's clock; where no density is "
        "as fast the sparsest runs",
    )
    add_port(parser)


@dataclass(frozen=True)
class _Prepared:
    """What a run gets.

    Attributes
    ----------
    inputs : texts, or names of pictures
    given : without its memory, which would be as large for each run as the program's
    writes : address and bytes of what is another than in the program
    cycles : of the run, by the estimate; 0 where nobody asks
    """

    inputs: list[str]
    given: Given
    writes: list[tuple[int, bytes]]
    cycles: int = 0


@dataclass(frozen=True)
class _Found:
    """What came of an input.

    Attributes
    ----------
    core_ms, ms : of the accelerator alone, and as a user waits for it, see `nmgen.driver.board.Run`
    result : float32 [width]
    density : of the program that ran, where there are several
    """

    input: str
    cycles: int
    core_ms: float
    ms: float
    result: "NDArray[np.float32]"
    density: str | None = None


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from nmgen.compiler.program import load
    from nmgen.driver.board import connected
    from nmgen.driver.host import LinkError

    program = load(args.file)
    wanted = _densities(args, program)
    with stages() as say:
        # All of it before a port is opened: what cannot be run is refused though no board is there.
        every = [list(_prepared(args, program, density, say)) for density in wanted]
        if args.output:
            check_writable(args.output)
        say("waiting for the board")
        with connected(args.port, args.baud) as board:
            runs = _fast_enough(every, args.within, board.hello.core_khz)
            board.load(program, say, loaded=args.loaded)
            found: list[_Found] = []
            gone: LinkError | None = None
            begun = time.monotonic()
            try:
                for prepared, ran in zip(runs, board.run_each(_inputs(program, runs, say)), strict=True):
                    found += _results(prepared, ran, board.hello.core_khz)
            except LinkError as error:  # what there is, is told of
                if not found:
                    raise
                gone = LinkError(f"{error}, after {len(found)} of {sum(len(one.inputs) for one in runs)} inputs")
            seconds = time.monotonic() - begun
            simulated = bool(board.hello.simulated)
    if args.output:
        with written_whole(args.output) as output, output.open("wb") as stream:
            np.save(stream, np.stack([one.result for one in found]))
    if args.json:
        print(json.dumps([_said(one) for one in found], indent=2))
    else:
        _show(found, seconds, simulated)
    if gone:
        raise gone
    return 0


def _densities(args: argparse.Namespace, program: "Program") -> tuple[str | None, ...]:
    """Which may run, from dense to sparse; None: the densest, or the only one."""
    auto = args.density == AUTO
    if auto != (args.within is not None):
        raise InputError(f"--within goes with --density {AUTO}, and that with --within")
    if auto and not program.densities:
        raise InputError(f"{args.file} is a program of one density alone: --density {AUTO} has no choice")
    try:
        program.at(None if auto else args.density)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None
    return program.densities if auto else (args.density,)


def _fast_enough(every: list[list[_Prepared]], within: int | None, core_khz: int) -> list[_Prepared]:
    """Of each run the first density that is done within so many ms, or the last one. every : by density"""
    if within is None:
        return every[0]
    return [
        next((one for one in densities if one.cycles <= within * core_khz), densities[-1])
        for densities in zip(*every, strict=True)
    ]


def _prepared(args: argparse.Namespace, program: "Program", density: str | None, say: Say) -> Iterator[_Prepared]:
    """As many inputs a run as the program is compiled for; the last one is filled up."""
    import numpy as np

    from nmgen.driver.board import differences
    from nmgen.estimate.cycles import estimate, total
    from nmgen.families.known import family_of_program

    family = family_of_program(program)
    chosen = program.at(density)
    image = np.frombuffer(program.memory, np.uint8)
    count = len(program.sequences)
    texts = args.text if args.texts is None else _lines(args.texts)
    every = texts or args.image
    for begin in range(0, len(every), count):
        say(f"input {begin + 1} of {len(every)}")
        part = every[begin : begin + count]
        # A program runs all of its sequences: the last text stands for those that are left. Pictures are grey there.
        flags = (
            {"text": part + part[-1:] * (count - len(part)), "image": None} if texts else {"text": None, "image": part}
        )
        try:
            given = family.given(argparse.Namespace(file=args.file, ids=None, **flags), chosen, say)
        except InputError as error:
            if len(every) == len(part):
                raise
            numbers = f"inputs {begin + 1} to {begin + len(part)}" if len(part) > 1 else f"input {begin + 1}"
            raise InputError(f"{numbers}: {error}") from None
        changed = differences(given.memory, image, program.config.port_bytes)
        yield _Prepared(
            inputs=part if texts else given.facts["pictures"],
            given=replace(given, program=_origin(program, given.program), memory=np.empty(0, np.uint8)),
            writes=[(at, given.memory[at:end].tobytes()) for at, end in changed],
            cycles=0 if args.within is None else total(given.program, estimate(given.program))["cycles"],
        )


def _origin(program: "Program", given: "Program") -> "Program":
    """Which of the file's programs an input runs by; what `given` has of its own is among the writes."""
    (found,) = (one for one in program.every if one.address == given.address)
    return found


def _lines(path: Path) -> list[str]:
    """The texts of a file, one a line."""
    from pruning.files.reading import read_text

    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} has no text")
    return lines


def _inputs(program: "Program", runs: list[_Prepared], say: Say) -> "Iterator[tuple[Program, NDArray[np.uint8]]]":
    """What the board gets for each run: one memory for all, with one input after the other in it."""
    import numpy as np

    image = np.frombuffer(program.memory, np.uint8)
    memory = image.copy()
    for number, prepared in enumerate(runs, start=1):
        say(f"run {number} of {len(runs)}")
        for at, part in prepared.writes:
            memory[at : at + len(part)] = np.frombuffer(part, np.uint8)
        yield prepared.given.program, memory
        for at, part in prepared.writes:
            memory[at : at + len(part)] = image[at : at + len(part)]


def _results(prepared: _Prepared, ran: "Run", core_khz: int) -> list[_Found]:
    results = prepared.given.floats(ran.results[prepared.given.result])
    core_ms, ms = ran.cycles / core_khz, 1000 * ran.seconds
    density = prepared.given.program.density
    return [
        _Found(one, ran.cycles, core_ms, ms, result, density)
        for one, result in zip(prepared.inputs, results, strict=False)
    ]


def _said(one: _Found) -> dict[str, Any]:
    """Ready for JSON."""
    facts = {**vars(one), "result": one.result.tolist()}
    return facts if one.density else {name: value for name, value in facts.items() if name != "density"}


def _show(found: list[_Found], seconds: float, simulated: bool) -> None:
    several = any(one.density for one in found)
    rows = [
        (
            one.input,
            *([str(one.density)] if several else []),
            *(f"{one.cycles:,}", f"{one.core_ms:.2f}", f"{one.ms:.1f}", _begin(one.result)),
        )
        for one in found
    ]
    rate = f"{len(found)} in {seconds:.2f} s: {len(found) / seconds:.1f} a second"
    tables.show(
        ("input", *(["density"] if several else []), "cycles", "core ms", "ms", "result"),
        rows,
        caption="ms are a simulator's: the board is simulated" if simulated else rate,
        left=("result",),
    )


def _begin(row: "NDArray[np.float32]") -> str:
    """The first numbers of a result."""
    return " ".join(f"{value:.4f}" for value in row[:SHOWN]) + (" …" if len(row) > SHOWN else "")
