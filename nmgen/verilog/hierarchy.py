"""Cuts an elaborated design into the modules that its Components are, each with its signature as its ports.

Amaranth on its own gives every instance a module of its own, whose ports depend on what the parent happens to connect.
Here each Component becomes a module with all the members of its signature, and equal modules are folded into one. Where
these differ in the sites (BELs) of a chip's cells alone, the module has a parameter for each of its cells' sites.
"""

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Fragment, Instance, ResetInserter, Signal, ValueCastable
from amaranth.hdl._ir import Design, PortDirection
from amaranth.hdl._mem import MemoryInstance
from amaranth.hdl._xfrm import TransformedElaboratable
from amaranth.lib.wiring import Component, In

from nmgen.verilog.constants import fold
from nmgen.verilog.fingerprint import fingerprint
from nmgen.verilog.instances import bits_of_signals
from nmgen.verilog.rtlil import Cell, Module, parse
from nmgen.verilog.widths import fit

Ports = dict[str, tuple[Signal, PortDirection]]


@dataclass
class Unit:
    """What one Component turned into: a module, and the submodules in it that are no Components."""

    modules: list[Module]
    kind: str  # class of the Component, in snake case
    about: str  # first line of its docstring
    labels: list[str] = field(default_factory=list)  # names of its instances, without their indices
    sites: list[str] = field(default_factory=list)  # parameters: the BELs of cells in it


def modules(component: Component, *, name: str, prefix: str) -> list[tuple[Module, str]]:
    """The modules of a design, each before those in it, with a line that says what it is.

    The top is called prefix_name; the others after their instances, without the indices of these.
    """
    ports = _members(component)
    design = Fragment.get(component, None).prepare(ports)
    clocks = {port: (signal, PortDirection.Input) for port, signal, _ in design.ports[len(ports) :]}
    units: dict[str, Unit] = {}
    top, sites = _Cut(design, clocks, units).convert(design.fragment, component, clocks | ports)
    units[top].labels.append(name)
    _settle(units, top, sites)
    names = _names(units, top, prefix)
    known = {f"\\{module.name}": module for unit in units.values() for module in unit.modules}
    outputs = {
        kind: {p[1:] for p, wire in module.wires.items() if wire.direction == "output"}
        for kind, module in known.items()
    }
    result = []
    for unit in _outside_in(units, top):
        for module in unit.modules:
            module.name = _renamed(module.name, names)
            for cell in module.cells:
                if cell.kind in known:
                    cell.outputs = outputs[cell.kind]
                    cell.kind = "\\" + _renamed(cell.kind[1:], names)
                else:
                    cell.foreign = cell.kind.startswith("\\")
            bits_of_signals(module)
            fold(module)
            fit(module)
            result.append((module, unit.about))
    return result


def _members(component: Component) -> Ports:
    """The ports that a Component's signature describes."""
    ports: Ports = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, ValueCastable):
            value = value.as_value()
        # A member tied to a constant (an always ready stream) and one of no bits are no wires.
        if isinstance(value, Signal) and len(value):
            direction = PortDirection.Input if member.flow == In else PortDirection.Output
            ports["__".join(map(str, path))] = (value, direction)
    return ports


def _leave_undefined(memory: MemoryInstance) -> None:
    """Drop the initial contents of a memory that can be written, if all of them are zero: thousands of lines."""
    if not any(memory._data._init._raw):
        memory._data = copy(memory._data)
        memory._data._init = copy(memory._data._init)
        memory._data._init._raw = []


def _component(fragment: Fragment) -> Component | None:
    """The Component that a fragment was elaborated from."""
    origins = [origin for origin in fragment.origins or () if isinstance(origin, Component)]
    return origins[-1] if origins and type(fragment) is Fragment else None


def _resets(fragment: Fragment) -> Ports:
    """The signals that a ResetInserter around a Component brings in."""
    transformed = [origin for origin in fragment.origins or () if isinstance(origin, TransformedElaboratable)]
    inserted = [one for origin in transformed for one in origin._transforms_ if isinstance(one, ResetInserter)]
    signals = [signal for one in inserted for signal in one.controls.values()]
    return {signal.name: (signal, PortDirection.Input) for signal in signals}


@dataclass
class _Cut:
    """Cuts one design. Every module takes those of the top's clocks and resets that it uses, and ResetInserter's."""

    design: Design
    clocks: Ports
    units: dict[str, Unit]  # under the RTLIL text that they came from, so that equal modules are one
    texts: dict[str | None, str] = field(default_factory=dict)  # the RTLIL text of each fingerprint

    def convert(self, fragment: Fragment, component: Component, ports: Ports) -> tuple[str, dict[str, str]]:
        """Convert a Component after those in it; returns its key in units, and the BELs in it.

        Takes unused clocks out of ports.
        """
        sites: dict[str, str] = {}
        self.cut(fragment, sites)
        for port, (signal, _) in ports.items():
            signal.name = port
        known = fingerprint(fragment, ports)
        if known not in self.texts:
            inside = Design(fragment, [(port, *signal) for port, signal in ports.items()], hierarchy=("unit$",))
            text: str = rtlil.convert_fragment(inside, emit_src=False)[0]
            if known is not None:
                self.texts[known] = text
        else:
            text = self.texts[known]
        if text not in self.units:
            own = re.sub(r"\\unit\$(?=[.\s])", rf"\\unit{len(self.units)}", text)
            kind = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(component).__name__).lower()
            about = (type(component).__doc__ or "").strip().partition("\n")[0]
            self.units[text] = unit = Unit(parse(own), kind, about, sites=list(sites))
            _refer(unit)
        for clock in self.clocks:
            if f"\\{clock} [0]" not in text:
                ports.pop(clock, None)
                self.units[text].modules[0].wires.pop(f"\\{clock}", None)
        return text, sites

    def cut(self, fragment: Fragment, sites: dict[str, str] | None = None) -> None:
        """Replace the Components in a fragment by instances of their modules, and BELs by parameters, put in sites.

        Without sites, in what is no module of its own, the BELs stay.
        """
        for i, (inner, name, location) in enumerate(fragment.subfragments):
            if isinstance(inner, MemoryInstance) and inner._write_ports:
                _leave_undefined(inner)
            if isinstance(inner, Instance) and "BEL" in inner.attrs:
                inner.attrs["BEL"] = _parameter(sites, f"{name or ''}_BEL", inner.attrs["BEL"])
            component = _component(inner)
            self.clocks.update(_resets(inner))
            members = _members(component) if component is not None else {}
            used = self.design.fragments[inner].used_signals
            ports = {port: clock for port, clock in self.clocks.items() if clock[0] in used} | members
            if component is None or not self._separable(fragment, inner, ports):
                self.cut(inner)
                continue
            key, below = self.convert(inner, component, ports)
            unit = self.units[key]
            name = name or unit.kind
            connections: dict[str, Any] = {
                f"p_{parameter}": _parameter(sites, f"{name}_{parameter}", bel) for parameter, bel in below.items()
            }
            for port, (signal, direction) in ports.items():
                if port in members:
                    signal.name = f"{name}__{port}"
                connections[("i_" if direction is PortDirection.Input else "o_") + port] = signal
            unit.labels.append(re.sub(r"(_\d+)+$", "", name))
            number = list(self.units).index(key)
            fragment.subfragments[i] = (Instance(f"unit{number}", **connections), name, location)

    def _separable(self, parent: Fragment, fragment: Fragment, ports: Ports) -> bool:
        """Whether nothing but these ports is shared between a fragment and what is around it."""
        outside = self.design.fragments[parent].used_signals
        inside = self.design.fragments[fragment].used_signals
        allowed = {id(signal) for signal, _ in ports.values()}
        return all(id(signal) in allowed for signal in inside if signal in outside and len(signal))


def _parameter(sites: dict[str, str] | None, name: str, bel: str) -> str:
    """The parameter to write instead of a BEL, which is put in sites; the BEL itself where there can be none."""
    name = name.upper()
    if sites is None or name in sites or not re.fullmatch(r"[A-Z]\w*", name):
        return bel
    sites[name] = bel
    return name


def _refer(unit: Unit) -> None:
    """Make names of parameters of the texts that stand for them in a unit just read."""
    unit.modules[0].parameters = unit.sites
    texts = {f'"{name}"': name for name in unit.sites}
    for cell in unit.modules[0].cells:
        _replace(cell, texts)


def _replace(cell: Cell, texts: Mapping[str, str]) -> None:
    """Replace values of a cell's parameters and attributes."""
    for values in (cell.parameters, cell.attributes):
        values.update({key: texts[value] for key, value in values.items() if value in texts})


def _settle(units: dict[str, Unit], top: str, sites: dict[str, str]) -> None:
    """Write BELs themselves into a unit that is there once: it needs no parameters."""
    numbered = {f"\\unit{i}": unit for i, unit in enumerate(units.values())}
    instances: dict[int, list[Cell]] = {}  # of units, under their id; one several times where its parent is

    def count(unit: Unit) -> None:
        for cell in (cell for module in unit.modules for cell in module.cells if cell.kind in numbered):
            instances.setdefault(id(numbered[cell.kind]), []).append(cell)
            count(numbered[cell.kind])

    count(units[top])
    whole = Cell(top, top, {name: f'"{bel}"' for name, bel in sites.items()})
    instances[id(units[top])] = [whole]
    for unit in _outside_in(units, top):
        if unit.sites and len(instances[id(unit)]) == 1:
            (instance,) = instances[id(unit)]
            texts = {name: instance.parameters.pop(name) for name in unit.sites}
            for cell in unit.modules[0].cells:
                _replace(cell, texts)
            unit.modules[0].parameters = []


def _names(units: dict[str, Unit], top: str, prefix: str) -> dict[str, str]:
    """A name for each unit: its instances', else its class's; where that is taken, with its parent's, else a number."""
    keys = {unit.modules[0].name: key for key, unit in units.items()}
    parents: dict[str, str] = {}
    for unit in _outside_in(units, top):
        for cell in (cell for module in unit.modules for cell in module.cells if cell.kind[1:] in keys):
            parents.setdefault(cell.kind[1:], unit.modules[0].name)
    labels = {}
    for number, key in keys.items():
        unit = units[key]
        label = unit.labels[0] if len(set(unit.labels)) == 1 else unit.kind
        labels[number] = re.sub(r"\W", "_", label).lower()
    names: dict[str, str] = {}
    for unit in _outside_in(units, top):
        number = unit.modules[0].name
        label = labels[number]
        parent = parents.get(number, units[top].modules[0].name)
        if list(labels.values()).count(label) > 1 and parent != units[top].modules[0].name:
            label = f"{labels[parent]}_{label}"
        choices = [f"{prefix}_{label}", *(f"{prefix}_{label}_{i}" for i in range(2, len(units) + 2))]
        names[number] = next(choice for choice in choices if choice not in names.values())
    return names


def _renamed(name: str, names: dict[str, str]) -> str:
    """The final name of a module, or of a submodule `unit.inner` that is no Component."""
    unit, _, inner = name.partition(".")
    return "_".join([names.get(unit, unit), *inner.split(".")] if inner else [names.get(unit, unit)])


def _outside_in(units: dict[str, Unit], top: str) -> list[Unit]:
    """The units, each before those in it, otherwise in the order of their instances."""
    numbered = {f"\\unit{i}": unit for i, unit in enumerate(units.values())}
    found: list[Unit] = []

    def visit(unit: Unit) -> None:
        if not any(unit is other for other in found):
            found.append(unit)
            for cell in (cell for module in unit.modules for cell in module.cells if cell.kind in numbered):
                visit(numbered[cell.kind])

    visit(units[top])
    return found
