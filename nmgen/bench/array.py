"""The array on FPGAs: resources and clock over seeds, beside others' arrays: ``make bench-array``.

Each design is the array between block RAM and a checksum (`nmgen.fpga.array_harness`), as emitted Verilog. What the
tools make is kept in build/report/, so a bench that was stopped goes on where it was. The table goes into
docs/results.md, the plot into docs/array.png, all numbers into build/report/array.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from nmgen.bench.command import bench
from nmgen.bench.labels import label
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.fpga.place_and_route import measure
from nmgen.fpga.place_and_route import seeds as seeds_of
from nmgen.fpga.report import ARRAY_MHZ, UNTIMED, Report, design_of, report, speed, title
from nmgen.fpga.router_watchdog import ROUTER
from nmgen.fpga.targets import Target, find_target
from nmgen.fpga.tools import find_tool, tool_version
from rtl.params import Config, InputError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "report"
BOARD = "ulx3s-85f"  # an LFE5U-85F of speed grade 6 in a CABGA381
LUTS = 83_640  # of that
SEEDS = 3
NOTE = (
    "Lattice's own bound is to be looked for in the family data sheet, FPGA-DS-02012, of which no copy could be read "
    "when this was written."
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A design, and what is asked of it; 0 where nothing is."""

    config: Config
    target: str = BOARD
    least_mhz: float = 0
    most_luts: float = 0  # equivalents a multiplier
    most_share: float = 0  # of the FPGA's LUTs


@dataclass(frozen=True)
class Peer:
    """Somebody else's int8 array, by the same tools on the same FPGA."""

    name: str
    mhz: float
    luts: float  # equivalents a multiplier


PEERS = (
    Peer("CFU-Playground hps_accel, dense, 64 multipliers", 100.6, 59),
    Peer("Vivekmalli2002, 2:4", 37.9, 206),
)


def rows() -> list[Row]:
    """Of the table."""
    portable = Config()
    slices = replace(portable, pe="ecp5", device="LFE5U-85F")
    return [
        Row(config=slices, least_mhz=200, most_luts=48),
        Row(config=portable, least_mhz=110, most_luts=85),
        Row(config=replace(slices, m=4), least_mhz=160),
        Row(config=replace(slices, m=16), least_mhz=160),
        Row(config=replace(slices, n=1), least_mhz=160),
        Row(config=replace(slices, n=4, rows=4), least_mhz=160),
        Row(config=replace(slices, rows=6, cols=13), least_mhz=180),
        Row(config=replace(slices, rows=16, soft_rows=7), least_mhz=110, most_share=0.6),
    ]


def table(all_rows: Sequence[Row], reports: Sequence[Report], targets: Sequence[Target]) -> list[str]:
    """Markdown."""
    columns = ("array", "on", "multipliers", "DSP", "LUT", "carry", "FF", "block RAM", "LUT-eq a multiplier", "MHz")
    text = [line((*columns, "GMAC/s", "asked for")), "|---|---" + "|---:" * 9 + "|---|"]
    for row, found, target in zip(all_rows, reports, targets, strict=True):
        counted = (found.multipliers, found.slices, found.luts, found.carries, found.registers, found.memories)
        text.append(
            line(
                (
                    title(row.config),
                    target.device or target.title.removeprefix("an ").removeprefix("a "),
                    *(f"{number:,}" for number in counted),
                    f"{found.a_multiplier:.1f}",
                    speed(found),
                    "–" if found.gmacs is None else f"{found.gmacs:.1f}",
                    asked(row, found),
                )
            )
        )
    return text


def asked(row: Row, found: Report) -> str:
    """What is asked of a row, and whether it is met."""
    aims = []
    if row.least_mhz and found.median_mhz is not None:
        aims.append((f"≥ {row.least_mhz:g} MHz", found.median_mhz >= row.least_mhz))
    if row.most_luts:
        aims.append((f"≤ {row.most_luts:g} LUT-eq", found.a_multiplier <= row.most_luts))
    if row.most_share:
        aims.append((f"≤ {row.most_share:.0%} of the LUTs", found.lut_equivalents <= row.most_share * LUTS))
    return ", ".join(f"{aim} {'met' if met else '**missed**'}" for aim, met in aims) or "–"


def section(
    all_rows: Sequence[Row], reports: Sequence[Report], targets: Sequence[Target], versions: Sequence[str], seeds: int
) -> str:
    """Markdown of docs/results.md."""
    text = [
        f"`make bench-array` writes this table and the plot; last run on {date.today().isoformat()}, with",
        f"{' and '.join(versions)}. Operands come from block RAM, a checksum takes the results",
        "(`nmgen/fpga/array_harness.py`, counted in); all is Verilog as `nmgen generate` writes it. LUT-eq is",
        f"LUT4 + 2·CCU2C. On the LFE5U-85F (speed grade 6, CABGA381): `nextpnr-ecp5 --freq {ARRAY_MHZ} --router",
        f"{ROUTER}`, seeds 1 to {seeds}; MHz are least / **median** / most; the multipliers of portable",
        "elements are put into the slices of `--pe ecp5` (`nmgen/fpga/floorplan.py`). One array alone is",
        "`nmgen report ulx3s-85f --pe ecp5`.",
        "",
        *table(all_rows, reports, targets),
        "",
        "*DSP*: cells of the FPGA's own multipliers, two in a slice, of which N = 1 uses one. *Soft* rows have",
        "multipliers made of LUTs.",
        "",
        "Others, by the same tools on the same FPGA: "
        + "; ".join(f"{peer.name}: {peer.mhz} MHz, {peer.luts:g} LUT-eq a multiplier" for peer in PEERS)
        + ".",
        "",
        "**What is not timed.** " + " ".join(UNTIMED.split()) + " " + NOTE,
        "",
        "![clock against size of a multiplier](array.png)",
    ]
    return "\n".join(text)


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def plot(all_rows: Sequence[Row], reports: Sequence[Report], path: Path) -> None:
    """LUT equivalents a multiplier against MHz, of all seeds, beside the peers'."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    points, spans = [], []
    for row, found in zip(all_rows, reports, strict=True):
        if found.median_mhz is not None:
            middle, low, high = found.median_mhz, min(found.mhz), max(found.mhz)
            spread = [[middle - low], [high - middle]]
            drawn = axes.errorbar([found.a_multiplier], [middle], spread, marker="o", capsize=3)
            points.append((found.a_multiplier, middle, title(row.config), drawn.lines[0].get_color()))
            spans.append((found.a_multiplier, low, high))
    for peer, marker in zip(PEERS, "sD", strict=True):
        axes.plot([peer.luts], [peer.mhz], marker, color="grey")
        points.append((peer.luts, peer.mhz, peer.name, "#46505c"))
    axes.set_xscale("log", base=2)
    axes.set_xlim(16, 512)
    ticks = [16, 32, 64, 128, 256, 512]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(0)
    axes.set_xlabel("LUT-eq a multiplier (LUT4 + 2·CCU2C)")
    axes.set_ylabel("MHz, median and range over seeds")
    axes.grid(alpha=0.3)
    label(axes, points, spans)
    with written_whole(path) as written:
        figure.savefig(written, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-array", description="The array on FPGAs, over seeds.")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"of place and route ({SEEDS})")
    parser.add_argument("--jobs", type=int, metavar="N", help="tools that run at a time (as many as cores)")
    parser.add_argument("--json", action="store_true", help="print the numbers, and nothing else; write no page")
    args = parser.parse_args(argv)
    seeds = seeds_of(args.seeds)
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"jobs is {args.jobs}, must be at least 1")
    all_rows = rows()
    targets = [find_target(row.target) for row in all_rows]
    designs = [design_of(row.config, target, seeds) for row, target in zip(all_rows, targets, strict=True)]
    measured = measure(designs, FOLDER, jobs=args.jobs)
    reports = [report(row.config, target, one) for row, target, one in zip(all_rows, targets, measured, strict=True)]
    numbers = json.dumps([found.numbers() for found in reports], indent=1)
    if args.json:
        print(numbers)
        return 0
    with written_whole(FOLDER / "array.json") as path:
        path.write_text(numbers + "\n")
    versions = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    plot(all_rows, reports, ROOT / "docs" / "array.png")
    text = section(all_rows, reports, targets, versions, args.seeds)
    replace_section(ROOT / "docs" / "results.md", "array", text)
    print(f"{len(reports)} arrays: docs/results.md, docs/array.png, {FOLDER.relative_to(ROOT)}/array.json")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-array")


if __name__ == "__main__":
    sys.exit(process(main, "bench-array"))
