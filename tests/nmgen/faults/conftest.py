"""A folder for each test with what the commands read, and signals as a program has them that a person started."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nmgen.faults.commands import prepare, refill

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


@pytest.fixture
def work(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the input of every command; temporary files go beside it, into tmp."""
    folder = tmp_path / "work"
    folder.mkdir()
    refill(folder, prepared)
    monkeypatch.chdir(folder)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return folder


@pytest.fixture(autouse=True)
def _default_signals() -> Iterator[None]:
    """Where the tests run in the background, or under nohup, some are ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
