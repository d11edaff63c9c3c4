"""`nmgen load`, and one line for every board and port that is not right, of `nmgen run` too."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boards.link import PROTOCOL, TESTED
from nmgen.cli import main
from nmgen.compiler.program import load
from nmgen.driver.places import places_of
from nmgen.driver.port import SerialWire
from tests.nmgen.commands.conftest import CONFIG
from tests.nmgen.driver.fake_board import MEMORY_BYTES, PHASES, FakeBoard
from tests.nmgen.test_cli import fails

pytestmark = pytest.mark.usefixtures("programs")
RUN = ["run", "P.nmp", "--text", "a fox"]
BOTH = pytest.mark.parametrize("line", [["load", "P.nmp"], RUN], ids=["load", "run"])
SIZE = "[0-9,]{5,}"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards that do not answer, or not as they must, are given up soon."""
    times = {"host.TIMEOUT_S": 0.02, "board.READY_SECONDS": 0.1, "board.RUN_SECONDS": 0.1, "port.QUIET_SECONDS": 0.1}
    for name, seconds in times.items():
        monkeypatch.setattr(f"nmgen.driver.{name}", seconds)


@pytest.fixture
def silent() -> Iterator[str]:
    """A port at which nothing answers."""
    ends = os.openpty()
    yield os.ttyname(ends[1])
    for end in ends:
        os.close(end)


def test_what_is_there_is_not_sent_again(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    memory, _ = places_of(load(Path("P.nmp")), MEMORY_BYTES)
    for sent in (len(memory), 0):
        assert main(["load", "P.nmp", "--port", fake.port, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["file"], found["bytes"], found["sent"]) == ("P.nmp", len(memory), sent)
        assert fake.memory[: len(memory)].tobytes() == memory
    assert main(["load", "P.nmp", "--port", fake.port]) == 0
    size = f"{len(memory):,}"
    assert re.fullmatch(rf"P\.nmp: {size} bytes, 0 of them sent, 0\.\d s\n", capsys.readouterr().out)


def test_ranges(fake: FakeBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Checksums cover a range each, and what was written is looked at again, nothing else."""
    monkeypatch.setattr("nmgen.driver.board.RANGE", 1 << 10)
    fake.memory[:] = 0x55  # no range of the file
    assert main(["load", "P.nmp", "--port", fake.port]) == 0
    size = len(places_of(load(Path("P.nmp")), MEMORY_BYTES)[0])
    assert sum(fake.sums) == 2 * size
    fake.sums.clear()
    fake.memory[[100, 101, 3000]] ^= 1
    capsys.readouterr()
    assert main(["load", "P.nmp", "--port", fake.port, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent"] == 2 << 10
    assert sum(fake.sums) == size + (2 << 10)
    assert max(fake.sums) == 1 << 10


@BOTH
def test_ports_that_are_none(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert fails([*line, "--port", "gone"], capsys) == "nmgen: gone: no such port\n"
    Path("file").touch()
    assert fails([*line, "--port", "file"], capsys) == "nmgen: file: it is no serial port\n"
    assert fails([*line, "--port", "."], capsys) == "nmgen: .: Is a directory\n"


@BOTH
def test_a_port_that_is_busy(line: list[str], fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    with SerialWire(fake.port):
        assert fails([*line, "--port", fake.port], capsys) == f"nmgen: {fake.port}: another program uses it\n"
    assert main([*line, "--port", fake.port]) == 0


@BOTH
def test_nothing_answers(line: list[str], silent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails([*line, "--port", silent], capsys) == f"nmgen: {silent}: the board does not answer\n"


@BOTH
@pytest.mark.parametrize(
    ("board", "said"),
    [
        (
            {"says": b"nmgen 0.1.0: 4x4 PEs\r\nPASS\r\n"},
            "what is there sends bytes, but does not answer: no image that runs programs, or of another baud rate",
        ),
        ({"hello": {"protocol": 7}}, f"the board's link is of version 7, must be {PROTOCOL}: build its image anew"),
        (
            {"hello": {"version": 0x020304}},
            r"the board's image is of nmgen 2\.3\.4, this is \d+\.\d+\.\d+: build it anew",
        ),
        (
            {"hello": {"identification": 0xABC}},
            r"the board's accelerator is 0x00000abc \(2x2 PEs, N = 2, M = 4\), the "
            f"program is for {CONFIG.identification:#010x} "
            r"\(2x2 PEs, N = 2, M = 4\)",
        ),
        (
            {"hello": {"memory_bytes": 4096}},
            f"the program has {SIZE} bytes, must be at most the 4,096 of the board's memory",
        ),
        ({"state": 0}, "the memory is not set up"),
        ({"state": TESTED}, f"the memory works at none of {PHASES} phases of its clock.*"),
        ({"keeps": False}, "the memory does not keep what is written to it, at 0x0 or behind"),
        ({"gone_after": 4}, "the board is gone: unplugged, or its simulation ended"),
        ({"gone_after": 8}, "the board is gone: unplugged, or its simulation ended"),
    ],
    ids=[
        "self-test",
        "protocol",
        "version",
        "configuration",
        "memory",
        "not ready",
        "no phase",
        "keeps nothing",
        "unplugged",
        "unplugged later",
    ],
)
def test_boards_that_do_not_do(
    line: list[str], board: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeBoard(CONFIG, **board) as wrong:
        assert re.fullmatch(f"nmgen: {wrong.port}: {said}\n", found := fails([*line, "--port", wrong.port], capsys)), (
            found
        )


@pytest.mark.parametrize(
    ("end", "said"),
    [("error", "the program stopped at 0x40: SHIFT"), ("never", "the program does not end within 0.1 s")],
)
def test_programs_that_do_not_end(end: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeBoard(CONFIG, end=end) as board:
        assert fails([*RUN, "--port", board.port], capsys) == f"nmgen: {board.port}: {said}\n"


def test_a_program_for_another_configuration(fake: FakeBoard, capsys: pytest.CaptureFixture[str]) -> None:
    other = replace(CONFIG, max_tokens=16)
    replace(load(Path("P.nmp")), config=other).save(Path("Q.nmp"))
    said = fails(["load", "Q.nmp", "--port", fake.port], capsys)
    array = "(2x2 PEs, N = 2, M = 4)"
    both = f"{CONFIG.identification:#010x} {array}, the program is for {other.identification:#010x} {array}"
    assert f"accelerator is {both}" in said


@BOTH
def test_without_pyserial(line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    assert fails([*line, "--port", "gone"], capsys) == "nmgen: serial is missing: pip install 'nmgen[board]'\n"


@BOTH
@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_files_that_are_no_programs(line: list[str], content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """They are refused though there is no port."""
    Path("P.nmp").write_bytes(content)
    assert "P.nmp" in fails([*line, "--port", "gone"], capsys)
