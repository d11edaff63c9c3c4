"""The gearbox: beats in, units out, each in the cycle it is promised for, whatever the kinds and the gaps."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.lib.gearbox import Gearbox
from sim.bench.gaps import Gaps
from tests.rtl.simulate import gaps, run, seeded

# Bits of a beat, bits of each kind: whole beats, several a beat with and without padding, several beats a unit.
KINDS = [
    (8, [8, 4, 2, 16, 24, 3]),
    (32, [32, 64, 72, 8, 9, 1]),
    (64, [24, 64, 65, 128, 33, 200, 7]),
    (16, [16]),
    (128, [40, 5]),
    (8, [20, 64]),
]
EVERY = pytest.mark.parametrize(("port_bits", "unit_bits"), KINDS, ids=lambda value: str(value).replace(" ", ""))
SEEDS = pytest.mark.parametrize("seed", [None, 1, 2], ids=["free", "gaps1", "gaps2"])


class Model:
    """The docstring as a program: what must be offered in each cycle, and whether a beat may come."""

    def __init__(self, port_bits: int, unit_bits: Sequence[int]) -> None:
        self.port_bits = port_bits
        self.unit_bits = unit_bits
        self.units: list[int] = []
        self.parts: list[int] = []

    def cycle(self, kind: int, *, last: bool, beat: int | None, taken: bool) -> tuple[int | None, bool]:
        """(unit on offer, whether a beat is taken now) and what follows from them for the next cycle."""
        bits = self.unit_bits[kind]
        mask = (1 << bits) - 1
        offer = self.units[0] & mask if self.units else None
        goes = offer is not None and taken
        ready = not self.units or (goes and len(self.units) == 1 and not last)
        if goes:
            self.units.pop(0)
        if ready and beat is not None:
            if bits <= self.port_bits:
                self.units = [beat >> i * bits & mask for i in range(self.port_bits // bits)]
            else:
                self.parts.append(beat)
                if len(self.parts) * self.port_bits >= bits:
                    self.units = [sum(part << i * self.port_bits for i, part in enumerate(self.parts)) & mask]
                    self.parts = []
        elif goes and last:
            self.units = []
        return offer, ready


def exercise(port_bits: int, unit_bits: Sequence[int], rng: random.Random, give: Gaps, take: Gaps, cycles: int) -> None:
    gearbox = Gearbox(port_bits, unit_bits)
    model = Model(port_bits, unit_bits)
    count = 0

    async def testbench(ctx: SimulatorContext) -> None:
        nonlocal count
        kind, beat = 0, None
        for cycle in range(cycles):
            last = rng.random() < 0.2
            if beat is None and not give.stall():
                beat = rng.getrandbits(port_bits)
            taken = not take.stall()
            ctx.set(gearbox.kind, kind)
            ctx.set(gearbox.last, last)
            ctx.set(gearbox.beats.valid, beat is not None)
            ctx.set(gearbox.beats.payload, rng.getrandbits(port_bits) if beat is None else beat)
            ctx.set(gearbox.units.ready, taken)
            offer, ready = model.cycle(kind, last=last, beat=beat, taken=taken)
            _, _, got_ready, valid, payload = await ctx.tick().sample(
                gearbox.beats.ready, gearbox.units.valid, gearbox.units.payload
            )
            assert valid == (offer is not None), f"cycle {cycle}: unit on offer"
            if offer is not None:
                assert payload & ((1 << unit_bits[kind]) - 1) == offer, f"cycle {cycle}: unit of kind {kind}"
                count += taken
            assert got_ready == ready, f"cycle {cycle}: ready for a beat"
            if ready:
                beat = None
            if last and offer is not None and taken:
                kind = rng.randrange(len(unit_bits))

    run(gearbox, testbench, limit=cycles)
    assert count > cycles // 20, "enough units went"


@EVERY
@SEEDS
def test_units(port_bits: int, unit_bits: list[int], seed: int | None) -> None:
    exercise(port_bits, unit_bits, seeded(port_bits, seed), gaps(seed, "beats"), gaps(seed, "units"), 600)


class Never(Gaps):
    """Holds back throughout."""

    def stall(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("port_bits", "unit_bits", "units_a_beat", "beats_a_unit"),
    [(64, 8, 8, 1), (64, 24, 2, 1), (64, 64, 1, 1), (64, 65, 1, 2), (8, 64, 1, 8), (32, 33, 1, 2), (8, 3, 2, 1)],
)
def test_rate(port_bits: int, unit_bits: int, units_a_beat: int, beats_a_unit: int) -> None:
    """Without gaps: a unit a cycle where a beat holds several, a beat a cycle where a unit takes several."""
    gearbox = Gearbox(port_bits, [unit_bits])

    async def testbench(ctx: SimulatorContext) -> None:
        ctx.set(gearbox.beats.valid, 1)
        ctx.set(gearbox.units.ready, 1)
        await ctx.tick().repeat(24)

    record = run(gearbox, testbench, limit=24, watch=[gearbox.beats.ready, gearbox.units.valid])
    for cycle, (ready, valid) in enumerate(record):
        assert ready == (cycle % units_a_beat == 0), f"cycle {cycle}: beat taken"
        assert valid == (cycle >= beats_a_unit and cycle % beats_a_unit == 0), f"cycle {cycle}: unit on offer"


def test_unit_waits_for_its_consumer() -> None:
    """A unit that is not taken stays as it is, and no beat comes over it."""
    gearbox = Gearbox(16, [16, 8])

    async def testbench(ctx: SimulatorContext) -> None:
        for kind, beats in ((0, [0xABCD]), (1, [0x1234])):
            ctx.set(gearbox.kind, kind)
            ctx.set(gearbox.beats.valid, 1)
            for beat in beats:
                ctx.set(gearbox.beats.payload, beat)
                assert ctx.get(gearbox.beats.ready)
                await ctx.tick()
            ctx.set(gearbox.beats.payload, 0x5555)
            for _ in range(5):
                assert ctx.get(gearbox.units.valid)
                assert ctx.get(gearbox.units.payload) == beats[0]
                assert not ctx.get(gearbox.beats.ready)
                await ctx.tick()
            ctx.set(gearbox.beats.valid, 0)
            ctx.set(gearbox.last, 1)
            ctx.set(gearbox.units.ready, 1)
            await ctx.tick()
            ctx.set(gearbox.last, 0)
            ctx.set(gearbox.units.ready, 0)
            assert not ctx.get(gearbox.units.valid)

    run(gearbox, testbench, limit=20)


def test_last_unit_takes_the_place_of_a_beat() -> None:
    """In the cycle in which the last unit goes no beat comes; what is left of the beat before is gone after it."""
    gearbox = Gearbox(32, [8])
    got: list[Any] = []

    async def testbench(ctx: SimulatorContext) -> None:
        ctx.set(gearbox.beats.payload, 0x44332211)
        ctx.set(gearbox.beats.valid, 1)
        ctx.set(gearbox.units.ready, 1)
        await ctx.tick()
        ctx.set(gearbox.beats.payload, 0x88776655)
        await ctx.tick()
        ctx.set(gearbox.last, 1)
        got.append((ctx.get(gearbox.units.payload) & 0xFF, ctx.get(gearbox.beats.ready)))
        await ctx.tick()
        got.append((ctx.get(gearbox.units.valid), ctx.get(gearbox.beats.ready)))
        await ctx.tick()
        got.append(ctx.get(gearbox.units.payload) & 0xFF)

    run(gearbox, testbench, limit=10)
    assert got == [(0x22, 0), (0, 1), 0x55]
