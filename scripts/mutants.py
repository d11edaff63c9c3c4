"""Breaks the code on purpose, one small slip at a time, and sees whether the tests notice: ``make mutants``.

``mutants/AREA.toml`` is a table of them. Each entry has

* ``name``, and ``slip``, one sentence that says what slip it is;
* ``file``, and ``in``, the class or function of it that is changed, as ``Class.method``; without, the file is searched;
* ``old``, whole lines that stand there exactly once, and ``new``, what replaces them, nothing where it is empty. Their
  indentation counts from that of the lines in the file;
* ``tests``, those that are to notice it, ``path::name``; without, it meets all tests of the RTL.

``--check`` sees in a moment whether each still applies. In one run, each in a copy of the tree of its own:

1. the unchanged tree passes all those tests;
2. each mutant applies, and its designs elaborate up to the first whose Verilog differs from the unchanged tree's, which
   there must be, unless the file is software, of which no Verilog comes;
3. the tests run on it until an assertion in a test's body fails. Only that counts as *killed*: not an error of any
   other kind, in set-up, at import or in a build, and not the time limit of the run.

A run of all mutants that was stopped goes on with the same command, as long as the tree is the same but for docs/.

Exit status: 0 all killed, 1 one was not or does not apply any more, 2 bad usage.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

from nmgen.bench.sections import replace_section
from rtl.params import InputError
from scripts import equivalents, pytest_outcomes
from scripts.definitions import replaced
from scripts.pytest_outcomes import Outcome
from sim.process.children import started

ROOT = Path(__file__).resolve().parent.parent
NAMED_LIMIT = 900  # seconds that named tests may take; they take 60 at most on the unchanged tree
EMIT_LIMIT = 300  # seconds; 12 on the unchanged tree
ALL_LIMIT = 1200  # seconds that all tests of the RTL may take on a mutant that names none


@dataclass(frozen=True, kw_only=True)
class Project:
    """What the runner needs to know of a tree; a test gives it a tiny one."""

    root: Path
    # Arguments of Python; prints a line a design. With the names of files behind them: those that these go into.
    verilog: Sequence[str] = ("-m", "scripts.verilog_digests")
    # What none of that comes of; of the floorplan it is the slices that it leaves free.
    software: tuple[str, ...] = ("pruning/", "nmgen/", "sim/", "rtl/array/ecp5/floorplan.py")
    all_tests: Sequence[str] = ("tests/rtl", "tests/sim")
    page: str = "docs/verification.md"  # gets the score of each area
    list: str = "build/mutants.md"  # gets every mutant
    workers: int = 2


@dataclass(frozen=True, kw_only=True)
class Mutant:
    name: str
    slip: str  # one sentence
    file: str  # that it changes, from the root
    inside: str  # definition of that file; "": anywhere
    old: str
    new: str
    tests: tuple[str, ...]  # none: all tests of the RTL

    def changed(self, source: str) -> str:
        """What the file is with the slip; InputError where that does not fit."""
        try:
            return replaced(source, self.inside, self.old, self.new)
        except InputError as error:
            raise InputError(f"does not apply: {self.file}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a mutant fared: 'killed', 'survived', or 'invalid' where the run says nothing about the tests."""

    name: str
    slip: str
    area: str  # folder of the file that it changes
    verdict: str
    test: str = ""  # that failed
    reason: str = ""  # first line of the assertion, or why the mutant is invalid
    seconds: int = 0


TEXTS = ("name", "slip", "file", "old", "new")  # keys that an entry must have
KEYS = {*TEXTS, "in", "tests"}


def read_mutant(entry: dict[str, Any]) -> Mutant:
    """A mutant of its entry in a table.

    Raises
    ------
    InputError : a key is missing, or unknown, or has no text.
    """
    name = entry.get("name")
    for key in TEXTS:
        if not isinstance(entry.get(key), str):
            raise InputError(f"mutant {name!r} has no text {key!r}")
    if unknown := sorted(entry.keys() - KEYS):
        raise InputError(f"mutant {name!r} has a key {unknown[0]!r}, may have {', '.join(sorted(KEYS))}")
    for key in ("name", "slip", "old"):
        if not entry[key].strip():
            raise InputError(f"mutant {name!r} has an empty {key!r}")
    texts = {key: entry[key] for key in TEXTS}
    return Mutant(**texts, inside=entry.get("in", ""), tests=tuple(entry.get("tests", ())))


def read_tables(folder: Path) -> list[Mutant]:
    """The mutants of all tables of a folder, by name.

    Raises
    ------
    InputError : a table is no TOML, an entry is wrong, or two have the same name.
    """
    found: dict[str, Mutant] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            entries = tomllib.loads(path.read_text()).get("mutant", [])
            for mutant in map(read_mutant, entries):
                if mutant.name in found:
                    raise InputError(f"mutant {mutant.name!r} stands twice")
                found[mutant.name] = mutant
        except (tomllib.TOMLDecodeError, InputError) as error:
            raise InputError(f"{path.name}: {error}") from None
    return sorted(found.values(), key=lambda mutant: mutant.name)


def misfits(root: Path, mutants: Sequence[Mutant]) -> list[str]:
    """A line for each mutant that does not apply to the tree, with the reason."""
    sources: dict[str, str] = {}
    lines = []
    for mutant in mutants:
        try:
            if mutant.file not in sources:
                sources[mutant.file] = (root / mutant.file).read_text()
            mutant.changed(sources[mutant.file])
        except OSError as error:
            lines.append(f"{mutant.name} does not apply: {mutant.file}: {error.strerror}")
        except InputError as error:
            lines.append(f"{mutant.name} {error}")
    return lines


def tracked(root: Path) -> list[str]:
    """What git tracks, of that what is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


class Kept:
    """What a run of all mutants has found on this tree so far: that the unchanged one passes, and who is killed."""

    def __init__(self, root: Path, logs: Path) -> None:
        digest = sha256()
        for name in sorted(tracked(root)):
            if not name.startswith("docs/"):
                digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
        self._path = logs / f"found-{digest.hexdigest()[:16]}.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("}")]  # not one that was cut
        self.unchanged = next((set(one["unchanged"]) for one in whole if "unchanged" in one), None)
        self.verdicts = {one["name"]: Verdict(**one) for one in whole if "name" in one}

    def add(self, facts: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(facts) + "\n")


def copy_tree(root: Path, to: Path) -> None:
    """What git tracks, as it stands in the work tree."""
    for name in tracked(root):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, to / name)


def environment(tree: Path, outcomes: Path | None = None) -> dict[str, str]:
    """The copy's modules come before installed ones; the plugin may lie outside the copy."""
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    extra = {pytest_outcomes.FILE: str(outcomes)} if outcomes else {}
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **extra}


def emit(project: Project, tree: Path, files: Sequence[str] = ()) -> Iterator[str]:
    """A line for each design of a tree, or for those that some files go into, as soon as it is elaborated.

    Raises
    ------
    InputError : one does not elaborate.
    """
    command = [sys.executable, *project.verilog, *files]
    # Amaranth orders the ports of clocks by a set: of one seed, since only what a slip changes shall differ.
    env = {**environment(tree), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as child,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        limit = threading.Timer(EMIT_LIMIT, end)
        limit.start()
        try:
            yield from (line.rstrip("\n") for line in child.stdout or ())
            status = child.wait()
        finally:
            limit.cancel()
            child.kill()  # where nobody wants the other lines
        if late.is_set():
            raise InputError(f"does not elaborate in {EMIT_LIMIT} s")
        if status:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise InputError(f"does not elaborate: {last}")


def apply(mutant: Mutant, tree: Path) -> None:
    """Puts the slip into a tree; InputError where it does not fit."""
    if lines := misfits(tree, [mutant]):
        raise InputError(lines[0].removeprefix(f"{mutant.name} "))
    path = tree / mutant.file
    path.write_text(mutant.changed(path.read_text()))


def pytest(
    tree: Path, tests: Sequence[str], limit: int, log: Path, **settings: str
) -> tuple[int | None, list[Outcome]]:
    """Exit status of pytest on some tests, None where `limit` seconds were not enough, and how each test ended."""
    outcomes = tree / "outcomes.json"
    outcomes.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_outcomes", *tests]
    env = {**environment(tree, outcomes), **settings}
    status = None
    with log.open("w") as output, started(command, folder=tree, output=output, env=env) as child:
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(limit)
    return status, json.loads(outcomes.read_text()) if outcomes.exists() else []


def run_tests(project: Project, mutant: Mutant, tree: Path) -> tuple[str, str, str]:
    """(verdict, test, reason) of a changed tree."""
    limit = NAMED_LIMIT if mutant.tests else ALL_LIMIT
    tests = ["-m", "not nightly", *(mutant.tests or project.all_tests)]
    status, ended = pytest(tree, tests, limit, tree / "pytest.log")
    if status is None:
        return "invalid", "", f"no result in {limit} s"
    if status == 0 and ended:
        return "survived", "", f"{len(ended)} tests passed"
    for failed in ended:
        if failed["assertion"]:
            return "killed", failed["test"], failed["message"]
    for failed in ended:
        if failed["outcome"] == "failed":
            return "invalid", failed["test"], f"not an assertion: {failed['message']}"
    return "invalid", "", f"pytest ended with status {status} and no failed test"


def judge(project: Project, mutant: Mutant, unchanged: set[str], logs: Path) -> Verdict:
    """One mutant, in a copy of its own."""
    start = time.monotonic()
    verdict, test, reason = "invalid", "", ""
    with tempfile.TemporaryDirectory(prefix=f"nmgen-{mutant.name}-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        try:
            apply(mutant, tree)
            software = mutant.file.startswith(project.software)
            # The first design that differs is enough.
            if not software and all(line in unchanged for line in emit(project, tree, [mutant.file])):
                raise InputError("its Verilog is the unchanged tree's")
            verdict, test, reason = run_tests(project, mutant, tree)
        except InputError as error:
            reason = str(error)
        if (tree / "pytest.log").exists():
            shutil.copy(tree / "pytest.log", logs / f"{mutant.name}.log")
    return Verdict(
        name=mutant.name,
        slip=mutant.slip,
        area=str(Path(mutant.file).parent),
        verdict=verdict,
        test=test,
        reason=reason,
        seconds=round(time.monotonic() - start),
    )


def check_unchanged(project: Project, mutants: Sequence[Mutant], logs: Path) -> set[str]:
    """Its Verilog, after all the tests that the mutants meet have passed on it.

    Raises
    ------
    InputError : they do not pass, or it does not elaborate.
    """
    named = {test for mutant in mutants for test in mutant.tests}
    everything = any(not mutant.tests for mutant in mutants)
    tests = [*project.all_tests, *sorted(named)] if everything else sorted(named)
    with tempfile.TemporaryDirectory(prefix="nmgen-unchanged-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        verilog = set(emit(project, tree))
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
    parser.add_argument("--check", action="store_true", help="only see whether each still applies to the tree")
    parser.add_argument("--json", action="store_true", help="the verdicts as JSON on stdout")
    args = parser.parse_args(argv)

    start = time.monotonic()
    try:
        mutants = read_tables(project.root / "mutants")
        names = [mutant.name for mutant in mutants]
        for name in args.only or []:
            if name not in names:
                raise InputError(f"no mutant {name!r}, there are: {', '.join(names)}")
        chosen = [mutant for mutant in mutants if not args.only or mutant.name in args.only]
        if not chosen:
            raise InputError("mutants/ holds no mutant")
        lost = equivalents.lost(project.root, equivalents.read_equivalents(project.root))
    except InputError as error:
        say(f"mutants: {error}")
        return 2
    if args.check:
        stale = misfits(project.root, chosen)
        for line in [*stale, *lost]:
            say(f"mutants: {line}")
        say(f"{len(chosen) - len(stale)} of {len(chosen)} apply")
        return 1 if stale or lost else 0

    logs = project.root / "build" / "mutants"
    logs.mkdir(parents=True, exist_ok=True)
    kept = None if args.only else Kept(project.root, logs)
    if kept is None or kept.unchanged is None:
        say(f"unchanged tree: running the tests that {len(chosen)} mutants meet …")
        try:
            unchanged = check_unchanged(project, chosen, logs)
        except InputError as error:
            say(f"mutants: {error}")
            return 1
        say(f"unchanged tree: passed after {time.monotonic() - start:.0f} s")
        if kept:
            kept.add({"unchanged": sorted(unchanged)})
    else:
        unchanged = kept.unchanged
        say(f"unchanged tree: passed before, and {len(kept.verdicts)} mutants are killed")

    verdicts = list(kept.verdicts.values()) if kept else []
    before = {one.name for one in verdicts}
    left = [mutant for mutant in chosen if mutant.name not in before]
    with ThreadPoolExecutor(project.workers) as pool:
        for future in as_completed([pool.submit(judge, project, mutant, unchanged, logs) for mutant in left]):
            verdicts.append(future.result())
            one = verdicts[-1]
            if kept and one.verdict == "killed":
                kept.add(asdict(one))
            count = f"{len(verdicts):3}/{len(chosen)}"
            say(f"{count} {one.verdict:8} {one.name}: {one.test or one.reason} ({one.seconds} s)")
    verdicts.sort(key=lambda one: one.name)

    killed = sum(one.verdict == "killed" for one in verdicts)
    if args.json:
        fates = [asdict(one) for one in verdicts]
        print(json.dumps({"killed": killed, "total": len(verdicts), "mutants": fates}, indent=2))
    if not args.only:
        replace_section(project.root / project.page, "mutants", score(verdicts))
        (project.root / project.list).write_text(table(verdicts))
    say(f"{killed} of {len(verdicts)} killed after {time.monotonic() - start:.0f} s")
    return 0 if killed == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
