"""Requests the column tiles of a PRODUCT whose weights lie in planes: a tile's parameters, its planes, and so on."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import lookahead, preload
from rtl.sta.control.fetch import Consumer, Segment
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.legality import parameter_beats
from rtl.sta.params import StaConfig


class PlaneSegments(wiring.Component):
    """Goes on where the intake has requested the first tile's parameters.

    Parameters of all tiles lie one behind another, planes `planes_pitch` beats apart, of which each tile reads the
    first: so a denser program reads more of the same planes. Segments are offered without a gap. A reset ends it.

    Members
    -------
    start : the first tile's parameters are accepted in this cycle, in
    upcoming : the instruction, steady from a cycle before the start, in
    taken : the upcoming instruction begins to execute in this cycle, in
    segment : to the fetch, out
    next_running : `segment` is valid in the next cycle, out
    of_current : what is offered is of the instruction that executes, no more of the upcoming one, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "upcoming": In(instruction_layout(config)),
                "taken": In(1),
                "segment": Out(stream.Signature(Segment)),
                "next_running": Out(1),
                "of_current": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, upcoming, segment = self._config, self.upcoming, self.segment.payload
        beat_shift = c.port_bytes.bit_length() - 1  # beats to bytes
        following = Signal.like(segment.address, reset_less=True)  # the segment's behind the one offered
        pitch = Signal.like(segment.address, reset_less=True)  # bytes
        plane_beats = Signal.like(upcoming.tile_beats, reset_less=True)  # of a tile
        channels_left = Signal.like(upcoming.channels, reset_less=True)
        last = Signal(reset_less=True)  # channels_left <= c.cols, a cycle late: before planes come parameters
        at_planes = Signal()  # the segment offered is of planes
        address = Signal.like(segment.address, reset_less=True)
        running = Signal()
        accepted = Signal()
        # Parameters and planes take turns: an address comes again two segments later, one tile further on.
        base = Mux(running, address, upcoming.address)
        step = Mux(running & at_planes, pitch, parameter_beats(c) << beat_shift)
        m.d.comb += [
            accepted.eq(self.segment.ready & running),
            self.next_running.eq(Mux(running, ~(accepted & at_planes & last), self.start)),
            self.segment.valid.eq(running),
            segment.address.eq(address),
            segment.beats.eq(Mux(at_planes, plane_beats, parameter_beats(c))),
            segment.consumer.eq(Consumer.WEIGHTS),
        ]
        lookahead(m, running, self.next_running)
        m.d.sync += last.eq(Mux(running, channels_left, upcoming.channels) <= c.cols)
        with preload(m, ~running):
            m.d.sync += [
                address.eq(upcoming.planes_address),
                following.eq(base + step),
                pitch.eq(upcoming.planes_pitch << beat_shift),
                plane_beats.eq(upcoming.tile_beats - parameter_beats(c)),
                channels_left.eq(upcoming.channels),
                at_planes.eq(1),
                self.of_current.eq(0),
            ]
        with m.If(accepted):
            m.d.sync += [address.eq(following), following.eq(base + step), at_planes.eq(~at_planes)]
            with m.If(at_planes):
                m.d.sync += channels_left.eq(channels_left - c.cols)
        with m.If(running & self.taken):
            m.d.sync += self.of_current.eq(1)
        return m
