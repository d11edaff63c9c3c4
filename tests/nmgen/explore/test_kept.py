"""Cycles that are kept: a search that is killed, and goes on, ends as one that was not."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from nmgen.cli import main
from nmgen.explore import workers
from nmgen.explore.counting import Counted
from nmgen.explore.kept import EVERY, NAME, Kept
from rtl.params import InputError
from tests.nmgen.explore.samples import SPACE, Here, space_file, write_candidates

FOUND = Counted(cycles=7, multiplies=6, bytes=5, store_words=4, by_layer={"layer 0": {"NORM": 7}}, held={"array": 7})
REFUSED = Counted(refused="too small")
RESULTS = ("front.json", "points.csv", "report.html")
MANY = SPACE | {"m": (4, 8), "n": (2,), "rows": (1, 2, 3, 4, 5, 6), "cols": (2, 4), "store_words": (16, 64)}
PATIENCE_S = 120.0


def test_what_is_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "a" / "b")
    kept.add("x", FOUND)
    kept.add("y", REFUSED)
    assert kept.known(["x", "z"]) == {"x": FOUND}
    kept.close()
    again = Kept(tmp_path / "a" / "b")
    assert again.known(["x", "y"]) == {"x": FOUND, "y": REFUSED}
    again.close()


def test_nothing_is_left_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Kept(tmp_path / "a" / "b" / "c").close()
    assert list((tmp_path / "a").iterdir()) == []
    kept = Kept(tmp_path / "a")
    kept.add("x", FOUND)
    kept.close()
    Kept(tmp_path / "a").close()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [NAME]


def test_it_is_written_as_it_comes(tmp_path: Path) -> None:
    """Another one sees all but the last few."""
    kept = Kept(tmp_path)
    for number in range(3 * EVERY - 1):
        kept.add(str(number), FOUND)
    other = Kept(tmp_path)
    assert len(other.known(map(str, range(3 * EVERY)))) == 2 * EVERY
    kept.close()
    assert len(other.known(map(str, range(3 * EVERY)))) == 3 * EVERY - 1
    other.close()


def test_two_at_a_time(tmp_path: Path) -> None:
    """One of them is told so."""
    kept, other = Kept(tmp_path), Kept(tmp_path)
    other._database.execute("PRAGMA busy_timeout = 100")
    kept.add("x", FOUND)
    with pytest.raises(InputError, match=rf"cannot use .*{NAME}: database is locked"):
        other.add("y", FOUND)
    kept.close()
    other.close()


@pytest.mark.parametrize(
    "found",
    [
        "7",
        "no JSON",
        '{"cycles": 7, "other": 1}',
        *(
            json.dumps(asdict(FOUND) | change)
            for change in ({"cycles": "7"}, {"cycles": -7}, {"cycles": 0}, {"bytes": 0.5}, {"refused": 1}, {"held": 7})
        ),
        json.dumps(asdict(FOUND) | {"by_layer": {"layer 0": 7}}),
        json.dumps(asdict(FOUND) | {"refused": "too small"}),
    ],
)
def test_what_others_wrote(found: str, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept._database.execute("INSERT INTO counted VALUES ('x', ?)", (found,))
    kept.add("y", FOUND)
    assert kept.known("y") == {"y": FOUND}
    with pytest.raises(InputError, match=rf"^.*{NAME} holds no cycles that nmgen explore has kept: delete it$"):
        kept.known("x")
    kept.close()


def command(space: Path, *further: str) -> list[str]:
    return [
        sys.executable, "-m", "nmgen", "explore", "found", "--seq", "7", "--space", str(space), "--jobs", "1",
        "--objectives", "accuracy,latency,area,block_rams",
        "-o", "out", *further,
    ]  # fmt: skip


def alive(pid: int) -> bool:
    """Whether a process runs: one that has ended may wait for a parent that asks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(one) for one in found.stdout.split()]


def wait_until(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def kept_so_far(folder: Path) -> int:
    """Results in the database of a search that may be at work on it; 0 before it is there."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'out' / NAME}?mode=ro", uri=True)) as database:
            count: int = database.execute("SELECT count(*) FROM counted").fetchone()[0]
            return count
    except sqlite3.Error:
        return 0


def killed(line: list[str], folder: Path, after: int, number: int) -> int:
    """Start a search, and send it a signal once it has kept so many more; how many processes it had."""
    before = kept_so_far(folder)
    search = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until("it counts", lambda: search.poll() is not None or kept_so_far(folder) >= before + after)
        assert search.poll() is None, "it was over before it was killed: give it more to do"
        own = children(search.pid)
        search.send_signal(number)
        said = search.communicate()[1].decode()
        assert search.returncode in (-number, 128 + number)
        assert "Traceback" not in said
        # None of its processes waits for work that never comes.
        wait_until("its processes end", lambda: not any(map(alive, own)))
        return len(own)
    finally:
        search.kill()
        search.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with candidates, a space, and for each way to search a folder of what is found without an end."""
    folder = tmp_path_factory.mktemp("whole")
    write_candidates(folder / "found")
    space_file(folder / "space.toml", MANY)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "out" / name).read_bytes() for name in RESULTS}


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param((), id="all", marks=pytest.mark.nightly),
        pytest.param(("--trials", "75", "--seed", "5"), id="NSGA-II"),
    ],
)
def test_killed_and_resumed(
    ways: tuple[str, ...], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a signal that nobody can catch and by one that it is told of, at some moment: byte for byte the same."""
    line = command(whole / "space.toml", *ways)
    (tmp_path / "found").symlink_to(whole / "found")
    rng = random.Random(len(ways))
    for number in (signal.SIGKILL, signal.SIGTERM):
        print(moment := rng.randint(1, 15))
        assert killed(line, tmp_path, moment, number) >= 1
        assert not [name for name in RESULTS if (tmp_path / "out" / name).exists()]
    first = kept_so_far(tmp_path)
    # What goes on, and what begins anew, counts in this process: that takes no time to start.
    monkeypatch.chdir(tmp_path)
    resuming, anew = Here(), Here()
    monkeypatch.setattr(workers, "Processes", lambda jobs: resuming)
    assert main(line[3:]) == 0
    resumed = results(tmp_path)
    for name in (*RESULTS, NAME):
        (tmp_path / "out" / name).unlink()
    monkeypatch.setattr(workers, "Processes", lambda jobs: anew)
    assert main(line[3:]) == 0
    assert results(tmp_path) == resumed
    assert first > 0
    assert len(resuming.tasks) < len(anew.tasks)
