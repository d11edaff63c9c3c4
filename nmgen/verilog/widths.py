"""Makes wires as wide as what is read of them, and operands as wide as their operators.

Amaranth computes every carry, hands on every field, and extends what is narrower in silence. A person declares what is
used and writes down what is extended, and that is what lint asks for.
"""

from collections import defaultdict
from collections.abc import Iterator

from nmgen.verilog.rtlil import Assign, Body, Cell, Constant, Module, Sig, Slice, Switch, width
from nmgen.verilog.statements import cut, is_constant, read, whole

COMPARISONS = {"$eq", "$ne", "$lt", "$le", "$gt", "$ge"}
BITWISE = {"$and", "$or", "$xor"}
# Operands of which the low bits alone decide the low bits of the result.
RING = {
    **dict.fromkeys(("$add", "$sub", "$mul", "$mux", *BITWISE), "AB"),
    **dict.fromkeys(("$neg", "$not", "$shl"), "A"),
}
SHIFTS_RIGHT = {"$shr", "$sshr", "$shift"}
CARRYING = {"$add", "$sub"}  # of whose operands everyone knows that they are extended by a bit, for the carry


def fit(module: Module) -> None:
    """Cut every wire above the highest of its bits that is read, and drop what nobody reads; extend all operands."""
    reading = _Reading(module)
    reading.cut()
    for cell in reading.operators.values():
        _extend(cell)


class _Reading:
    """How many of the low bits of each wire are needed, for the outputs, the instances and the memories."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self.operators = {whole(cell.ports["Y"]): cell for cell in module.cells if cell.is_operator}
        self._registers = {whole(cell.ports["Q"]): cell for cell in module.cells if cell.kind == "$dff"}
        self._processes = {_target(body): body for body in module.processes}
        self._needed: dict[str, int] = defaultdict(int)
        sources = list(self._sinks())
        while sources:
            for part in sources.pop():
                if isinstance(part, Slice) and part.low + part.width > self._needed[part.wire]:
                    self._needed[part.wire] = part.low + part.width
                    sources += self._behind(part.wire)

    def _sinks(self) -> Iterator[Sig]:
        """What is read whatever happens."""
        outputs = {name: wire for name, wire in self._module.wires.items() if wire.direction == "output"}
        yield tuple(Slice(name, 0, wire.width) for name, wire in outputs.items())
        yield from (sig for name, sig in self._module.connections if name in outputs)
        for cell in self._module.cells:
            if not cell.is_operator and cell.kind != "$dff":
                driven = {"DATA"} if cell.kind == "$memrd_v2" else cell.outputs
                yield from (sig for port, sig in cell.ports.items() if port not in driven)

    def _behind(self, wire: str) -> Iterator[Sig]:
        """What is read for the needed bits of a wire."""
        bits = self._needed[wire]
        if cell := self.operators.get(wire):
            low = RING.get(cell.kind, "")
            yield from (cut(sig, 0, bits) if port in low else sig for port, sig in cell.ports.items() if port != "Y")
        if cell := self._registers.get(wire):
            yield from (cut(cell.ports["D"], 0, bits), cell.ports["CLK"])
        if body := self._processes.get(wire):
            yield from read(_low(body, bits))

    def cut(self) -> None:
        """Cut the module to that."""
        module = self._module
        sizes = {wire: self._needed[wire] for wire in (*self._registers, *self._processes)}
        for wire, cell in self.operators.items():
            bits = self._needed[wire]
            sizes[wire] = bits if cell.kind in RING or not bits else module.wires[wire].width
            for port in (*RING.get(cell.kind, ""), "Y"):
                _connect(cell, port, cut(cell.ports[port], 0, sizes[wire]))
        for wire, cell in self._registers.items():
            for port in ("D", "Q"):
                _connect(cell, port, cut(cell.ports[port], 0, sizes[wire]))
        module.processes = [_low(body, sizes[wire]) for wire, body in self._processes.items() if sizes[wire]]
        self.operators = {wire: cell for wire, cell in self.operators.items() if sizes[wire]}
        module.cells = [cell for cell in module.cells if cell.ports.get("Q") != () and cell.ports.get("Y") != ()]
        for wire, bits in sizes.items():
            module.wires[wire].width = bits
            if init := module.wires[wire].attributes.get("init"):
                module.wires[wire].attributes["init"] = f"{bits}'{init.partition(chr(39))[2][-bits:]}"
        # Second names of what is no longer there.
        module.connections = [(name, _clipped(sig, sizes)) for name, sig in module.connections]


def _target(body: Body) -> str:
    """The wire that a process drives: Amaranth begins with the value of the whole wire."""
    first = body[0]
    assert isinstance(first, Assign)
    return whole(first.left)


def _low(body: Body, bits: int) -> Body:
    """What statements do to the low bits of their wire."""
    result: Body = []
    for statement in body:
        if isinstance(statement, Assign):
            (left,) = statement.left
            assert isinstance(left, Slice)
            if (size := min(left.width, bits - left.low)) > 0:
                result.append(Assign((left.cut(0, size),), cut(statement.right, 0, size)))
        else:
            cases = [(patterns, _low(inner, bits)) for patterns, inner in statement.cases]
            if any(inner for _, inner in cases):
                result.append(Switch(statement.value, cases))
    return result


def _clipped(sig: Sig, sizes: dict[str, int]) -> Sig:
    """A value without the bits that its wires no longer have."""
    parts: list[Slice | Constant] = []
    for part in sig:
        bits = part.width
        if isinstance(part, Slice):
            bits = min(bits, sizes.get(part.wire, part.low + bits) - part.low)
        if bits > 0:
            parts.append(part.cut(0, bits))
    return tuple(parts)


def _extend(cell: Cell) -> None:
    """Make the operands of an operator as wide as its result. Where they are, their signs do not matter any more."""
    comparison = cell.kind in COMPARISONS
    if not (comparison or cell.kind in RING or cell.kind in SHIFTS_RIGHT) or cell.kind in ("$mul", "$mux"):
        return
    ports = "AB" if comparison or RING.get(cell.kind) == "AB" else "A"
    signed = cell.parameters["A_SIGNED"] == "1"
    result = max(width(cell.ports[port]) for port in ports) if comparison else width(cell.ports["Y"])
    for port in sorted(ports, key=lambda port: is_constant(cell.ports[port])):  # a constant is as wide as the other one
        other = cell.ports[ports[1 - ports.index(port)]] if len(ports) == 2 else ()
        sig = cell.ports[port]
        if is_constant(sig):
            _connect(cell, port, _extended(sig, width(other) or result, signed))
        elif width(sig) < result - (cell.kind in CARRYING and not _is_expression(sig)):
            _connect(cell, port, _extended(sig, result, signed))
    if (comparison and cell.kind not in ("$eq", "$ne")) or cell.kind in SHIFTS_RIGHT:
        return
    if all(width(cell.ports[port]) == result for port in ports):
        cell.parameters |= {f"{port}_SIGNED": "0" for port in ports}


def _extended(sig: Sig, bits: int, signed: bool) -> Sig:
    """A value with zeros or its sign above it."""
    more = bits - width(sig)
    if more <= 0:
        return sig
    sign = sig[-1].cut(sig[-1].width - 1, 1) if signed and sig else Constant("0")
    return (*sig, Constant(sign.bits * more)) if isinstance(sign, Constant) else (*sig, *[sign] * more)


def _is_expression(sig: Sig) -> bool:
    """Whether a value is but what another operator gives, and may stand in its place."""
    return len(sig) == 1 and isinstance(sig[0], Slice) and sig[0].wire.startswith("$")


def _connect(cell: Cell, port: str, sig: Sig) -> None:
    """Connect another value to a port, and say how wide it is."""
    cell.ports[port] = sig
    parameter = "WIDTH" if "WIDTH" in cell.parameters else f"{port}_WIDTH"
    cell.parameters[parameter] = str(width(sig))
