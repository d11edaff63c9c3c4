"""A serial port as a wire to a board."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rtl.params import InputError

BAUD = 3_000_000
LATENCY_MS = "1"  # FTDI chips wait 16 ms for more bytes unless told otherwise


class SerialWire:
    """A serial port, or a pseudo-terminal.

    Raises
    ------
    InputError : there is no such port, or another program has it. LinkError, a kind of it: it is gone.
    """

    def __init__(self, port: str, baud: int = BAUD) -> None:
        import serial

        self._port = port
        try:
            self._serial: Any = serial.Serial(port, baud, timeout=0, exclusive=True)
        except serial.SerialException as error:
            busy = "lock" in str(error) or "busy" in str(error).lower()
            why = "another program uses it" if busy else "no such port" if not Path(port).exists() else str(error)
            raise InputError(f"{port}: {why}") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{port}: {error}") from None
        _set_latency(port)

    def write(self, data: bytes) -> None:
        import serial

        try:
            self._serial.write_timeout = 10
            self._serial.write(data)
        except (OSError, serial.SerialException):
            raise InputError(f"{self._port}: the board is gone") from None

    def read(self, timeout: float) -> bytes:
        import serial

        try:
            self._serial.timeout = timeout
            first: bytes = self._serial.read(1)
            waiting = self._serial.in_waiting if first else 0
            return first + (self._serial.read(waiting) if waiting else b"")
        except (OSError, serial.SerialException):
            raise InputError(f"{self._port}: the board is gone") from None

    def quiet(self, seconds: float = 0.05) -> None:
        """Forget what has come until nothing came for so long: answers to a program before this one."""
        end = time.monotonic() + 2
        while self.read(seconds) and time.monotonic() < end:
            pass

    def close(self) -> None:
        self._serial.close()


def _set_latency(port: str) -> None:
    """As short as the driver of an FTDI chip allows, where this system lets us."""
    file = Path("/sys/bus/usb-serial/devices") / Path(port).name / "latency_timer"
    with suppress(OSError):  # no FTDI chip, or not ours to set: slower, and right
        file.write_text(LATENCY_MS)
