"""Breaks the code at random, one token at a time, and sees whether the tests notice: ``make mutants-sample``.

`scripts.one_token` says which changes there are. Of all that `rtl/` and the software whose results are exact offer some
are drawn, by a seed. One is discarded where its file does not import or, in `rtl/`, where no design of
`scripts.verilog_digests` changes or one does not elaborate any more. What is left meets, each in a copy of the tree of
its own, the tests that import the file, by way of others too: first those beside it, in the same folder under `tests/`,
then the others, the nearest first, until one fails. Any failed test has noticed the change, unless all that it says is
that an import fails; a run that takes longer than the limit has not. In the end the tests that failed must pass on the
unchanged tree.

Those that survive are listed with their line. One that cannot be noticed, since it changes nothing that matters, goes
into `mutants/equivalent.toml`, with the reason, and is not drawn again:

    [[equivalent]]
    file = "rtl/sta/results/writer.py"
    in = "Writer.elaborate"  # the class or function; without, it is the file's
    old = "the changed lines"
    new = "what they are then"
    reason = "One sentence that shows that it is the same."

Exit status: 0 all noticed, 1 one was not, 2 bad usage.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import islice
from pathlib import Path

from rtl.params import InputError
from scripts.equivalents import Equivalent, read_equivalents
from scripts.importers import Importers, module_of
from scripts.mutants import ROOT, Project, copy_tree, emit, environment, pytest, say
from scripts.one_token import Change, changes
from scripts.pytest_outcomes import ANY_FAILURE, Outcome

FOLDERS = ("rtl", "nmgen/compiler", "nmgen/estimate", "sim/golden", "pruning")
LIMIT = 1200  # seconds that one run of tests may take
IMPORT_LIMIT = 120  # seconds: torch takes some
OF_TEXT = "tests/scripts/"  # see whether the mutants still fit the text of the tree, which says nothing of what it does
NO_NOTICE = ("ImportError", "ModuleNotFoundError", "TimeoutExpired")  # a test that fails so says nothing of the change


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A change, and how it fared."""

    change: Change
    file: str
    line: int
    inside: str
    old: str
    new: str
    verdict: str = ""  # noticed, survived, timed out or invalid
    test: str = ""  # that failed
    reason: str = ""  # the first line of why it failed, or how far the tests got
    seconds: int = 0

    def told(self) -> str:
        where = f"{self.file}:{self.line}" + (f" {self.inside}" if self.inside else "")
        lines = [*(f"  - {line}" for line in self.old.splitlines()), *(f"  + {line}" for line in self.new.splitlines())]
        return "\n".join([where, *lines])


def tracked(root: Path) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def shuffled(root: Path, files: Sequence[str], seed: int) -> list[Drawn]:
    """All changes that some files offer, in the order in which a seed draws them."""
    found = []
    for file in files:
        source = (root / file).read_text()
        for change in changes(file, source):
            entry = change.entry(source)
            found.append(
                Drawn(
                    change=change,
                    file=file,
                    line=change.line(source),
                    inside=entry["in"],
                    old=entry["old"],
                    new=entry["new"],
                )
            )
    random.Random(seed).shuffle(found)
    return found


def put(drawn: Drawn, tree: Path) -> None:
    path = tree / drawn.file
    path.write_text(drawn.change.applied(path.read_text()))


def why_discarded(project: Project, drawn: Drawn, unchanged: set[str]) -> str:
    """Why a change says nothing of the tests; empty where it may be judged."""
    with tempfile.TemporaryDirectory(prefix="nmgen-sift-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        put(drawn, tree)
        command = [sys.executable, "-W", "ignore", "-c", f"import {module_of(drawn.file)}"]
        try:
            imports = subprocess.run(
                command, cwd=tree, env=environment(tree), capture_output=True, timeout=IMPORT_LIMIT
            )
        except subprocess.TimeoutExpired:
            return "does not import"
        if imports.returncode:
            return "does not import"
        if drawn.file.startswith(project.software):
            return ""
        try:
            # First the few designs that the file goes into in the first place.
            if set(emit(project, tree, [drawn.file])) <= unchanged and set(emit(project, tree)) == unchanged:
                return "changes no Verilog"
        except InputError:
            return "does not elaborate"
    return ""


def sifted(
    project: Project, order: Iterator[Drawn], unchanged: set[str], count: int, jobs: int
) -> Iterator[Drawn | str]:
    """Goes through the changes until `count` of them may be judged: yields those, and why each other is discarded."""
    left = count
    with ThreadPoolExecutor(jobs) as pool:
        while left and (batch := list(islice(order, min(jobs, left)))):
            reasons = pool.map(lambda drawn: why_discarded(project, drawn, unchanged), batch)
            for drawn, reason in zip(batch, reasons, strict=True):
                left -= not reason
                yield reason or drawn


def noticed(ended: Sequence[Outcome]) -> Outcome | None:
    """The first failed test that says more than that an import failed or that something took too long."""
    for one in ended:
        if one["outcome"] == "failed" and not one["message"].startswith(NO_NOTICE):
            return one
    return None


def judge(project: Project, importers: Importers, drawn: Drawn, limit: int, logs: Path) -> Drawn:
    """Runs the tests on a change, in a copy of its own."""
    logs.mkdir()
    start = time.monotonic()
    passed, late, broken = 0, False, False
    failed: Outcome | None = None
    with tempfile.TemporaryDirectory(prefix="nmgen-sample-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)
        put(drawn, tree)
        for name, found in zip(("near", "others"), importers.tests_of(drawn.file), strict=True):
            tests = [test for test in found if not test.startswith(OF_TEXT)]
            if tests:
                # Where one file of tests does not import, the others still run.
                arguments = ["--continue-on-collection-errors", *tests]
                status, ended = pytest(tree, arguments, limit, logs / f"{name}.log", **{ANY_FAILURE: "1"})
                failed = noticed(ended)
                if failed:
                    break
                passed += sum(one["outcome"] == "passed" for one in ended)
                late |= status is None
                broken |= status not in (None, 0, 5)  # 5: all tests are for other runs
    verdict, reason = "survived", f"{passed} tests passed"
    if failed:
        verdict, reason = "noticed", failed["message"]
    elif late:
        verdict, reason = "timed out", f"no result in {limit} s"
    elif broken:
        verdict, reason = "invalid", "no test failed, but some did not run"
    seconds = round(time.monotonic() - start)
    return replace(drawn, verdict=verdict, test=failed["test"] if failed else "", reason=reason, seconds=seconds)


def fail_anyway(project: Project, tests: Sequence[str], limit: int, log: Path) -> set[str]:
    """Those of some tests that do not pass on the unchanged tree."""
    with tempfile.TemporaryDirectory(prefix="nmgen-unchanged-") as folder:
        tree = Path(folder)
        copy_tree(project.root, tree)

        def passes(*names: str) -> bool:
            return pytest(tree, names, limit, log)[0] == 0

        if not tests or passes(*tests):
            return set()
        # A parameter that the change makes has no test here: then all of that function.
        return {test for test in tests if not passes(test) and not passes(test.partition("[")[0])}


def chosen_files(root: Path, paths: Sequence[str]) -> list[str]:
    """Python files under some paths of a tree.

    Raises
    ------
    InputError : a path has none.
    """
    files = [file for file in tracked(root) if file.endswith(".py")]
    found: list[str] = []
    for path in paths:
        some = [file for file in files if file == path or file.startswith(f"{path.rstrip('/')}/")]
        if not some:
            raise InputError(f"no Python file is or lies in {path!r}")
        found += some
    return sorted(set(found))


def known(drawn: Drawn, equivalents: Sequence[Equivalent]) -> bool:
    return any(one.is_change(drawn.file, drawn.inside, drawn.old, drawn.new) for one in equivalents)


def summary(judged: Sequence[Drawn], discarded: Counter[str], equivalent: int) -> str:
    counts = Counter(one.verdict for one in judged)
    parts = [f"{counts['noticed']} of {len(judged)} noticed"]
    parts += [f"{counts[verdict]} {verdict}" for verdict in ("survived", "timed out", "invalid") if counts[verdict]]
    parts += [f"{number} discarded: {reason}" for reason, number in sorted(discarded.items())]
    if equivalent:
        parts.append(f"{equivalent} known to be equivalent")
    return "; ".join(parts)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mutants-sample",
        description="Change single tokens of the code at random, see the tests notice.",
        epilog="example: python -m scripts.mutants_sample --count 5 --seed 7 rtl/sta/results pruning/masks/patterns.py",
    )
    parser.add_argument(
        "paths", nargs="*", default=FOLDERS, metavar="PATH", help=f"files, folders ({', '.join(FOLDERS)})"
    )
    parser.add_argument("--count", type=int, default=60, metavar="N", help="changes that are judged (60)")
    parser.add_argument("--seed", type=int, metavar="N", help="what is drawn (the day, as 20261128)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="changes that are looked at at a time (2)")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="S", help=f"seconds of a run of tests ({LIMIT})")
    parser.add_argument("--json", action="store_true", help="what was found as JSON on stdout")
    args = parser.parse_args(argv)
    for name in ("count", "jobs", "limit"):
        if getattr(args, name) < 1:
            parser.error(f"{name} is {getattr(args, name)}, must be at least 1")
    return args


def draw(project: Project, order: Sequence[Drawn], args: argparse.Namespace) -> tuple[list[Drawn], Counter[str]]:
    """So many changes that may be judged, and how many of those before them were discarded, by the reason.

    Raises
    ------
    InputError : the unchanged tree does not elaborate.
    """
    unchanged: set[str] = set()
    if not all(one.file.startswith(project.software) for one in order):
        with tempfile.TemporaryDirectory(prefix="nmgen-unchanged-") as folder:
            copy_tree(project.root, Path(folder))
            unchanged = set(emit(project, Path(folder)))
    drawn: list[Drawn] = []
    discarded: Counter[str] = Counter()
    for one in sifted(project, iter(order), unchanged, args.count, args.jobs):
        if isinstance(one, str):
            discarded[one] += 1
        else:
            drawn.append(one)
            say(f"{len(drawn):3}/{args.count} drawn, {discarded.total()} discarded")
    return drawn, discarded


def judge_all(project: Project, drawn: Sequence[Drawn], args: argparse.Namespace) -> list[Drawn]:
    """Says of each how it fares, as soon as those before it are known."""
    logs = project.root / "build" / "mutants-sample"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    importers = Importers(project.root, tracked(project.root))
    judged: list[Drawn] = []
    with ThreadPoolExecutor(args.jobs) as pool:
        tasks = [
            pool.submit(judge, project, importers, one, args.limit, logs / str(number))
            for number, one in enumerate(drawn, 1)
        ]
        for number, task in enumerate(tasks, 1):
            one = task.result()
            judged.append(one)
            say(f"{number:3}/{len(drawn)} {one.verdict} {one.told()}\n  {one.test or one.reason} ({one.seconds} s)")
    wrong = fail_anyway(project, sorted({one.test for one in judged if one.test}), args.limit, logs / "unchanged.log")
    anyway = "that test fails on the unchanged tree"
    return [replace(one, verdict="invalid", reason=anyway) if one.test in wrong else one for one in judged]


def main(argv: Sequence[str] | None = None, project: Project | None = None) -> int:
    project = project or Project(root=ROOT)
    args = arguments(argv)
    seed = args.seed if args.seed is not None else int(f"{date.today():%Y%m%d}")
    start = time.monotonic()
    try:
        files = chosen_files(project.root, args.paths)
        equivalents = read_equivalents(project.root)
        offered = shuffled(project.root, files, seed)
        order = [one for one in offered if not known(one, equivalents)]
        equivalent = len(offered) - len(order)
        say(f"seed {seed}: {args.count} of {len(order)} changes of {len(files)} files")
        drawn, discarded = draw(project, order, args)
    except InputError as error:
        say(f"mutants-sample: {error}")
        return 2
    judged = judge_all(project, drawn, args)

    if args.json:
        fates = [{**asdict(one), "change": one.change.kind} for one in judged]
        found = {"seed": seed, "discarded": discarded, "equivalent": equivalent, "changes": fates}
        print(json.dumps(found, indent=2, ensure_ascii=False))
    for one in judged:
        if one.verdict != "noticed":
            say(f"{one.verdict}: {one.told()}\n  {one.reason}")
    say(f"seed {seed}: {summary(judged, discarded, equivalent)} after {time.monotonic() - start:.0f} s")
    return 0 if all(one.verdict == "noticed" for one in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
