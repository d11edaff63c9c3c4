"""Reads the RTLIL text that Amaranth writes (yosys' intermediate language), as far as Amaranth uses it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

TOKEN = re.compile(r"(?P<wire>[\\$]\S+)(?: \[(?P<high>\d+)(?::(?P<low>\d+))?\])?|\d+'(?P<bits>[01x-]*)")
LEFT = re.compile(r"\{  \}|\S+(?: \[[\d:]+\])?")  # of an assignment: one wire, perhaps indexed, or nothing


@dataclass(frozen=True)
class Slice:
    """Some bits of a wire."""

    wire: str
    low: int
    width: int

    def cut(self, low: int, bits: int) -> "Slice":
        return Slice(self.wire, self.low + low, bits)


@dataclass(frozen=True)
class Constant:
    """Bits, the highest first: 0, 1 or x."""

    bits: str

    @property
    def width(self) -> int:
        return len(self.bits)

    def cut(self, low: int, bits: int) -> "Constant":
        end = len(self.bits) - low
        return Constant(self.bits[end - bits : end])


Sig: TypeAlias = tuple[Slice | Constant, ...]
"""A value: its parts, the lowest first."""


def width(sig: Sig) -> int:
    return sum(part.width for part in sig)


@dataclass
class Assign:
    left: Sig
    right: Sig


@dataclass
class Switch:
    """The first case of which a pattern matches the value; a pattern is bits, the highest first, '-' for any."""

    value: Sig
    cases: "Cases"  # without patterns: matches always


Body: TypeAlias = list[Assign | Switch]
Cases: TypeAlias = list[tuple[tuple[str, ...], Body]]


@dataclass
class Wire:
    width: int
    direction: str  # 'input', 'output', or '' for a wire inside
    attributes: dict[str, str]


@dataclass
class Memory:
    width: int
    depth: int
    attributes: dict[str, str]


@dataclass
class Cell:
    """An operator, a register, a memory's port or an instance; values are texts of RTLIL, or names of parameters."""

    kind: str
    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, Sig] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)  # of an instance: those of its ports that drive a wire
    foreign: bool = False  # an instance of no module of the design: a cell of the chip

    @property
    def is_operator(self) -> bool:
        """Whether it computes a value, of some bits."""
        return self.kind.startswith("$") and bool(self.ports.get("Y"))

    def number(self, parameter: str) -> int:
        return int(self.parameters[parameter])


@dataclass
class Module:
    name: str
    parameters: list[str] = field(default_factory=list)  # BELs of cells in it
    wires: dict[str, Wire] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: list[Body] = field(default_factory=list)
    connections: list[tuple[str, Sig]] = field(default_factory=list)


def parse(text: str) -> list[Module]:
    """The modules of an RTLIL text, in its order."""
    lines = (line for line in map(str.strip, text.splitlines()) if line)
    modules = []
    attributes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "attribute":
            name, _, value = rest.partition(" ")
            attributes[name[1:]] = value
        elif word == "module":
            modules.append(_module(rest[1:], lines))
            attributes = {}
        else:
            raise NotImplementedError(f"RTLIL line {line!r}")
    return modules


def _module(name: str, lines: Iterator[str]) -> Module:
    module = Module(name)

    def sig(text: str) -> Sig:
        return _sig(text, lambda wire: module.wires[wire].width)

    attributes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.partition(" ")
        match word:
            case "attribute":
                key, _, value = rest.partition(" ")
                attributes[key[1:]] = value
                continue
            case "wire":
                words = rest.split()
                direction = next((w for w in words if w in ("input", "output")), "")
                module.wires[words[-1]] = Wire(int(words[1]), direction, attributes)
            case "memory":
                words = rest.split()
                module.memories[words[-1]] = Memory(int(words[1]), int(words[3]), attributes)
            case "cell":
                module.cells.append(_cell(rest, lines, sig))
                module.cells[-1].attributes = attributes
            case "process":
                module.processes.append(_body(lines, sig)[0])
            case "connect":
                left, _, right = rest.partition(" ")
                module.connections.append((left, sig(right)))
            case "end":
                return module
            case _:
                raise NotImplementedError(f"RTLIL line {line!r}")
        attributes = {}
    raise ValueError(f"module {name} has no end")


def _cell(header: str, lines: Iterator[str], sig: Callable[[str], Sig]) -> Cell:
    kind, _, name = header.partition(" ")
    cell = Cell(kind, name)
    for line in lines:
        if line == "end":
            break
        word, key, value = line.split(" ", 2)
        if word == "connect":
            cell.ports[key[1:]] = sig(value)
            if re.fullmatch(r"[\\$]\S+", value):  # Amaranth writes what an instance reads with an index
                cell.outputs.add(key[1:])
        elif key in ("signed", "real"):  # parameter signed \NAME VALUE
            key, _, value = value.partition(" ")
            cell.parameters[key[1:]] = value
        else:
            cell.parameters[key[1:]] = value
    return cell


def _body(lines: Iterator[str], sig: Callable[[str], Sig]) -> tuple[Body, str]:
    """The statements before the next case or end, and that line."""
    body: Body = []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word in ("case", "end"):
            return body, line
        if word == "assign":
            left = LEFT.match(rest)
            assert left is not None
            if width(sig(left.group())):
                body.append(Assign(sig(left.group()), sig(rest[left.end() :])))
        elif word == "switch":
            body.append(Switch(sig(rest), _cases(lines, sig)))
        else:
            raise NotImplementedError(f"RTLIL line {line!r}")
    raise ValueError("a process has no end")


def _cases(lines: Iterator[str], sig: Callable[[str], Sig]) -> Cases:
    """The cases of a switch, up to its end."""
    cases: Cases = []
    line = next(lines)
    while line != "end":
        patterns = line.removeprefix("case").strip()
        body, line = _body(lines, sig)
        cases.append((tuple(bits.partition("'")[2] for bits in patterns.split(", ")) if patterns else (), body))
    return cases


def _sig(text: str, width_of: Callable[[str], int]) -> Sig:
    parts: list[Slice | Constant] = []
    for match in TOKEN.finditer(text):
        wire, high, low, bits = match.group("wire", "high", "low", "bits")
        if wire is None:
            parts.append(Constant(bits))
        elif high is None:
            parts.append(Slice(wire, 0, width_of(wire)))
        else:
            bottom = int(high if low is None else low)
            parts.append(Slice(wire, bottom, int(high) - bottom + 1))
    return tuple(reversed([part for part in parts if part.width]))
