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
CORE = "sta_core"
SEEDS = 3
PORTABLE = StaConfig()
SLICES = replace(PORTABLE, pe="ecp5", device=CHIP)
LEAST_MHZ = {SLICES: 130, PORTABLE: 85}
PROGRAMS = [(pattern, tokens) for tokens in (128, 32) for pattern in ("2:8", "1:8")]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Of MiniLM.

    Attributes
    ----------
    cycles : of each configuration
    """

    pattern: str
    tokens: int
    cycles: dict[StaConfig, int]


def by_parts(design: Design) -> Design:
    """The same synthesised without flattening, so that every Component has its own numbers; placed nowhere."""
    top = design.script.partition("-top ")[2].split()[0]
    lines = [f"read_verilog {VERILOG}", f"synth_ecp5 -noflatten -top {top}"]
    script = "\n".join([*lines, f"tee -q -o {CELLS} stat -json"]) + "\n"
    return Design(title=f"the Components of {design.title}", verilog=design.verilog, script=script)


def latencies() -> list[Latency]:
    """Cycles are the estimate's, which is the RTL's to the cycle; torch is run here, now."""
    from nmgen.bench.core import LATENCY, parameters
    from nmgen.estimate.cycles import Constants, estimate
    from nmgen.families.bert.compiler import compile_encoder

    found = []
    for pattern, tokens in PROGRAMS:
        cycles = {}
        for config in LEAST_MHZ:
            estimates = estimate(compile_encoder(parameters(pattern), config, (tokens,)), Constants(memory=LATENCY))
            cycles[config] = estimates[0].begin + sum(one.cycles for one in estimates)
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


def section(
    stat: Mapping[str, Any],
    found: Mapping[StaConfig, Report],
    times: Sequence[Latency],
    *,
    versions: Sequence[str],
    seeds: int,
) -> str:
    """Markdown of docs/results.md.

    Parameters
    ----------
    stat : what yosys counts of each module of the portable core
    found : of each configuration, flattened, placed and routed
    """
    rows = by_component(stat, CORE)
    whole = {
        "**all Components**": resources(stat, CORE),
        **{f"**flattened**, {config.pe}, with pins": _flat(one) for config, one in found.items()},
    }
    limits = {name: round(SHARE * number) if name == "LUTs" else number for name, number in HAS.items()}
    met = all(one[name] <= limits[name] for one in whole.values() for name in HAS)
    text = [
        "`make bench-core-area` writes these tables (`python -m nmgen.bench.core_area --place ecp5`: no clock of the",
        f"portable core); last run on {date.today().isoformat()}, with",
        f"{' and '.join(versions)}. The whole core, 8×8 PEs, N = 2, M = 8, 128 tokens, hidden 384:",
        "`yosys synth_ecp5 -noflatten` of the portable one, so that every Component has its own numbers, and",
        "`yosys synth_ecp5` of the core between shift registers that stand for pins, the ecp5 one mapped for the",
        "average path. LUTs are LUT4, two of each CCU2C (carry), and four of each DPR16X4 (LUT RAM).",
        "",
        _row(("Component", *HAS)),
        "|---|" + "---|" * len(HAS),
        *(_row((name, *(f"{n:,}" for n in part.values()))) for name, part in rows),
        *(_row((name, *(f"{n:,} ({n / HAS[kind]:.0%})" for kind, n in one.items()))) for name, one in whole.items()),
        _row((f"at most, in an {CHIP}", *(f"{limits[kind]:,}" for kind in HAS))),
        "",
        f"The bounds are {'met' if met else '**missed**'}.",
    ]
    if any(one.mhz for one in found.values()):
        text += ["", *_clock(found, seeds), "", *_latency(found, times), "", _untimed()]
    return "\n".join(text)


def _flat(one: Report) -> dict[str, int]:
    return dict(zip(HAS, (one.lut_equivalents, one.memories, one.slices, one.registers), strict=True))


def _clock(found: Mapping[StaConfig, Report], seeds: int) -> list[str]:
    options = find_target(BOARD).place(ROUTER, CORE_MHZ, *CORE_PLACER)
    text = [
        f"**Clock.** `nextpnr-ecp5 {' '.join(options)}`, seeds 1 to {seeds}; MHz are least /",
        f"**median** / most, – of a seed that does not route. One row in {ROWS_APART[0]} of the chip's logic is kept",
        "empty, elements and block RAM have places (`nmgen/fpga/floorplan.py`), multipliers and block RAM have",
        "registers from beside them (`nmgen/fpga/register_packing.py`; counted here). One core is",
        "`nmgen report ulx3s-85f --core --pe ecp5`.",
        "",
        _row(("processing elements", "LUT-eq", "FF", "MHz", "GMAC/s", "asked for")),
        "|---|---:|---:|---:|---:|---|",
    ]
    for config, one in found.items():
        least, gmacs = LEAST_MHZ[config], f"{one.gmacs:.1f}" if one.gmacs else "–"
        met = "not shown" if one.median_mhz is None else "met" if one.median_mhz >= least else "**missed**"
        numbers = f"{one.lut_equivalents:,}", f"{one.registers:,}", speed(one), gmacs
        text.append(_row((config.pe, *numbers, f"≥ {least} MHz {met}")))
    text += ["", "The worst paths at the median seed, one of each pair of Components that paths begin and end in:", ""]
    text += [_row(("processing elements", "ns", "in logic", "through")), "|---|---:|---:|---|"]
    for config, one in found.items():
        for path in one.paths:
            text.append(_row((config.pe, f"{path.ns:.1f}", f"{path.logic_ns:.1f}", " → ".join(path.through))))
    return text


def _latency(found: Mapping[StaConfig, Report], times: Sequence[Latency]) -> list[str]:
    text = [
        "**MiniLM, one sentence, ids to embedding.** Cycles by `nmgen estimate`, exact in all that was run above,",
        "memory latency 30, over the median clock. The image of a board has clocks of its own, and a slower memory:",
        "its times are [below](#the-encoder-on-a-ulx3s).",
        "",
        _row(
            (
                "tokens",
                "pattern",
                *(f"cycles, {config.pe}" for config in found),
                *(f"ms, {config.pe}" for config in found),
            )
        ),
        "|---|---" + "|---:" * (2 * len(found)) + "|",
    ]
    for one in times:
        cycles = [f"{one.cycles[config]:,}" for config in found]
        clocks = [
            f"{one.cycles[config] / 1000 / report.median_mhz:.1f}" if report.median_mhz else "–"
            for config, report in found.items()
        ]
        text.append(_row((str(one.tokens), one.pattern, *cycles, *clocks)))
    return text


def _untimed() -> str:
    return "**What is not timed.** " + " ".join(UNTIMED.split()) + " " + NOTE


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-core-area", description=f"The whole core in an {CHIP}.")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"of place and route ({SEEDS})")
    parser.add_argument("--jobs", type=int, metavar="N", help="tools that run at a time (as many as cores)")
    parser.add_argument("--place", choices=("all", "ecp5", "none"), default="all", help="cores that are placed (all)")
    args = parser.parse_args(argv)
    seeds = seeds_of(args.seeds)
    if args.jobs is not None and args.jobs < 1:
        raise InputError(f"jobs is {args.jobs}, must be at least 1")
    target = find_target(BOARD)
    designs = [design_of(config, target, seeds) for config in LEAST_MHZ]
    designs = [
        design if args.place in ("all", config.pe) else replace(design, place=None, seeds=())
        for config, design in zip(LEAST_MHZ, designs, strict=True)
    ]
    *measured, parts = measure([*designs, by_parts(designs[-1])], FOLDER, jobs=args.jobs)
    found = {config: report(config, target, one) for config, one in zip(LEAST_MHZ, measured, strict=True)}
    times = latencies() if args.place != "none" else []
    stat = json.loads((parts.synthesised / CELLS).read_text())
    versions = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    text = section(stat, found, times, versions=versions, seeds=args.seeds)
    replace_section(ROOT / "docs" / "results.md", "area", text)
    print(f"docs/results.md, {FOLDER.relative_to(ROOT)}/")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-core-area")


if __name__ == "__main__":
    sys.exit(process(main, "bench-core-area"))
