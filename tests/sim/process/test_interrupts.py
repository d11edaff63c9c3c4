"""Signals as an exception: once, not in the midst of what is held, and not lost where nothing can raise."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sim.process import children
from sim.process.interrupts import Interrupted, came, held, interruptible, scratch_folder


def send(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def test_the_first_raises_and_the_others_do_not() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []

    def work() -> None:
        try:
            send()
        finally:
            send()
            send(signal.SIGHUP)
            done.append("cleaned")

    with interruptible():
        with pytest.raises(Interrupted):
            work()
        assert came() == signal.SIGTERM
    assert done == ["cleaned"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_is_held_is_done_first() -> None:
    done = []

    def work() -> None:
        with held():
            send()
            done.append("held")
        done.append("after")

    with interruptible(), pytest.raises(Interrupted):
        work()
    assert done == ["held"]


def test_a_destructor_does_not_lose_it() -> None:
    class Dying:
        def __del__(self) -> None:
            send()
            time.sleep(0.001)

    def work() -> None:
        dying = Dying()
        del dying
        time.sleep(10)

    begun = time.monotonic()
    with interruptible(), pytest.raises(Interrupted):
        work()
    assert time.monotonic() - begun < 5


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            send(signal.SIGHUP)
            assert came() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_scratch_folder_goes(tmp_path: Path) -> None:
    def work() -> None:
        with scratch_folder(beside=tmp_path) as folder:
            (folder / "file").touch()
            send()

    with interruptible(), pytest.raises(Interrupted):
        work()
    assert list(tmp_path.iterdir()) == []


def test_a_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Of its own accord, too; and its temporary files go."""
    script = f"import os, subprocess; p = subprocess.Popen(['sleep', '600']); open({str(tmp_path / 'pid')!r}, 'w')"
    script += f".write(str(p.pid)); open({str(tmp_path / 'tmp')!r}, 'w').write(os.environ['TMPDIR']); os._exit(3)"
    with (tmp_path / "log").open("wb") as log:
        assert children.run([sys.executable, "-c", script], folder=tmp_path, output=log) == 3
    assert not Path((tmp_path / "tmp").read_text()).exists()
    for _ in range(200):
        stat = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.02)
    else:
        pytest.fail("it still sleeps")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, pytest.raises(FileNotFoundError):
        children.run([str(tmp_path / "none")], folder=tmp_path, output=log)


def test_a_full_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children.check_room(tmp_path)
    assert list(tmp_path.iterdir()) == []

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        children.check_room(tmp_path)
    assert caught.value.filename == str(tmp_path)
