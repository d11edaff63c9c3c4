"""INT, TERM and HUP to every command, at every step: its status, one line, nothing half-written, no process left."""

import contextlib
import fnmatch
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nmgen.cli import COMMANDS, main
from nmgen.console.ending import ended
from tests.nmgen.conftest import SIGNALS
from tests.nmgen.faults.commands import ALONE, ENGINE, HANGING, Command, hanging, refill, send, steps, steps_of, tree

QUICK = ("pack", "inspect", "compile", "disassemble", "estimate", "evaluate", "load", "run", "boards")
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
    end_while_others_work(HANGING[name], number, work, monkeypatch, capsys)


@pytest.mark.parametrize("name", HANGING)
def test_a_signal_that_no_wait_sees(
    name: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that comes just before the main thread blocks: here another thread gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        end_while_others_work(HANGING[name], signal.SIGTERM, work, monkeypatch, capsys)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_while_others_work(
    command: Command,
    number: signal.Signals,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment: dict[str, str] = {}
    pid = work.parent / "tools" / "pid"
    hanging(pid.parent, environment)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("nmgen.simulate.board_sim.find_verilator", lambda: pid.parent / "verilator")
    monkeypatch.setattr("nmgen.simulate.board_sim.files_of", lambda *_: {".v": ""})  # which takes seconds
    before = tree(work)

    def wait_and_send() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        while not pid.exists():
            time.sleep(0.01)
        for _ in range(3):
            send(number)

    thread = threading.Thread(target=wait_and_send, daemon=True)
    thread.start()
    assert main(command.words) == 128 + number
    thread.join()
    check_said(capsys, number)
    check_left(command, before, before)
    assert gone(int(pid.read_text()))


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ["load", "run", "boards"])
def test_while_a_board_is_waited_for(name: str, number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    board, host = os.openpty()

    def wait_and_send() -> None:
        os.read(board, 1)
        send(number)

    thread = threading.Thread(target=wait_and_send, daemon=True)
    thread.start()
    assert main(ALONE[name].line.replace("../port", os.ttyname(host)).split()) == 128 + number
    thread.join()
    check_said(capsys, number)
    for end in (board, host):
        os.close(end)


def test_no_command_is_left_out() -> None:
    # Explore starts processes of its own and keeps what they found: tests/nmgen/explore/test_kept.py stops it.
    assert {command.words[0] for command in (ALONE | HANGING).values()} == set(COMMANDS) - {"explore"}


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


# --- in processes of their own: what an exit says, and the compilers of a real build --------------------------------


def started(line: str, tmp: Path) -> "subprocess.Popen[str]":
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp)}
    command = [sys.executable, "-m", "nmgen", *line.split()]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_design_that_is_given_up_says_nothing(number: signal.Signals, work: Path) -> None:
    """Of its hundreds of parts, none of which is used."""
    before = tree(work)
    run = started("generate -o out", work.parent / "tmp")
    assert run.stderr
    assert run.stderr.readline().startswith("generating ")
    time.sleep(0.3)
    for _ in range(2):
        run.send_signal(number)
    assert run.communicate() == ("", f"nmgen: {SAID[number]}\n")
    assert run.returncode == 128 + number
    assert tree(work) == before


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_compilers_end_too(number: signal.Signals, work: Path) -> None:
    tmp = work.parent / "tmp"

    def compilers() -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"TMPDIR={tmp}/".encode() in (process / "environ").read_bytes():
                    found.append((process / "comm").read_text().strip())
        return found

    run = started(f"simulate L.safetensors --layer fc --input x.npy --output y.npy {ENGINE} --build b", tmp)
    while "cc1plus" not in compilers():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(number)
    assert run.communicate()[1].splitlines()[-1] == f"nmgen: {SAID[number]}"
    assert run.returncode == 128 + number
    assert compilers() == []
    assert list(tmp.iterdir()) == []
    assert not [path for path in Path("b").iterdir() if path.name != "objects" and path.suffix != ".lock"]


def test_before_signals_are_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The interpreter's own exception, of Ctrl-C in the first moment."""

    def interrupted(number: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nmgen.console.ending.came", lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(signal, "getsignal", interrupted)
        assert ended(lambda: 0) == 130
    check_said(capsys, signal.SIGINT)
