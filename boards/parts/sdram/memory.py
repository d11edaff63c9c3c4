"""An SDRAM behind burst ports of another clock."""

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.parts.sdram.arbiter import MemoryArbiter
from boards.parts.sdram.chips import SdramChip, Timing
from boards.parts.sdram.controller import CHUNK_BEATS, ChipPins, SdramController
from rtl.lib.port import MemoryPort

DOMAIN = "sdram"
READ_ROOM = 2 * CHUNK_BEATS  # one chunk comes in while another one is taken
WRITE_ROOM = 2 * CHUNK_BEATS
CHUNKS = 4  # under way between the clocks


class Sdram(wiring.Component):
    """The memory of a board: ports in the clock `sync`, the chip in the clock `sdram`. The clocks may have any ratio.

    Three FIFOs and two synchronisers cross between them: chunks and beats to write towards the chip, beats that were
    read away from it; `restart` and `initialised`. A chunk is asked for when there is room for all its beats, so
    nothing is held back in the chip's clock.

    Parameters
    ----------
    chip : the memory
    timing : its times in cycles of `sdram`
    port_bytes : of a beat
    masters : ports

    Members
    -------
    ports : `MemoryPort` of each master, in
    initialised : the chip is set up, out; what is asked for before waits
    restart : see `SdramController`, in
    pins : `ChipPins`, in the clock `sdram`, out
    """

    def __init__(self, chip: SdramChip, timing: Timing, port_bytes: int, masters: int = 2) -> None:
        self._port_bytes = port_bytes
        self._controller = SdramController(chip, timing, port_bytes)
        self._arbiter = MemoryArbiter(masters, port_bytes, READ_ROOM)
        super().__init__(
            {
                "ports": In(MemoryPort(port_bytes)).array(masters),
                "initialised": Out(1),
                "restart": In(1),
                "pins": Out(ChipPins()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        arbiter, controller = self._arbiter, self._controller
        m.submodules.arbiter = arbiter
        m.submodules.controller = DomainRenamer(DOMAIN)(controller)
        for port, of_arbiter in zip(self.ports, arbiter.ports, strict=True):
            connect(m, flipped(port), of_arbiter)
        connect(m, controller.pins, flipped(self.pins))

        towards = {"chunks": CHUNKS, "write_beats": WRITE_ROOM}
        for name, depth in towards.items():
            source, sink = getattr(arbiter, name), getattr(controller, name)
            fifo = AsyncFIFO(width=len(source.payload.as_value()), depth=depth, w_domain="sync", r_domain=DOMAIN)
            m.submodules[name] = fifo
            m.d.comb += [
                fifo.w_data.eq(source.payload),
                fifo.w_en.eq(source.valid),
                source.ready.eq(fifo.w_rdy),
                sink.payload.eq(fifo.r_data),
                sink.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(sink.ready),
            ]
        m.submodules.read_beats = fifo = AsyncFIFO(
            width=8 * self._port_bytes, depth=READ_ROOM, w_domain=DOMAIN, r_domain="sync"
        )
        m.submodules.initialised = FFSynchronizer(controller.initialised, self.initialised)
        restart = Signal()  # only what a register gives has no glitches, which the other clock would take for a level
        m.submodules.restart = FFSynchronizer(restart, controller.restart, o_domain=DOMAIN)
        m.d.sync += restart.eq(self.restart)
        m.d.comb += [
            fifo.w_data.eq(controller.read_beat),
            fifo.w_en.eq(controller.read_valid),
            arbiter.read_beats.payload.eq(fifo.r_data),
            arbiter.read_beats.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(arbiter.read_beats.ready),
        ]
        return m
