"""Files and directories are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nmgen.console.files import check_writable, remove_unfinished, written_whole
from rtl.params import InputError


def test_a_file_appears_when_the_block_is_done(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with written_whole(path) as written:
        written.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with written_whole(path) as written:
        written.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("existing", [True, False])
def test_nothing_changes_when_the_block_raises(existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    if existing:
        path.parent.mkdir()
        path.write_text("old")

    def fail() -> None:
        with written_whole(path) as written:
            written.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [p.name for p in tmp_path.rglob("*")] == (["new", "file"] if existing else [])
    assert not existing or path.read_text() == "old"


def test_a_directory_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "design"
    path.mkdir()  # an empty one may be there
    with written_whole(path) as written:
        written.mkdir()
        (written / "file").write_text("whole")
    assert (path / "file").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["design"]


def test_a_directory_that_holds_something_stays(tmp_path: Path) -> None:
    path = tmp_path / "design"
    path.mkdir()
    (path / "mine").write_text("mine")

    def replace() -> None:
        with written_whole(path) as written:
            written.mkdir()

    with pytest.raises(InputError, match=r"cannot write .*design: "):
        replace()
    assert (path / "mine").read_text() == "mine"


def test_a_full_disk(tmp_path: Path) -> None:
    """A write to it raises without the name of a file."""
    path = tmp_path / "new" / "file"

    def write() -> None:
        with written_whole(path) as written, written.open("wb") as stream:
            stream.write(b"half")
            Path("/dev/full").write_bytes(b"no room")

    with pytest.raises(InputError, match=f"^cannot write {path}: No space left on device$"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_another_file_s_error_stays(tmp_path: Path) -> None:
    def read() -> None:
        with written_whole(tmp_path / "file") as written:
            written.write_bytes((tmp_path / "none").read_bytes())

    with pytest.raises(FileNotFoundError, match="none"):
        read()


@pytest.mark.parametrize("place", ["/proc/nmgen", "file/below"])
def test_a_place_that_cannot_be_written(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()

    def write() -> None:
        with written_whole(Path(place)) as written:
            written.touch()

    with pytest.raises(InputError, match=f"cannot write {place}: "):
        write()


def test_no_device_is_replaced(tmp_path: Path) -> None:
    """Nor a pipe, nor what a link leads to one."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("/dev/null")
    for place in (pipe, link):
        with pytest.raises(InputError, match=rf"^cannot write {place}: it is no ordinary file$"):
            check_writable(place)
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_no_file_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    """Not even of an empty one; a folder does."""
    with pytest.raises(InputError, match=rf"^cannot write {tmp_path}: Is a directory$"):
        check_writable(tmp_path)
    assert tmp_path.is_dir()


HALF = """
import os, signal
from pathlib import Path
from nmgen.console.files import written_whole
with written_whole(Path({path!r})) as written:
    written.mkdir()
    (written / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["2of8", "A.safetensors"])
def test_what_a_killed_process_left_is_removed(name: str, tmp_path: Path) -> None:
    own = [".git", ".config.toml", ".a.b", "A.safetensors.abcd1234"]
    for folder in own:
        (tmp_path / folder).mkdir()
    (tmp_path / ".file.abcd1234").touch()  # no folder
    killed = subprocess.run([sys.executable, "-c", HALF.format(path=str(tmp_path / name))], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == len(own) + 2
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*own, ".file.abcd1234"])
    remove_unfinished(tmp_path / "missing")
