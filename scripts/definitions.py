"""Runs of whole lines inside a class or function of a Python file: what a mutant replaces."""

import ast
from functools import lru_cache

from rtl.params import InputError


def _inner(node: ast.AST, prefix: str) -> list[tuple[str, range]]:
    found = []
    for child in ast.iter_child_nodes(node):
        name = prefix
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{child.name}" if prefix else child.name
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            found.append((name, range(first - 1, child.end_lineno or first)))
        found += _inner(child, name)
    return found


@lru_cache(maxsize=512)
def definitions(source: str) -> tuple[tuple[str, range], ...]:
    """Dotted name and lines, counted from 0, of each class and function, decorators included; outer ones first."""
    return tuple(_inner(ast.parse(source), ""))


def enclosing(source: str, first: int, last: int) -> str:
    """The innermost definition that holds the lines from first to last, counted from 0; "" where none does."""
    holding = [name for name, lines in definitions(source) if first in lines and last in lines]
    return holding[-1] if holding else ""


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def dedented(lines: list[str], by: int) -> str:
    """The lines less so much indentation, or all that one has."""
    return "\n".join(line[min(by, indentation(line)) :] for line in lines)


def _indented(text: str, by: int) -> list[str]:
    return [" " * by + line if line.strip() else "" for line in text.splitlines()]


def places(source: str, inside: str, old: str) -> list[int]:
    """Where the whole lines `old`, indented as may be, stand in the definition `inside` ("": in the file): the numbers
    of their first lines, from 0.

    Raises
    ------
    InputError : no such definition, or several of that name.
    """
    lines = source.splitlines()
    within = range(len(lines))
    if inside:
        spans = [span for name, span in definitions(source) if name == inside]
        if len(spans) != 1:
            raise InputError(f"{len(spans)} definitions are called {inside}, must be one")
        within = spans[0]
    first = old.splitlines()[0]
    count = len(old.splitlines())
    found = []
    for at in within:
        if at + count <= within.stop and lines[at].endswith(first):
            by = indentation(lines[at]) - indentation(first)
            if by >= 0 and lines[at : at + count] == _indented(old, by):
                found.append(at)
    return found


def replaced(source: str, inside: str, old: str, new: str) -> str:
    """The source with the one run of lines `old` in the definition `inside` replaced by `new`, indented as that was.

    Raises
    ------
    InputError : `old` stands there not once, or there is not one such definition.
    """
    found = places(source, inside, old)
    if len(found) != 1:
        where = f"in {inside}" if inside else "in the file"
        raise InputError(f"{old.splitlines()[0].strip()!r} stands {len(found)} times {where}, must stand once")
    lines = source.splitlines()
    at = found[0]
    by = indentation(lines[at]) - indentation(old)
    lines[at : at + len(old.splitlines())] = _indented(new, by)
    return "\n".join(lines) + "\n"
