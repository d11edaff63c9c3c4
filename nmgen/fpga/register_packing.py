"""Registers beside a multiplier or a block RAM become its own: what yosys leaves to do on an ECP5.

A MULT18X18D has registers at its operands, within, and at its product; a DP16KD at its outputs, which come 5 ns
after the clock without. yosys makes all of logic. That costs a portable element 102 flip-flops and as many wires in
the densest part of the chip, and multipliers and block RAM their speed.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

Cell = dict[str, Any]

WIDTH = 18  # of an operand, and of a port of a block RAM
ROUTED = ("SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB", "CE0", "RST0")  # constants there take wires
LOGIC = (
    "LUT4",
    "PFUMX",
    "L6MUX21",
    "CCU2C",
    "TRELLIS_DPR16X4",
)  # beside a flip-flop, to which it has a wire of its own
PASS = "10" * 8  # of a LUT: input A
PLAIN = {"CEMUX": "1", "REGSET": "RESET"}  # of a flip-flop without an enable that begins at 0, as the multiplier's do


class _Nets:
    """Who drives a bit, and who reads it."""

    def __init__(self, module: Mapping[str, Any]) -> None:
        self.cells: dict[str, Cell] = module["cells"]
        self.registers: dict[int, str] = {}  # bit → the flip-flop that drives it
        self.readers: dict[int, list[tuple[str, str]]] = defaultdict(list)  # bit → cells and their ports
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                for bit in bits:
                    if cell["port_directions"].get(port) != "output":
                        self.readers[bit].append((name, port))
                    elif _is_plain(cell):
                        self.registers[bit] = name
        for port in module["ports"].values():
            for bit in port["bits"]:
                self.readers[bit].append(("", ""))

    def before(self, name: str, bits: Sequence[int]) -> list[str] | None:
        """The flip-flops that drive all of the bits; None where one does not.

        Nor where others read them, unless flip-flops are before these as well: the operands come from there then.
        """
        found = [self.registers[bit] for bit in bits if bit in self.registers]
        chain = all(self.cells[one]["connections"]["DI"][0] in self.registers for one in found)
        return (
            found if len(found) == len(bits) > 0 and (chain or all(self.read_by(name, bit) for bit in bits)) else None
        )

    def read_by(self, name: str, bit: int) -> bool:
        """Whether nothing but the cell reads the bit."""
        return all(reader == name for reader, _ in self.readers[bit])

    def behind(self, bits: Iterable[int]) -> list[str] | None:
        """The flip-flops that alone read the bits, each of them one; else None."""
        found = []
        for bit in bits:
            (name, port), *others = self.readers[bit] or [("", "")]
            if others or port != "DI" or not _is_plain(self.cells[name]):
                return None
            found.append(name)
        return found

    def move(self, name: str, port: str, bit: int) -> None:
        """Have the cell's port read another bit."""
        connections = self.cells[name]["connections"]
        self.readers[connections[port][0]].remove((name, port))
        self.readers[bit].append((name, port))
        connections[port] = [bit]

    def remove(self, register: str) -> None:
        connections = self.cells.pop(register)["connections"]
        self.readers[connections["DI"][0]].remove((register, "DI"))
        self.registers.pop(connections["Q"][0], None)


def pack_registers(module: Mapping[str, Any]) -> int:
    """Do it in a module of yosys's JSON, flat; returns how many flip-flops are gone.

    Only registers of the same clock, without enable and reset, of operands that are both signed or neither.
    Multipliers that have registers already stay as they are.
    """
    nets = _Nets(module)
    before = len(nets.cells)
    multipliers = [
        name
        for name, cell in nets.cells.items()
        if cell["type"] == "MULT18X18D" and not any(parameter.startswith("REG_") for parameter in cell["parameters"])
    ]
    memories = [name for name, cell in nets.cells.items() if cell["type"] == "DP16KD"]
    for name in memories:
        parameters = nets.cells[name]["parameters"]
        wide = any(int(str(parameters.get(f"DATA_WIDTH_{side}", "0")), 2) > WIDTH for side in "AB")
        for sides in ("AB",) if wide else ("A", "B"):
            _pack_outputs(nets, name, sides)
    for name in multipliers:
        signs = [nets.cells[name]["connections"][port] for port in ("SIGNEDA", "SIGNEDB")]
        if signs in ([["0"]] * 2, [["1"]] * 2):
            _pack_operands(nets, name)
    gone = before - len(nets.cells)
    fresh = _fresh(nets.cells)
    for name in multipliers:
        for value in "01":
            _tie(nets.cells, name, value, fresh)
    return gone


def give_luts(module: Mapping[str, Any], names: re.Pattern[str]) -> int:
    """Put a LUT that passes its input on before each flip-flop of these names that has no logic there, in place.

    Without one it gets its input by the wire by which a PFUMX in the same half of a slice is selected. Returns how
    many.
    """
    cells: dict[str, Cell] = module["cells"]
    drivers = {
        bit: cell["type"]
        for cell in cells.values()
        for port, bits in cell["connections"].items()
        if cell["port_directions"].get(port) == "output"
        for bit in bits
    }
    fresh = _fresh(cells)
    luts: dict[str, Cell] = {}
    for name, cell in cells.items():
        if cell["type"] == "TRELLIS_FF" and names.search(name):
            driven = cell["connections"]["DI"]
            if isinstance(driven[0], int) and drivers.get(driven[0]) not in LOGIC:
                passed = [next(fresh)]
                luts[f"{name}.own_lut"] = _lut(PASS, {"A": driven}, passed)
                cell["connections"]["DI"] = passed
    cells |= luts
    return len(luts)


def _pack_outputs(nets: _Nets, name: str, sides: str) -> None:
    """Of a port of a block RAM that is always enabled. One of 36 bits has the outputs of both sides: these get the same
    enable, so that it does not matter which side's governs which half."""
    cell = nets.cells[name]
    connections = cell["connections"]
    enables = [*(f"CE{side}" for side in sides), f"OCE{sides[-1]}"]
    enabled = all(connections.get(enable) == ["1"] for enable in enables)
    ports = [port for side in sides for i in range(WIDTH) if (port := f"DO{side}{i}") in connections]
    used = [port for port in ports if nets.readers[connections[port][0]]]
    registers = nets.behind(connections[port][0] for port in used)
    modes = [f"REGMODE_{side}" for side in sides]
    if enabled and registers and all(cell["parameters"].get(mode, "NOREG") == "NOREG" for mode in modes):
        clocks = [connections[f"CLK{side}"] for side in sides]
        clocks += [nets.cells[register]["connections"]["CLK"] for register in registers]
        if any(clock != clocks[0] for clock in clocks):
            return
        for port, register in zip(used, registers, strict=True):
            connections[port] = nets.cells[register]["connections"]["Q"]
            nets.remove(register)
        cell["parameters"] |= dict.fromkeys(modes, "OUTREG")
        connections |= {f"OCE{side}": ["1"] for side in sides}


def _pack_operands(nets: _Nets, name: str) -> None:
    cell = nets.cells[name]
    connections = cell["connections"]
    clocks: set[int] = set()

    def clock(registers: list[str] | None) -> bool:
        """Whether there are registers, all of the multiplier's one clock."""
        of = {nets.cells[register]["connections"]["CLK"][0] for register in registers or ()}
        fits = bool(registers) and len(clocks | of) == 1
        if fits:
            clocks.update(of)
        return fits

    operands = {
        side: [port for i in range(WIDTH) if connections.get(port := f"{side}{i}", ["0"]) != ["0"]] for side in "AB"
    }
    before = {side: nets.before(name, [connections[port][0] for port in ports]) for side, ports in operands.items()}
    if all(before.values()) and clock(
        [*(before["A"] or ()), *(before["B"] or ())]
    ):  # or nextpnr times it as of neither
        for side, ports in operands.items():
            own = before[side] or []
            for port, register in zip(ports, own, strict=True):
                nets.move(name, port, nets.cells[register]["connections"]["DI"][0])
            for register in set(own):
                if not nets.readers[nets.cells[register]["connections"]["Q"][0]]:
                    nets.remove(register)
            cell["parameters"][f"REG_INPUT{side}_CLK"] = "CLK0"
    for stage in ("OUTPUT", "PIPELINE"):
        used = [port for port, bits in connections.items() if port[0] == "P" and nets.readers[bits[0]]]
        registers = nets.behind(connections[port][0] for port in used)
        if not registers or not clock(registers):
            break
        for port, register in zip(used, registers, strict=True):
            connections[port] = nets.cells[register]["connections"]["Q"]
            nets.remove(register)
        cell["parameters"][f"REG_{stage}_CLK"] = "CLK0"
    if clocks:
        cell["port_directions"] |= dict.fromkeys(("CLK0", "CE0", "RST0"), "input")
        connections |= {"CLK0": list(clocks), "CE0": ["1"], "RST0": ["0"]}


def _tie(cells: dict[str, Cell], name: str, value: str, fresh: Iterator[int]) -> None:
    """Constants that nextpnr has to route come from a LUT of the multiplier's own: one for all would cross the chip."""
    connections = cells[name]["connections"]
    ports = [port for port in ROUTED if connections.get(port) == [value]]
    if ports:
        bit = next(fresh)
        connections |= {port: [bit] for port in ports}
        cells[f"{name}.tie_{value}"] = _lut(value * 16, {}, [bit])


def _lut(init: str, inputs: Mapping[str, Sequence[Any]], output: Sequence[int]) -> Cell:
    return {
        "hide_name": 0,
        "type": "LUT4",
        "parameters": {"INIT": init},
        "attributes": {},
        "port_directions": dict.fromkeys("ABCD", "input") | {"Z": "output"},
        "connections": {port: ["0"] for port in "ABCD"} | dict(inputs) | {"Z": list(output)},
    }


def _fresh(cells: Mapping[str, Cell]) -> Iterator[int]:
    """Numbers of bits that no cell is connected to."""
    bits = (bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits)
    return count(1 + max((bit for bit in bits if isinstance(bit, int)), default=1))


def _is_plain(cell: Cell) -> bool:
    parameters = cell["parameters"]
    plain = all(parameters.get(key, value).strip() == value for key, value in PLAIN.items())
    return plain and cell["type"] == "TRELLIS_FF" and cell["connections"]["LSR"] == ["0"]
