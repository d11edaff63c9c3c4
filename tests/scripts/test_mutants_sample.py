"""The sampler of random changes, on a tiny project whose 'Verilog' is what its hardware computes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.equivalents import lost, read_equivalents
from scripts.importers import Importers
from scripts.mutants import Project
from scripts.mutants_sample import main, shuffled, tracked
from scripts.one_token import changes

# file: its text. Every change that each offers has one fate.
FILES = {
    "pytest.ini": "[pytest]\npythonpath = .\n",
    "rtl/__init__.py": "",
    "pruning/__init__.py": "",
    "rtl/add.py": "def add(x, y):\n    return x + y\n",  # -
    "rtl/spare.py": "def spare(x):\n    return x | x\n",  # &
    "rtl/shift.py": "def shift(x):\n    return x << len('a')\n",  # >>
    "rtl/names.py": "NAMES = 'a' + 'b'\n",  # -: does not import
    "rtl/shape.py": "def shape(x):\n    return [x] + [x]\n",  # -: does not elaborate
    "pruning/scale.py": "def scale(x):\n    # far\n    return x > SCALE\n\n\nSCALE = len('ab')\n",  # >=
    "pruning/named.py": "import os\n\n\ndef named(x):\n    return os.sep + x\n",  # -
    "pruning/endless.py": "def reached(x, y):\n    return x == y\n",  # !=
    "pruning/unread.py": "def unread(x):\n    return x * x\n",  # +
    "pruning/by_way.py": "from pruning.scale import scale\n\n\ndef by_way(x):\n    return scale(x)\n",
    "tests/rtl/test_add.py": "from rtl.add import add\n\n\ndef test_it():\n    assert add(1, 2) == 3\n",
    "tests/rtl/test_shift.py": (
        "import pytest\nfrom rtl.shift import shift\n\n\n"
        "@pytest.mark.parametrize('x', [shift(3)])\ndef test_it(x):\n    if x != 6:\n        raise ValueError\n"
    ),
    "tests/pruning/test_scale.py": "from pruning.scale import scale\n\n\ndef test_it():\n    assert scale(3)\n",
    "tests/pruning/test_named.py": (
        "from pruning.named import named\n\n\ndef test_it():\n"
        "    try:\n        named('a')\n    except TypeError:\n        raise ImportError('a')\n"
    ),
    "tests/pruning/test_endless.py": (
        "import time\nfrom pruning.endless import reached\n\n\ndef test_it():\n"
        "    while not reached(1, 1):\n        time.sleep(0.1)\n"
    ),
    "tests/test_unread.py": "from pruning.unread import unread\n\n\ndef test_it():\n    assert unread(3) == 1\n",
    "tests/a/test_by_way.py": "from pruning.by_way import by_way\n\n\ndef test_it():\n    assert by_way(3)\n",
    "tests/scripts/test_text.py": "from pruning.scale import scale\n\n\ndef test_it():\n    assert scale(2)\n",
}
VERILOG = (
    "from rtl.add import add\nfrom rtl.shape import shape\nfrom rtl.shift import shift\n"
    "print(add(1, 2), shape(1), shift(1))\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    for file, text in FILES.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    return Project(root=root, verilog=("-c", VERILOG))


def found(project: Project, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any], str]:
    status = main(["--json", "--seed", "5", *args], project)
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def test_hardware(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    status, result, said = found(project, capsys, "rtl")
    assert status == 0
    assert result["discarded"] == {"changes no Verilog": 1, "does not import": 1, "does not elaborate": 1}
    assert {one["file"]: (one["verdict"], one["test"]) for one in result["changes"]} == {
        "rtl/add.py": ("noticed", "tests/rtl/test_add.py::test_it"),
        "rtl/shift.py": ("noticed", "tests/rtl/test_shift.py::test_it[1]"),  # any failure, of a name of its own
    }
    assert "seed 5: 60 of 5 changes of 6 files" in said
    assert "seed 5: 2 of 2 noticed; 1 discarded: changes no Verilog; 1 discarded: does not elaborate; " in said


def test_survivor_and_time_out(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    status, result, said = found(project, capsys, "--limit", "20", "pruning/scale.py", "pruning/endless.py")
    assert status == 1
    assert {one["file"]: (one["verdict"], one["reason"]) for one in result["changes"]} == {
        "pruning/scale.py": (
            "survived",
            "2 tests passed",
        ),  # those beside it and those that import it by way of another
        "pruning/endless.py": ("timed out", "no result in 20 s"),
    }
    assert "survived: pruning/scale.py:3 scale\n  - return x > SCALE\n  + return x >= SCALE\n" in said
    assert "0 of 2 noticed; 1 survived; 1 timed out" in said


def test_failures_that_say_nothing(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed import, and a test that fails without the change as well."""
    status, result, _ = found(project, capsys, "pruning/named.py", "pruning/unread.py")
    assert status == 1
    assert {one["file"]: (one["verdict"], one["reason"]) for one in result["changes"]} == {
        "pruning/named.py": ("invalid", "no test failed, but some did not run"),
        "pruning/unread.py": ("invalid", "that test fails on the unchanged tree"),
    }


EQUIVALENT = """
[[equivalent]]
file = "pruning/scale.py"
in = "scale"
old = "return x > SCALE"
new = "return x >= SCALE"
reason = "Nobody asks for 2."
"""


def test_equivalent(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "mutants").mkdir()
    path = project.root / "mutants" / "equivalent.toml"
    path.write_text(EQUIVALENT)
    status, result, said = found(project, capsys, "pruning/scale.py")
    assert (status, result["changes"], result["equivalent"]) == (0, [], 1)
    assert "0 of 0 noticed; 1 known to be equivalent" in said
    assert lost(project.root, read_equivalents(project.root)) == []

    path.write_text(EQUIVALENT.replace("x > SCALE", "x < SCALE"))
    line = "mutants/equivalent.toml: pruning/scale.py: 'return x < SCALE' does not stand in scale"
    assert lost(project.root, read_equivalents(project.root)) == [line]
    path.write_text(EQUIVALENT.replace("reason", "why"))
    assert main(["pruning/scale.py"], project) == 2
    assert capsys.readouterr().err == "mutants-sample: mutants/equivalent.toml: entry 1 has no text 'reason'\n"


def test_seed_says_what_is_drawn(project: Project) -> None:
    files = [file for file in tracked(project.root) if file.startswith(("rtl/", "pruning/"))]
    one, again, other = (shuffled(project.root, files, seed) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert set(one) == set(other)
    assert len(one) == 9


def test_bad_usage(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"], project) == 2
    assert capsys.readouterr().err == "mutants-sample: no Python file is or lies in 'nowhere'\n"
    with pytest.raises(SystemExit) as ended:
        main(["--count", "0"], project)
    assert ended.value.code == 2
    assert "count is 0, must be at least 1" in capsys.readouterr().err


def test_nearest_tests_first(project: Project) -> None:
    importers = Importers(project.root, tracked(project.root))
    near, others = importers.tests_of("pruning/scale.py")
    assert near == ["tests/pruning/test_scale.py"]
    assert others == ["tests/scripts/test_text.py", "tests/a/test_by_way.py"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a + b", {"a - b"}),
        ("(a) // (b)", {"(a) * (b)"}),
        ("a << b", {"a >> b"}),
        ("a < b <= c", {"a <= b <= c", "a < b < c"}),
        ("a and b or c", {"a or b or c", "a and b and c"}),
        ("a not in b", {"a in b"}),
        ("a is not b", {"a is b"}),
        ("~a & -b", {"(a) & -b", "~a & (b)", "~a | -b"}),
        ("ä + 'ö' + b", {"ä - 'ö' + b", "ä + 'ö' - b"}),
        ("x = 0x10, True, 1.5, 'a', None", {f"x = {n}, True, 1.5, 'a', None" for n in (15, 17)}),
        ("x: Literal[1] = 0", {"x: Literal[1] = 1", "x: Literal[1] = (-1)"}),
        ("a[b:]", {"a[b + 1:]", "a[b - 1:]"}),
        ("a[:b | c]", {"a[:(b | c) + 1]", "a[:(b | c) - 1]", "a[:b & c]"}),
        ("a[:4]", {"a[:3]", "a[:5]"}),
        ("x = Mux(a, b, c)", {"x = Mux(a, c, b)"}),
        ("x = Mux(a, b, b)", set()),
        ("x = y if a else b", {"x = y if not (a) else b"}),
        ("x = y if not a else b", {"x = y if (a) else b"}),
        ("with m.If(a): x = b", {"with m.If((a) == 0): x = b"}),
        ("with m.If(a == b): x = b", {"with m.If(a != b): x = b"}),
        ("m.d.sync += a.eq(b)", {"pass"}),
        ("x += [\n    a.eq(b),\n    c,\n]", {"x += [\n    [],\n    c,\n]", "x += [\n    a.eq(b),\n    [],\n]"}),
        ("f(a)", {"pass"}),
        ("a.b = c", {"pass"}),
        ("a = c", set()),
        ("'''words'''", set()),
        ("raise E(f'{a + b}')", set()),
        ("x = align(m, a, CYCLES, name='b')", {f"x = align(m, a, CYCLES {s} 1, name='b')" for s in "+-"}),
        ("x = relay(m, a, cycles=C, name='b')", {f"x = relay(m, a, cycles=C {s} 1, name='b')" for s in "+-"}),
        ("x = align(m, a, 2, name='b')", {f"x = align(m, a, {n}, name='b')" for n in (1, 3)}),
        ("x = relay(m, a.b, name='b')", {"x = (a.b)"}),
    ],
)  # fmt: skip
def test_changes(source: str, expected: set[str]) -> None:
    assert {change.applied(source) for change in changes("a.py", source)} == expected


def test_change_as_an_entry() -> None:
    source = "class A:\n    def b(self):\n        f(\n            1,\n        )\n        return 0\n"
    (dropped,) = (one for one in changes("a.py", source) if one.kind == "statement")
    assert dropped.entry(source) == {"in": "A.b", "old": "f(\n    1,\n)", "new": "pass"}
    assert dropped.line(source) == 3


def test_equivalents_of_the_project_stand_in_it() -> None:
    root = Path(__file__).parents[2]
    assert lost(root, read_equivalents(root)) == []
