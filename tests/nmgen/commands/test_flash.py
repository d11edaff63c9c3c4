"""`nmgen flash`: the file, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from boards.known import BOARDS
from boards.parts.flash import HEADER, MAGIC
from boards.ulx3s import ULX3S_85F
from nmgen.cli import main
from nmgen.compiler.program import load
from nmgen.driver.places import places_of
from tests.nmgen.test_cli import fails

pytestmark = pytest.mark.usefixtures("programs")


def small(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A board whose flash has so many bytes behind the bitstream."""
    assert ULX3S_85F.flash
    flash = replace(ULX3S_85F.flash, bytes=ULX3S_85F.flash.offset + room)
    monkeypatch.setitem(BOARDS, "ulx3s-85f", replace(ULX3S_85F, flash=flash))


def test_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A header, and the memory as `nmgen load` brings it there."""
    memory, _ = places_of(load(Path("P.nmp")), 1 << 25)
    assert main(["flash", "P.nmp", "-o", "P.flash"]) == 0
    assert Path("P.flash").read_bytes() == HEADER.pack(MAGIC, len(memory), crc32(memory)) + memory
    said = capsys.readouterr().out
    command = "openFPGALoader --board ulx3s --write-flash --file-type raw --offset 0x200000 P.flash"
    assert said == f"P.flash: {len(memory) + 12:,} bytes of 14,680,064\nwrite it:  {command}\n"
    assert main(["flash", "P.nmp", "-o", "P.flash", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "P.flash",
        "bytes": len(memory) + 12,
        "offset": 1 << 21,
        "program": command,
    }


def test_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Second places are left out where they do not fit; a program that does not is refused."""
    size = len(load(Path("P.nmp")).memory)
    small(monkeypatch, size + HEADER.size)
    assert main(["flash", "P.nmp", "-o", "P.flash"]) == 0
    assert Path("P.flash").stat().st_size == size + HEADER.size
    capsys.readouterr()
    small(monkeypatch, size + HEADER.size - 1)
    assert fails(["flash", "P.nmp", "-o", "Q.flash"], capsys) == (
        f"nmgen: P.nmp has {size:,} bytes, must be at most {size - 1:,} behind the bitstream in the flash of "
        "ulx3s-85f: compile with --table-bits 8, or a sparser model\n"
    )
    assert not Path("Q.flash").exists()


def test_boards(capsys: pytest.CaptureFixture[str]) -> None:
    none = "the image of icesugar-pro reads no flash"
    assert fails(["flash", "P.nmp", "--board", "icesugar-pro", "-o", "x"], capsys) == f"nmgen: {none}\n"
    assert main(["flash", "P.nmp", "-o", "P.flash"]) == 0
    capsys.readouterr()
    assert fails(["board-sim", "icesugar-pro", "--flash", "P.flash"], capsys) == f"nmgen: {none}\n"
    found = fails(["board-sim", "ulx3s-85f", "--flash", "P.nmp"], capsys)
    assert found == "nmgen: P.nmp is not what nmgen flash writes\n"
