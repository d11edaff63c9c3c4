"""A folder for each test with what the commands read."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nmgen.driver.fake_board import FakeBoard
from tests.nmgen.faults.commands import STA, prepare, refill


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


@pytest.fixture
def work(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the input of every command; beside it tmp, for temporary files, and port, a board."""
    folder = tmp_path / "work"
    folder.mkdir()
    refill(folder, prepared)
    monkeypatch.chdir(folder)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "torch"))  # else a temporary folder that stays
    with FakeBoard(STA) as board:
        (tmp_path / "port").symlink_to(board.port)
        yield folder
