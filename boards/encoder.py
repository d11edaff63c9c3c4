"""An image that runs programs: STA, its memory, and a link to a host. All but clocks and pins."""

from dataclasses import dataclass, field

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.link import PROTOCOL, BoardRegister, Hello
from boards.parts.flash import FlashLoader, FlashPins
from boards.parts.link.link import Link
from boards.parts.pll import VCO_PHASES, Dividers, dividers
from boards.parts.sdram.chips import WORD_BYTES, SdramChip, Timing, timing
from boards.parts.sdram.controller import ChipPins
from boards.parts.sdram.memory import Sdram
from boards.parts.sdram.sweep import PhaseSweep
from boards.parts.uart import DIVISOR_MIN, baud_divisor
from rtl.lib.port import MemoryPort
from rtl.params import InputError
from rtl.sta.params import StaConfig
from rtl.sta.registers import version_number
from rtl.sta.top import Sta

PHASES_MAX = 64  # of the memory's clock: `works` is two registers of the board


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Of an image.

    Attributes
    ----------
    sta : the accelerator
    chip : the memory
    oscillator_mhz : of the board
    core_mhz, memory_mhz : clocks `sync` and `sdram`
    baud : of the UART
    flash_offset : where in flash a program may lie; None where the image reads none
    simulated : it is for a simulation, see `Hello`
    dividers : of the PLL: the core's clock, the memory's, that at the memory's pin
    timing : the memory's, in cycles of its clock
    divisor : of the UART, cycles of a bit
    hello : what the image says of itself

    Raises
    ------
    InputError : beats smaller than a word of the memory; a clock or baud rate that cannot be.
    """

    sta: StaConfig
    chip: SdramChip
    oscillator_mhz: float
    core_mhz: float
    memory_mhz: float
    baud: int
    flash_offset: int | None = None
    simulated: bool = False
    dividers: Dividers = field(init=False)
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
            shape=int.from_bytes([self.sta.rows, self.sta.cols, self.sta.n, self.sta.m], "little"),
        )
        object.__setattr__(self, "dividers", dividers(self.oscillator_mhz, self.core_mhz, *2 * [self.memory_mhz]))
        object.__setattr__(self, "timing", timing(self.chip, self.memory_mhz))
        object.__setattr__(self, "divisor", baud_divisor(1e6 * self.core_mhz, self.baud, least=DIVISOR_MIN))
        object.__setattr__(self, "hello", hello)
        if self.phases > PHASES_MAX:
            raise InputError(
                f"the memory's clock has {self.phases} phases at {self.memory_mhz:g} MHz, must be at most {PHASES_MAX}"
            )

    @property
    def phases(self) -> int:
        """Steps of the PLL in a period of the memory's clock."""
        return VCO_PHASES * self.dividers.outputs[-1]


class Encoder(wiring.Component):
    """The accelerator behind an SDRAM and a host's link.

    ::

        rx, tx ─ link ─┬─ registers ─ STA ─┐
                       ├──────────────── memory ─ pins of the SDRAM
                       └ its start-up test, then what lies in flash

    Members
    -------
    rx : UART, in
    tx : UART, out
    busy : a program runs, out
    tested : the memory is tested, and what lies in flash is read, out
    initialised : the memory can be used, out
    step : of the PLL, see `PhaseSweep`, out
    flash : `FlashPins`, out
    pins : of the memory, in the clock `sdram`, out
    """

    rx: In(1)
    tx: Out(1, init=1)
    busy: Out(1)
    tested: Out(1)
    initialised: Out(1)
    step: Out(1, init=1)
    pins: Out(ChipPins())
    flash: Out(FlashPins())

    def __init__(self, config: EncoderConfig) -> None:
        self._config = config
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.sta = sta = Sta(config.sta)
        beat = config.sta.port_bytes
        m.submodules.memory = memory = Sdram(config.chip, config.timing, beat, masters=3, whole=(1, 2))
        m.submodules.sweep = sweep = PhaseSweep(config.phases, config.chip.bytes, beat)
        m.submodules.link = link = Link(config.divisor, beat, config.hello, len(BoardRegister))
        connect(m, sta.memory, memory.ports[0])
        connect(m, link.memory, memory.ports[1])
        found = self._start_up(m, sweep, memory.ports[2])
        connect(m, sta.control, link.control)
        connect(m, memory.pins, flipped(self.pins))
        m.d.comb += [
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
            sweep.initialised.eq(memory.initialised),
            memory.restart.eq(sweep.restart),
            self.step.eq(sweep.step),
            self.busy.eq(sta.busy),
            link.initialised.eq(self.initialised),
        ]
        registers = {
            BoardRegister.MEMORY: Cat(self.initialised, self.tested),
            BoardRegister.PHASE: Cat(sweep.phase, Const(0, 16 - len(sweep.phase)), Const(config.phases, 16)),
            BoardRegister.WORKS_LOW: sweep.works[:32],
            BoardRegister.WORKS_HIGH: sweep.works[32:],
            BoardRegister.FLASH: found,
        }
        m.d.comb += [link.board[register].eq(value) for register, value in registers.items()]
        return m

    def _start_up(self, m: Module, sweep: PhaseSweep, port: MemoryPort) -> Value:
        """The memory's test, and behind it a program from flash. Returns the register FLASH."""
        config = self._config
        works = sweep.works.any()
        swept = Signal()
        m.d.sync += swept.eq(sweep.done)
        if config.flash_offset is None:
            connect(m, sweep.memory, port)
            m.d.sync += [self.tested.eq(swept), self.initialised.eq(swept & works)]
            return Const(0)
        m.submodules.flash_loader = loader = FlashLoader(config.flash_offset, config.chip.bytes, config.sta.port_bytes)
        connect(m, loader.pins, flipped(self.flash))
        m.d.comb += loader.start.eq(swept & works)
        m.d.sync += [
            self.tested.eq(swept & (loader.done | ~works)),
            self.initialised.eq(swept & works & loader.done),
        ]
        # One behind the other: what the port says is for the one whose turn it is.
        reads, writes, beats = port.read_request, port.write_request, port.write_data
        m.d.comb += [
            reads.payload.eq(sweep.memory.read_request.payload),
            reads.valid.eq(sweep.memory.read_request.valid),
            sweep.memory.read_request.ready.eq(reads.ready),
            sweep.memory.read_data.payload.eq(port.read_data.payload),
            sweep.memory.read_data.valid.eq(port.read_data.valid),
            port.read_data.ready.eq(1),
        ]
        for to, tests, loads in (
            (writes, sweep.memory.write_request, loader.memory.write_request),
            (beats, sweep.memory.write_data, loader.memory.write_data),
        ):
            m.d.comb += [
                to.payload.eq(Mux(swept, loads.payload.as_value(), tests.payload.as_value())),
                to.valid.eq(Mux(swept, loads.valid, tests.valid)),
                tests.ready.eq(to.ready & ~swept),
                loads.ready.eq(to.ready & swept),
            ]
        return Cat(loader.loaded, loader.damaged)
