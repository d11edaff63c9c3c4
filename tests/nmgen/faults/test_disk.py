"""A full disk and a read-only one, to every command that writes: status 2, one line, nothing half-written.

The disks are small tmpfs, which need root; elsewhere, and where mounting is not allowed, opening a file to write to it
fails as it does on such a disk.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nmgen.cli import main
from tests.nmgen.faults.commands import ALONE, HANGING, steps, steps_of, tree
from tests.nmgen.tools import pretend_all

WRITING = ("generate", "generate again", "pack", "compile", "run", "prune", "prune layers", "train")
FULL = os.strerror(errno.ENOSPC)


def one_line(capsys: pytest.CaptureFixture[str], part: str) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("nmgen: ")
    assert part in last
    assert err.count("nmgen: ") == 1
    assert "Traceback" not in err


def mounted(options: str, where: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def disk(work: Path) -> Iterator[Path]:
    """The folder out of the commands, on a disk of its own of 256 KB."""
    folder = work / "out"
    folder.mkdir()
    if not mounted("size=256k", folder):
        pytest.skip("needs a tmpfs, which may not be mounted here; test_no_file_can_be_opened goes everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("room", [0, 4, 12])
@pytest.mark.parametrize("name", ["generate", "pack", "compile", "run", "prune", "prune layers"])
def test_a_full_disk(name: str, room: int, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With room for so many KB, in pages of 4: a folder takes none."""
    (disk / "filler").write_bytes(bytes((256 - room) << 10))
    status = main(ALONE[name].words)
    if room and status == 0:  # it fits
        assert name in ("pack", "compile", "run")
        return
    assert status == 2
    one_line(capsys, FULL)
    # What is there is whole: of generate nothing, of prune the first artefacts.
    for path in set(tree(disk)) - {"filler"}:
        assert "prune" in name
        assert not Path(path).name.startswith(".")


def test_a_full_disk_under_tools(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a tool dies of is told instead of its last words."""
    script = "head -c 300000 /dev/zero > big || exit 3"
    pretend_all(disk.parent.parent / "tools", dict.fromkeys(("yosys", "nextpnr-ecp5", "ecppack"), script), monkeypatch)
    assert main(HANGING["build"].words) == 2
    one_line(capsys, FULL)
    assert tree(disk) == {}


def test_a_full_disk_under_a_simulator(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = disk.parent.parent / "tools"
    tools.mkdir()
    (tools / "iverilog").write_text("#!/bin/sh\nhead -c 300000 /dev/zero > big || exit 3\n")
    (tools / "iverilog").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    assert main(HANGING["simulate"].line.replace("--build b", "--build out/b").split()) == 2
    one_line(capsys, FULL)
    assert not [path for path in tree(disk) if not path.endswith(".lock") and path != "b"]


@pytest.mark.parametrize("name", WRITING)
def test_a_read_only_disk(name: str, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    words = ALONE[name].words
    words[-1] = words[-1] if words[-1].startswith("out") else f"out/{words[-1]}"
    assert main(words) == 2
    one_line(capsys, os.strerror(errno.EROFS))
    assert tree(disk) == {}


def no_file_can_be_opened(name: str, stride: int, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From each of these steps on no file can be opened to write to it, as on a disk without a free inode."""
    command, before = ALONE[name], tree(work)
    count = steps_of(command)
    for first in range(1, count + 1, stride):
        for path in sorted(set(tree(work)) - set(before), reverse=True):
            (work / path).rmdir() if (work / path).is_dir() else (work / path).unlink()
        for path, content in before.items():
            if path.startswith("rtl/") and not (work / path).is_dir():
                (work / path).write_bytes(content)
        capsys.readouterr()
        refused = []

        def refuse(step: int, writes: bool) -> None:
            if writes and step >= first:  # noqa: B023
                refused.append(step)  # noqa: B023
                raise OSError(errno.ENOSPC, FULL)

        with steps(refuse):
            status = main(command.words)
        if refused:
            assert status == 2
            one_line(capsys, FULL)
            names = [Path(path).name for path in set(tree(work)) - set(before)]
            assert not [name for name in names if name.startswith(".")]
        else:
            assert status == 0


@pytest.mark.parametrize("name", WRITING[:-1])
def test_no_file_can_be_opened(name: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    no_file_can_be_opened(name, 5 if name in ("pack", "compile", "run") else 40, work, capsys)


@pytest.mark.nightly
@pytest.mark.parametrize("name", WRITING)
def test_no_file_can_be_opened_from_any_step_on(name: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    no_file_can_be_opened(name, 1, work, capsys)
