"""The gearbox loses and repeats nothing: each unit is the bits of the beats that it was made of."""

from pathlib import Path
from types import ModuleType

import pytest
from amaranth.hdl import Assert, Assume, Cover, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped

import rtl.lib.gearbox
from rtl.params import units_in_beats
from tests.formal.proof import Z3_STEPS, Inside, changed, held, implies, past, prove

pytestmark = pytest.mark.formal


class Units(wiring.Component):
    """Kinds of units that are a beat, parts of a beat without and with padding, and several beats."""

    PORT_BITS = 8
    KINDS = (4, 8, 3, 16, 20)

    def __init__(self, module: ModuleType = rtl.lib.gearbox) -> None:
        self._module = module
        super().__init__(
            {
                "beats": In(stream.Signature(self.PORT_BITS)),
                "kind": In(range(len(self.KINDS))),
                "last": In(1),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gearbox = self._module.Gearbox(self.PORT_BITS, self.KINDS)
        inside = Inside(m, "gearbox", gearbox)
        units = gearbox.units
        connect(m, flipped(self.beats), gearbox.beats)
        comes, goes = Signal(), Signal()
        drops = Signal()
        dropped = past(m, drops, "drops")
        begun = past(m, 1, "begun")
        m.d.comb += [
            gearbox.kind.eq(self.kind),
            gearbox.last.eq(self.last),
            units.ready.eq(self.taken),
            comes.eq(self.beats.valid & gearbox.beats.ready),
            goes.eq(units.valid & units.ready),
            drops.eq(goes & self.last),
            # The consumer changes the kind behind the last unit only.
            Assume(self.kind < len(self.KINDS)),
            Assume(implies(begun & ~dropped, self.kind == past(m, self.kind, "kind"))),
        ]

        # The beats of the unit on offer, or being gathered, as they came, and how many units of them are left.
        kept = Signal(3 * self.PORT_BITS)
        parts, left = Signal(2), Signal(2)
        buffer = inside.signal("buffer")
        with m.If(goes):
            m.d.sync += left.eq(left - 1)
        with m.Switch(self.kind):
            for kind, bits in enumerate(self.KINDS):
                units_a_beat, beats_a_unit = units_in_beats(bits, self.PORT_BITS)
                with m.Case(kind):
                    m.d.comb += [
                        Assert(left <= units_a_beat),
                        Assert(parts < beats_a_unit),
                        Cover(goes & past(m, left == 0, f"none_{bits}") & (units.payload[:bits] == 5)),
                    ]
                    for given in range(units_a_beat):
                        rest = kept[bits * given : bits * units_a_beat]
                        m.d.comb += Assert(implies(left == units_a_beat - given, units.payload[:bits] == rest[:bits]))
                        m.d.comb += Assert(implies(left == units_a_beat - given, buffer[: len(rest)] == rest))
                    for i in range(1, beats_a_unit):
                        m.d.comb += Assert(
                            implies(parts == i, buffer[: i * self.PORT_BITS] == kept[: i * self.PORT_BITS])
                        )
                    with m.If(comes):
                        m.d.comb += Assert((left == 0) | ((left == 1) & goes))
                        m.d.sync += kept.word_select(parts, self.PORT_BITS).eq(self.beats.payload)
                        with m.If(parts == beats_a_unit - 1):
                            m.d.sync += [parts.eq(0), left.eq(units_a_beat)]
                        with m.Else():
                            m.d.sync += parts.eq(parts + 1)
        with m.If(drops):
            m.d.sync += left.eq(0)
        m.d.comb += [
            Assert(units.valid == (left != 0)),
            Assert(implies(units.valid, inside.signal("units_left") == left)),
            Assert(implies(units.valid, inside.signal("last_unit") == (left == 1))),
            Assert(implies(begun, units.valid == past(m, gearbox.next_valid, "next_valid"))),
            Assert(inside.signal("part") == parts),
            Assert(implies(drops, ~comes)),
            Assert(implies(parts != 0, left == 0)),
            Assert(held(m, units.valid, units.ready, units.valid, "units")),
            Cover(dropped & past(m, left == 2, "left_two")),
        ]
        return m


BREAKS = [
    ("(self.units.ready & last_unit & ~self.last)", "(last_unit & ~self.last)"),
    ("(last_unit | self.last)", "last_unit"),
]


def test_units_are_the_beats(tmp_path: Path) -> None:
    assert prove(Units(), tmp_path, depth=1)
    assert prove(Units(), tmp_path, mode="cover", depth=10)


@pytest.mark.parametrize(("old", "new"), BREAKS)
def test_notices(old: str, new: str, tmp_path: Path) -> None:
    assert not prove(Units(changed(rtl.lib.gearbox, (old, new))), tmp_path, mode="bmc", depth=8, engine=Z3_STEPS)
