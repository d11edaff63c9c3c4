"""What the whole core takes of an LFE5U-85F, by Component, and its clock: ``make bench-core-area``.

Its ports are more than the chip has pins: for place and route they are put between shift registers. The table goes into
docs/results.md, logs and netlists into build/area/.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from nmgen.build import COLLISIONS, ROUTER
from nmgen.sections import replace_section
from nmgen.tools import ToolError, find_tool
from nmgen.verilog import emit_modules
from rtl.params import InputError
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta

CHIP = "LFE5U-85F"
SHARE = 0.8  # of the LUTs, at most
LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 4}  # of a cell of each kind
KINDS = {"block RAM": "DP16KD", "multipliers": "MULT18X18D", "FF": "TRELLIS_FF"}
HAS = {"LUTs": 83640, "block RAM": 208, "multipliers": 156, "FF": 83640}
CORE, PINS = "sta_core", "sta_pins"
SPLIT = ("drain", "sequencer", "column_buffer")  # Components whose parts have rows of their own


class Pins(wiring.Component):
    """The core between shift registers: few pins, and every path between registers.

    Members
    -------
    shift_in : goes through all inputs of the core
    capture : take all outputs of the core, else shift them out
    shift_out : their last bit
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__({"shift_in": In(1), "capture": In(1), "shift_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = Sta(self._config)
        bit, outputs = self.shift_in, []
        for path, member, value in core.signature.flatten(core):
            if member.flow == In:
                register = Signal(len(value.as_value() if hasattr(value, "as_value") else value), name="_".join(path))
                m.d.sync += register.eq((register << 1) | bit)
                m.d.comb += value.eq(register)
                bit = register[-1]
            else:
                outputs.append(value)
        for i, value in enumerate(outputs):
            captured = Signal(len(value.as_value() if hasattr(value, "as_value") else value), name=f"captured_{i}")
            m.d.sync += captured.eq(Mux(self.capture, value, (captured << 1) | bit))
            bit = captured[-1]
        m.d.comb += self.shift_out.eq(bit)
        return m


def synthesis(config: StaConfig, folder: Path) -> str:
    """Writes core.v and pins.v; returns the script that makes core.stat.json of the core, by Component, and
    flat.stat.json and area.json of both, flattened."""
    top, core, *inner = emit_modules(Pins(config), name="pins", prefix="sta").items()
    (folder / "pins.v").write_text(top[1])
    (folder / "core.v").write_text("\n".join(text for _, text in (core, *inner)))
    return f"""
read_verilog core.v
{COLLISIONS}
synth_ecp5 -noflatten -top {core[0]}
tee -q -o core.stat.json stat -json
design -reset
read_verilog core.v pins.v
{COLLISIONS}
synth_ecp5 -top {top[0]}
tee -q -o flat.stat.json stat -json
write_json area.json
"""


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


def component(cell: str) -> str:
    """The Component of the core that a cell of the flat netlist lies in; those of SPLIT with what is in them."""
    first, *rest = cell.split(".")[1:-1] or ["between"]
    return " ".join([first, *rest[:1]]) if first in SPLIT else first


def worst_path(report: Mapping[str, Any]) -> tuple[float, list[tuple[str, float]]]:
    """(MHz, [(Component, ns on the worst path)]), in the order in which it passes them."""
    clock, speed = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    path = next(p["path"] for p in report["critical_paths"] if clock in p["from"] and clock in p["to"])
    passed: list[tuple[str, float]] = []
    for step in path:
        cell = step["to"]["cell"]
        name = component(cell) if cell.startswith("core.") else "pins"
        if passed and passed[-1][0] == name:
            passed[-1] = (name, passed[-1][1] + step["delay"])
        else:
            passed.append((name, step["delay"]))
    return speed["achieved"], passed


def section(stat: Mapping[str, Any], flat: Mapping[str, Any], report: Mapping[str, Any] | None, *, seed: int) -> str:
    """Markdown of docs/results.md; report is None where nothing was placed."""
    whole = {"**all Components**": resources(stat, CORE), "**flattened**, with pins": resources(flat, PINS)}
    limits = {name: round(SHARE * number) if name == "LUTs" else number for name, number in HAS.items()}
    met = all(one[name] <= limits[name] for one in whole.values() for name in HAS)
    text = [
        f"`make bench-core-area` writes this table; last run on {date.today().isoformat()}. The whole core, 8×8 PEs,",
        "N = 2, M = 8, 128 tokens, hidden 384: `yosys synth_ecp5 -noflatten`, so that every Component has its own",
        "numbers, and `yosys synth_ecp5`, as one uses it, of the core between shift registers that stand for pins.",
        "LUTs are LUT4, two of each CCU2C (carry), and four of each DPR16X4 (LUT RAM).",
        "",
        _row(("Component", *HAS)),
        "|---|" + "---|" * len(HAS),
        *(_row((name, *(f"{n:,}" for n in part.values()))) for name, part in by_component(stat, CORE)),
        *(_row((name, *(f"{n:,} ({n / HAS[kind]:.0%})" for kind, n in one.items()))) for name, one in whole.items()),
        _row((f"at most, in an {CHIP}", *(f"{limits[kind]:,}" for kind in HAS))),
        "",
        f"The bounds are {'met' if met else '**missed**'}.",
    ]
    if report is not None:
        mhz, passed = worst_path(report)
        logic = report["utilization"]["TRELLIS_COMB"]
        text += [
            f"After place and route of that (nextpnr-ecp5, {ROUTER}, seed {seed}, speed grade 6):",
            f"**{mhz:.1f} MHz**, {logic['used']:,} of {logic['available']:,} logic cells. The worst path: "
            + ", ".join(f"{ns:.1f} ns in {name}" for name, ns in passed)
            + ".",
        ]
    return "\n".join(text)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _run(program: str, arguments: Sequence[str], folder: Path, log: str) -> None:
    with (folder / log).open("wb") as sink:
        done = subprocess.run([find_tool(program), *arguments], cwd=folder, stdout=sink, stderr=sink, check=False)
    if done.returncode:
        raise ToolError(f"{program} failed: {folder / log}")


def synthesise(folder: Path) -> None:
    (folder / "area.ys").write_text(synthesis(StaConfig(), folder))
    _run("yosys", ["-s", "area.ys"], folder, "area.rpt")


def place(folder: Path, *, seed: int, mhz: float) -> None:
    chip = "--85k --package CABGA381 --speed 6 --json area.json --report area.report.json --lpf-allow-unconstrained"
    options = f"--router {ROUTER} --freq {mhz} --timing-allow-fail --seed {seed}"
    _run("nextpnr-ecp5", f"{chip} {options}".split(), folder, "area.tim")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench-core-area", description=f"The whole core in an {CHIP}.")
    parser.add_argument("--seed", type=int, default=1, help="of place and route (1)")
    parser.add_argument("--mhz", type=float, default=50, help="clock that place and route aims at (50)")
    parser.add_argument("--no-place", action="store_true", help="synthesis alone: a table without a clock")
    parser.add_argument("--write", action="store_true", help="run no tool: write the table of what build/area/ has")
    args = parser.parse_args(argv)
    root = Path(__file__).resolve().parent.parent
    folder = root / "build" / "area"
    placed = folder / "area.report.json"
    try:
        if not args.write:
            folder.mkdir(parents=True, exist_ok=True)
            placed.unlink(missing_ok=True)
            synthesise(folder)
            if not args.no_place:
                place(folder, seed=args.seed, mhz=args.mhz)
        stat, flat = (json.loads((folder / f"{name}.stat.json").read_text()) for name in ("core", "flat"))
        report = json.loads(placed.read_text()) if placed.exists() else None
        replace_section(root / "docs" / "results.md", "area", section(stat, flat, report, seed=args.seed))
    except (InputError, ToolError, OSError) as error:
        print(f"bench-core-area: {error}", file=sys.stderr)
        return 2
    print("docs/results.md, build/area/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
