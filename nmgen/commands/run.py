"""`nmgen run`: texts to embeddings, or pictures to classes, on a board."""

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boards.parts.sdram.chips import WORD_BYTES
from nmgen.commands.load import add_port
from nmgen.console import tables
from nmgen.console.files import check_writable, written_whole
from nmgen.console.options import ELASTIC_PROGRAM, add_density, number
from nmgen.console.progress import Say, stages
from nmgen.families.interface import Given
from rtl.params import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boards.link import Hello
    from nmgen.compiler.program import Program
    from nmgen.driver.board import Board, Run
    from nmgen.driver.host import LinkError
    from nmgen.estimate.cycles import Estimate

NAME = "run"
HELP = "Run a program on a board: texts in, embeddings out. It is loaded first where it is not there."
EXAMPLE = """\
nmgen run build/minilm.nmp --port /dev/ttyUSB0 --text "A man is playing a guitar." "It rains."
  nmgen run build/elastic.nmp --port /dev/ttyUSB0 --density auto --within 20 --text "It rains."
  nmgen run build/elastic.nmp --port /dev/ttyUSB0 --verify-top --text "It rains.\""""
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
    add_density(parser, ELASTIC_PROGRAM, further="; auto: the densest that is done --within")
    parser.add_argument(
        "--within",
        metavar="MS",
        type=number("within", 0.001, 1_000_000),
        help="with --density auto: milliseconds of a run, by nmgen estimate at the board's clocks; where no density is "
        "as fast the sparsest runs",
    )
    parser.add_argument(
        "--verify-top",
        action="store_true",
        help="of a program of several densities: fast answers first, of the sparsest or of --density, then the exact "
        "ones of the densest, each with its cosine to the fast one",
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
    estimates : of the run's instructions; none where nobody asks
    """

    inputs: list[str]
    given: Given
    writes: list[tuple[int, bytes]]
    estimates: "list[Estimate]"

    def cycles(self, hello: "Hello") -> int:
        """About what the run takes on a board: its instructions, or what its SDRAM brings of them."""
        from nmgen.estimate.bandwidth import at_bandwidth

        program = self.given.program
        found = at_bandwidth(program, self.estimates, WORD_BYTES * hello.memory_khz / hello.core_khz)
        return found[-1].begin + found[-1].cycles


@dataclass(frozen=True)
class _Found:
    """What came of an input.

    Attributes
    ----------
    core_ms, ms : of the accelerator alone, and as a user waits for it, see `nmgen.driver.board.Run`
    result : float32 [width]
    density : of the program that ran, where there are several
    cosine : of an exact result to the fast one that came before it
    """

    input: str
    cycles: int
    core_ms: float
    ms: float
    result: "NDArray[np.float32]"
    density: str | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class _Answers:
    """What came of the inputs, in how many seconds. gone : the board did not answer any more"""

    found: list[_Found]
    seconds: float
    simulated: bool
    gone: "LinkError | None"


def run(args: argparse.Namespace) -> int:
    from nmgen.compiler.program import load
    from nmgen.driver.board import connected

    program = load(args.file)
    wanted = _densities(args, program)
    with ExitStack() as to_the_end:
        with stages() as say:
            # All of it before a port is opened: what cannot be run is refused though no board is there.
            every = [list(_prepared(args, program, density, say)) for density in wanted]
            exact = list(_prepared(args, program, None, say)) if args.verify_top else []
            if args.output:
                check_writable(args.output)
            say("waiting for the board")
            board = to_the_end.enter_context(connected(args.port, args.baud))
            runs = _fast_enough(every, args.within, board.hello)
            board.load(program, say, loaded=args.loaded)
            answers = _answers(board, program, runs, say)
            if answers.gone and not answers.found:
                raise answers.gone
        if not args.verify_top or all(one.density == program.density for one in answers.found):
            return _end(args, answers, answers.found, args.output)
        if answers.gone:  # nothing exact to write
            return _end(args, answers, answers.found, None)
        if not args.json:
            _show(answers)
        with stages() as say:
            verified = _answers(board, program, exact, say)
    beside = [replace(one, cosine=_cosine(one, fast)) for one, fast in zip(verified.found, answers.found, strict=False)]
    return _end(args, replace(verified, found=beside), answers.found + beside, args.output)


def _answers(board: "Board", program: "Program", runs: list[_Prepared], say: Say) -> _Answers:
    """Run one input after another, as long as the board answers."""
    from nmgen.driver.host import LinkError

    found: list[_Found] = []
    gone: LinkError | None = None
    begun = time.monotonic()
    try:
        for prepared, ran in zip(runs, board.run_each(_inputs(program, runs, say)), strict=True):
            found += _results(prepared, ran, board.hello.core_khz)
    except LinkError as error:  # what there is, is told of
        behind = f", after {len(found)} of {sum(len(one.inputs) for one in runs)} inputs" if found else ""
        gone = LinkError(f"{error}{behind}")
    return _Answers(found, time.monotonic() - begun, bool(board.hello.simulated), gone)


def _end(args: argparse.Namespace, last: _Answers, every: list[_Found], to: Path | None) -> int:
    """Write and print. last : the answers that are written to a file, and not printed yet; every : all, for JSON"""
    import numpy as np

    if to and last.found:
        with written_whole(to) as output, output.open("wb") as stream:
            np.save(stream, np.stack([one.result for one in last.found]))
    if args.json:
        print(json.dumps([_said(one) for one in every], indent=2))
    elif last.found:
        _show(last)
    if last.gone:
        raise last.gone
    return 0


def _densities(args: argparse.Namespace, program: "Program") -> tuple[str | None, ...]:
    """Which may run first, from dense to sparse; None: the densest, or the only one."""
    auto = args.density == AUTO
    if auto != (args.within is not None):
        raise InputError(f"--within goes with --density {AUTO}, and that with --within")
    if auto and not program.densities:
        raise InputError(f"{args.file} is a program of one density alone: --density {AUTO} has no choice")
    if args.verify_top and not program.densities:
        raise InputError(f"{args.file} is a program of one density alone: --verify-top has nothing to verify")
    if args.verify_top and args.density == program.density:
        raise InputError(f"{args.file}: density {args.density} is the densest: --verify-top has nothing to verify")
    try:
        program.at(None if auto else args.density)
    except InputError as error:
        raise InputError(f"{args.file}: {error}") from None
    fast = program.densities[-1] if args.verify_top and args.density is None else args.density
    return program.densities if auto else (fast,)


def _fast_enough(every: list[list[_Prepared]], within: float | None, hello: "Hello") -> list[_Prepared]:
    """Of each run the first density that is done within so many ms, or the last one. every : by density"""
    if within is None:
        return every[0]
    return [
        next((one for one in densities if one.cycles(hello) <= within * hello.core_khz), densities[-1])
        for densities in zip(*every, strict=True)
    ]


def _prepared(args: argparse.Namespace, program: "Program", density: str | None, say: Say) -> Iterator[_Prepared]:
    """As many inputs a run as the program is compiled for; the last one is filled up."""
    import numpy as np

    from nmgen.driver.board import differences
    from nmgen.estimate.cycles import estimate
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
        # A program runs all of its sequences: those that are left get the shortest text. Pictures are grey there.
        flags = {"text": part + [""] * (count - len(part)), "image": None} if texts else {"text": None, "image": part}
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
            estimates=[] if args.within is None else estimate(given.program),
        )


def _origin(program: "Program", given: "Program") -> "Program":
    """Which of the file's programs an input runs by; what `given` has of its own is among the writes."""
    (found,) = (one for one in program.every if one.address == given.address)
    return found


def _lines(path: Path) -> list[str]:
    """The texts of a file, one a line."""
    from pruning.files.reading import read_text

    lines = [line.removesuffix("\r") for line in read_text(path).split("\n") if line.strip()]
    if not lines:
        raise InputError(f"{path} has no text")
    return lines


def _inputs(program: "Program", runs: list[_Prepared], say: Say) -> "Iterator[tuple[Program, NDArray[np.uint8]]]":
    """What the board gets for each run: one memory for all, with one input after the other in it."""
    import numpy as np

    image = np.frombuffer(program.memory, np.uint8)
    memory = image.copy()
    for count, prepared in enumerate(runs, start=1):
        say(f"run {count} of {len(runs)}")
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
    return {name: value for name, value in facts.items() if value is not None}


def _cosine(one: _Found, other: _Found) -> float:
    """Of two results; 0 where one is zero."""
    norms = math.hypot(*one.result.tolist()) * math.hypot(*other.result.tolist())
    return float(one.result @ other.result) / norms if norms else 0.0


def _show(answers: _Answers) -> None:
    found, seconds = answers.found, answers.seconds
    several = any(one.density for one in found)
    verified = any(one.cosine is not None for one in found)
    rows = [
        (
            one.input,
            *([str(one.density)] if several else []),
            *(f"{one.cycles:,}", f"{one.core_ms:.2f}", f"{one.ms:.1f}"),
            *([f"{one.cosine:.4f}"] if one.cosine is not None else []),
            _begin(one.result),
        )
        for one in found
    ]
    rate = f"{len(found)} in {seconds:.2f} s: {len(found) / seconds:.1f} a second"
    tables.show(
        (
            *("input", *(["density"] if several else []), "cycles", "core ms", "ms"),
            *(["cosine"] if verified else []),
            "result",
        ),
        rows,
        caption="ms are a simulator's: the board is simulated" if answers.simulated else rate,
        left=("result",),
    )


def _begin(row: "NDArray[np.float32]") -> str:
    """The first numbers of a result."""
    return " ".join(f"{value:.4f}" for value in row[:SHOWN]) + (" …" if len(row) > SHOWN else "")
