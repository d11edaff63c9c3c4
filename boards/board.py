"""What a board is, and the image around the self-test that is put on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Module
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer, ResetSynchronizer

from boards.parts.pll import Pll, dividers
from boards.selftest import SelfTest

SELFTEST_BAUD = 115200
PACKAGES = {"BG": "CABGA", "MG": "CSFBGA"}  # Lattice's short names → nextpnr's


@dataclass(frozen=True)
class Pin:
    """A pin of the platform: `platform.request(resource, number)`, of that the part."""

    resource: str
    number: int = 0
    part: str | None = None

    @property
    def port(self) -> str:
        """Its name in the Verilog of an image."""
        return "__".join([f"{self.resource}_{self.number}", *([self.part] if self.part else []), "io"])


@dataclass(frozen=True, kw_only=True)
class Flash:
    """The SPI flash that a board's FPGA starts from; its clock is the FPGA's own (USRMCLK).

    Attributes
    ----------
    pin : a resource with the parts cs, copi, cipo, hold and wp
    bytes : of the flash
    offset : where a program lies behind the bitstream
    program : command that writes {file} to {offset}
    """

    pin: Pin
    bytes: int
    offset: int
    program: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board with an ECP5.

    Attributes
    ----------
    name : on the command line
    title : what its maker calls it
    platform : class of amaranth-boards, or one derived from it; its default clock feeds the PLL
    rx, tx : the UART's pins, to and from the FPGA
    leds : pin of each of heartbeat, running, passed, failed; what is not there has no LED
    meaning : a line for the person at the board
    button : starts the self-test again, if there is one
    usb : vendor and product of its serial port
    baud : of the self-test's UART
    program : command that loads {bit} into the FPGA, until power goes
    block_rams : of 18 kbit
    multipliers : of 18 × 18 bits
    memories : names of the SDRAM chips that it may carry, in boards.parts.sdram.chips
    flash : that a program may lie in, if the image can read it
    pe : what processing elements are made of unless one says otherwise, see `rtl.params.Config`
    """

    name: str
    title: str
    platform: type
    rx: Pin
    tx: Pin
    leds: Mapping[str, Pin]
    meaning: str
    button: Pin | None = None
    program: str
    usb: tuple[int, int]
    baud: int = SELFTEST_BAUD
    block_rams: int
    multipliers: int
    memories: tuple[str, ...]
    flash: Flash | None = None
    pe: str = "portable"

    @property
    def device(self) -> str:
        """Name of the part, LFE5U-85F say."""
        return str(self.platform().device)

    @property
    def package(self) -> str:
        """As nextpnr names it, CABGA381 say."""
        package = str(self.platform().package)
        return PACKAGES[package[:2]] + package[2:]

    @property
    def speed(self) -> str:
        """Speed grade."""
        return str(self.platform().speed)

    @property
    def oscillator_mhz(self) -> float:
        return float(self.platform().default_clk_frequency / 1e6)


class Pins:
    """Pins of a platform. A resource can be requested once, and may serve several pins."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        self._requested: dict[tuple[str, int], Any] = {}

    def port(self, pin: Pin) -> Any:
        key = pin.resource, pin.number
        if key not in self._requested:
            self._requested[key] = self._platform.request(*key, dir="-")
        return getattr(self._requested[key], pin.part) if pin.part else self._requested[key]


class BoardImage(wiring.Component):
    """A self-test on a board: its clock, its pins. Elaborates for the board's platform only."""

    def __init__(self, board: Board, test: SelfTest, mhz: float) -> None:
        self._board = board
        self._test = test
        self._mhz = mhz
        super().__init__({})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        test = m.submodules.test = self._test
        clock = m.submodules.clock = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        pll = m.submodules.pll = Pll(dividers(self._board.oscillator_mhz, self._mhz))
        m.domains.sync = ClockDomain()
        m.submodules.reset = ResetSynchronizer(~pll.locked, domain="sync")
        m.d.comb += [pll.oscillator.eq(clock.i), ClockSignal().eq(pll.clocks[0])]

        pins = Pins(platform)
        tx = m.submodules.tx = io.Buffer("o", pins.port(self._board.tx))
        m.d.comb += tx.o.eq(test.tx)
        for name, pin in self._board.leds.items():
            led = m.submodules[f"led_{name}"] = io.Buffer("o", pins.port(pin))
            m.d.comb += led.o.eq(getattr(test, name))
        if self._board.button is not None:
            button = m.submodules.button = io.Buffer("i", pins.port(self._board.button))
            m.submodules.button_sync = FFSynchronizer(button.i, test.again)
        return m
