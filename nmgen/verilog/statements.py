"""Rearranges the statements of RTLIL processes into those that a person would have written.

Every function keeps the meaning: which wire gets which value under which condition. A later assignment wins over an
earlier one, in RTLIL as in an always block.
"""

from collections.abc import Callable, Iterator

from nmgen.verilog.rtlil import Assign, Body, Cases, Constant, Module, Sig, Slice, Switch, width


def whole(sig: Sig) -> str:
    """The wire that a value consists of."""
    (part,) = sig
    assert isinstance(part, Slice)
    assert part.low == 0
    return part.wire


def cut(sig: Sig, low: int, bits: int) -> Sig:
    """Some bits of a value."""
    parts: list[Slice | Constant] = []
    for part in sig:
        start, end = max(low, 0), min(low + bits, part.width)
        if start < end:
            parts.append(part.cut(start, end - start))
        low -= part.width
    return tuple(parts)


def is_constant(sig: Sig) -> bool:
    return all(isinstance(part, Constant) for part in sig)


def replace(module: Module, put: Callable[[Sig], Sig]) -> None:
    """Put other values in the place of those in a module."""

    def replaced(body: Body) -> Body:
        result: Body = []
        for statement in body:
            if isinstance(statement, Assign):
                result.append(Assign(statement.left, put(statement.right)))
            else:
                result.append(
                    Switch(put(statement.value), [(bits, replaced(inner)) for bits, inner in statement.cases])
                )
        return result

    for cell in module.cells:
        cell.ports = {port: put(sig) for port, sig in cell.ports.items()}
    module.processes = [replaced(body) for body in module.processes]
    module.connections = [(name, put(sig)) for name, sig in module.connections]


def read(body: Body) -> Iterator[Sig]:
    """The values that statements read."""
    for statement in body:
        if isinstance(statement, Assign):
            yield statement.right
        else:
            yield statement.value
            for _, inner in statement.cases:
                yield from read(inner)


def redirected(body: Body, wire: str) -> Body:
    """The same statements for another wire of the same width; where they begin with keeping its value, without that."""

    def redirect(statements: Body) -> Body:
        result: Body = []
        for statement in statements:
            if isinstance(statement, Assign):
                (left,) = statement.left
                assert isinstance(left, Slice)
                result.append(Assign((Slice(wire, left.low, left.width),), statement.right))
            else:
                result.append(Switch(statement.value, [(patterns, redirect(b)) for patterns, b in statement.cases]))
        return result

    result = redirect(body)
    first = result[0]
    return result[1:] if isinstance(first, Assign) and first.left == first.right else result


def reset_first(body: Body, bits: int) -> Body:
    """Where the last statement sets all the bits under one condition (a reset): that, else all before it."""
    last = body[-1] if body else None
    if isinstance(last, Switch) and width(last.value) == 1 and [patterns for patterns, _ in last.cases] == [("1",)]:
        inner = last.cases[0][1]
        if len(inner) == 1 and isinstance(inner[0], Assign) and width(inner[0].left) == bits:
            return [Switch(last.value, [(("1",), inner), ((), body[:-1])])]
    return body


def merge(body: Body, more: Body) -> None:
    """Add to body the statements of other registers, under the conditions that are there already.

    Registers take their values together at the clock edge, so only the order of one register's statements matters: each
    is put after the one before it.
    """
    at = 0
    for statement in more:
        match = None
        if isinstance(statement, Switch):
            match = next((i for i in range(at, len(body)) if _same_conditions(body[i], statement)), None)
        if match is None:
            while at < len(body) and (isinstance(statement, Switch) or isinstance(body[at], Assign)):
                at += 1
            body.insert(at, statement)
        else:
            at = match
            there = body[match]
            assert isinstance(there, Switch)
            assert isinstance(statement, Switch)
            for (_, inner), (_, added) in zip(there.cases, statement.cases, strict=True):
                merge(inner, added)
        at += 1


def _same_conditions(one: Assign | Switch, other: Switch) -> bool:
    return (
        isinstance(one, Switch)
        and one.value == other.value
        and [patterns for patterns, _ in one.cases] == [patterns for patterns, _ in other.cases]
    )


def pruned(body: Body) -> Body:
    """The same without choices in which nothing happens."""
    result: Body = []
    for statement in body:
        if isinstance(statement, Assign):
            result.append(statement)
        else:
            cases = [(patterns, pruned(inner)) for patterns, inner in statement.cases]
            if decided := _decided(statement.value, cases):
                result += decided[0]
            elif any(inner for _, inner in cases):
                result.append(Switch(statement.value, cases))
    return result


def _decided(value: Sig, cases: Cases) -> list[Body]:
    """What happens where all values come to one case, as where there are no bits, or known ones; else nothing."""
    if not width(value) or not cases[0][0]:
        return [cases[0][1]]
    if is_constant(value):
        bits = "".join(part.bits for part in reversed(value) if isinstance(part, Constant))
        fitting = (body for patterns, body in cases if not patterns or any(_matches(bits, one) for one in patterns))
        return [next(fitting, [])]
    return []


def _matches(bits: str, pattern: str) -> bool:
    return all(wanted in ("-", bit) for bit, wanted in zip(bits, pattern, strict=True))


def gathered(body: Body, bits: int) -> Body:
    """Assignments without conditions at the beginning, the first of them to all the bits, become one."""
    count = next((i for i, statement in enumerate(body) if isinstance(statement, Switch)), len(body))
    first = body[0] if body else None
    if count < 2 or not isinstance(first, Assign) or width(first.left) != bits:
        return body
    value = first.right
    for statement in body[1:count]:
        assert isinstance(statement, Assign)
        (left,) = statement.left
        assert isinstance(left, Slice)
        end = left.low + left.width
        value = cut(value, 0, left.low) + statement.right + cut(value, end, bits - end)
    return [Assign(first.left, joined(value)), *body[count:]]


def joined(sig: Sig) -> Sig:
    """The same value in as few parts as possible."""
    parts: list[Slice | Constant] = []
    for part in sig:
        last = parts[-1] if parts else None
        if isinstance(last, Constant) and isinstance(part, Constant):
            parts[-1] = Constant(part.bits + last.bits)
        elif (
            isinstance(last, Slice)
            and isinstance(part, Slice)
            and last.wire == part.wire
            and last.low + last.width == part.low
        ):
            parts[-1] = Slice(last.wire, last.low, last.width + part.width)
        else:
            parts.append(part)
    return tuple(parts)


def taken(switch: Switch, bit: str) -> Body:
    """What happens where the value, of one bit, is this one."""
    for patterns, body in switch.cases:
        if not patterns or bit in patterns or "-" in patterns:
            return body
    return []
