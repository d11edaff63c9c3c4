"""External memory at the accelerator's port, for cocotb testbenches: sets port_memory.v up, and says what it found."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.image.product import Region

Bytes = NDArray[np.uint8]
SOURCE = Path(__file__).with_name("port_memory.v")
MODULE = SOURCE.stem
SIGNALS = (  # of the module that Memory uses
    *("watch", "image", "latency", "seeds", "readable", "results"),
    *("broken", "idle", "bytes_read", "bytes_written", "last_write"),
)
VIOLATIONS = "violations.txt"
ADDRESS_BITS = 32
REGIONS = 3  # that may be read, at most


class ProtocolError(Exception):
    """The design under test broke a rule of the port. The message is one line and names the address if there is one."""


ADDRESS_MASK = (1 << ADDRESS_BITS) - 1


def request(address: int, beats: int) -> int:
    """The payload that asks for a burst, as rtl.lib.port.Request lays it out."""
    return address | (beats - 1) << ADDRESS_BITS


def image_number(job: int) -> int:
    """The image of the run's job."""
    return job + 1


def content_file(folder: Path, image: int) -> Path:
    """Where the content of an image lies, from address 0, before a run and after."""
    return folder / f"image{image}.bin"


def write_image(folder: Path, image: int, content: Bytes, writable: Bytes | NDArray[np.bool_], port_bytes: int) -> None:
    """Leave an image where the simulator finds it, in whole beats.

    Parameters
    ----------
    content : the memory from address 0
    writable : of each byte of the results, 1 if it may be written, else 0
    """
    for path, part in ((content_file(folder, image), content), (folder / f"writable{image}.bin", writable)):
        with path.open("wb") as file:
            file.write(part.data)
            file.write(bytes(-len(part) % port_bytes))


class Memory:
    """The memory behind one port. Call `check` now and then, at the latest when everything is done.

    Nothing is looked at before `watch`, and nothing may be read or written before the first `load`.

    Parameters
    ----------
    handle : of the instance of port_memory
    folder : in which the simulator runs
    latency : cycles from a read request to its first beat, at least 1
    seed : of random back-pressure on all four streams; None for none

    Attributes
    ----------
    broken : the handle of a signal that rises when a rule is broken
    """

    def __init__(self, handle: Any, folder: Path, *, latency: int, seed: int | None = None) -> None:
        if latency < 1:
            raise ValueError(f"latency is {latency}, must be at least 1")
        self._handle, self._folder = handle, folder
        self._random = None if seed is None else random.Random(seed)
        self._readable: list[Region] = []
        self._results = Region("y", 0, 0)
        self.broken = handle.broken
        (folder / VIOLATIONS).unlink(missing_ok=True)
        handle.latency.value = latency
        handle.watch.value = 0

    def watch(self) -> None:
        """Look at what happens from the next rising edge on."""
        self._handle.watch.value = 1

    def load(self, image: int, readable: Iterable[Region], results: Region) -> None:
        """Take a new memory, from the next rising edge on, and count anew.

        Parameters
        ----------
        image : number of its files, another than before
        readable : the regions that bursts may be read from
        results : the region that may be written
        """
        self._readable, self._results = list(readable), results
        if len(self._readable) > REGIONS:
            raise ValueError(f"{len(self._readable)} regions to read, there may be {REGIONS}")
        self._handle.readable.value = sum(_packed(region) << 66 * i for i, region in enumerate(self._readable))
        self._handle.results.value = _packed(results)
        seeds = 0 if self._random is None else self._random.getrandbits(128) | sum(1 << 32 * i for i in range(4))
        self._handle.seeds.value = seeds  # the lowest bits: none of them is 0
        self._handle.image.value = image

    def check(self) -> None:
        """ProtocolError if a rule of the port was broken."""
        if not int(self._handle.broken.value):
            return
        found = (self._folder / VIOLATIONS).read_text().splitlines()[0]
        if found.endswith("is not within"):
            found += f" {_said([self._results] if found.startswith('write') else self._readable)}"
        raise ProtocolError(found)

    @property
    def idle(self) -> bool:
        """Nothing was asked for that has not been done."""
        return bool(int(self._handle.idle.value))

    @property
    def bytes_read(self) -> int:
        """Bytes of all beats that were taken."""
        return int(self._handle.bytes_read.value)

    @property
    def bytes_written(self) -> int:
        """Bytes that a strobe let through."""
        return int(self._handle.bytes_written.value)

    @property
    def last_write(self) -> int:
        """Time of the edge that took the latest write beat, in ns."""
        return int(self._handle.last_write.value)


def _packed(region: Region) -> int:
    return region.end << 33 | region.address


def _said(regions: list[Region]) -> str:
    return " or ".join(f"{region.name} {region.address:#010x}..{region.end - 1:#010x}" for region in regions)
