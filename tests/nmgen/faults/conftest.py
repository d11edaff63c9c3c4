"""A folder for each test with what the commands read."""

import tempfile
from pathlib import Path

import pytest

from tests.nmgen.faults.commands import prepare, refill


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
