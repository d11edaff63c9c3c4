"""A serial port as a wire to a board."""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from boards.link import BAUD
from nmgen.driver.host import LinkError
from rtl.params import InputError

LATENCY_MS = "1"  # FTDI chips wait 16 ms for more bytes unless told otherwise
WRITE_SECONDS = 10.0  # in which the port must take what is written: a simulation takes a frame in a second or two
QUIET_SECONDS = 2.0  # after which a port that goes on sending is taken as it is
BUSY = (errno.EAGAIN, errno.EBUSY)  # of the lock, and of a port that another program has opened for itself alone


class SerialWire:
    """A serial port, or a pseudo-terminal, to the end of the block.

    Parameters
    ----------
    name : of the port, /dev/ttyUSB0 say
    baud : bits a second

    Raises
    ------
    InputError : pyserial is missing; there is no such port; it is no serial port, or not ours; another program has it
    """

    def __init__(self, name: str, baud: int = BAUD) -> None:
        try:
            import serial
        except ModuleNotFoundError as error:
            raise InputError(f"{error.name} is missing: pip install 'nmgen[board]'") from None
        self.name = name
        self._timed_out = serial.SerialTimeoutException
        try:
            self._serial: Any = serial.Serial(name, baud, timeout=0, write_timeout=WRITE_SECONDS, exclusive=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: {_why(error)}") from None
        _set_latency(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._serial.close()

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises
        ------
        LinkError : the board is gone, or takes no bytes
        """
        try:
            self._serial.write(data)
        except self._timed_out:
            raise LinkError(f"{self.name}: the board takes no bytes") from None
        except OSError:
            raise self._gone() from None

    def read(self, timeout: float) -> bytes:
        """What has come, at least one byte, or nothing after `timeout` seconds.

        Raises
        ------
        LinkError : the board is gone
        """
        try:
            self._serial.timeout = timeout
            first: bytes = self._serial.read(1)
            waiting = self._serial.in_waiting if first else 0
            return first + (self._serial.read(waiting) if waiting else b"")
        except OSError:
            raise self._gone() from None

    def quiet(self, seconds: float = 0.05) -> None:
        """Forget what has come until nothing came for so long: answers to a program before this one.

        Raises
        ------
        LinkError : the board is gone
        """
        end = time.monotonic() + QUIET_SECONDS
        while self.read(seconds) and time.monotonic() < end:
            pass

    def _gone(self) -> LinkError:
        return LinkError(f"{self.name}: the board is gone: unplugged, or its simulation ended")


def _why(error: OSError | ValueError) -> str:
    """Why a port cannot be opened. pyserial's exceptions are OSErrors, of what it finds itself without a number."""
    number = error.errno if isinstance(error, OSError) else None
    if number in BUSY:
        return "another program uses it"
    if number == errno.ENOENT:
        return "no such port"
    if number == errno.EACCES:
        return f"{os.strerror(errno.EACCES)}: may your user open it? Serial ports are often the group dialout's"
    if number is not None:
        return os.strerror(number)
    return str(error) if isinstance(error, ValueError) else "it is no serial port"


def _set_latency(name: str) -> None:
    """As short as the driver of an FTDI chip allows, where this system lets us."""
    file = Path("/sys/bus/usb-serial/devices") / Path(name).resolve().name / "latency_timer"
    with suppress(OSError):  # no FTDI chip, or not ours to set: slower, and right
        file.write_text(LATENCY_MS)
