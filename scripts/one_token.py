"""All changes of one token that a Python file offers, for `scripts.mutants_sample`.

An operator, a constant ±1, a bound of a slice ±1, a statement that is dropped, exchanged arms of a Mux, a negated
condition, a delay that is a cycle longer or shorter.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from scripts.definitions import dedented, enclosing, indentation

# What stands for what; the longest come first where one begins as another does.
OPERATORS = {
    "not in": "in", "is not": "is", "in": "not in", "is": "is not", "and": "or", "or": "and",
    "<<": ">>", ">>": "<<", "==": "!=", "!=": "==", "<=": "<", ">=": ">", "<": "<=", ">": ">=",
    "//": "*", "**": "*", "+": "-", "-": "+", "*": "+", "/": "*", "%": "//", "&": "|", "|": "&", "^": "|",
}  # fmt: skip

# Calls that are registers, of rtl/lib/timing.py: their keyword `cycles`, or the third argument, says how many.
DELAYS = ("align", "relay", "registered", "hard_register", "replicate")
GUARDS = ("If", "Elif")  # of an Amaranth Module


@dataclass(frozen=True, kw_only=True)
class Change:
    """A piece of a file, in bytes of its UTF-8, and what replaces it."""

    file: str
    start: int
    end: int
    text: str
    kind: str  # operator, constant, slice, statement, arms, condition or cycles

    def applied(self, source: str) -> str:
        raw = source.encode()
        return (raw[: self.start] + self.text.encode() + raw[self.end :]).decode()

    def line(self, source: str) -> int:
        """The number of its first line, from 1."""
        return source.encode()[: self.start].count(b"\n") + 1

    def entry(self, source: str) -> dict[str, str]:
        """`in`, `old` and `new` as a table of mutants has them: whole lines, less the indentation of the first."""
        before, after = source.splitlines(), self.applied(source).splitlines()
        first = self.line(source) - 1
        last = source.encode()[: self.end].count(b"\n")
        by = indentation(before[first])
        return {
            "in": enclosing(source, first, last),
            "old": dedented(before[first : last + 1], by),
            "new": dedented(after[first : last + 1 + len(after) - len(before)], by),
        }


class _Finder:
    def __init__(self, file: str, source: str):
        self._file = file
        self._raw = source.encode()
        self._tree = ast.parse(source)
        self._lines = [0]
        for line in self._raw.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr | ast.stmt)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._lines[node.lineno - 1] + node.col_offset, self._lines[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._raw[start:end].decode()

    def _change(self, kind: str, node: ast.AST, text: str) -> Change:
        start, end = self._span(node)
        return Change(file=self._file, start=start, end=end, text=text, kind=kind)

    def _between(self, left: ast.expr, right: ast.expr) -> Iterator[Change]:
        """The operator that stands between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        between = self._raw[start:end].decode()
        token = " ".join(between.replace("(", " ").replace(")", " ").split())
        if token in OPERATORS and (at := between.find(token)) >= 0:
            start += len(between[:at].encode())
            yield Change(file=self._file, start=start, end=start + len(token), text=OPERATORS[token], kind="operator")

    def _more_or_less(self, kind: str, node: ast.expr) -> Iterator[Change]:
        if isinstance(node, ast.Constant):
            if type(node.value) is int:
                for by in (1, -1):
                    value = node.value + by
                    yield self._change(kind, node, str(value) if value >= 0 else f"({value})")
            return
        text = self._text(node)
        if not isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
            text = f"({text})"
        for sign in "+-":
            yield self._change(kind, node, f"{text} {sign} 1")

    def _negated(self, test: ast.expr, form: str) -> Iterator[Change]:
        same = isinstance(test, ast.UnaryOp) or (
            isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn)
        )
        if not same:  # as the change of its operator
            yield self._change("condition", test, form.format(self._text(test)))

    def _call(self, node: ast.Call) -> Iterator[Change]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "Mux" and len(node.args) == 3:
            one, other = node.args[1:]
            start, middle = self._span(one)
            behind, end = self._span(other)
            text = self._text(other) + self._raw[middle:behind].decode() + self._text(one)
            if self._text(one) != self._text(other):
                yield Change(file=self._file, start=start, end=end, text=text, kind="arms")
        if name in DELAYS and len(node.args) >= 2:
            cycles = [key.value for key in node.keywords if key.arg == "cycles"] or node.args[2:3]
            if cycles and not isinstance(cycles[0], ast.Constant):  # else it is a constant as others are
                yield from self._more_or_less("cycles", cycles[0])
            elif not cycles:
                yield self._change("cycles", node, f"({self._text(node.args[1])})")
        if isinstance(node.func, ast.Attribute) and node.func.attr in GUARDS and len(node.args) == 1:
            yield from self._negated(node.args[0], "({}) == 0")

    def _statement(self, node: ast.stmt) -> Iterator[Change]:
        if isinstance(node, ast.AugAssign):
            listed = node.value.elts if isinstance(node.value, ast.List) else []
            if len(listed) > 1:
                yield from (self._change("statement", one, "[]") for one in listed)
            else:
                yield self._change("statement", node, "pass")
        elif isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Call):
                yield self._change("statement", node, "pass")
        elif isinstance(node, ast.Assign):
            if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
                yield self._change("statement", node, "pass")
        elif isinstance(node, ast.Continue | ast.Break):
            yield self._change("statement", node, "pass")

    def _of(self, node: ast.AST) -> Iterator[Change]:
        if isinstance(node, ast.BinOp):
            yield from self._between(node.left, node.right)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self._between(left, right)
        elif isinstance(node, ast.Compare):
            for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
                yield from self._between(left, right)
        elif isinstance(node, ast.UnaryOp):
            yield self._change("operator", node, f"({self._text(node.operand)})")
        elif isinstance(node, ast.Constant):
            if type(node.value) is int:
                yield from self._more_or_less("constant", node)
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper):
                if bound is not None and not isinstance(bound, ast.Constant):
                    yield from self._more_or_less("slice", bound)
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            yield from self._negated(node.test, "not ({})")
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.stmt):
            yield from self._statement(node)

    def walk(self, node: ast.AST | None = None) -> Iterator[Change]:
        node = node or self._tree
        yield from self._of(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns") or isinstance(node, ast.Raise | ast.JoinedStr):
                continue  # a type, or words
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.walk(child)


def changes(file: str, source: str) -> list[Change]:
    """All changes of one token that a file offers, in the order of its text."""
    found = set(_Finder(file, source).walk())
    return sorted(found, key=lambda one: (one.start, one.end, one.text))
