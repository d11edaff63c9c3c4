"""An SDRAM behind burst ports of another clock."""

from collections.abc import Collection

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from boards.parts.sdram.arbiter import MemoryArbiter
from boards.parts.sdram.chips import SdramChip, Timing
from boards.parts.sdram.controller import CHUNK_BEATS, ChipPins, SdramController
from boards.parts.sdram.crossing import CrossingFifo
from boards.parts.stream_register import StreamBuffer, StreamRegister
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
    whole : those whose bursts are never cut, see `MemoryArbiter`

    Members
    -------
    ports : `MemoryPort` of each master, in
    initialised : the chip is set up, out; what is asked for before waits
    restart : see `SdramController`, in
    pins : `ChipPins`, in the clock `sdram`, out
    """

    def __init__(
        self, chip: SdramChip, timing: Timing, port_bytes: int, masters: int = 2, whole: Collection[int] = ()
    ) -> None:
        self._port_bytes = port_bytes
        self._controller = SdramController(chip, timing, port_bytes)
        self._arbiter = MemoryArbiter(masters, port_bytes, READ_ROOM, whole)
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

        m.submodules.chunks = chunks = AsyncFIFOBuffered(
            width=len(arbiter.chunks.payload.as_value()), depth=CHUNKS + 1, w_domain="sync", r_domain=DOMAIN
        )
        m.submodules.write_beats = write_beats = CrossingFifo(
            len(arbiter.write_beats.payload.as_value()), WRITE_ROOM, write_domain="sync", read_domain=DOMAIN
        )
        m.submodules.read_beats = read_beats = CrossingFifo(
            8 * self._port_bytes, READ_ROOM, write_domain=DOMAIN, read_domain="sync", reserved=True
        )
        # Between these, which are wide or have far to go, and the logic of both sides.
        m.submodules.chunks_in = chunks_in = StreamRegister(arbiter.chunks.payload.shape())
        m.submodules.chunks_out = chunks_out = DomainRenamer(DOMAIN)(StreamRegister(controller.chunks.payload.shape()))
        m.submodules.write_beats_in = write_beats_in = StreamRegister(arbiter.write_beats.payload.shape())
        m.submodules.read_beats_out = read_beats_out = StreamBuffer(8 * self._port_bytes)
        connect(m, arbiter.chunks, chunks_in.words_in)
        connect(m, chunks_out.words_out, controller.chunks)
        connect(m, arbiter.write_beats, write_beats_in.words_in)
        connect(m, read_beats_out.words_out, arbiter.read_beats)
        m.submodules.initialised = FFSynchronizer(controller.initialised, self.initialised)
        restart = Signal()  # only what a register gives has no glitches, which the other clock would take for a level
        m.submodules.restart = FFSynchronizer(restart, controller.restart, o_domain=DOMAIN)
        m.d.sync += restart.eq(self.restart)
        for stream_in, stream_out in (
            (write_beats_in.words_out, write_beats.words_in),
            (write_beats.words_out, controller.write_beats),
            (read_beats.words_out, read_beats_out.words_in),
        ):
            m.d.comb += [
                stream_out.payload.eq(stream_in.payload),
                stream_out.valid.eq(stream_in.valid),
                stream_in.ready.eq(stream_out.ready),
            ]
        m.d.comb += [
            chunks.w_data.eq(chunks_in.words_out.payload),
            chunks.w_en.eq(chunks_in.words_out.valid),
            chunks_in.words_out.ready.eq(chunks.w_rdy),
            chunks_out.words_in.payload.eq(chunks.r_data),
            chunks_out.words_in.valid.eq(chunks.r_rdy),
            chunks.r_en.eq(chunks_out.words_in.ready),
            read_beats.words_in.payload.eq(controller.read_beat),
            read_beats.words_in.valid.eq(controller.read_valid),
        ]
        return m
