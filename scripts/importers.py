"""Which tests import a module, by way of others too, and which of them are the nearest to it."""

import ast
from collections import deque
from collections.abc import Iterable
from pathlib import Path, PurePath


def module_of(file: str) -> str:
    """Dotted name of a file."""
    parts = PurePath(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: str, source: str) -> set[str]:
    """Dotted names that a file imports, anywhere in it; of `from a import b`, a and a.b."""
    package = module_of(file).split(".")
    if PurePath(file).name != "__init__.py":
        package = package[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return names


class Importers:
    """Of a tree's Python files, who imports whom."""

    def __init__(self, root: Path, files: Iterable[str]):
        modules = {module_of(file): file for file in files if file.endswith(".py")}
        self._importers: dict[str, set[str]] = {file: set() for file in modules.values()}
        for file in modules.values():
            for name in imported(file, (root / file).read_text()):
                if name in modules and modules[name] != file:
                    self._importers[modules[name]].add(file)

    def tests_of(self, file: str) -> tuple[list[str], list[str]]:
        """Files of tests that import a file: those that stand where it does, under tests/, and the others; in each the
        one of its name comes first, then those that import it by way of the fewest others."""
        far = {file: 0}
        queue = deque([file])
        while queue:
            one = queue.popleft()
            for importer in sorted(self._importers.get(one, ())):
                if importer not in far:
                    far[importer] = far[one] + 1
                    queue.append(importer)
        own = f"test_{PurePath(file).name}"
        tests = [one for one in far if PurePath(one).name.startswith("test_")]
        tests.sort(key=lambda one: (PurePath(one).name != own, far[one], one))
        mirror = ("tests" / PurePath(file)).parent
        near = [one for one in tests if PurePath(one).parent == mirror]
        return near, [one for one in tests if one not in near]
