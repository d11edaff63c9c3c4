"""The runner of the mutants, on a tiny project whose 'Verilog' is its source less the comments."""

import json
import subprocess
from difflib import unified_diff
from pathlib import Path

import pytest

from scripts.mutants import Project, main, read_patch

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

# name: (head, line to find, what replaces it)
SLIPS = {
    "value": ("Adds one.\ntests: test_hardware.py::test_value\n", "    return x + x", "    return x + x + 1"),
    "quoted": ("Adds two.\ntests: 'test_hardware.py::test_name[a b]'\n", "    return x + x", "    return x + x + 2"),
    "unnoticed": ("Adds one.\ntests: test_hardware.py::test_sign\n", "    return x + x", "    return x - 1"),
    "every": ("Adds one; meets all tests.\n", "    return x + x", "    return x + x + 1"),
    "error": ("Not a number.\n", "    return x + x", '    return x + "x"'),
    "same": ("Only a comment.\n", "    # a comment", "    # another"),
    "broken": ("Does not parse.\n", "    return x + x", "    return x +"),
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    (root / "mutants").mkdir(parents=True)
    (root / "hardware.py").write_text(HARDWARE)
    (root / "test_hardware.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\nmarkers = nightly: long\n")
    (root / "page.md").write_text(PAGE)
    for name, (head, old, new) in SLIPS.items():
        before, after = (text.splitlines(keepends=True) for text in (HARDWARE, HARDWARE.replace(old, new)))
        diff = unified_diff(before, after, "a/hardware.py", "b/hardware.py")
        (root / "mutants" / f"{name}.patch").write_text(head + "".join(diff))
    stale = (root / "mutants" / "value.patch").read_text().replace("x + x", "x * 2")
    (root / "mutants" / "stale.patch").write_text(stale)
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


@pytest.mark.parametrize("folder", ["pruning", "nmgen", "sim"])
def test_software_needs_no_other_verilog(folder: str, project: Project) -> None:
    root = project.root
    (root / folder).mkdir()
    (root / folder / "__init__.py").touch()
    (root / folder / "scale.py").write_text("FACTOR = 2\n")
    test = f"from {folder}.scale import FACTOR\n\n\ndef test_it():\n    assert FACTOR == 2\n"
    (root / "test_scale.py").write_text(test)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    diff = unified_diff(["FACTOR = 2\n"], ["FACTOR = 3\n"], f"a/{folder}/scale.py", f"b/{folder}/scale.py")
    (root / "mutants" / "scale.patch").write_text("Another factor.\ntests: test_scale.py::test_it\n" + "".join(diff))
    assert main(["--only", "scale"], project) == 0


def test_unchanged_tree_has_to_pass(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (project.root / "test_hardware.py").write_text(TESTS.replace("== 6", "== 7"))
    assert main(["--only", "value"], project) == 1
    assert "the unchanged tree fails its tests" in capsys.readouterr().err


def test_unknown_name(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "nothing"], project) == 2
    assert "no mutant 'nothing', there are: broken, " in capsys.readouterr().err


ROOT = Path(__file__).parents[2]
PATCHES = sorted((ROOT / "mutants").glob("*.patch"))


@pytest.mark.parametrize("path", PATCHES, ids=[path.stem for path in PATCHES])
def test_patch_of_the_project(path: Path) -> None:
    """It says what slip it is and which tests are to notice it, they exist, and it fits the tree as it is now."""
    patch = read_patch(path)
    assert patch.slip.endswith(".")
    assert patch.tests
    for test in patch.tests:
        file, _, function = test.partition("::")
        assert f"def {function.split('[')[0]}(" in (ROOT / file).read_text(), test
    done = subprocess.run(["git", "apply", "--check", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}: the tree has changed, make the patch anew"
