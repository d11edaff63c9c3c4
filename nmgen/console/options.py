"""The options that several commands share: the accelerator's configuration, and how it is simulated."""

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from pruning.files.reading import TOML_MAX, parse_toml, read_text
from rtl.params import PRESETS, Config, InputError
from rtl.sta.params import StaConfig

HELP = {
    "n": "multipliers (lanes) of a processing element",
    "m": "group size along the input dimension: 2, 4, 8, 16 or 32",
    "rows": "rows of the array, which carry tokens",
    "cols": "columns of the array, which carry output channels",
    "drain": "results that leave the array a cycle: 1, 2, 4 or 8",
    "port_bytes": "bytes of a beat of the memory port, a power of two",
    "max_tokens": "tokens the activation store holds",
    "max_k": "longest input dimension",
    "pe": "what processing elements are made of: portable, or ecp5 for its DSP slices, which build and report take on "
    "a ULX3S unless told otherwise",
    "device": "of --pe ecp5, where sites in it are to be chosen: LFE5U-25F, -45F, -85F",
    "soft_rows": "of --pe ecp5, rows of the array with multipliers made of LUTs",
    "hidden": "channels of the residual",
    "store_words": "words of one bank of the activation store",
    "groups": "groups of rows, each with a post-processor of its own",
}

AnyConfig = TypeVar("AnyConfig", bound=Config)

SIMULATORS = ("verilator", "icarus")
KINDS: dict[str, type[Config]] = {"engine": Config, "sta": StaConfig, "axi-sta": StaConfig}


def bounded(name: str, low: int, high: int) -> Callable[[str], int]:
    """An argparse type: an integer from low to high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{name} is {text}, must be an integer from {low} to {high}")
        return value

    return parse


def number(name: str, low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number from low to high, so neither an infinity nor what is no number."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{name} is {text}, must be a number from {low:g} to {high:g}")
        return value

    return parse


def add_configuration(parser: argparse.ArgumentParser, kind: type[Config] = Config) -> None:
    """Add the flags of a configuration: a preset or a file, and one flag a parameter that overrides it."""
    group = parser.add_argument_group("configuration", "A flag overrides what the preset or the file says.")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--preset", metavar="NAME", help=f"start from {', '.join(PRESETS)}; base unless told otherwise")
    source.add_argument("--config", metavar="FILE.toml", type=Path, help="start from a file of lines such as: rows = 8")
    for field in fields(kind):
        flag = "--" + field.name.replace("_", "-")
        default = f" ({field.default})" if field.default != "" else ""
        group.add_argument(flag, metavar=field.name.upper(), help=HELP[field.name] + default)


def given_configuration(args: argparse.Namespace, kind: type[Config] = Config) -> list[str]:
    """The flags of add_configuration that a command line has."""
    names = ("preset", "config", *(field.name for field in fields(kind)))
    return ["--" + name.replace("_", "-") for name in names if getattr(args, name) is not None]


def configuration_from(args: argparse.Namespace) -> Config:
    """The configuration that the flags describe."""
    return configuration_of(args, Config)


def configuration_of(args: argparse.Namespace, kind: type[AnyConfig]) -> AnyConfig:
    """The configuration of a kind that the flags, added for the same kind, describe.

    Raises
    ------
    InputError : an unknown preset, a file that cannot be used, or a parameter out of its bounds.
    """
    given: dict[str, Any] = {}
    source = ""  # of an error in what is given
    if args.preset is not None:
        if args.preset not in PRESETS:
            raise InputError(f"preset is {args.preset!r}, must be one of {', '.join(PRESETS)}")
        given = asdict(PRESETS[args.preset])
    elif args.config is not None:
        given, source = _read(args.config, kind), f"{args.config}: "
    for field in fields(kind):
        text = getattr(args, field.name)
        if text is not None:
            source = source and f"{args.config} with flags: "
            try:
                given[field.name] = text if field.type is str else int(text)
            except ValueError:
                raise InputError(f"{field.name} is {text!r}, must be an integer") from None
    try:
        return replace(kind(), **given)
    except InputError as error:
        raise InputError(f"{source}{error}") from None


def configuration_of_kind(args: argparse.Namespace) -> Config:
    """The configuration of the kind in `args.kind` that the flags, added for StaConfig, which has all, describe."""
    kind = KINDS[args.kind]
    own = {field.name for field in fields(kind)}
    for field in fields(StaConfig):
        if field.name not in own and getattr(args, field.name) is not None:
            raise InputError(f"{field.name} is no parameter of kind {args.kind}; give --kind sta")
    return configuration_of(args, kind)


def _read(path: Path, kind: type[Config]) -> dict[str, Any]:
    """The parameters in a TOML file."""
    known = [field.name for field in fields(kind)]
    try:
        table = parse_toml(read_text(path, TOML_MAX))
    except InputError as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None
    for key in table:
        if key not in known:
            raise InputError(f"{path}: {key} is no parameter, must be one of {', '.join(known)}")
    return table


ELASTIC_ARTEFACT, ELASTIC_PROGRAM = "an artefact of nmgen prune --elastic", "a program of nmgen compile --elastic"


def add_density(parser: argparse.ArgumentParser, *of: str, further: str = "") -> None:
    """Add --density. of : what has several, further : what else it may be, for the help"""
    parser.add_argument("--density", metavar="N:M", help=f"of {' or '.join(of)}, which density (the densest){further}")


def add_html(parser: argparse._ActionsContainer) -> None:
    """Add the flag of a page."""
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="where to write the results as a page, too, which needs no network"
    )


MEM_LATENCY = 30  # cycles, unless told otherwise


def add_mem_latency(parser: argparse._ActionsContainer, default: int | None = MEM_LATENCY) -> None:
    """Add the flag of the memory's latency."""
    parser.add_argument(
        "--mem-latency",
        metavar="CYCLES",
        type=bounded("mem-latency", 1, 1000),
        default=default,
        help=f"cycles from a read request to its first beat ({MEM_LATENCY})",
    )


def add_memory_bytes_per_cycle(parser: argparse._ActionsContainer) -> None:
    """Add the flag of a memory that is slower than the port."""
    parser.add_argument(
        "--memory-bytes-per-cycle",
        metavar="BYTES",
        type=number("memory-bytes-per-cycle", 0.001, 1024),
        help="that the memory brings, where that is less than the port takes: an SDRAM of 16 bits at 120 MHz brings "
        "2.4 a cycle of 100 MHz; cycles are then about, not exact (as many as the port takes)",
    )


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a simulation: simulator, memory latency, seed."""
    group = parser.add_argument_group("simulation")
    group.add_argument(
        "--simulator", choices=SIMULATORS, default="verilator", help="which simulator runs it (verilator)"
    )
    add_mem_latency(group)
    group.add_argument(
        "--seed", metavar="SEED", type=bounded("seed", 0, 2**32 - 1), default=0, help="of everything random (0)"
    )
