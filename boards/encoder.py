"""An image that runs programs: STA, its memory, and a link to a host. All but clocks and pins."""

from dataclasses import dataclass, field

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.link import PROTOCOL, Hello
from boards.parts.link.link import Link
from boards.parts.sdram.chips import WORD_BYTES, SdramChip, Timing, timing
from boards.parts.sdram.controller import ChipPins
from boards.parts.sdram.memory import Sdram
from boards.parts.uart import DIVISOR_MIN, baud_divisor
from rtl.params import InputError
from rtl.sta.params import StaConfig
from rtl.sta.registers import version_number
from rtl.sta.top import Sta

BOARD_WORDS = 1  # registers of the board: bit 0, the memory is set up


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Of an image.

    Attributes
    ----------
    sta : the accelerator
    chip : the memory
    core_mhz, memory_mhz : clocks `sync` and `sdram`
    baud : of the UART
    simulated : it is for a simulation, see `Hello`
    timing : the memory's, in cycles of its clock
    divisor : of the UART, cycles of a bit
    hello : what the image says of itself

    Raises
    ------
    InputError : beats smaller than a word of the memory; a clock or baud rate that cannot be.
    """

    sta: StaConfig
    chip: SdramChip
    core_mhz: float
    memory_mhz: float
    baud: int
    simulated: bool = False
    timing: Timing = field(init=False)
    divisor: int = field(init=False)
    hello: Hello = field(init=False)

    def __post_init__(self) -> None:
        if self.sta.port_bytes < WORD_BYTES:
            raise InputError(f"port_bytes is {self.sta.port_bytes}, must be at least {WORD_BYTES} before an SDRAM")
        hello = Hello(
            protocol=PROTOCOL,
            identification=self.sta.identification,
            version=version_number(),
            memory_bytes=self.chip.bytes,
            port_bytes=self.sta.port_bytes,
            core_khz=round(1000 * self.core_mhz),
            memory_khz=round(1000 * self.memory_mhz),
            simulated=int(self.simulated),
        )
        object.__setattr__(self, "timing", timing(self.chip, self.memory_mhz))
        object.__setattr__(self, "divisor", baud_divisor(1e6 * self.core_mhz, self.baud, least=DIVISOR_MIN))
        object.__setattr__(self, "hello", hello)


class Encoder(wiring.Component):
    """The accelerator behind an SDRAM and a host's link.

    ::

        rx, tx ─ link ─┬─ registers ─ STA ─┐
                       └──────────────── memory ─ pins of the SDRAM

    Members
    -------
    rx : UART, in
    tx : UART, out
    busy : a program runs, out
    initialised : the memory is set up, out
    pins : of the memory, in the clock `sdram`, out
    """

    rx: In(1)
    tx: Out(1, init=1)
    busy: Out(1)
    initialised: Out(1)
    pins: Out(ChipPins())

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.sta = sta = Sta(config.sta)
        m.submodules.memory = memory = Sdram(config.chip, config.timing, config.sta.port_bytes)
        m.submodules.link = link = Link(config.divisor, config.sta.port_bytes, config.hello, BOARD_WORDS)
        connect(m, sta.memory, memory.ports[0])
        connect(m, link.memory, memory.ports[1])
        connect(m, sta.control, link.control)
        connect(m, memory.pins, flipped(self.pins))
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            link.initialised.eq(memory.initialised),
            link.board[0].eq(memory.initialised),
            self.busy.eq(sta.busy),
            self.initialised.eq(memory.initialised),
        ]
        return m
