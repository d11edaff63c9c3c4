"""Breaks the code on purpose, one small slip at a time, and sees whether the tests notice: ``make mutants``.

Each ``mutants/NAME.patch`` is a unified diff against the tree, headed by one sentence that says what slip it is and,
optionally, a line ``tests: path::name path::name …`` with the tests that are to notice it, quoted where there are
spaces in one; a patch without that line meets all tests of the RTL. In one run, each in a copy of the tree of its own:

1. the unchanged tree passes all those tests;
2. each patch applies, its Verilog is still emitted, and that differs from the unchanged tree's, unless all that the
   patch touches is software, of which no Verilog comes;
3. the tests run on it until an assertion in a test's body fails. Only that counts as *killed*: not an error of any
   other kind, in set-up, at import or in a build, and not the time limit of the run.

Exit status: 0 all killed, 1 one was not, 2 bad usage.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from nmgen.bench.sections import replace_section
from rtl.params import InputError
from scripts import pytest_outcomes

ROOT = Path(__file__).resolve().parent.parent
NAMED_LIMIT = 900  # seconds that named tests may take; they take 60 at most on the unchanged tree
ALL_LIMIT = 1200  # seconds that all tests of the RTL may take on a patch that names none


@dataclass(frozen=True, kw_only=True)
class Project:
    """What the runner needs to know of a tree; a test gives it a tiny one."""

    root: Path
    # Arguments of Python; prints a line a design. With the names of files behind them: those that these go into.
    verilog: Sequence[str] = ("-m", "scripts.verilog_digests")
    software: tuple[str, ...] = ("pruning/", "nmgen/", "sim/")  # folders that none of that comes of
    all_tests: Sequence[str] = ("tests/rtl", "tests/sim")
    page: str = "docs/verification.md"  # gets the score of each area
    list: str = "build/mutants.md"  # gets every mutant
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class Patch:
    path: Path
    slip: str  # one sentence
    tests: tuple[str, ...]  # none: all tests of the RTL
    files: tuple[str, ...]  # that it changes

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a patch fared: 'killed', 'survived', or 'invalid' where the run says nothing about the tests."""

    name: str
    slip: str
    area: str  # folder of the file that it changes
    verdict: str
    test: str = ""  # that failed
    reason: str = ""  # first line of the assertion, or why the patch is invalid
    seconds: int = 0


def read_patch(path: Path) -> Patch:
    """The head of a patch file: its sentence and its tests.

    Raises
    ------
    InputError : no sentence, or no diff.
    """
    head: list[str] = []
    lines = path.read_text().splitlines()
    for line in lines:
        if line.startswith(("diff ", "--- ")):
            break
        head.append(line)
    else:
        raise InputError(f"{path.name} holds no diff")
    tests = [name for line in head if line.startswith("tests:") for name in shlex.split(line.removeprefix("tests:"))]
    slip = " ".join(line.strip() for line in head if line.strip() and not line.startswith("tests:"))
    if not slip:
        raise InputError(f"{path.name} does not say in its first line what slip it is")
    files = [line.split()[1].removeprefix("b/") for line in lines if line.startswith("+++ ")]
    return Patch(path=path, slip=slip, tests=tuple(tests), files=tuple(files))


def copy_tree(root: Path, to: Path) -> None:
    """What git tracks, as it stands in the work tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        if name and (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, to / name)


def environment(tree: Path, outcomes: Path | None = None) -> dict[str, str]:
    """The copy's modules come before installed ones; the plugin may lie outside the copy."""
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    extra = {pytest_outcomes.FILE: str(outcomes)} if outcomes else {}
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **extra}


def emit(project: Project, tree: Path, files: Sequence[str] = ()) -> set[str]:
    """A line for each design of a tree, or for those that some files go into; InputError where one does not
    elaborate."""
    command = [sys.executable, *project.verilog, *files]
    done = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"does not elaborate: {last}")
    return set(done.stdout.splitlines())


def apply(patch: Patch, tree: Path) -> None:
    """Applies a patch; InputError where it does not fit."""
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # else git minds a repository around the copy
    done = subprocess.run(
        ["git", "apply", str(patch.path.resolve())], cwd=tree, env=alone, capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(f"does not apply: {(done.stderr.strip().splitlines() or ['no message'])[0]}")


def run_tests(project: Project, patch: Patch, tree: Path) -> tuple[str, str, str]:
    """(verdict, test, reason) of a changed tree."""
    outcomes = tree / "outcomes.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_outcomes"]
    command += ["-m", "not nightly", *(patch.tests or project.all_tests)]
    limit = NAMED_LIMIT if patch.tests else ALL_LIMIT
    with (tree / "pytest.log").open("w") as log:
        try:
            done = subprocess.run(
                command,
                cwd=tree,
                env=environment(tree, outcomes),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return "invalid", "", f"no result in {limit} s"
    ended = json.loads(outcomes.read_text()) if outcomes.exists() else []
    if done.returncode == 0 and ended:
        return "survived", "", f"{len(ended)} tests passed"
    for failed in ended:
        if failed["assertion"]:
            return "killed", failed["test"], failed["message"]
    for failed in ended:
        if failed["outcome"] == "failed":
            return "invalid", failed["test"], f"not an assertion: {failed['message']}"
    return "invalid", "", f"pytest ended with status {done.returncode} and no failed test"


def judge(project: Project, patch: Patch, unchanged: set[str], logs: Path) -> Verdict:
    """One patch, in a copy of its own."""
    start = time.monotonic()
    verdict, test, reason = "invalid", "", ""
    with tempfile.TemporaryDirectory(prefix=f"nmgen-{patch.name}-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        try:
            apply(patch, tree)
            software = all(file.startswith(project.software) for file in patch.files)
            if not software and emit(project, tree, patch.files) <= unchanged:
                raise InputError("its Verilog is the unchanged tree's")
            verdict, test, reason = run_tests(project, patch, tree)
        except InputError as error:
            reason = str(error)
        if (tree / "pytest.log").exists():
            shutil.copy(tree / "pytest.log", logs / f"{patch.name}.log")
    return Verdict(
        name=patch.name,
        slip=patch.slip,
        area=str(Path(patch.files[0]).parent),
        verdict=verdict,
        test=test,
        reason=reason,
        seconds=round(time.monotonic() - start),
    )


def check_unchanged(project: Project, patches: Sequence[Patch], logs: Path) -> set[str]:
    """Its Verilog, after all the tests that the patches meet have passed on it.

    Raises
    ------
    InputError : they do not pass, or it does not elaborate.
    """
    named = {test for patch in patches for test in patch.tests}
    everything = any(not patch.tests for patch in patches)
    tests = [*project.all_tests, *sorted(named)] if everything else sorted(named)
    with tempfile.TemporaryDirectory(prefix="nmgen-unchanged-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        verilog = emit(project, tree)
        log = logs / "unchanged.log"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", str(project.workers)]
        with log.open("w") as file:
            done = subprocess.run(
                [*command, "-m", "not nightly", *tests],
                cwd=tree,
                env=environment(tree),
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
    if done.returncode:
        raise InputError(f"the unchanged tree fails its tests, see {log}")
    return verilog


def score(verdicts: Sequence[Verdict]) -> str:
    """How many are killed, in all and of each area, as Markdown."""
    total = Counter(one.area for one in verdicts)
    killed = Counter(one.area for one in verdicts if one.verdict == "killed")
    return "\n".join(
        [
            f"**{killed.total()} of {total.total()} killed**, last run on {date.today()}; the unchanged tree passed",
            "the same tests in the same run.",
            "",
            "| area | mutants | killed |",
            "|---|---:|---:|",
            *(f"| `{area}` | {total[area]} | {killed[area]} |" for area in sorted(total)),
        ]
    )


def table(verdicts: Sequence[Verdict]) -> str:
    """Every mutant as Markdown: what slip it is, and the test that notices it."""
    lines = ["| mutant | slip | noticed by |", "|---|---|---|"]
    for one in verdicts:
        noticed = f"`{one.test}`" if one.verdict == "killed" else f"**{one.verdict}**: {one.reason}"
        lines.append(f"| {one.name} | {one.slip} | {noticed.replace('|', ' ')} |")
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None, project: Project | None = None) -> int:
    project = project or Project(root=ROOT)
    parser = argparse.ArgumentParser(prog="mutants", description="Break the code on purpose, see the tests notice.")
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutant, and no other; may be repeated")
    parser.add_argument("--json", action="store_true", help="the verdicts as JSON on stdout")
    args = parser.parse_args(argv)

    start = time.monotonic()
    try:
        patches = [read_patch(path) for path in sorted((project.root / "mutants").glob("*.patch"))]
        names = [patch.name for patch in patches]
        for name in args.only or []:
            if name not in names:
                raise InputError(f"no mutant {name!r}, there are: {', '.join(names)}")
        chosen = [patch for patch in patches if not args.only or patch.name in args.only]
        if not chosen:
            raise InputError("mutants/ holds no patch")
    except InputError as error:
        say(f"mutants: {error}")
        return 2

    logs = project.root / "build" / "mutants"
    logs.mkdir(parents=True, exist_ok=True)
    say(f"unchanged tree: running the tests that {len(chosen)} mutants meet …")
    try:
        unchanged = check_unchanged(project, chosen, logs)
    except InputError as error:
        say(f"mutants: {error}")
        return 1
    say(f"unchanged tree: passed after {time.monotonic() - start:.0f} s")

    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(project.workers) as pool:
        for future in as_completed([pool.submit(judge, project, patch, unchanged, logs) for patch in chosen]):
            verdicts.append(future.result())
            one = verdicts[-1]
            count = f"{len(verdicts):3}/{len(chosen)}"
            say(f"{count} {one.verdict:8} {one.name}: {one.test or one.reason} ({one.seconds} s)")
    verdicts.sort(key=lambda one: one.name)

    killed = sum(one.verdict == "killed" for one in verdicts)
    if args.json:
        mutants = [asdict(one) for one in verdicts]
        print(json.dumps({"killed": killed, "total": len(verdicts), "mutants": mutants}, indent=2))
    if not args.only:
        replace_section(project.root / project.page, "mutants", score(verdicts))
        (project.root / project.list).write_text(table(verdicts))
    say(f"{killed} of {len(verdicts)} killed after {time.monotonic() - start:.0f} s")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
