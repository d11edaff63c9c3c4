"""`python -m tests.fuzz`: so many cases, or for so many minutes, from a seed; each failure as a folder that repeats it.

What was found lies in build/fuzz/failures/SEED-JOB-NUMBER: the files in in/, the command line in again.sh, what was
wrong in wrong.txt. Exit status 0: nothing; 1: something.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import NoReturn

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz import corpus, judge
from tests.fuzz.lines import LINES, Case, cases, unbroken

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "fuzz"
BLOCK = 100  # cases of one seed of hypothesis's, which remembers them all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hunt for inputs not taken well.")
    given = os.environ.get
    parser.add_argument("--cases", type=int, default=int(given("FUZZ_CASES", "0")), help="how many (2000)")
    parser.add_argument("--minutes", type=float, default=float(given("FUZZ_MINUTES", "0")), help="or for how long")
    parser.add_argument("--seed", type=int, default=int(given("FUZZ_SEED", "0")), help="(0)")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at a time (one a core)")
    parser.add_argument("--commands", default=",".join(LINES), help="of these commands alone")
    parser.add_argument("--good", action="store_true", help="nothing is broken: every command line ends with 0")
    parser.add_argument("--seconds", type=float, default=judge.BOUNDS.seconds, help="that a case may take (60)")
    parser.add_argument("--out", type=Path, default=OUT, help="for failures (build/fuzz)")
    args = parser.parse_args()
    wanted = args.cases or (10**9 if args.minutes else 2000)
    until = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    place = Path(mkdtemp(prefix="fuzz-"))
    try:
        judge.prepare()
        judge.pretend(place / "tools")
        if not (child := os.fork()):  # what computes with torch before it forks may hang behind that
            _in_child(lambda: corpus.make(place / "corpus"))
        if os.waitpid(child, 0)[1]:
            return 1
        jobs = {}
        for job in range(args.jobs):
            if not (child := os.fork()):
                share = -(-(wanted - job) // args.jobs)
                tally = place / f"tally-{job}"
                _in_child(lambda: tally.write_text(json.dumps(hunt(args, share, until, place, job))))  # noqa: B023
            jobs[child] = job
        died = [job for child, job in jobs.items() if os.waitpid(child, 0)[1]]
        tallies = [json.loads((place / f"tally-{job}").read_text()) for job in jobs.values() if job not in died]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    statuses, commands = (sum((Counter(one[what]) for one in tallies), Counter()) for what in ("statuses", "commands"))
    failed = sum(one["failed"] for one in tallies)
    print(
        f"{statuses.total()} cases, seed {args.seed}: {_listed(statuses)}; {_listed(commands)}; "
        f"most seconds {max((one['seconds'] for one in tallies), default=0):.1f}, "
        f"most memory {max((one['memory'] for one in tallies), default=0) >> 20} MB; {failed} failed"
        + (f"; job {died} died" if died else "")
    )
    return 1 if failed or died else 0


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _in_child(work: Callable[[], object]) -> NoReturn:
    """All that a forked process does."""
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def hunt(args: argparse.Namespace, share: int, until: float, place: Path, job: int) -> dict[str, object]:
    """Run a share of the cases, no two of them alike; returns what it came to."""
    found = corpus.read(place / "corpus")
    seen: set[int] = set()
    statuses: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    failed, seconds, memory = 0, 0.0, 0
    here = place / f"case-{job}"

    def one(case: Case) -> None:
        nonlocal failed, seconds, memory
        if time.monotonic() > until or statuses.total() == share or hash(case) in seen:
            return
        seen.add(hash(case))
        shutil.rmtree(here, ignore_errors=True)
        outcome = judge.run(case, here, place / "tools", judge.Bounds(args.seconds))
        statuses[f"exit {outcome.status}"] += 1
        ended = (judge.CUT, judge.NO_BOARD)
        if args.good and outcome.status and not any(line in outcome.err.decode() for line in ended):
            outcome.problems.append(f"good, but refused: {outcome.err.decode()[-200:]}")
        commands[case.argv[0] if case.argv[0] in LINES else "none"] += 1
        seconds, memory = max(seconds, outcome.seconds), max(memory, outcome.memory)
        if outcome.problems:
            failed += 1
            kept = args.out / "failures" / f"{args.seed}-{job}-{statuses.total()}"
            keep(case, outcome, here, kept)
            print(f"{kept}: {shlex.join(case.argv)[:100]!r}: {'; '.join(outcome.problems)[:300]!r}", flush=True)

    chosen = tuple(args.commands.split(","))
    if args.good:
        for case in unbroken(found, chosen)[job :: args.jobs]:
            one(case)
    bounds = settings(
        max_examples=BLOCK,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    for block in count():
        if time.monotonic() > until or statuses.total() == share or args.good:
            break
        strategy = given(cases(found, chosen))
        hypothesis.seed(f"{args.seed}/{job}/{block}")(bounds(strategy(one)))()
    return {"statuses": statuses, "commands": commands, "failed": failed, "seconds": seconds, "memory": memory}


def keep(case: Case, outcome: judge.Outcome, here: Path, kept: Path) -> None:
    """Write a failure down: its files as they were before, the command line, what it said, and what was wrong."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    judge.lay_out(case, kept / "in")
    for name in ("out", "err"):
        if (here / name).exists():
            shutil.copy(here / name, kept / name)
    stdout = {"file": "", "closed": " >&-", "full": " >/dev/full"}[case.stdout]
    lines = [
        "#!/bin/bash",
        f"# {'; '.join(case.broken) or 'nothing broken'}",
        f"# signal {case.signal} after {case.after} s" if case.signal else "#",
        'cd "$(dirname "$0")/in"',
        f"export PYTHONIOENCODING={case.encoding}",
        "" if case.room is None else f"ulimit -f {case.room // 1024}  # no file larger than so many KB",
        f"nmgen {' '.join(map(quoted, case.argv))}{stdout}",
    ]
    (kept / "again.sh").write_text("\n".join(line for line in lines if line not in ("", "#")) + "\n")
    figures = f"exit status {outcome.status}, {outcome.seconds:.1f} s, {outcome.memory >> 20} MB"
    (kept / "wrong.txt").write_text("\n".join([*outcome.problems, figures]) + "\n", errors="backslashreplace")


def quoted(word: str) -> str:
    """A word for bash, undecodable bytes and control signs by their numbers."""
    if word.isprintable() and word.isascii():
        return shlex.quote(word)
    return "$'" + "".join(f"\\x{byte:02x}" for byte in word.encode(errors="surrogateescape")) + "'"


if __name__ == "__main__":
    sys.exit(main())
