"""`python -m` of modules that write a folder."""

import sys
from pathlib import Path

import pytest

from pruning.files.script import script
from pruning.files.writing import writing


def write(folder: Path) -> None:
    with writing(folder):
        folder.mkdir()


def test_the_folder_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "there")])
    script("a.b", "Write it.", str(tmp_path / "usual"), write)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_usual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["x"])
    script("a.b", "Write it.", str(tmp_path / "usual"), write)
    assert [path.name for path in tmp_path.iterdir()] == ["usual"]
    assert capsys.readouterr().out == f"wrote {tmp_path / 'usual'}\n"


def test_what_cannot_be_written_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "file")])
    with pytest.raises(SystemExit) as ended:
        script("a.b", "Write it.", "usual", write)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"b: cannot write {tmp_path / 'file'}: File exists\n"


def test_help_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit) as ended:
        script("a.b", "Write it.", "usual", write)
    assert ended.value.code == 0
    assert "usage: python -m a.b [-h] [DIR]" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
