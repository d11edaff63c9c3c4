"""What a configuration decides: comparisons that come out the same for every value, and what follows from them."""

from nmgen.verilog.rtlil import Cell, Constant, Module, Sig, Slice, width
from nmgen.verilog.statements import cut, pruned, replace, whole

ZERO, ONE = (Constant("0"),), (Constant("1"),)


def fold(module: Module) -> None:
    """Put what is known in the place of operators, and leave out choices that are none."""
    known: dict[str, Sig] = {}

    def put(sig: Sig) -> Sig:
        parts: list[Slice | Constant] = []
        for part in sig:
            if isinstance(part, Slice) and part.wire in known:
                parts += put(cut(known[part.wire], part.low, part.width))
            else:
                parts.append(part)
        return tuple(parts)

    operators = {whole(cell.ports["Y"]): cell for cell in module.cells if cell.is_operator}
    before = -1
    while len(known) > before:
        before = len(known)
        for wire, cell in operators.items():
            if wire not in known and (value := _outcome(cell, {port: put(sig) for port, sig in cell.ports.items()})):
                known[wire] = value
    module.cells = [cell for cell in module.cells if not (cell.is_operator and whole(cell.ports["Y"]) in known)]
    module.connections += [(wire, value) for wire, value in known.items() if module.wires[wire].direction]
    replace(module, put)
    module.processes = [pruned(body) for body in module.processes]


def _outcome(cell: Cell, ports: dict[str, Sig]) -> Sig:
    """What an operator gives, where this is one of its operands or a constant; else nothing."""
    a, b = ports["A"], ports.get("B", ())
    if cell.kind == "$mux":
        return a if ports["S"] == ZERO or a == b else b if ports["S"] == ONE else ()
    if cell.kind == "$not" and a in (ZERO, ONE):
        return ONE if a == ZERO else ZERO
    if cell.kind in ("$and", "$or") and width(a) == width(b) == width(ports["Y"]) == 1:
        decides, one = (ZERO, ONE) if cell.kind == "$and" else (ONE, ZERO)
        return decides if decides in (a, b) else b if a == one else a if b == one else ()
    if cell.kind in ("$eq", "$ne", "$lt", "$le", "$gt", "$ge") and cell.parameters["A_SIGNED"] == "0":
        (low, high), (least, most) = _range(a), _range(b)
        same, below, above = low == high == least == most, high < least, low > most
        never = {"$eq": below or above, "$lt": low >= most, "$le": above, "$gt": high <= least, "$ge": below}
        always = {"$eq": same, "$lt": below, "$le": high <= least, "$gt": above, "$ge": low >= most}
        kind, yes, no = ("$eq", ZERO, ONE) if cell.kind == "$ne" else (cell.kind, ONE, ZERO)
        return no if never[kind] else yes if always[kind] else ()
    return ()


def _range(sig: Sig) -> tuple[int, int]:
    """The least and the greatest number that a value can be."""
    bits = "".join(part.bits if isinstance(part, Constant) else "-" * part.width for part in reversed(sig))
    low, high = ("".join(bit if bit in "01" else other for bit in bits) for other in "01")
    return int(f"0{low}", 2), int(f"0{high}", 2)
