"""Where the DSP slices of an ECP5 are, and which of them each processing element gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from rtl.params import Config, InputError, ceil_div


@dataclass(frozen=True)
class Device:
    """The DSP slices of a chip: rows of them, each of blocks of two.

    Attributes
    ----------
    name : of the part
    rows : y of each row
    blocks : x of each block, the same in every row
    """

    name: str
    rows: Sequence[int]
    blocks: Sequence[int]

    @property
    def slices_a_row(self) -> int:
        return 2 * len(self.blocks)

    @property
    def slices(self) -> int:
        return len(self.rows) * self.slices_a_row


DEVICES = {
    device.name: device
    for device in (
        Device("LFE5U-25F", (13,), (4, 13, 22, 33, 42, 51, 60)),
        Device("LFE5U-45F", (22, 46), (4, 13, 22, 31, 42, 51, 60, 69, 78)),
        Device("LFE5U-85F", (10, 34, 58), (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)),
    )
}


@dataclass(frozen=True)
class Site:
    """A DSP slice: the left (0) or the right (1) one of the block at x, y."""

    x: int
    y: int
    side: int

    @property
    def bels(self) -> tuple[str, str, str]:
        """Of its two multipliers and its ALU, as nextpnr names them. A slice's cells all have one, or none has."""
        cells = (("MULT18", 0), ("MULT18", 1), ("ALU54", 3))
        low, high, alu = (
            f"X{self.x + at}/Y{self.y}/{cell}_{at}" for cell, at in ((cell, at + 4 * self.side) for cell, at in cells)
        )
        return low, high, alu


class Floorplan:
    """The DSP slices of each processing element on config.device.

    Elements that talk to each other are near each other. Of an array whose rows are dealt out to the device's rows of
    slices, neighbours down a column are one slice apart, and along a row as many as a device's row has rows of the
    array: 203 to 235 MHz in a trial of 8x8, against 183 with columns dealt out instead. Then each row of the array has
    a part of the chip's width of its own, where what feeds it can be: first choice where config.rows_side_by_side, from
    the right edge on, since columns come in from the left; else the second. The third just fills slice after slice, to
    and fro.

    Raises
    ------
    InputError : the device has not as many slices as the array needs.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._device = device = DEVICES.get(config.device)
        self._slices = ceil_div(config.n, 2)  # of an element
        if device is None:
            return
        rows, cols = config.rows - config.soft_rows, config.cols
        needed = rows * cols * self._slices
        if needed > device.slices:
            raise InputError(
                f"array of {rows}x{cols} PEs with {config.n} lanes needs {needed} DSP slices, "
                f"{device.name} has {device.slices}"
            )
        across, down = (ceil_div(length, len(device.rows)) for length in (rows, cols))
        self._number: Callable[[int, int], int]
        rows_fit, columns_fit = (n * self._slices <= device.slices_a_row for n in (across * cols, down * rows))
        if rows_fit and not (columns_fit and config.rows_side_by_side):
            self._number = lambda r, c: device.slices_a_row * (r // across) + (across * c + r % across) * self._slices
        elif columns_fit:
            left = (device.slices_a_row - down * rows * self._slices) * config.rows_side_by_side
            self._number = lambda r, c: device.slices_a_row * (c // down) + left + (down * r + c % down) * self._slices
        else:
            self._number = lambda r, c: (c * rows + (rows - 1 - r if c % 2 else r)) * self._slices

    def sites(self, row: int, col: int) -> list[Site] | None:
        """The slices of element (row, col), None where the placer chooses."""
        if self._device is None or row >= self._config.rows - self._config.soft_rows:
            return None
        first = self._number(row, col)
        return [self._site(self._device, number) for number in range(first, first + self._slices)]

    def free(self) -> list[Site]:
        """The slices that are no element's: from the right edge to the left, from the bottom up."""
        if self._device is None:
            return []
        elements = product(range(self._config.rows), range(self._config.cols))
        taken = {site for element in elements for site in self.sites(*element) or ()}
        every = [self._site(self._device, number) for number in range(self._device.slices)]
        return sorted((site for site in every if site not in taken), key=lambda site: (-site.x, -site.y, -site.side))

    @staticmethod
    def _site(device: Device, number: int) -> Site:
        row, across = divmod(number, device.slices_a_row)
        return Site(device.blocks[across // 2], device.rows[row], across % 2)
