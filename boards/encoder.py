"""An image that runs programs: STA, its memory, and a link to a host. All but clocks and pins."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.link import PROTOCOL, Hello
from boards.parts.link.link import Link
from boards.parts.sdram.chips import SdramChip, timing
from boards.parts.sdram.controller import ChipPins
from boards.parts.sdram.memory import Sdram
from boards.parts.uart import baud_divisor
from rtl.sta.params import StaConfig
from rtl.sta.registers import version_number
from rtl.sta.top import Sta

BOARD_WORDS = 1  # registers of the board: bit 0, the memory is set up


class Encoder(wiring.Component):
    """The accelerator behind an SDRAM and a host's link.

    ::

        rx, tx ─ link ─┬─ registers ─ STA ─┐
                       └──────────────── memory ─ pins of the SDRAM

    Parameters
    ----------
    config : of the accelerator
    chip : the memory
    core_mhz, memory_mhz : clocks `sync` and `sdram`
    baud : of the UART
    board : number of the board, for the host

    Members
    -------
    rx, tx : UART
    busy : a program runs, out
    ready : the memory is set up, out
    pins : of the memory, in the clock `sdram`
    """

    def __init__(
        self, config: StaConfig, chip: SdramChip, *, core_mhz: float, memory_mhz: float, baud: int, board: int = 0
    ) -> None:
        self._config = config
        self.hello = Hello(
            protocol=PROTOCOL,
            identification=config.identification,
            version=version_number(),
            memory_bytes=chip.bytes,
            port_bytes=config.port_bytes,
            core_khz=round(1000 * core_mhz),
            memory_khz=round(1000 * memory_mhz),
            board=board,
        )
        self._memory = Sdram(chip, timing(chip, memory_mhz), config.port_bytes)
        self._link = Link(baud_divisor(1e6 * core_mhz, baud), config.port_bytes, self.hello, BOARD_WORDS)
        super().__init__({"rx": In(1), "tx": Out(1, init=1), "busy": Out(1), "ready": Out(1), "pins": Out(ChipPins())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sta = sta = Sta(self._config)
        m.submodules.memory = memory = self._memory
        m.submodules.link = link = self._link
        connect(m, sta.memory, memory.ports[0])
        connect(m, link.memory, memory.ports[1])
        connect(m, sta.control, link.control)
        connect(m, memory.pins, flipped(self.pins))
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            link.ready.eq(memory.ready),
            link.board[0].eq(memory.ready),
            self.busy.eq(sta.busy),
            self.ready.eq(memory.ready),
        ]
        return m
