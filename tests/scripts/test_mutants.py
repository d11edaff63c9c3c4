"""The runner of the mutants, on a tiny project whose 'Verilog' is its source less the comments."""

import json
import re
import subprocess
import sys
import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rtl.params import InputError
from scripts.definitions import replaced
from scripts.mutants import Kept, Mutant, Project, Verdict, emit, main, misfits, read_tables
from tests.nightly import but

HARDWARE = """\
def twice(x):
    # a comment
    return x + x
"""

TESTS = """\
import pytest
from hardware import twice


def test_value():
    assert twice(3) == 6


def test_sign():
    assert twice(-1) < 0


@pytest.mark.parametrize("name", ["a", "a b"])
def test_name(name):
    assert twice(len(name)) == 2 * len(name)
"""

PAGE = """\
# Verification
<!-- mutants: begin -->
old
<!-- mutants: end -->
The rest.
"""

# name: (slip, line to find, what replaces it, tests)
SLIPS = {
    "value": ("Adds one.", "return x + x", "return x + x + 1", ["test_hardware.py::test_value"]),
    "quoted": ("Adds two.", "return x + x", "return x + x + 2", ["test_hardware.py::test_name[a b]"]),
    "unnoticed": ("Adds one.", "return x + x", "return x - 1", ["test_hardware.py::test_sign"]),
    "every": ("Adds one; meets all tests.", "return x + x", "return x + x + 1", []),
    "error": ("Not a number.", "return x + x", 'return x + "x"', []),
    "same": ("Only a comment.", "# a comment", "# another", []),
    "broken": ("Does not parse.", "return x + x", "return x +", []),
    "stale": ("Adds one.", "return x * 2", "return x * 2 + 1", ["test_hardware.py::test_value"]),
}


def entry(name: str, file: str, slip: str, old: str, new: str, tests: list[str]) -> str:
    """An entry of a table, with its strings as JSON has them, which TOML has, too."""
    texts = {"name": name, "slip": slip, "file": file, "old": old, "new": new, "tests": tests}
    return "[[mutant]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in texts.items())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / "mutants").mkdir(parents=True)
    (root / "hardware.py").write_text(HARDWARE)
    (root / "test_hardware.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\nmarkers = nightly: long\n")
    (root / "page.md").write_text(PAGE)
    (root / "mutants" / "hardware.toml").write_text(
        "\n".join(entry(name, "hardware.py", *slip) for name, slip in SLIPS.items())
    )
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    show = "import hardware, inspect; print([s for s in inspect.getsource(hardware).split(chr(10)) if '#' not in s])"
    return Project(root=root, verilog=("-c", show), all_tests=("test_hardware.py",), page="page.md")


def test_each_verdict(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"], project) == 1
    result = json.loads(capsys.readouterr().out)
    found = {one["name"]: (one["verdict"], one["test"], one["reason"]) for one in result["mutants"]}
    assert found["value"][:2] == ("killed", "test_hardware.py::test_value")
    assert found["every"][:2] == ("killed", "test_hardware.py::test_value")
    assert found["quoted"][:2] == ("killed", "test_hardware.py::test_name[a b]")
    assert found["unnoticed"][0] == "survived"
    assert found["error"][0] == "invalid"
    assert found["error"][2].startswith("not an assertion: TypeError")
    assert found["same"][::2] == ("invalid", "its Verilog is the unchanged tree's")
    assert found["broken"][2].startswith("does not elaborate: SyntaxError")
    assert found["stale"][2].startswith("does not apply")
    assert (result["killed"], result["total"]) == (3, 8)

    page = (project.root / "page.md").read_text()
    assert "**3 of 8 killed**" in page
    assert "| `.` | 8 | 3 |" in page  # the folder of hardware.py
    assert "Adds one." not in page  # each mutant is in a list of its own, which no page keeps
    listed = (project.root / "build" / "mutants.md").read_text()
    assert "| value | Adds one. | `test_hardware.py::test_value` |" in listed
    assert "| unnoticed | Adds one. | **survived**: " in listed
    assert "old" not in page
    assert page.endswith("The rest.\n")


def test_all_killed_of_those_chosen(project: Project) -> None:
    assert main(["--only", "value", "--only", "every"], project) == 0
    assert (project.root / "page.md").read_text() == PAGE  # a partial run writes no score
    assert not (project.root / "build" / "mutants.md").exists()


@pytest.mark.parametrize("folder", but(["pruning", "nmgen", "sim"], {"nmgen", "sim"}))
def test_software_needs_no_other_verilog(folder: str, project: Project) -> None:
    root = project.root
    (root / folder).mkdir()
    (root / folder / "__init__.py").touch()
    (root / folder / "scale.py").write_text("FACTOR = 2\n")
    test = f"from {folder}.scale import FACTOR\n\n\ndef test_it():\n    assert FACTOR == 2\n"
    (root / "test_scale.py").write_text(test)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    scale = entry(
        "scale", f"{folder}/scale.py", "Another factor.", "FACTOR = 2", "FACTOR = 3", ["test_scale.py::test_it"]
    )
    (root / "mutants" / "scale.toml").write_text(scale)
    assert main(["--only", "scale"], project) == 0


def test_the_order_of_a_set_changes_no_verilog(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    ordered = replace(project, verilog=("-c", "print({str(i) for i in range(99)})"))
    assert list(emit(ordered, project.root)) == list(emit(ordered, project.root))


def test_a_run_that_was_stopped_goes_on(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """With what it has found, until the tree is another."""
    logs = project.root / "build" / "mutants"
    logs.mkdir(parents=True)
    kept = Kept(project.root, logs)
    assert (kept.unchanged, kept.verdicts) == (None, {})
    kept.add({"unchanged": sorted(set(emit(project, project.root)))})
    mutants = [one for one in read_tables(project.root / "mutants") if one.name != "value"]
    found = {
        one.name: Verdict(
            name=one.name, slip=one.slip, area=".", verdict="killed", test="test_hardware.py", reason="", seconds=1
        )
        for one in mutants
    }
    for one in found.values():
        kept.add(asdict(one))
    (path,) = logs.glob("found-*.jsonl")
    path.write_text(path.read_text() + '{"name": "value", "slip": "cut')
    assert Kept(project.root, logs).verdicts == found
    assert main([], project) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"unchanged tree: passed before, and {len(found)} mutants are killed"
    assert re.match(rf" *{len(SLIPS)}/{len(SLIPS)} killed +value:", said[1])
    assert said[2].startswith(f"{len(SLIPS)} of {len(SLIPS)} killed")
    assert f"**{len(SLIPS)} of {len(SLIPS)} killed**" in (project.root / project.page).read_text()
    (project.root / "hardware.py").write_text(HARDWARE + "# another tree\n")
    assert (Kept(project.root, logs).unchanged, Kept(project.root, logs).verdicts) == (None, {})


def test_unchanged_tree_has_to_pass(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "test_hardware.py").write_text(TESTS.replace("== 6", "== 7"))
    assert main(["--only", "value"], project) == 1
    assert "the unchanged tree fails its tests" in capsys.readouterr().err


def test_unknown_name(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"], project) == 2
    assert "no mutant 'nothing', there are: broken, " in capsys.readouterr().err


def test_check(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], project) == 1
    assert capsys.readouterr().err.splitlines() == [
        "mutants: stale does not apply: hardware.py: 'return x * 2' stands 0 times in the file, must stand once",
        "7 of 8 apply",
    ]
    assert main(["--check", "--only", "value"], project) == 0


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ("[[mutant", "table.toml: Expected"),
        ('[[mutant]]\nname = "a"\nslip = "b."\nfile = "c"\nold = "d"', "table.toml: mutant 'a' has no text 'new'"),
        (
            entry("a", "b", "c.", "d", "", []) + "test = []",
            "table.toml: mutant 'a' has a key 'test', may have file, in, ",
        ),
        (entry("a", "b", "c.", " ", "", []), "table.toml: mutant 'a' has an empty 'old'"),
        (entry("a", "b", "c.", "d", "", []) * 2, "table.toml: mutant 'a' stands twice"),
    ],
    ids=["no TOML", "missing key", "unknown key", "empty", "twice"],
)
def test_bad_table(entries: str, error: str, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "mutants" / "table.toml").write_text(entries)
    assert main(["--check"], project) == 2
    assert capsys.readouterr().err.startswith(f"mutants: {error}")


NESTED = """\
class Outer:
    def same(self):
        return 1

    class Inner:
        @property
        def same(self):
            if self:
                return 1
            return 2


def same():
    return 1
"""


@pytest.mark.parametrize(
    ("inside", "old", "new", "before", "after"),
    [
        ("Outer.same", "return 1", "return 3", "self):\n        return 1\n", "self):\n        return 3\n"),
        ("same", "return 1", "return 3", "def same():\n    return 1", "def same():\n    return 3"),
        ("Outer.Inner.same", "if self:\n    return 1\n", "", "            if self:\n                return 1\n", ""),
        ("Outer.Inner.same", "return 2", "if 1:\n\n    return 2", "return 2", "if 1:\n\n                return 2"),
        ("Outer.Inner.same", "    return 1\nreturn 2", "return 2", "    return 1\n            return 2", "return 2"),
        ("Outer.Inner.same", "@property", "@cached", "@property", "@cached"),
        ("", "return 2", "return 3", "return 2", "return 3"),
    ],
)  # fmt: skip
def test_lines_of_a_definition(inside: str, old: str, new: str, before: str, after: str) -> None:
    assert NESTED.count(before) == 1
    assert replaced(NESTED, inside, old, new) == NESTED.replace(before, after)


@pytest.mark.parametrize(
    ("inside", "old", "error"),
    [
        ("", "return 1", "'return 1' stands 3 times in the file"),
        ("Outer", "return 1", "'return 1' stands 2 times in Outer"),
        ("same", "return 2", "'return 2' stands 0 times in same"),
        ("same", "eturn 1", "'eturn 1' stands 0 times in same"),
        ("Outer.Inner.same", "if self:\nreturn 1", "'if self:' stands 0 times in Outer.Inner.same"),
        ("Inner", "return 1", "0 definitions are called Inner"),
    ],
)
def test_lines_that_are_not_there_once(inside: str, old: str, error: str) -> None:
    with pytest.raises(InputError, match=re.escape(error)):
        replaced(NESTED, inside, old, "")


ROOT = Path(__file__).parents[2]
MUTANTS = read_tables(ROOT / "mutants")


def test_designs_are_looked_at_one_after_another(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for those behind the first that differs, nor for ever."""
    slow = replace(project, verilog=("-c", "import time; print(1); time.sleep(60)"))
    start = time.monotonic()
    assert next(emit(slow, project.root)) == "1"
    monkeypatch.setattr("scripts.mutants.EMIT_LIMIT", 2)
    with pytest.raises(InputError, match=r"^does not elaborate in 2 s$"):
        list(emit(slow, project.root))
    assert time.monotonic() - start < 30


def test_each_mutant_of_the_project_applies() -> None:
    """In a moment: change `old` and `new` in the table with the line that they stand for."""
    start = time.process_time()
    assert misfits(ROOT, MUTANTS) == []
    assert time.process_time() - start < 5  # 0.3 s


def test_each_mutant_stands_in_the_table_of_its_folder() -> None:
    assert not list((ROOT / "mutants").glob("*.patch"))
    for path in (ROOT / "mutants").glob("*.toml"):
        for one in tomllib.loads(path.read_text()).get("mutant", []):
            package, *rooms = Path(one["file"]).parent.parts
            assert path.stem == "_".join([package, *(rooms if package == "rtl" else [])]), one["name"]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_mutant_of_the_project(mutant: Mutant) -> None:
    """It says what slip it is and which tests are to notice it, and they exist."""
    assert mutant.slip.endswith(".")
    assert mutant.tests
    for test in mutant.tests:
        file, _, function = test.partition("::")
        assert f"def {function.split('[')[0]}(" in (ROOT / file).read_text(), test


def test_each_named_test_is_one_of_make_test() -> None:
    """With its parameters: what `make test` would collect of the files that they are in."""
    named = {test for mutant in MUTANTS for test in mutant.tests}
    files = sorted({test.partition("::")[0] for test in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    collected = [line for line in listed if "::" in line]
    assert len(collected) > len(named)
    lost = [test for test in named if not any(one == test or one.startswith(f"{test}[") for one in collected)]
    assert not lost
