"""The gearbox: from beats of the memory port to the units that a consumer takes."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import lookahead
from rtl.params import round_up, units_in_beats


class Gearbox(wiring.Component):
    """Cuts beats into smaller units, or gathers larger units from beats.

    Units and beats are aligned: a beat holds whole units, or a unit takes whole beats, and the rest is
    padding (`units_in_beats`). A unit is valid one cycle after its (last) beat. A beat may be accepted in
    the cycle in which the last unit before it is taken.

    Parameters
    ----------
    port_bits : bits of a beat
    unit_bits : the kinds of units, bits of each

    Members
    -------
    kind : which kind of unit is cut; may change only while the buffer is empty and no beat comes, in
    last : the valid unit is the last one before padding: when it is taken the rest of its beat is dropped,
        and no beat is accepted in that cycle, in
    beats : stream in
    units : stream out, as wide as the largest kind; a smaller unit is in the lowest bits, those above it
        are undefined
    next_valid : whether units will be valid in the next cycle, out
    """

    def __init__(self, port_bits: int, unit_bits: Sequence[int]) -> None:
        self._port_bits = port_bits
        self._kinds = [(bits, *units_in_beats(bits, port_bits)) for bits in unit_bits]
        super().__init__(
            {
                "kind": In(range(len(unit_bits))),
                "last": In(1),
                "beats": In(stream.Signature(port_bits)),
                "units": Out(stream.Signature(max(unit_bits))),
                "next_valid": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self._port_bits
        buffer = Signal(max(round_up(bits, port) for bits, _, _ in self._kinds), reset_less=True)
        units_left = Signal(range(max(units for _, units, _ in self._kinds) + 1), reset_less=True)  # while valid
        part = Signal(range(max(beats for _, _, beats in self._kinds)))

        # units_left == 0 and == 1 are registered when it changes: the consumer waits for them.
        valid = Signal()
        last_unit = Signal()
        beat_comes = Signal()
        beat_ends = Signal()
        m.d.comb += [
            self.units.valid.eq(valid),
            self.units.payload.eq(buffer),
            self.beats.ready.eq(~valid | (self.units.ready & last_unit & ~self.last)),
            beat_comes.eq(self.beats.valid & self.beats.ready),
            self.next_valid.eq(beat_ends | (valid & ~(self.units.ready & (last_unit | self.last)))),
        ]
        lookahead(m, valid, self.next_valid)
        for kind in cases(m, self.kind, len(self._kinds)):
            bits, units, beats = self._kinds[kind]
            # Whether a beat comes is known late and not needed here: a buffer loaded without one is not looked at, nor
            # is what moves in at the top. So all registers have the same enable.
            with m.If(~valid | self.units.ready):
                for i in cases(m, part, beats):
                    m.d.sync += buffer[i * port : (i + 1) * port].eq(self.beats.payload)
                m.d.sync += [units_left.eq(units), last_unit.eq(units == 1)]
                if units > 1:
                    with m.If(valid & ~last_unit):
                        m.d.sync += buffer[:-bits].eq(buffer[bits:])
                        m.d.sync += [units_left.eq(units_left - 1), last_unit.eq(units_left == 2)]
            with m.If(beat_comes):
                if beats == 1:
                    m.d.comb += beat_ends.eq(1)
                else:
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == beats - 1):
                        m.d.comb += beat_ends.eq(1)
                        m.d.sync += part.eq(0)
        return m
