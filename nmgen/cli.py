"""The command line `nmgen`: finds the command, runs it, and turns what goes wrong into one line and an exit status."""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast

from nmgen import __version__
from nmgen.console.ending import ended, process
from rtl.params import InputError

# Each command's module in nmgen.commands.
COMMANDS = {
    "generate": "generate",
    "prune": "prune",
    "evaluate": "evaluate",
    "pack": "pack",
    "inspect": "inspect_",
    "simulate": "simulate",
    "build": "build",
    "report": "report",
    "compile": "compile_",
    "disassemble": "disassemble",
    "estimate": "estimate",
    "explore": "explore",
    "flash": "flash",
    "load": "load",
    "run": "run",
    "boards": "boards",
    "board-sim": "board_sim",
}

DESCRIPTION = "Generate, feed and test N:M-sparse matrix accelerators."
EXAMPLE = """\
  nmgen generate --n 2 --m 8 --rows 8 --cols 8 -o build/array
  nmgen COMMAND --help
"""
STATUS = "exit status: 0 right, 1 a mismatch or missed timing, 2 bad input, 128 + its number after a signal"


class Command(Protocol):
    """A module of nmgen.commands."""

    NAME: str
    HELP: str
    EXAMPLE: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    @staticmethod
    def run(args: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    """An argument parser that ends its help with an example and reports bad usage in one line."""

    def __init__(self, *, example: str, **options: Any) -> None:
        super().__init__(
            epilog=f"example:\n  {example.strip()}\n\n{STATUS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

        self.commands: Mapping[str, Parser] = {}  # of the whole command line, by name

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")

    @property
    def flags(self) -> Iterable[str]:
        """Those that it takes, such as --seq."""
        return self._option_string_actions


def parser(chosen: str | None = None) -> Parser:
    """The command line of all commands, or of the chosen one, which spares loading the others."""
    top = Parser(prog="nmgen", description=DESCRIPTION, example=EXAMPLE)
    top.add_argument("--version", action="version", version=f"nmgen {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in [chosen] if chosen in COMMANDS else COMMANDS:
        command = cast(Command, import_module(f"nmgen.commands.{COMMANDS[name]}"))
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP, example=command.EXAMPLE)
        sub.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, on stdout")
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    top.commands = commands.choices
    return top


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line.

    Raises
    ------
    InputError : bad usage. It tells which other commands have a flag that this one lacks, and else the nearest name.
    """
    chosen = argv[0] if argv else None
    try:
        return parser(chosen).parse_args(argv)
    except InputError as error:
        raise InputError("; ".join([str(error), *_hints(chosen or "", argv)])) from None


def _hints(chosen: str, argv: Sequence[str]) -> list[str]:
    """Of bad usage: where flags belong that the chosen command lacks, or names that are nearly those given."""
    commands = parser().commands
    if chosen not in commands:
        return [f"perhaps {near}" for near in get_close_matches(chosen, commands, n=1)]
    own, hints = commands[chosen].flags, []
    for flag in dict.fromkeys(part.partition("=")[0] for part in argv if part.startswith("-")):
        if flag in own:
            continue
        if owners := [f"nmgen {name}" for name, command in commands.items() if flag in command.flags]:
            hints.append(f"{flag} is a flag of {', '.join(owners)}")
        elif near := get_close_matches(flag, own, n=1):
            hints.append(f"{flag}: perhaps {near[0]}")
    return hints


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status."""
    given = sys.argv[1:] if argv is None else argv
    return ended(lambda: _run(given))


def _run(argv: Sequence[str]) -> int:
    args = parse(argv)
    check_text(args)
    return int(args.run(args))


def check_text(args: argparse.Namespace) -> None:
    """InputError where an argument is neither a path nor text: names of files may have any bytes, all else is UTF-8."""
    for name, value in vars(args).items():
        for text in value if isinstance(value, list) else [value]:
            # What is no UTF-8, Python gives as halves of characters.
            if isinstance(text, str) and re.search("[\udc80-\udcff]", text):
                raise InputError(f"{name.replace('_', '-')} is {os.fsencode(text)!r}, must be text in UTF-8")


def command() -> int:
    """The program `nmgen`."""
    return process(lambda: _run(sys.argv[1:]))
