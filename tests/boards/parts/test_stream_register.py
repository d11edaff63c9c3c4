"""Registers in a stream: each word once and in order, held back or not, as fast as told."""

import os

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.stream_register import StreamBuffer, StreamRegister
from sim.bench.amaranth_stream import stream_get, stream_put
from sim.bench.gaps import NO_GAPS, Gaps

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
COUNT = 400
LIMIT = 100 * COUNT  # cycles


def passed(kind: type[StreamRegister | StreamBuffer], put: Gaps, get: Gaps) -> tuple[list[int], int]:
    """The words that come out of those that go in, 0, 1, 2 …, and the cycles that they take."""
    register = kind(16)
    found: list[int] = []
    cycles = 0

    async def give(ctx: SimulatorContext) -> None:
        for word in range(COUNT):
            await stream_put(ctx, register.words_in, word, gaps=put)

    async def take(ctx: SimulatorContext) -> None:
        for _ in range(COUNT):
            found.append(await stream_get(ctx, register.words_out, gaps=get))

    async def count(ctx: SimulatorContext) -> None:
        nonlocal cycles
        while True:
            await ctx.tick()
            cycles += 1
            assert cycles < LIMIT, f"{len(found)} of {COUNT} words"

    simulator = Simulator(register)
    simulator.add_clock(1e-8)
    simulator.add_testbench(give)
    simulator.add_testbench(take)
    simulator.add_testbench(count, background=True)
    simulator.run()
    return found, cycles


@pytest.mark.parametrize("kind", [StreamRegister, StreamBuffer])
@pytest.mark.parametrize("gaps", ["neither", "before", "behind", "both"])
def test_words(kind: type[StreamRegister | StreamBuffer], gaps: str) -> None:
    """While held back, an offer stays as it is: `stream_get` looks at that."""
    put = Gaps(SEED) if gaps in ("before", "both") else NO_GAPS
    get = Gaps(SEED + 1) if gaps in ("behind", "both") else NO_GAPS
    found, _ = passed(kind, put, get)
    assert found == list(range(COUNT))


@pytest.mark.parametrize(("kind", "each"), [(StreamRegister, 2), (StreamBuffer, 1)])
def test_cycles_of_a_word(kind: type[StreamRegister | StreamBuffer], each: int) -> None:
    _, cycles = passed(kind, NO_GAPS, NO_GAPS)
    assert each * COUNT <= cycles <= each * COUNT + 4
