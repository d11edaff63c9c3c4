"""The fetch: reads everything a product needs from memory, in the order in which it is needed."""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from rtl.engine.product_registers import BEATS_BITS, descriptor
from rtl.lib.port import Request
from rtl.params import BURST_BEATS, FIFO_BEATS, Config


class Segment(NamedTuple):
    """Consecutive beats of a product, and the stream that takes them."""

    address: Value
    beats: Value
    consumer: wiring.PureInterface


class Fetch(wiring.Component):
    """Requests bursts ahead as long as the beat FIFO has room for them, and hands the beats to their consumers.

    The order: requantisation parameters per row, the first column tile of weights, all activations,
    the other column tiles. A beat is there for its consumer three cycles after it came from memory.

    Members
    -------
    start, product : in
    request, data : the read half of the memory port
    row_parameters, weights, activations : streams of beats, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._beat_shift = config.port_bytes.bit_length() - 1  # beats to bytes
        beats = stream.Signature(8 * config.port_bytes)
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "request": Out(stream.Signature(Request)),
                "data": In(beats),
                "row_parameters": Out(beats),
                "weights": Out(beats),
                "activations": Out(beats),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self._beats(m)
        segments = self._segments(m)
        self._request(m, segments, beat)
        self._deliver(m, segments, beat)
        return m

    def _beats(self, m: Module) -> wiring.PureInterface:
        """Beats out of the FIFO. The block RAM's output is slow: a register between it and the consumers."""
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8 * self._config.port_bytes, depth=FIFO_BEATS)
        wiring.connect(m, wiring.flipped(self.data), fifo.w_stream)
        beat = stream.Signature(8 * self._config.port_bytes).create(path=("beat",))
        m.d.comb += fifo.r_stream.ready.eq(~beat.valid | beat.ready)
        with m.If(fifo.r_stream.ready):
            m.d.sync += [beat.valid.eq(fifo.r_stream.valid), beat.payload.eq(fifo.r_stream.payload)]
        return beat

    def _segments(self, m: Module) -> list[Segment]:
        """What is read, in order."""
        product = self.product
        weights_address = Signal.like(product.w_address, reset_less=True)
        weights_beats = Signal(BEATS_BITS, reset_less=True)
        m.d.sync += [
            weights_address.eq(product.w_address + (product.w_tile_beats << self._beat_shift)),
            weights_beats.eq(product.w_beats - product.w_tile_beats),
        ]
        return [
            Segment(product.r_address, product.r_beats, self.row_parameters),
            Segment(product.w_address, product.w_tile_beats, self.weights),
            Segment(product.x_address, product.x_beats, self.activations),
            Segment(weights_address, weights_beats, self.weights),
        ]

    def _request(self, m: Module, segments: Sequence[Segment], beat: wiring.PureInterface) -> None:
        """A cycle to enter each segment, then a burst a cycle while there is room."""
        end = len(segments)
        segment = Signal(range(end + 1), init=end)
        address = Signal.like(self.request.payload.address, reset_less=True)
        left = Signal(BEATS_BITS)
        room = Signal(range(FIFO_BEATS + 1), init=FIFO_BEATS)
        burst = Signal(range(BURST_BEATS + 1))
        asked = Signal()
        m.d.comb += [
            burst.eq(Mux(left < BURST_BEATS, left, BURST_BEATS)),
            self.request.valid.eq((left != 0) & (room >= burst)),
            self.request.payload.address.eq(address),
            self.request.payload.length.eq(burst - 1),
            asked.eq(self.request.valid & self.request.ready),
        ]
        with m.If(asked):
            m.d.sync += [address.eq(address + (burst << self._beat_shift)), left.eq(left - burst)]
        with m.If((left == 0) & (segment != end)):
            m.d.sync += segment.eq(segment + 1)
        with m.If(left == 0):
            with m.Switch(segment):
                for i, one in enumerate(segments):
                    with m.Case(i):
                        m.d.sync += [address.eq(one.address), left.eq(one.beats)]
        with m.If(self.start):
            m.d.sync += segment.eq(0)
        m.d.sync += room.eq(room - Mux(asked, burst, 0) + (beat.valid & beat.ready))

    def _deliver(self, m: Module, segments: Sequence[Segment], beat: wiring.PureInterface) -> None:
        """The same segments, beat by beat."""
        end = len(segments)
        delivery = Signal(range(end + 1), init=end)
        consumer = Signal(range(end + 1), init=end)
        expected = Signal(BEATS_BITS)
        with m.If(expected == 0):
            m.d.sync += consumer.eq(delivery)
            with m.If(delivery != end):
                m.d.sync += delivery.eq(delivery + 1)
            with m.Switch(delivery):
                for i, segment in enumerate(segments):
                    with m.Case(i):
                        m.d.sync += expected.eq(segment.beats)
        with m.Else():
            with m.Switch(consumer):
                for i, segment in enumerate(segments):
                    with m.Case(i):
                        m.d.comb += [segment.consumer.valid.eq(beat.valid), beat.ready.eq(segment.consumer.ready)]
        with m.If(beat.valid & beat.ready):
            m.d.sync += expected.eq(expected - 1)
        with m.If(self.start):
            m.d.sync += delivery.eq(0)
        for consumer_stream in (self.row_parameters, self.weights, self.activations):
            m.d.comb += consumer_stream.payload.eq(beat.payload)
