"""Tells elaborated Components apart without converting them: those with equal fingerprints give equal modules.

Converting is most of the time that a large array takes, and an array of 32 × 32 has 1024 equal elements.
"""

from hashlib import sha256
from typing import Any

from amaranth.hdl import Const, Fragment, Instance, Signal
from amaranth.hdl._ast import Assign, Concat, Operator, Part, Slice, Switch, SwitchValue
from amaranth.hdl._ir import PortDirection
from amaranth.hdl._mem import MemoryInstance


def fingerprint(fragment: Fragment, ports: dict[str, tuple[Signal, PortDirection]]) -> str | None:
    """A digest of all that a fragment's module follows from; None where the fragment holds what is not known here."""
    writer = _Writer()
    try:
        for name, (signal, direction) in ports.items():
            writer.add("port", name, direction.value)
            writer.signal(signal)
        writer.fragment(fragment)
    except NotImplementedError:
        return None
    return sha256("\n".join(writer.words).encode()).hexdigest()


class _Writer:
    """Writes a fragment down, word by word. Signals are numbered as they come, so that only their roles count."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.numbers: dict[int, int] = {}  # of signals, under their id

    def add(self, *words: object) -> None:
        self.words.extend(map(repr, words))

    def fragment(self, fragment: Fragment) -> None:
        if isinstance(fragment, Instance):
            self.add("instance", fragment.type, dict(fragment.parameters), dict(fragment.attrs))
            for name, (value, kind) in fragment.ports.items():
                self.add(name, kind)
                self.value(value)
            return
        if isinstance(fragment, MemoryInstance):
            self.memory(fragment)
            return
        if type(fragment) is not Fragment:
            raise NotImplementedError
        for domain, statements in fragment.statements.items():
            self.domain(fragment, domain)
            self.statements(statements)
        for inner, name, _ in fragment.subfragments:
            self.add("inner", name)
            self.fragment(inner)
        self.add("end", dict(fragment.attrs))

    def domain(self, fragment: Fragment, name: str) -> None:
        self.add("domain", name)
        if name != "comb":
            domain = fragment.domains[name]
            self.add(domain.clk_edge, domain.async_reset, domain.rst is None)
            self.signal(domain.clk)
            if domain.rst is not None:
                self.signal(domain.rst)

    def memory(self, memory: Any) -> None:
        data = memory._data
        self.add("memory", repr(data._shape), data._depth, data._init._raw, dict(memory._attrs))
        for port in (*memory._write_ports, *memory._read_ports):
            self.domain(memory, port._domain)
            self.add(getattr(port, "_transparent_for", None))
            for value in (port._addr, port._data, port._en):
                self.value(value)

    def statements(self, statements: Any) -> None:
        for statement in statements:
            if type(statement) is Assign:
                self.add("assign")
                self.value(statement.lhs)
                self.value(statement.rhs)
            elif type(statement) is Switch:
                self.add("switch")
                self.value(statement.test)
                for patterns, inner, _ in statement.cases:
                    self.add("case", patterns)
                    self.statements(inner)
                self.add("end")
            else:
                raise NotImplementedError

    def value(self, value: Any) -> None:
        kind = type(value)
        if kind is Signal:
            self.signal(value)
        elif kind is Const:
            self.add("const", value.value, len(value), value.shape().signed)
        elif kind is Operator:
            self.add("operator", value.operator, len(value.operands))
            for operand in value.operands:
                self.value(operand)
        elif kind is Slice:
            self.add("slice", value.start, value.stop)
            self.value(value.value)
        elif kind is Part:
            self.add("part", value.width, value.stride)
            self.value(value.value)
            self.value(value.offset)
        elif kind is Concat:
            self.add("concat", len(value.parts))
            for part in value.parts:
                self.value(part)
        elif kind is SwitchValue:
            self.add("choice", len(value.cases))
            self.value(value.test)
            for patterns, inner in value.cases:
                self.add(patterns)
                self.value(inner)
        else:
            raise NotImplementedError

    def signal(self, signal: Signal) -> None:
        number = self.numbers.setdefault(id(signal), len(self.numbers))
        self.words.append(f"signal {number}")
        if number == len(self.numbers) - 1:
            # What it is, where it is new. The names of its fields become comments. Repeating it does no harm.
            fields = getattr(signal._format, "_fields", ())
            self.add(signal.name, len(signal), signal._signed, signal.init, signal.reset_less, dict(signal.attrs))
            self.add(list(fields) if isinstance(fields, dict) else len(fields))
