"""External memory at the accelerator's port, for cocotb: timing, back-pressure, checks and counts.

The first beat of a read burst is offered `latency` cycles after the cycle in which its request was accepted, then one
beat a cycle; bursts are served in the order of their requests. Without back-pressure every request and every write
beat is accepted in the cycle in which it is offered.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from sim.gaps import Gaps
from sim.image import Region

ADDRESS_BITS = 32


class ProtocolError(Exception):
    """The design under test broke a rule of the port. The message is one line and names the address if there is one."""


ADDRESS_MASK = (1 << ADDRESS_BITS) - 1


def request(address: int, beats: int) -> int:
    """The payload that asks for a burst, as rtl.port.Request lays it out."""
    return address | (beats - 1) << ADDRESS_BITS


def burst(payload: int) -> tuple[int, int]:
    """(byte address, beats) that a request's payload asks for."""
    return payload & ADDRESS_MASK, (payload >> ADDRESS_BITS) + 1


class _Taker:
    """The memory's side of a stream that it takes from: ready as driven, and the rule that offers stay."""

    def __init__(self, top: Any, name: str, gaps: Gaps) -> None:
        self.name = name
        self.payload = getattr(top, f"{name}__payload")
        self._valid = getattr(top, f"{name}__valid")
        self._ready = getattr(top, f"{name}__ready")
        self._gaps = gaps
        self._open = True
        self._held: str | None = None
        self._ready.value = 1

    def offered(self) -> bool:
        """Whether the cycle that has just ended had an offer."""
        if _bit(self._valid):
            if self._held is not None and str(self.payload.value) != self._held:
                raise ProtocolError(f"{self.name}: the payload changed from {self._held} before it was taken")
            return True
        if self._held is not None:
            raise ProtocolError(f"{self.name}: valid fell before the payload {self._held} was taken")
        return False

    def taken(self) -> bool:
        """Whether the offer was taken."""
        self._held = None if self._open else str(self.payload.value)
        return self._open

    def drive(self) -> None:
        """Say whether the next cycle's offer will be taken."""
        is_open = not self._gaps.stall()
        if is_open != self._open:
            self._open = is_open
            self._ready.value = is_open


class Memory:
    """The memory behind one port. Call `load`, then `step` right after every rising edge of the clock.

    Parameters
    ----------
    top : the cocotb handle that has the ports memory__…
    port_bytes : bytes of a beat
    latency : cycles from a read request to its first beat, at least 1
    seed : of random back-pressure on all four streams; None for none

    Attributes
    ----------
    cycle : number of the cycle that has just ended
    last_write : the cycle in which the latest write beat was accepted
    bytes_read : bytes of all beats that were taken
    bytes_written : bytes that a strobe let through
    """

    def __init__(self, top: Any, port_bytes: int, *, latency: int, seed: int | None = None) -> None:
        if latency < 1:
            raise ValueError(f"latency is {latency}, must be at least 1")
        self._latency = latency
        self._port_bytes = port_bytes

        def gaps(name: str) -> Gaps:
            return Gaps(None if seed is None else f"{seed} {name}")

        self._request = _Taker(top, "memory__read_request", gaps("read_request"))
        self._write_request = _Taker(top, "memory__write_request", gaps("write_request"))
        self._write_data = _Taker(top, "memory__write_data", gaps("write_data"))
        self._data_gaps = gaps("read_data")
        self._takers = () if seed is None else (self._request, self._write_request, self._write_data)
        # Handles once and for all: looking them up each cycle would take most of the time.
        self._data_valid = top.memory__read_data__valid
        self._data_ready = top.memory__read_data__ready
        self._data_payload = top.memory__read_data__payload
        self._data_valid.value = 0
        self._offering = False  # a read beat, in the current cycle
        self.cycle = 0
        self.load(bytearray(), [], b"", Region("y", 0, 0))

    def load(self, content: bytearray, readable: Iterable[Region], writable: bytes, results: Region) -> None:
        """Change what the memory holds, and reset the counts. Nothing may be outstanding.

        Parameters
        ----------
        content : all bytes, from address 0; written in place
        readable : the regions that may be read
        writable : 1 for each byte of `results` that may be written, else 0
        results : the region that may be written
        """
        self.content = content
        self._readable = list(readable)
        self._writable = writable
        self._results = results
        self.bytes_read = 0
        self.bytes_written = 0
        self.last_write = self.cycle
        self._reads: deque[tuple[int, int]] = deque()  # of each beat: first cycle in which it may come, address
        self._writes: deque[int] = deque()  # address of each beat to come, of the accepted requests
        self._early: deque[str] = deque()  # write beats that were taken before their request was

    @property
    def idle(self) -> bool:
        """Nothing was asked for that has not been done."""
        return not (self._reads or self._writes or self._early)

    def step(self) -> None:
        """Take what was transferred in the cycle that has just ended, and drive the next one."""
        self.cycle += 1
        if self._offering and _bit(self._data_ready):
            self._reads.popleft()
            self.bytes_read += self._port_bytes
            self._offering = False
            taken = True
        else:
            taken = False
        if self._request.offered():
            address, beats = burst(int(self._request.payload.value))
            self._check_read(address, beats)
            if self._request.taken():
                due = self.cycle + self._latency
                end = address + beats * self._port_bytes
                self._reads.extend((due, beat) for beat in range(address, end, self._port_bytes))
        coming = 0  # beats of a write request that is offered, but not taken
        if self._write_request.offered():
            address, beats = burst(int(self._write_request.payload.value))
            self._check_write(address, beats)
            if self._write_request.taken():
                self._writes.extend(range(address, address + beats * self._port_bytes, self._port_bytes))
            else:
                coming = beats
        if self._write_data.offered():
            if len(self._writes) + coming <= len(self._early):
                raise ProtocolError("a write beat is offered before its request")
            if self._write_data.taken():
                self._early.append(str(self._write_data.payload.value))
                self.last_write = self.cycle
        while self._early and self._writes:
            self._write(self._writes.popleft(), self._early.popleft())

        if not self._offering:
            if self._reads and self._reads[0][0] <= self.cycle + 1 and not self._data_gaps.stall():
                address = self._reads[0][1]
                self._data_payload.value = int.from_bytes(self.content[address : address + self._port_bytes], "little")
                self._data_valid.value = 1
                self._offering = True
            elif taken:
                self._data_valid.value = 0
        for taker in self._takers:
            taker.drive()

    def _check_read(self, address: int, beats: int) -> None:
        self._check_aligned("read", address)
        end = address + beats * self._port_bytes
        if not any(region.address <= address and end <= region.end for region in self._readable):
            raise ProtocolError(f"read of {beats} beats at {address:#010x} is not within {_said(self._readable)}")

    def _check_write(self, address: int, beats: int) -> None:
        self._check_aligned("write", address)
        if address < self._results.address or address + beats * self._port_bytes > self._results.end:
            raise ProtocolError(f"write of {beats} beats at {address:#010x} is not within {_said([self._results])}")

    def _check_aligned(self, what: str, address: int) -> None:
        if address % self._port_bytes:
            raise ProtocolError(f"{what} at {address:#010x} is not aligned to a beat of {self._port_bytes} bytes")

    def _write(self, address: int, payload: str) -> None:
        """Write the bytes of a beat that its strobe lets through. payload: strobe, then data, highest bit first."""
        for low, high in _runs(int(payload[: self._port_bytes], 2)):
            first = address + low - self._results.address
            allowed = self._writable[first : first + high - low]
            if not all(allowed):
                raise ProtocolError(f"byte {address + low + allowed.index(0):#010x} is written, but is no result's")
            run = payload[len(payload) - 8 * high : len(payload) - 8 * low]
            if run.strip("01"):
                raise ProtocolError(f"bytes written at {address + low:#010x} are unknown: {run}")
            self.content[address + low : address + high] = int(run, 2).to_bytes(high - low, "little")
            self.bytes_written += high - low


def _bit(handle: Any) -> bool:
    """The value of an output of one bit, which must not be unknown."""
    try:
        return bool(handle.value)
    except ValueError:
        raise ProtocolError(f"{handle._name} is {handle.value}, neither 0 nor 1") from None


def _runs(strobe: int) -> Iterator[tuple[int, int]]:
    """The runs of bytes that a strobe lets through: first byte, and byte after the last."""
    low = 0
    while strobe >> low:
        low += ((strobe >> low) & -(strobe >> low)).bit_length() - 1
        rest = strobe >> low
        high = low + ((rest + 1) & -(rest + 1)).bit_length() - 1
        yield low, high
        low = high


def _said(regions: list[Region]) -> str:
    return " or ".join(f"{region.name} {region.address:#010x}..{region.end - 1:#010x}" for region in regions)
