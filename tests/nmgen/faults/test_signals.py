"""INT, TERM and HUP to every command, at every step: its status, one line, nothing half-written, no process left."""

import fnmatch
import signal
import threading
import time
from pathlib import Path

import pytest

from nmgen.cli import main
from tests.nmgen.faults.commands import ALONE, HANGING, Command, hanging, refill, send, steps, steps_of, tree
from tests.nmgen.faults.conftest import SIGNALS

QUICK = ("pack", "inspect", "compile", "disassemble", "estimate", "evaluate")
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal is gone"}


def check_said(capsys: pytest.CaptureFixture[str], number: signal.Signals) -> None:
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"nmgen: {SAID[number]}"
    assert err.count("nmgen: ") == 1
    for chatter in ("Traceback", "Exception ignored", "Unused"):
        assert chatter not in out + err


def check_left(command: Command, before: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """What is there is as it was or as it would have become, and nothing else is there."""
    for path, content in tree(Path.cwd()).items():
        if not any(fnmatch.fnmatch(path, pattern) for pattern in command.kept):
            assert any(files.get(path) == content for files in (before, whole)), path
    assert not list(Path("../tmp").iterdir())


def stopped_at(
    name: str, number: signal.Signals, chosen: slice, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run a command, and send it the signal at each of the chosen steps, and at every step after that."""
    command, work = ALONE[name], Path.cwd()
    before = tree(work)
    count = steps_of(command)
    capsys.readouterr()
    whole = tree(work)
    assert count > 0
    for first in range(1, count + 1)[chosen]:
        refill(work, prepared)
        with steps(lambda step, _: send(number) if step >= first else None):  # noqa: B023
            assert main(command.words) == 128 + number
        check_said(capsys, number)
        check_left(command, before, whole)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(("number", "first"), [(signal.SIGINT, 0), (signal.SIGTERM, 5)])
@pytest.mark.parametrize("name", ALONE)
def test_a_step_in_nine(
    name: str, number: signal.Signals, first: int, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at(name, number, slice(first, None, 9 if name in QUICK else 45), prepared, capsys)


@pytest.mark.nightly
@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ALONE)
def test_every_step(name: str, number: signal.Signals, prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped_at(name, number, slice(None), prepared, capsys)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", HANGING)
def test_while_others_work(
    name: str, number: signal.Signals, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program that was started, and the one that it started in turn, are ended with the command."""
    environment: dict[str, str] = {}
    pid = work.parent / "tools" / "pid"
    hanging(pid.parent, environment)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    before = tree(work)

    def wait_and_send() -> None:
        while not pid.exists():
            time.sleep(0.01)
        for _ in range(3):
            send(number)

    thread = threading.Thread(target=wait_and_send, daemon=True)
    thread.start()
    assert main(HANGING[name].words) == 128 + number
    thread.join()
    check_said(capsys, number)
    check_left(HANGING[name], before, before)
    assert gone(int(pid.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends within moments; one that nobody waits for may stay as a zombie."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False
