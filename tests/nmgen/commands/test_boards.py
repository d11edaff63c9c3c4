"""`nmgen boards`: what there is, and what is connected."""

import json
import sys
from types import SimpleNamespace

import pytest

from boards.known import BOARDS
from nmgen.cli import main
from tests.nmgen.commands.conftest import CONFIG
from tests.nmgen.driver.fake_board import MEMORY_BYTES, FakeBoard
from tests.nmgen.test_cli import fails


@pytest.fixture(autouse=True)
def _ports(monkeypatch: pytest.MonkeyPatch, fake: FakeBoard) -> None:
    """Of this machine: a board, a port that is gone, something else on USB, and a port that is not."""
    (ftdi, icelink), other = (board.usb for board in BOARDS.values()), (0x2341, 0x0043)
    usb = {fake.port: ftdi, "gone": icelink, "ttyACM0": other, "ttyS0": (None, None)}
    devices = [SimpleNamespace(device=name, vid=vid, pid=pid) for name, (vid, pid) in usb.items()]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: devices)


def test_all(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"accelerator {CONFIG.identification:#010x} (2x2 PEs, N = 2, M = 4), core 100 MHz, memory 1 MB at 125 MHz"
    assert main(["boards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    other = "not asked, its USB chip is none of these boards': ask with --port"
    assert lines[-3:] == [f"{fake.port}: {said}", "gone: no such port", f"ttyACM0: {other}"]
    assert [line.split()[0] for line in lines[:-3:2]] == list(BOARDS)
    assert main(["boards", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["board"] for one in found["boards"]] == list(BOARDS)
    assert [(one["port"], one["said"]) for one in found["connected"]] == [
        *[(fake.port, said), ("gone", "no such port"), ("ttyACM0", other)]
    ]
    assert found["connected"][0]["memory_bytes"] == MEMORY_BYTES


def test_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    assert main(["boards"]) == 0
    assert capsys.readouterr().out.endswith("\nconnected: none\n")


def test_a_port_that_is_asked_for(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boards", "--port", fake.port]) == 0
    assert capsys.readouterr().out.count(fake.port) == 1
    assert fails(["boards", "--port", "gone"], capsys) == "nmgen: gone: no such port\n"


@pytest.mark.parametrize("missing", ["serial", "amaranth_boards"])
def test_without_the_packages(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name == "boards.known" or name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name in ("boards.ulx3s", "boards.icesugar_pro")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    said = fails(["boards"], capsys)
    assert said.startswith(f"nmgen: {missing}")
    assert said.endswith(" is missing: pip install 'nmgen[board]'\n")
