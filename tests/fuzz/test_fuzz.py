"""The hunt: a quick share, hours of it at night, and that it notices what it is there to notice."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nmgen import cli
from rtl.params import InputError
from tests.fuzz import judge
from tests.fuzz.__main__ import ROOT, keep, quoted
from tests.fuzz.containers import Container
from tests.fuzz.judge import Bounds
from tests.fuzz.lines import LINES, Case

MINUTES = float(os.environ.get("FUZZ_MINUTES", "120"))


def hunt(*arguments: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_few_cases() -> None:
    """The same at every run: other seeds are the night's."""
    hunt("--cases", "20", "--seed", "1", "--jobs", "1")


def test_no_command_is_left_out() -> None:
    assert set(LINES) == set(cli.COMMANDS)


@pytest.mark.nightly
def test_what_is_broken_was_good() -> None:
    """The command lines that cases are made of end with 0 as they are."""
    hunt("--good", "--jobs", "1")


@pytest.mark.nightly
def test_a_night_of_cases() -> None:
    seed = os.environ.get("FUZZ_SEED", os.environ.get("NMGEN_SEED", "0"))
    hunt("--minutes", str(MINUTES), "--seed", seed, "--jobs", "1")


# --- what it notices -------------------------------------------------------------------------------------------------


def two_lines() -> int:
    print("nmgen: one\nnmgen: two", file=sys.stderr)
    return 2


def stray_line() -> int:
    print("/x.py:7: RuntimeWarning: overflow", file=sys.stderr)
    return 0


def silent() -> int:
    return 2


def refuses() -> int:
    print("nmgen: no", file=sys.stderr)
    return 2


def mismatch() -> int:
    return 1


def fails() -> int:
    raise ZeroDivisionError


def prints_then_refuses() -> int:
    print("a table")
    return refuses()


def sleeps() -> int:
    time.sleep(60)
    return 0


def computes() -> int:
    while True:
        pass


def fills() -> int:
    held = [bytearray(os.urandom(1 << 20)) for _ in range(400)]
    time.sleep(1)
    return len(held) * 0


def leaves_a_process() -> int:
    subprocess.Popen(["sleep", "60"])
    return 0


def leaves_a_hidden_file() -> int:
    Path(".out.1").touch()
    return 0


def leaves_a_temporary_file() -> int:
    (Path(os.environ["TMPDIR"]) / "x").touch()
    return 0


def writes_then_refuses() -> int:
    Path("out").mkdir()
    return refuses()


def writes_a_half() -> int:
    Path("out.json").write_text('{"a":')
    return 0


def loses_its_input() -> int:
    Path("model/config.json").unlink()
    return 0


def no_number() -> int:
    print('{"cycles": NaN}')
    return 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    ("main", "problem"),
    [
        (refuses, None),
        (lambda: 0, None),
        (two_lines, "2 lines on stderr"),
        (stray_line, "stray line on stderr"),
        (silent, "no line on stderr"),
        (mismatch, "exit status 1"),
        (fails, "traceback: ZeroDivisionError"),
        (prints_then_refuses, "printed on stdout, then refused"),
        (sleeps, "not done after 1 s"),
        (computes, "not done after 1 s"),
        (fills, "MB of memory"),
        (leaves_a_process, "left running: sleep"),
        (leaves_a_hidden_file, "left behind: .out.1"),
        (leaves_a_temporary_file, "left in the folder for temporary files: x"),
        (writes_then_refuses, "refused, but wrote out"),
        (writes_a_half, "out.json is not whole"),
        (loses_its_input, "gone: model/config.json"),
        (no_number, "--json prints no JSON: NaN"),
    ],
)
def test_what_is_wrong_is_noticed(
    main: Callable[[], int], problem: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "command", main)
    case = Case(argv=("estimate", "--json"), files={"model/config.json": b"{}"})
    if main in (refuses,) or problem is None:
        case = Case(argv=("estimate",), files={"model/config.json": b"{}"})
    own = judge.resident(os.getpid())
    seconds = 1 if main in (sleeps, computes) else 60  # the others end by themselves
    outcome = judge.run(case, tmp_path / "case", tmp_path, Bounds(seconds=seconds, memory=own + (300 << 20)))
    if problem is None:
        assert outcome.problems == []
    else:
        assert any(problem in found for found in outcome.problems), outcome.problems


def test_a_failure_repeats(tmp_path: Path) -> None:
    """What is kept of a failure is the command line and the files, whatever they are."""
    argv = ("inspect", "a b", "caf\udce9", "l1\nl2")
    case = Case(argv=argv, files={"a b": b"x"}, special={"l1\nl2": "pipe"}, room=4096, broken=("nothing",))
    (tmp_path / "here").mkdir()
    outcome = judge.Outcome(status=1, died=False, out=b"", err=b"", seconds=0, memory=0, problems=["wrong"])
    keep(case, outcome, tmp_path / "here", tmp_path / "kept")
    assert (tmp_path / "kept" / "in" / "a b").read_bytes() == b"x"
    assert (tmp_path / "kept" / "in" / "l1\nl2").is_fifo()
    script = (tmp_path / "kept" / "again.sh").read_text()
    assert "ulimit -f 4" in script
    words = " ".join(map(quoted, argv))
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True).stdout
    assert said == b"\0".join(word.encode(errors="surrogateescape") for word in argv) + b"\0"


def test_what_is_signed_is_taken(tmp_path: Path) -> None:
    """A file taken apart and signed again is what it was: what is broken before that gets past the checksum."""
    from pruning.files.artefact import from_bytes, to_bytes
    from tests.pruning.samples import random_layer

    data = to_bytes([random_layer(1, 6, 20, 2, 8)])
    found = Container.of(data)
    assert found.metadata
    assert found.to_bytes() == data
    signed = found.metadata["sha256"]
    found.sign()
    assert found.metadata["sha256"] == signed
    shift = next(one for one in found.tensors if one.name.endswith("shift"))
    shift.data = bytes(len(shift.data))
    with pytest.raises(InputError, match="checksum"):
        from_bytes(found.to_bytes())
    found.sign()
    with pytest.raises(InputError, match="shift of channel 0 is 0"):
        from_bytes(found.to_bytes())
