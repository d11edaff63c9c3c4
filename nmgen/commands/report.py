"""`nmgen report`: what an array, an engine or the whole core takes of an FPGA, and how fast it is."""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from nmgen.console.files import check_writable
from nmgen.console.options import add_configuration, add_html, bounded
from nmgen.fpga.targets import ECP5, FPGA_FAMILIES, configuration_for, find_target
from nmgen.fpga.tools import ToolError
from nmgen.page.document import Bars, Table, facts_page, write_page
from rtl.params import Config, InputError
from rtl.sta.params import StaConfig

if TYPE_CHECKING:
    from nmgen.fpga.report import Report
    from nmgen.fpga.targets import Target

NAME = "report"
HELP = "Report what an array, an engine or the whole core takes of an FPGA, and how fast it is, over seeds."
EXAMPLE = "nmgen report ulx3s-85f --pe ecp5 --rows 8 --cols 8 --seeds 3"

RIGHT, FAILED = 0, 1
FOLDER = Path("build") / "report"
PATHS = "the worst paths, of each pair of Components, at the median seed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "board",
        metavar="BOARD",
        help=f"ulx3s-85f or icesugar-pro; or, synthesised only, one of {', '.join(FPGA_FAMILIES)}",
    )
    whole = parser.add_mutually_exclusive_group()
    whole.add_argument("--core", action="store_true", help="the whole core between shift registers, not the array")
    whole.add_argument("--engine", action="store_true", help="the engine between shift registers, not the array")
    parser.add_argument(
        "--seeds", metavar="N", type=bounded("seeds", 1, 100), default=3, help="seeds of place and route (3)"
    )
    parser.add_argument(
        "--jobs", metavar="N", type=bounded("jobs", 1, 1000), help="tools that run at a time (as many as cores)"
    )
    add_html(parser)
    add_configuration(parser, StaConfig)


def run(args: argparse.Namespace) -> int:
    from nmgen.fpga.place_and_route import measure
    from nmgen.fpga.report import design_of, report

    target = find_target(args.board)
    kind: type[Config] = StaConfig if args.core else Config
    own = {field.name for field in fields(kind)}
    for field in fields(StaConfig):
        if field.name not in own and getattr(args, field.name) is not None:
            what = "engine" if args.engine else "array"
            raise InputError(f"{field.name} is no parameter of the {what}; give --core")
    config = configuration_for(args, kind, target)
    if args.core or args.engine:
        check_memories(config, target)
    if args.html:
        check_writable(args.html)  # before anything takes time
    design = design_of(config, target, tuple(range(1, args.seeds + 1)), engine=args.engine)
    try:
        (measured,) = measure([design], FOLDER, jobs=args.jobs)
        found = report(config, target, measured, engine=args.engine)
    except ToolError as error:
        print(f"nmgen: {error}", file=sys.stderr)
        return FAILED
    if args.html:
        write_page(args.html, page(found, config, target))
    if args.json:
        print(json.dumps(found.numbers(), indent=2))
    else:
        show(found, config, target)
    return RIGHT


def check_memories(config: Config, target: "Target") -> None:
    """InputError where the memories of a core or engine take more block RAM than a board's FPGA has: minutes before
    the placer tells."""
    from nmgen.cost.exact import block_rams

    taken, there = block_rams(config), target.block_rams
    if target.family is not ECP5 or there is None or taken <= there:
        return
    size = (
        f"store_words, {config.store_words}"
        if isinstance(config, StaConfig)
        else f"max_tokens, {config.max_tokens}, or max_k, {config.max_k}"
    )
    raise InputError(
        f"the design takes {taken} block RAMs, must be at most the {there} of {target.name}; "
        f"fewer with a smaller {size}"
    )


def show(found: "Report", config: Config, target: "Target") -> None:
    """Print the table of one design."""
    from nmgen.fpga.report import UNTIMED, title

    print(f"{found.design} of {title(config)}: {target.title}")
    for name, value in facts(found, target):
        print(f"  {name:<12}{value}")
    if found.paths:
        print(f"{PATHS}:")
    for path in found.paths:
        print(f"  {path.ns:5.1f} ns ({path.logic_ns:.1f} in logic): {' → '.join(path.through)}")
    if config.pe == "ecp5":
        print(UNTIMED)


def page(found: "Report", config: Config, target: "Target") -> str:
    """The same as a page."""
    from nmgen.fpga.report import UNTIMED, title

    seeds = [(f"seed {seed}", mhz, f"{mhz:.1f} MHz") for seed, mhz in enumerate(found.mhz, start=1)]
    paths = [(f"{path.ns:.1f}", f"{path.logic_ns:.1f}", " → ".join(path.through)) for path in found.paths]
    headings = ("ns", "of them in logic", "through")
    return facts_page(
        f"{found.design} of {title(config)}",
        [("FPGA", target.title), *facts(found, target)],
        notes=[UNTIMED] if config.pe == "ecp5" else [],
        bars=[Bars(title="Clock of each seed", rows=seeds)] if seeds else [],
        tables=[Table(title=PATHS.capitalize(), headings=headings, rows=paths, left=("through",))] if paths else [],
    )


def facts(found: "Report", target: "Target") -> list[tuple[str, str]]:
    """Names and values."""
    ecp5 = target.family is ECP5
    rows = [
        ("LUT4" if ecp5 else "LUTs", f"{found.luts:,}"),
        ("CCU2C" if ecp5 else "carry cells", f"{found.carries:,}"),
        ("FF", f"{found.registers:,}"),
        ("block RAM", f"{found.memories:,}"),
        ("multipliers", f"{found.multipliers:,} ({found.slices:,} of the FPGA's own taken)"),
        ("LUT-eq", f"{found.lut_equivalents:,}, {found.a_multiplier:.1f} a multiplier"),
    ]
    if found.median_mhz is not None:
        mhz = f"{min(found.mhz):.1f} least, {found.median_mhz:.1f} median, {max(found.mhz):.1f} most"
        seeds = f"{len(found.mhz)} seed{'s' * (len(found.mhz) > 1)}"
        if unrouted := found.mhz.count(0):
            seeds += f", {unrouted} of which {'does' if unrouted == 1 else 'do'} not route (0 MHz)"
        rows += [
            ("MHz", f"{mhz}, of {seeds}"),
            ("GMAC/s", f"{found.gmacs:.2f}"),
        ]
    return rows
