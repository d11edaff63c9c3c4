"""Timing paths of a placed and routed design, by Component, out of the delays that nextpnr writes (SDF).

nextpnr reports one path of a clock, its worst. A list of the worst would be of the same few Components again and
again; here each pair of Components, one that a path begins in and one that it ends in, is asked for its own.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

Pin = tuple[str, str]  # cell, port

SPLIT = ("post_processor", "sequencer", "column_buffer")  # Components of the core whose parts count as such

ALU = "ALU54B"  # whose ports nextpnr does not time. Instead, ns of a multiplier's that has its registers:
ALU_RESULT = 0.735  # from the clock edge to P, for R
ALU_OPCODE = 0.084  # that A and B want before it, for OP

DELAY = re.compile(r"\([^():]+:[^():]+:([^():]+)\)")  # least, typical and most ps
SETUP = re.compile(r"\(SETUPHOLD \(\w+ ([^()]+)\)")


@dataclass(frozen=True, kw_only=True)
class TimedPath:
    """From the clock of one register, or memory, to the next.

    Attributes
    ----------
    pins : of cells that it passes, from the first output to the last input
    ns : from clock edge to clock edge; logic_ns : of that, what is no wire
    """

    pins: tuple[Pin, ...]
    ns: float
    logic_ns: float


class Delays:
    """What a file of delays says.

    Attributes
    ----------
    follows : pin → those that it drives, each with the ns to there
    starts : outputs of registers and memories, with the ns from the clock edge
    ends : their inputs, with the ns that they want before it
        Those of an ALU54B, of which the file says nothing, have what stands for them.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.follows: dict[Pin, list[tuple[Pin, float]]] = defaultdict(list)
        self.starts: dict[Pin, float] = {}
        self.ends: dict[Pin, float] = {}
        cell, alus, of_alu = "", set(), False
        for line in lines:
            kind, _, rest = line.strip().replace("\\", "").partition(" ")
            if "(CELLTYPE" in line:
                of_alu = f'"{ALU}"' in line
            elif kind == "(INSTANCE":
                cell = rest.rstrip(") ")
                if of_alu:
                    alus.add(cell)
            elif kind == "(INTERCONNECT":
                driver, driven = rest.split()[:2]
                self.follows[_pin(driver)].append((_pin(driven), _ns(rest)))
            elif kind == "(IOPATH":
                source, sink = rest.split()[:2]
                if "CLK" in source or source == "WCK":
                    self.starts[cell, sink] = max(_ns(rest), self.starts.get((cell, sink), 0))
                else:
                    self.follows[cell, source].append(((cell, sink), _ns(rest)))
            elif found := SETUP.match(line.strip()):
                pin = cell, found[1]
                self.ends[pin] = max(_ns(line), self.ends.get(pin, 0))
        results = {(cell, port) for cell, port in self.follows if cell in alus and port.startswith("R")}
        self.starts |= dict.fromkeys(results, ALU_RESULT)
        inputs = (pin for sinks in self.follows.values() for pin, _ in sinks)
        self.ends |= {(cell, port): ALU_OPCODE for cell, port in inputs if cell in alus and port.startswith("OP")}


def _pin(path: str) -> Pin:
    cell, _, port = path.rpartition("/")
    return cell, port


def _ns(text: str) -> float:
    return float(DELAY.findall(text)[0]) / 1000


def worst_paths(delays: Delays) -> list[TimedPath]:
    """The worst path to each register's or memory's input, slowest first."""
    drivers = Counter(sink for sinks in delays.follows.values() for sink, _ in sinks)
    arrival, before = dict(delays.starts), {}
    ready = [pin for pin in {*delays.follows, *delays.starts} if not drivers[pin]]
    while ready:
        pin = ready.pop()
        for sink, ns in delays.follows.get(pin, ()):
            if pin in arrival and arrival[pin] + ns > arrival.get(sink, -1):
                arrival[sink], before[sink] = arrival[pin] + ns, pin
            drivers[sink] -= 1
            if not drivers[sink]:
                ready.append(sink)
    paths = []
    for end, setup in delays.ends.items():
        if end not in arrival:
            continue
        pins = [end]
        while pins[-1] in before:
            pins.append(before[pins[-1]])
        pins.reverse()
        wires = sum(arrival[b] - arrival[a] for a, b in pairwise(pins) if a[0] != b[0])
        ns = arrival[end] + setup
        paths.append(TimedPath(pins=tuple(pins), ns=ns, logic_ns=ns - wires))
    return sorted(paths, key=lambda path: -path.ns)


def read_paths(sdf: Path) -> list[TimedPath]:
    """`worst_paths` of a file of delays."""
    with sdf.open() as lines:
        return worst_paths(Delays(lines))


def component(cell: str) -> str:
    """The Component of the core that a cell of the flat netlist lies in; those of SPLIT with what is in them."""
    first, *rest = cell.split(".")
    if first != "core":
        return "pins"
    first, *rest = rest[:-1] or ["between"]
    names = [first, *rest[:1]] if first in SPLIT else [first]
    return " ".join(re.sub(r"_\d+$", "", name) for name in names)


def passed(path: TimedPath) -> list[str]:
    """The Components that a path passes, in order."""
    names = (component(cell) for cell, _ in path.pins)
    return [name for name, _ in groupby(names)]


def worst_by_component(paths: Iterable[TimedPath], number: int) -> list[TimedPath]:
    """The worst paths, slowest first, one of each pair of Components that paths begin and end in."""
    worst: dict[tuple[str, str], TimedPath] = {}
    for path in paths:
        worst.setdefault((component(path.pins[0][0]), component(path.pins[-1][0])), path)
    return list(worst.values())[:number]
