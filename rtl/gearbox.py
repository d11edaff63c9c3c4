"""The gearbox: from beats of the memory port to the units that a consumer takes."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .cases import cases
from .params import round_up, units_in_beats


class Gearbox(wiring.Component):
    """Cuts beats into smaller units, or gathers larger units from beats.

    Units and beats start together: a beat holds whole units, or a unit takes whole beats, and what is
    left over is padding (`units_in_beats`). A unit is there one cycle after its (last) beat. A beat may
    come in the cycle in which the last unit before it goes.

    Parameters
    ----------
    port_bits : bits of a beat
    unit_bits : the kinds of units, bits of each

    Members
    -------
    kind : which kind of unit is cut; steady from a flush to the next
    flush : drop what is left of the beat after this cycle, take no beat in this cycle
    beats : stream in
    units : stream out, wide enough for the largest kind; a smaller unit lies in the lowest bits and
        what is above it is not defined
    """

    def __init__(self, port_bits: int, unit_bits: Sequence[int]) -> None:
        self._port_bits = port_bits
        self._kinds = [(bits, *units_in_beats(bits, port_bits)) for bits in unit_bits]
        super().__init__(
            {
                "kind": In(range(len(unit_bits))),
                "flush": In(1),
                "beats": In(stream.Signature(port_bits)),
                "units": Out(stream.Signature(max(unit_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self._port_bits
        buffer = Signal(max(round_up(bits, port) for bits, _, _ in self._kinds), reset_less=True)
        units_left = Signal(range(max(units for _, units, _ in self._kinds) + 1))
        part = Signal(range(max(beats for _, _, beats in self._kinds)))

        unit_goes = Signal()
        m.d.comb += [
            self.units.valid.eq(units_left != 0),
            self.units.payload.eq(buffer),
            unit_goes.eq(self.units.valid & self.units.ready),
            self.beats.ready.eq(((units_left == 0) | ((units_left == 1) & unit_goes)) & ~self.flush),
        ]
        with m.If(unit_goes):
            m.d.sync += units_left.eq(units_left - 1)
        for kind in cases(m, self.kind, len(self._kinds)):
            bits, units, beats = self._kinds[kind]
            if units > 1:
                with m.If(unit_goes):
                    m.d.sync += buffer.eq(buffer >> bits)
            with m.If(self.beats.valid & self.beats.ready):
                for i in cases(m, part, beats):
                    m.d.sync += buffer[i * port : (i + 1) * port].eq(self.beats.payload)
                if beats == 1:
                    m.d.sync += units_left.eq(units)
                else:
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == beats - 1):
                        m.d.sync += [part.eq(0), units_left.eq(1)]
        with m.If(self.flush):
            m.d.sync += units_left.eq(0)
        return m
