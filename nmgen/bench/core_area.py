"""What the whole core takes of an LFE5U-85F, by Component, its clock over seeds, and MiniLM's latency: ``make
bench-core-area``.

Its ports are more than the chip has pins: it stands between shift registers (`nmgen.fpga.core_harness`). What the tools
make is kept in build/report/, so a bench that was stopped goes on where it was. The tables go into docs/results.md.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from nmgen.bench.array import NOTE
from nmgen.bench.command import bench
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.fpga.floorplan import ROWS_APART
from nmgen.fpga.place_and_route import CELLS, VERILOG, Design, measure
from nmgen.fpga.place_and_route import seeds as seeds_of
from nmgen.fpga.report import CORE_MHZ, CORE_PLACER, UNTIMED, Report, design_of, report, speed
from nmgen.fpga.router_watchdog import ROUTER
from nmgen.fpga.targets import find_target
from nmgen.fpga.timing_paths import SPLIT
from nmgen.fpga.tools import find_tool, tool_version
from rtl.params import InputError
from rtl.sta.params import StaConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "report"
BOARD, CHIP = "ulx3s-85f", "LFE5U-85F"
SHARE = 0.8  # of the LUTs, at most
LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}  # of a cell of each kind
KINDS = {"block RAM": "DP16KD", "multipliers": "MULT18X18D", "FF": "TRELLIS_FF"}
HAS = {"LUTs": 83640, "block RAM": 208, "multipliers": 156, "FF": 83640}
TOP = "sta_core"
SEEDS = 3
TOKENS = (128, 32)


@dataclass(frozen=True, kw_only=True)
class Core:
    """A core that is measured. Its clock has a section of its own, so that cores are placed one by one.

    Attributes
    ----------
    name : of `--place`, and of the section
    flags : of `nmgen report ulx3s-85f --core`
    least_mhz : that are asked for
    patterns : of MiniLM
    """

    name: str
    title: str
    config: StaConfig
    flags: str
    least_mhz: int
    patterns: tuple[str, ...] = ("2:8", "1:8")


SLICES = StaConfig(pe="ecp5", device=CHIP)
PORTABLE = Core(name="portable", title="portable", config=StaConfig(), flags="--pe portable", least_mhz=85)
CORES = (
    Core(name="ecp5", title="ecp5", config=SLICES, flags="--pe ecp5", least_mhz=130),
    PORTABLE,
    Core(
        name="m16",
        title="ecp5, M = 16",
        config=replace(SLICES, m=16, store_words=1536),  # as many as leave block RAM for wider groups
        flags="--pe ecp5 --m 16 --store-words 1536",
        least_mhz=130,
        patterns=("4:16", "2:16"),
    ),
    Core(
        name="soft",
        title="ecp5, 8×16 with 4 soft rows",
        config=replace(SLICES, cols=16, soft_rows=4, store_words=1024),
        flags="--pe ecp5 --cols 16 --soft-rows 4 --store-words 1024",
        least_mhz=100,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of MiniLM on a core, ids to embedding."""

    pattern: str
    tokens: int
    cycles: int


def by_parts(design: Design) -> Design:
    """The same synthesised without flattening, so that every Component has its own numbers; placed nowhere."""
    top = design.script.partition("-top ")[2].split()[0]
    lines = [f"read_verilog {VERILOG}", f"synth_ecp5 -noflatten -top {top}"]
    script = "\n".join([*lines, f"tee -q -o {CELLS} stat -json"]) + "\n"
    return Design(title=f"the Components of {design.title}", verilog=design.verilog, script=script)


def latencies(core: Core) -> list[Latency]:
    """Cycles are the estimate's, which is the RTL's to the cycle; torch is run here, now."""
    from nmgen.bench.core import LATENCY, parameters
    from nmgen.estimate.cycles import Constants, estimate
    from nmgen.families.bert.compiler import compile_encoder

    found = []
    for pattern in core.patterns:
        pruned = parameters(pattern)
        for tokens in TOKENS:
            estimates = estimate(compile_encoder(pruned, core.config, (tokens,)), Constants(memory=LATENCY))
            cycles = estimates[0].begin + sum(one.cycles for one in estimates)
            found.append(Latency(pattern=pattern, tokens=tokens, cycles=cycles))
    return found


def resources(stat: Mapping[str, Any], module: str) -> dict[str, int]:
    """LUTs, and the others of HAS, of a module with all that is in it; stat is what yosys says of each module."""
    total = dict.fromkeys(HAS, 0)
    for kind, number in stat["modules"][f"\\{module}"]["num_cells_by_type"].items():
        total["LUTs"] += LUTS.get(kind, 0) * number
        for name in (name for name, cell in KINDS.items() if cell == kind):
            total[name] += number
        if f"\\{kind}" in stat["modules"]:
            for name, inner in resources(stat, kind).items():
                total[name] += number * inner
    return total


def by_component(stat: Mapping[str, Any], module: str) -> list[tuple[str, dict[str, int]]]:
    """(name, resources) of each Component in a module, those of SPLIT followed by what is in them; largest first."""
    cells = stat["modules"][f"\\{module}"]["num_cells_by_type"]
    rows = []
    inside = {kind: resources(stat, kind) for kind in cells if f"\\{kind}" in stat["modules"]}
    for kind, one in sorted(inside.items(), key=lambda item: -cells[item[0]] * item[1]["LUTs"]):
        name = kind.removeprefix("sta_")
        times = f" ×{cells[kind]}" if cells[kind] > 1 else ""
        rows.append((name + times, {what: cells[kind] * number for what, number in one.items()}))
        if name in SPLIT:
            rows += [(f"– {inner}", part) for inner, part in by_component(stat, kind)]
    return rows


def area(stat: Mapping[str, Any], found: Mapping[Core, Report], version: str) -> str:
    """Markdown of docs/results.md.

    Parameters
    ----------
    stat : what yosys counts of each module of the portable core
    found : of each core, flattened
    """
    rows = by_component(stat, TOP)
    whole = {
        "**all Components**": resources(stat, TOP),
        **{f"**flattened**, {core.title}, with pins": _flat(one) for core, one in found.items()},
    }
    limits = {name: round(SHARE * number) if name == "LUTs" else number for name, number in HAS.items()}
    met = all(one[name] <= limits[name] for one in whole.values() for name in HAS)
    text = [
        "`make bench-core-area` writes this table and those of the clocks below (`python -m nmgen.bench.core_area",
        f"--place none`: this one); last run on {date.today().isoformat()}, with",
        f"{version}. The whole core, 8×8 PEs, N = 2, M = 8, 128 tokens, hidden 384:",
        "`yosys synth_ecp5 -noflatten` of the portable one, so that every Component has its own numbers, and",
        "`yosys synth_ecp5` of the core between shift registers that stand for pins, those of ecp5 elements mapped for",
        "the average path. LUTs are LUT4, two of each CCU2C (carry), and four of each DPR16X4 (LUT RAM).",
        "",
        _row(("Component", *HAS)),
        "|---|" + "---|" * len(HAS),
        *(_row((name, *(f"{n:,}" for n in part.values()))) for name, part in rows),
        *(_row((name, *(f"{n:,} ({n / HAS[kind]:.0%})" for kind, n in one.items()))) for name, one in whole.items()),
        _row((f"at most, in an {CHIP}", *(f"{limits[kind]:,}" for kind in HAS))),
        "",
        f"The bounds are {'met' if met else '**missed**'}.",
        "",
        *_clocks(),
    ]
    return "\n".join(text)


def _flat(one: Report) -> dict[str, int]:
    return dict(zip(HAS, (one.lut_equivalents, one.memories, one.slices, one.registers), strict=True))


def clock(core: Core, found: Report, times: Sequence[Latency], *, versions: Sequence[str], seeds: int) -> str:
    """Markdown of a core's clock, its worst paths, and MiniLM on it."""
    options = find_target(BOARD).place(ROUTER, CORE_MHZ, *CORE_PLACER)
    met = "met" if (found.median_mhz or 0) >= core.least_mhz else "**missed**"
    gmacs = f"{found.gmacs:.1f}" if found.gmacs else "–"
    text = [
        f"`python -m nmgen.bench.core_area --place {core.name}` writes these tables of **{core.title}**,",
        f"`nmgen report {BOARD} --core {core.flags} --seeds {seeds}`; last run on {date.today().isoformat()},",
        f"synthesised and placed with {' and '.join(versions)},",
        f"`nextpnr-ecp5 {' '.join(options)}`.",
        "",
        _row(("LUT-eq", "FF", "MHz", "GMAC/s", "asked for")),
        "|---:|---:|---:|---:|---|",
        _row(
            (
                f"{found.lut_equivalents:,}",
                f"{found.registers:,}",
                speed(found),
                gmacs,
                f"≥ {core.least_mhz} MHz {met}",
            )
        ),
    ]
    if found.paths:
        text += ["", _row(("ns", "in logic", "worst paths, through")), "|---:|---:|---|"]
        text += [_row((f"{one.ns:.1f}", f"{one.logic_ns:.1f}", " → ".join(one.through))) for one in found.paths]
    text += ["", _row(("tokens", "pattern", "cycles", "ms")), "|---:|---|---:|---:|"]
    for one in times:
        ms = f"{one.cycles / 1000 / found.median_mhz:.2f}" if found.median_mhz else "–"
        text.append(_row((str(one.tokens), one.pattern, f"{one.cycles:,}", ms)))
    return "\n".join(text)


def _clocks() -> list[str]:
    """What holds for the clocks of all cores."""
    return [
        "### Clocks",
        "",
        "MHz are least / **median** / most of the seeds, – of one that does not route. One row in",
        f"{ROWS_APART[0]} of the chip's logic is kept empty where there is room, elements and block RAM have places",
        "(`nmgen/fpga/floorplan.py`), multipliers and block RAM have registers from beside them",
        "(`nmgen/fpga/register_packing.py`; counted here). Worst paths are those of the median seed, one of each pair",
        "of Components that paths begin and end in. Cycles are of one sentence of MiniLM, ids to embedding, by",
        "`nmgen estimate`, exact in all that was run above, memory latency 30; ms are these over the median clock.",
        "In groups of 16 the patterns 4:16 and 2:16 keep as many weights as 2:8 and 1:8. The image of a board has",
        "clocks of its own, and a slower memory: its times are [below](#the-encoder-on-a-ulx3s).",
        "",
        "**What is not timed.** " + " ".join(UNTIMED.split()) + " " + NOTE,
    ]


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-core-area", description=f"The whole core in an {CHIP}.")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"of place and route ({SEEDS})")
    parser.add_argument("--jobs", type=int, metavar="N", help="tools that run at a time (as many as cores)")
    names = [core.name for core in CORES]
    parser.add_argument(
        "--place",
        choices=("all", *names, "none"),
        default="all",
        help="all cores (this), one of them without the table of areas, or none: the table alone",
    )
    args = parser.parse_args(argv)
    seeds = seeds_of(args.seeds)
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"jobs is {args.jobs}, must be at least 1")
    target, page = find_target(BOARD), ROOT / "docs" / "results.md"
    placed = [core for core in CORES if args.place in ("all", core.name)]
    tabled = args.place in ("all", "none")
    designs = {core: design_of(core.config, target, seeds) for core in (CORES if tabled else placed)}
    parts = [by_parts(designs[PORTABLE])] if tabled else []
    alone = [design if core in placed else replace(design, place=None, seeds=()) for core, design in designs.items()]
    measured = measure([*alone, *parts], FOLDER, jobs=args.jobs)
    found = {core: report(core.config, target, one) for core, one in zip(designs, measured, strict=False)}
    versions = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    if tabled:
        stat = json.loads((measured[-1].synthesised / CELLS).read_text())
        replace_section(page, "area", area(stat, found, versions[0]))
    for core in placed:
        text = clock(core, found[core], latencies(core), versions=versions, seeds=args.seeds)
        replace_section(page, f"clock-{core.name}", text)
    print(f"docs/results.md, {FOLDER.relative_to(ROOT)}/")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-core-area")


if __name__ == "__main__":
    sys.exit(process(main, "bench-core-area"))
