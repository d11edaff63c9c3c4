"""Which paths of an ECP5 netlist are long before it is placed: ``python -m scripts.levels build/report/*/design.json``.

A wire counts WIRE_NS, about as much as one of the whole core has once it is routed, and the chip's own wires between
two cells nothing. So two minutes of yosys show what a change of the RTL is good for; place and route takes twenty.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmgen.fpga.timing_paths import Delays, Pin, TimedPath, worst_paths

WIRE_NS = 1.1
START_NS = 0.52  # from the clock edge
ABOVE_NS = (10, 9, 8.5, 8, 7.5, 7, 6.5, 6)
# Inputs and outputs of what paths go through, and the ns between them.
IN, OUT = ("A", "B", "C", "D"), ("Z",)
CARRY_IN = ("A0", "B0", "C0", "D0", "A1", "B1", "C1", "D1")
THROUGH: dict[str, list[tuple[Sequence[str], Sequence[str], float]]] = {
    "LUT4": [(IN, OUT, 0.24)],
    "PFUMX": [(("ALUT", "BLUT", "C0"), OUT, 0.2)],
    "L6MUX21": [(("D0", "D1", "SD"), OUT, 0.2)],
    "CCU2C": [
        (CARRY_IN, ("COUT",), 0.45),
        (CARRY_IN, ("S0", "S1"), 0.4),
        (("CIN",), ("COUT",), 0.07),
        (("CIN",), ("S0", "S1"), 0.45),
    ],
    "TRELLIS_DPR16X4": [(("RAD",), ("DO",), 0.24)],
}
BESIDE = {"PFUMX": ("ALUT", "BLUT"), "L6MUX21": ("D0", "D1"), "CCU2C": ("CIN",)}  # no wire of their own
CLOCKS = ("CLK", "WCK")


def estimated(cells: Mapping[str, Any]) -> Delays:
    """The delays of yosys's cells of one flat module."""
    delays = Delays(iter(()))
    sinks: dict[int, list[tuple[Pin, float]]] = defaultdict(list)
    drivers: dict[Pin, int] = {}
    for name, cell in cells.items():
        kind, through = cell["type"], THROUGH.get(cell["type"], [])
        ends = {port for inputs, _, _ in through for port in inputs}
        for port, bits in cell["connections"].items():
            for i, bit in enumerate(bits):
                pin = name, f"{port}{i}"
                if cell["port_directions"][port] == "output":
                    drivers[pin] = bit
                    if not through:
                        delays.starts[pin] = START_NS
                elif not port.startswith(CLOCKS) and not isinstance(bit, str):
                    sinks[bit].append((pin, 0 if port in BESIDE.get(kind, ()) else WIRE_NS))
                    if port not in ends:
                        delays.ends[pin] = 0
        for inputs, outputs, ns in through:
            pins = [
                [(name, f"{port}{i}") for port in ports for i in range(len(cell["connections"].get(port, ())))]
                for ports in (inputs, outputs)
            ]
            for source in pins[0]:
                delays.follows[source] += [(sink, ns) for sink in pins[1]]
    for pin, bit in drivers.items():
        delays.follows[pin] += sinks[bit]
    return delays


def register(pin: Pin) -> str:
    """The register, without the number of its bit."""
    return pin[0].partition("_TRELLIS_")[0].rstrip("0123456789_")


def report(paths: Sequence[TimedPath], most: int) -> str:
    """How many paths are longer than some bounds, and the longest of each pair of registers."""
    lines = [", ".join(f"{sum(path.ns > ns for path in paths)} above {ns} ns" for ns in ABOVE_NS)]
    pairs: dict[tuple[str, str], float] = {}
    for path in paths:
        pairs.setdefault((register(path.pins[0]), register(path.pins[-1])), path.ns)
    lines += [f"{ns:.2f}  {begin} → {end}" for (begin, end), ns in list(pairs.items())[:most]]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="levels", description="Long paths of an ECP5 netlist before it is placed.")
    parser.add_argument("netlists", nargs="+", type=Path, metavar="NETLIST", help="design.json of yosys, flat")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="pairs of registers (20)")
    args = parser.parse_args(argv)
    for netlist in args.netlists:
        modules = json.loads(netlist.read_text())["modules"].values()
        (top,) = [module for module in modules if int(module["attributes"].get("top", "0"), 2)]
        print(f"{netlist}: {report(worst_paths(estimated(top['cells'])), args.most)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
