"""A serial port: what is none, what is another's, and what goes while it is used."""

import errno
import os
from collections.abc import Iterator

import pytest

from nmgen.driver.host import LinkError
from nmgen.driver.port import SerialWire, _why
from rtl.params import InputError


@pytest.fixture
def ends() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: the end of a board, and the port's name."""
    board, host = os.openpty()
    name = os.ttyname(host)
    os.close(host)
    yield board, name
    os.close(board)


def test_bytes_go_both_ways(ends: tuple[int, str]) -> None:
    board, name = ends
    with SerialWire(name) as wire:
        every = bytes(range(256))
        wire.write(every)
        assert os.read(board, 1000) == every
        os.write(board, every)
        assert wire.read(1.0) == every
        assert wire.read(0.01) == b""
        os.write(board, b"late")
        wire.quiet()
        assert wire.read(0.01) == b""


def test_one_program_at_a_time(ends: tuple[int, str]) -> None:
    _, name = ends
    with SerialWire(name), pytest.raises(InputError, match=f"^{name}: another program uses it$"):
        SerialWire(name)
    with SerialWire(name):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EAGAIN, "x"), "another program uses it"),
        (OSError(errno.EBUSY, "x"), "another program uses it"),
        (OSError(errno.ENOENT, "x"), "no such port"),
        (
            OSError(errno.EACCES, "x"),
            "Permission denied: may your user open it? Serial ports are often the group dialout's",
        ),
        (OSError(errno.EIO, "x"), "Input/output error"),
        (OSError("Could not configure port"), "it is no serial port"),
        (ValueError("Failed to set custom baud rate"), "Failed to set custom baud rate"),
    ],
)
def test_why_a_port_cannot_be_opened(error: OSError | ValueError, said: str) -> None:
    assert _why(error) == said


def test_a_board_that_is_unplugged() -> None:
    board, host = os.openpty()
    name = os.ttyname(host)
    os.close(host)
    with SerialWire(name) as wire:
        os.close(board)
        for use in (lambda: wire.write(b"x"), lambda: wire.read(1.0), wire.quiet):
            with pytest.raises(LinkError, match=f"^{name}: the board is gone: unplugged, or its simulation ended$"):
                use()


def test_a_board_that_takes_nothing(ends: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, name = ends
    monkeypatch.setattr("nmgen.driver.port.WRITE_SECONDS", 0.1)
    with SerialWire(name) as wire, pytest.raises(LinkError, match=f"^{name}: the board takes no bytes$"):
        wire.write(bytes(1 << 20))
