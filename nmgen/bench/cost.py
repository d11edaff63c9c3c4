"""The cost model fitted to synthesised and placed designs, and tested on others: ``make bench-cost``.

Engines and cores drawn by a seed are synthesised twice, Component by Component and flat, and some of them placed; what
the tools make is kept in build/report/, so a bench that was stopped goes on where it was. Designs and fit go into
nmgen/cost/ecp5.json, tables of the fit into docs/results.md: its own errors, and those of a fit to all other designs.
``--check SEED`` draws ten designs that were not fitted and sets what was predicted beside what the tools say.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nmgen.bench.command import bench
from nmgen.bench.core_area import KINDS, LUTS, by_parts
from nmgen.bench.sections import replace_section
from nmgen.console.ending import process
from nmgen.console.files import written_whole
from nmgen.console.progress import say, stages
from nmgen.cost.draw import DEVICE, drawn
from nmgen.cost.model import (
    GROWN,
    TABLE,
    by_component,
    clock_terms,
    cost_of,
    fitted,
    kind_of,
    portable_ns,
    room_of,
    share_of,
    softmax_ns,
)
from nmgen.cost.terms import flat_terms, grown, terms
from nmgen.fpga.place_and_route import CELLS, Design, Measured, measure
from nmgen.fpga.report import design_of
from nmgen.fpga.targets import find_target
from nmgen.fpga.tools import find_tool, tool_version
from rtl.params import Config
from rtl.sta.params import StaConfig

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "report"
BOARD = "ulx3s-85f"
FIRST = 100  # number of the first design; a core's is CORES more
CORES = 1000
# Fitted, too: an engine with words of its store in LUT RAM, which none of those drawn has, and the cores of
# `make bench-core-area`.
IN_LUT_RAM = Config(n=1, m=16, rows=6, cols=5, drain=8, port_bytes=8, max_tokens=128, max_k=768)
BASES: dict[str, tuple[Config, ...]] = {
    "engine": (IN_LUT_RAM,),
    "core": (StaConfig(pe="ecp5", device=DEVICE), StaConfig()),
}
# By kind, how many designs are synthesised in parts, how many of these flat, and which ones are placed. A core of 8x8
# portable elements does not route; engines with M = 32 take long to.
FITTED = {"engine": (93, 77), "core": (45, 15)}
PLACED = {"engine": (1, 2, 3, 5, 6, 8), "core": (0, 2, 5)}
CHECKED = {"engine": 8, "core": 2}
CELLS_OF = {"luts": LUTS, "registers": {KINDS["FF"]: 1}}
TITLES = {"luts": "LUT-eq", "registers": "registers"}
Record = dict[str, Any]


# --- what the tools say ----------------------------------------------------------------------------------------------
def fitted_configs(kind: str) -> list[Config]:
    first = FIRST + CORES * (kind == "core")
    bases = BASES[kind]
    return [*bases, *(drawn(random.Random(first + i), kind) for i in range(FITTED[kind][0] - len(bases)))]


def checked_configs(seed: int) -> list[Config]:
    """Ten that were not fitted."""
    rng = random.Random(f"check {seed}")
    known = {config for kind in FITTED for config in fitted_configs(kind)}
    found: list[Config] = []
    for kind, count in CHECKED.items():
        while sum(kind_of(config) == kind for config in found) < count:
            config = drawn(rng, kind)
            if config not in known and config not in found:
                found.append(config)
    return found


def flat_design(config: Config, seeds: tuple[int, ...]) -> Design:
    """Placed with each of the seeds, if there are any."""
    design = design_of(config, find_target(BOARD), seeds, engine=kind_of(config) == "engine")
    return design if seeds else replace(design, place=None)


def record(config: Config, parts: Measured | None, flat: Measured | None) -> Record:
    """What was found of a design, for JSON."""
    found: Record = {"kind": kind_of(config), "config": asdict(config)}
    if parts is not None:
        stat = json.loads((parts.synthesised / CELLS).read_text())
        found["components"] = components(stat["modules"])
    if flat is not None:
        found["flat"] = {what: _count(flat.cells, kinds) for what, kinds in CELLS_OF.items()}
        found["flat"] |= {"block_rams": flat.cells.get("DP16KD", 0), "multipliers": flat.cells.get("MULT18X18D", 0)}
        if flat.mhz:
            found["mhz"] = [round(mhz, 1) for mhz in flat.mhz]
    return found


def components(modules: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Cells of each Component of the top, and "own" for what is in none.

    modules : as yosys counts them, of a design between pins
    """
    pins = next(name for name in modules if name.endswith("_pins"))
    prefix = pins.removeprefix("\\").removesuffix("pins")
    inside = [kind for kind in modules[pins]["num_cells_by_type"] if _module(modules, kind)]
    (core,) = inside
    found: dict[str, dict[str, int]] = {}
    top = modules[_module(modules, core)]["num_cells_by_type"]
    for kind, number in top.items():
        if module := _module(modules, kind):
            found[kind.removeprefix(prefix)] = {
                what: number * _inside(modules, module, kinds) for what, kinds in CELLS_OF.items()
            }
    found["own"] = {
        what: _inside(modules, pins, kinds) - sum(one[what] for one in found.values())
        for what, kinds in CELLS_OF.items()
    }
    return found


def _module(modules: Mapping[str, Any], kind: str) -> str:
    """The module's name; '' of a cell that is none."""
    return next((name for name in (f"\\{kind}", kind) if name in modules), "")


def _inside(modules: Mapping[str, Any], name: str, kinds: Mapping[str, int]) -> int:
    cells = modules[name]["num_cells_by_type"]
    total = _count(cells, kinds)
    for kind, number in cells.items():
        if module := _module(modules, kind):
            total += number * _inside(modules, module, kinds)
    return total


def _count(cells: Mapping[str, int], kinds: Mapping[str, int]) -> int:
    return sum(number * cells.get(kind, 0) for kind, number in kinds.items())


# --- the fit ---------------------------------------------------------------------------------------------------------
def fit(records: Sequence[Record]) -> dict[str, Any]:
    """Coefficients as `nmgen.cost.model` takes them."""
    known: dict[str, Any] = {}
    for kind in FITTED:
        own = [one for one in records if one["kind"] == kind]
        known[kind] = {what: _fit_components(own, records, what) for what in CELLS_OF}
        known[kind]["flat"] = {what: _fit_flat(known[kind], what, own) for what in CELLS_OF}
        clocks = [(config_of(one), 1000 / median(filter(None, one["mhz"]))) for one in own if any(one.get("mhz", ()))]
        # Those that the softmax holds say nothing of the rest.
        if free := [(config, ns) for config, ns in clocks if ns > HELD * softmax_ns(config)]:
            wanted = [ns - portable_ns(config) for config, ns in free]
            known[kind]["ns"] = nonnegative([clock_terms(config) for config, _ in free], wanted)
        else:
            known[kind]["ns"] = fitted()[kind]["ns"]
    return known


# Components that cores have as engines have them: fitted to engines, of which there are more. By itself, a core's array
# of DSP slices with M of 16 and more has registers that are gone in the flat design.
ALIKE = ("array",)


def _fit_components(own: Sequence[Record], every: Sequence[Record], what: str) -> dict[str, dict[str, float]]:
    """own : records of one kind. every : of both"""
    found = {}
    engines = [one for one in every if one["kind"] == "engine"]
    rows, rows_of_engines = ([terms(config_of(one)) for one in records] for records in (own, engines))
    for component in rows[0]:
        records, of = (engines, rows_of_engines) if component in ALIKE else (own, rows)
        wanted = [one["components"][component][what] for one in records]
        found[component] = nonnegative([row[component] for row in of], wanted)
    return found


def _fit_flat(own: Mapping[str, Any], what: str, records: Sequence[Record]) -> dict[str, float]:
    """The shares of what the Components are predicted to have, and what grows, which is LUTs."""
    flat = [one for one in records if "flat" in one]
    rows: list[dict[str, float]] = []
    for one in flat:
        config = config_of(one)
        row = {GROWN: grown(config)} if what == "luts" else {}
        for component, cells in by_component(own, what, flat_terms(config)).items():
            share = share_of(component, config)
            row[share] = row.get(share, 0.0) + cells
        rows.append(row)
    return nonnegative(rows, [one["flat"][what] for one in flat])


TINY = 1e-9  # a coefficient
HELD = 1.1  # periods that are nearer to the softmax's are held by it
LEAST_CELLS = 30  # an error of a few cells in fewer is none


def nonnegative(rows: Sequence[Mapping[str, float]], wanted: Sequence[float]) -> dict[str, float]:
    """Non-negative coefficients of the terms, by least squares of the relative errors; those that are zero left out."""
    from scipy.optimize import nnls

    names = list(dict.fromkeys(name for row in rows for name in row))
    weights = 1 / np.maximum(np.array(wanted, float), LEAST_CELLS if max(wanted) > LEAST_CELLS else 1)
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    found, _ = nnls(matrix * weights[:, np.newaxis], np.array(wanted, float) * weights)
    return {name: float(f"{number:.5g}") for name, number in zip(names, found, strict=True) if number > TINY}


def config_of(one: Record) -> Config:
    return (StaConfig if one["kind"] == "core" else Config)(**one["config"])


# --- tables ----------------------------------------------------------------------------------------------------------
def fit_table(table: Mapping[str, Any]) -> str:
    """Markdown."""
    records, coefficients = table["designs"], table["coefficients"]
    text = [
        f"`make bench-cost` writes this table and nmgen/cost/ecp5.json; last run on {table['date']}, with",
        f"{' and '.join(table['tools'])}. Cells of each Component, synthesised on its own, as fitted to",
        f"{FITTED['engine'][0]} engines and {FITTED['core'][0]} "
        "cores drawn by a seed: each term times its coefficient, added up. *error*: of the",
        "designs that were fitted, median / worst.",
        "",
        "| | Component | LUT-eq | error | registers | error |",
        "|---|---|---|---:|---|---:|",
    ]
    for kind in FITTED:
        own, designs = coefficients[kind], [one for one in records if one["kind"] == kind]
        for component in terms(config_of(designs[0])):
            cells = []
            for what in CELLS_OF:
                cells += [_sum_of(own[what][component]), _errors(own, what, component, designs)]
            text.append(f"| {kind} | {component} | {' | '.join(cells)} |")
    text += ["", "The flat design has a share of these, and decoders of bitmaps that grow, fitted to flat designs:", ""]
    for kind in FITTED:
        for what in CELLS_OF:
            shares = ", ".join(f"{name} {share:.2f}" for name, share in coefficients[kind]["flat"][what].items())
            text.append(f"* what is left of {what}, {kind}: {shares}")
    text += [
        "",
        "The period in ns, fitted to placed designs; of a core at least what the softmax takes, which grows with N:",
        "",
    ]
    text += [f"* {kind}: {_sum_of(coefficients[kind]['ns'])}" for kind in FITTED]
    return "\n".join(text)


def _sum_of(coefficients: Mapping[str, float]) -> str:
    return " + ".join(
        f"{number:.4g}" if name == "1" else f"{number:.4g}·{name}" for name, number in coefficients.items()
    )


def _errors(own: Mapping[str, Any], what: str, component: str, designs: Iterable[Record]) -> str:
    errors = []
    for one in designs:
        predicted = by_component(own, what, terms(config_of(one)))[component]
        measured = one["components"][component][what]
        errors.append(abs(predicted - measured) / max(measured, LEAST_CELLS))
    return f"{median(errors):.0%} / {max(errors):.0%}"


def check_table(options: str, found: Sequence[tuple[Config, Record]]) -> tuple[str, bool]:
    """(Markdown, whether all bounds hold): what was predicted of designs that were not fitted, and what they are.

    options : of the command that measured them
    """
    room = room_of(find_target(BOARD))
    text = [
        f"`python -m nmgen.bench.cost {options}` writes this table; last run on {date.today()}. Designs",
        "drawn by that seed that were not fitted: as predicted, and as the tools make them.",
        "",
        "| design | LUT-eq | | registers | | block RAM | multipliers | MHz | | fits |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    errors: dict[str, list[float]] = {"luts": [], "registers": [], "mhz": []}
    exact = fits = 0
    for config, one in found:
        cost, flat = cost_of(config), one["flat"]
        off = {what: getattr(cost, what) / flat[what] - 1 for what in CELLS_OF}
        for what, error in off.items():
            errors[what].append(abs(error))
        exact += (cost.block_rams, cost.multipliers) == (flat["block_rams"], flat["multipliers"])
        really = all(flat[what] <= getattr(room, what) for what in ("luts", "registers", "block_rams", "multipliers"))
        fits += (room.lacks(cost) is None) == really
        routed = [mhz for mhz in one.get("mhz", ()) if mhz]
        clock = ""
        if routed:
            errors["mhz"].append(abs(cost.mhz / median(routed) - 1))
            clock = f"{cost.mhz / median(routed) - 1:+.1%}"
        text.append(
            f"| {kind_of(config)} {_name(config)} "
            f"| {cost.luts:,} of {flat['luts']:,} | {off['luts']:+.1%} "
            f"| {cost.registers:,} of {flat['registers']:,} | {off['registers']:+.1%} "
            f"| {cost.block_rams} of {flat['block_rams']} | {cost.multipliers} of {flat['multipliers']} "
            f"| {cost.mhz:.0f} of {f'{median(routed):.0f}' if routed else '–'} | {clock} "
            f"| {'yes' if really else 'no'} |"
        )
    middle = {what: median(one) if one else 0.0 for what, one in errors.items()}
    worst = {what: max(one, default=0.0) for what, one in errors.items()}
    held = (
        all(middle[what] <= 0.05 and worst[what] <= 0.12 for what in CELLS_OF)
        and middle["mhz"] <= 0.10
        and exact == fits == len(found)
    )
    verdict = ("met" if errors["mhz"] else "met, as far as they were measured") if held else "**missed**"
    clocks = f"clock {middle['mhz']:.1%} / {worst['mhz']:.1%}" if errors["mhz"] else "clocks not measured"
    text += [
        "",
        f"Errors, median / worst: LUT-eq {middle['luts']:.1%} / {worst['luts']:.1%}, registers "
        f"{middle['registers']:.1%} / {worst['registers']:.1%}, {clocks}; "
        f"block RAM and multipliers exact in {exact} of {len(found)}, what fits right in {fits}. The bounds "
        f"(5 % / 12 %, 5 % / 12 %, 10 %, all, all) are {verdict}.",
    ]
    return "\n".join(text), held and bool(errors["mhz"])


LARGEST = 3  # errors that the table names


def left_out_table(records: Sequence[Record]) -> str:
    """Markdown: the flat designs, each predicted by a fit to all others."""
    text = [
        f"`make bench-cost` writes this table; last run on {date.today()}. The flat designs above, each as a fit to",
        "all others predicts it: errors, and the largest of them.",
        "",
        "| | of | designs | median | nine of ten within | largest |",
        "|---|---|---:|---:|---:|---|",
    ]
    flat = [i for i, one in enumerate(records) if "flat" in one]
    errors: dict[tuple[str, str], list[tuple[float, Config]]] = {}
    with stages() as stage:
        for number, i in enumerate(flat, 1):
            stage(f"left out [{number}/{len(flat)}]")
            one, config = records[i], config_of(records[i])
            cost = cost_of(config, fit([*records[:i], *records[i + 1 :]]))
            for what in CELLS_OF:
                off = getattr(cost, what) / one["flat"][what] - 1
                errors.setdefault((one["kind"], what), []).append((off, config))
    for (kind, what), found in errors.items():
        found.sort(key=lambda pair: -abs(pair[0]))
        sizes = [abs(off) for off, _ in found]
        largest = "; ".join(f"{off:+.1%} {_name(config)}" for off, config in found[:LARGEST])
        within = sizes[len(sizes) // 10]
        text.append(f"| {kind} | {TITLES[what]} | {len(found)} | {median(sizes):.1%} | {within:.1%} | {largest} |")
    return "\n".join(text)


def _name(config: Config) -> str:
    return f"{config.rows}×{config.cols}, N = {config.n}, M = {config.m}, {config.pe}"


# --- the command -----------------------------------------------------------------------------------------------------
def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="bench-cost", description="The cost model: fitted, or checked.")
    parser.add_argument("--check", type=int, metavar="SEED", help="ten designs that were not fitted, and nothing else")
    parser.add_argument("--fit", action="store_true", help="fit what the table has, without any tool (half a minute)")
    parser.add_argument(
        "--kind", choices=tuple(FITTED), help="these alone; fitted ones of the other stay as the table has them"
    )
    parser.add_argument("--seeds", type=int, metavar="N", default=1, help="of place and route (1)")
    parser.add_argument("--jobs", type=int, metavar="N", help="tools that run at a time (as many as cores)")
    parser.add_argument("--no-place", action="store_true", help="no clocks: those that are there stay")
    args = parser.parse_args(argv)
    seeds = () if args.no_place else tuple(range(1, args.seeds + 1))
    page = ROOT / "docs" / "results.md"
    if args.check is not None:
        configs = [one for one in checked_configs(args.check) if args.kind in (None, kind_of(one))]
        measured = measure([flat_design(config, seeds) for config in configs], FOLDER, jobs=args.jobs)
        found = [(config, record(config, None, one)) for config, one in zip(configs, measured, strict=True)]
        options = f"--check {args.check}" + (f" --kind {args.kind}" if args.kind else "") + " --no-place" * (not seeds)
        text, held = check_table(options, found)
        replace_section(page, "cost-check", text)
        say(text.splitlines()[-1])
        return 0 if held else 1
    if args.fit:
        _write(page, _table())
        return 0
    records: list[Record] = []
    for kind in FITTED:
        if args.kind in (None, kind):
            records += _measured(kind, seeds, args.jobs)
        else:
            records += [one for one in _table()["designs"] if one["kind"] == kind]
    if args.no_place:
        clocks = {json.dumps(one["config"]): one["mhz"] for one in _table()["designs"] if "mhz" in one}
        for one in records:
            if mhz := clocks.get(json.dumps(one["config"])):
                one["mhz"] = mhz
    tools = [tool_version(find_tool(program), program) for program in ("yosys", "nextpnr-ecp5")]
    _write(page, {"tools": tools, "date": str(date.today()), "designs": records})
    return 0


def _write(page: Path, table: dict[str, Any]) -> None:
    """With its fit, and a section of the page."""
    table = {**table, "coefficients": fit(table["designs"])}
    with written_whole(TABLE) as file:
        file.write_text(json.dumps(table, indent=1) + "\n")
    replace_section(page, "cost", fit_table(table))
    replace_section(page, "cost-left-out", left_out_table(table["designs"]))
    print(f"docs/results.md, {TABLE.relative_to(ROOT)}")


def _table() -> dict[str, Any]:
    """What is kept now."""
    found: dict[str, Any] = json.loads(TABLE.read_text())
    return found


def _measured(kind: str, seeds: tuple[int, ...], jobs: int | None) -> list[Record]:
    """Of the designs of a kind that are fitted."""
    configs, flat = fitted_configs(kind), FITTED[kind][1]
    designs = [by_parts(flat_design(config, ())) for config in configs]
    designs += [flat_design(config, seeds if i in PLACED[kind] else ()) for i, config in enumerate(configs[:flat])]
    measured = measure(designs, FOLDER, jobs=jobs)
    parts, flats = measured[: len(configs)], measured[len(configs) :]
    return [record(config, parts[i], flats[i] if i < len(flats) else None) for i, config in enumerate(configs)]


def main(argv: Sequence[str] | None = None) -> int:
    return bench(lambda: run(argv), "bench-cost")


if __name__ == "__main__":
    sys.exit(process(main, "bench-cost"))
