"""What long commands say of themselves on stderr."""

import io
import re
import sys
import time

import pytest

from nmgen.console import progress
from nmgen.console.progress import stages


def test_a_line_every_while_off_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    with stages() as say:
        time.sleep(0.2)
        assert capsys.readouterr().err == ""  # nothing is done yet
        say("build")
        begin = time.monotonic()
        while not (said := capsys.readouterr()).err and time.monotonic() - begin < 60:
            time.sleep(0.01)
        say("simulation: 1,000 of 2,000 cycles, 0:10 left")
        time.sleep(0.2)
    assert re.fullmatch(r"(build … \d+ s\n)+", said.err)
    assert said.out == ""
    assert re.search(r"^simulation: 1,000 of 2,000 cycles, 0:10 left … \d+ s$", capsys.readouterr().err, re.MULTILINE)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_short_work_says_nothing_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.EVERY_S == 10
    with stages() as say:
        say("build")
    assert capsys.readouterr() == ("", "")


def test_in_one_place_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with stages() as say:
        say("golden machine")
        say("build")
        begin = time.monotonic()
        while "build" not in screen.getvalue() and time.monotonic() - begin < 60:
            time.sleep(0.01)
    assert "build" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # it is gone
