"""The parameters per row: each token's own, whatever fills the rest of the last beat, product after product."""

import random

import pytest
from amaranth.sim import SimulatorContext

from rtl.engine.latencies import PARAMETER_CYCLES
from rtl.engine.row_parameters import RowParameters
from rtl.params import SHIFT_MAX, Config, ceil_div
from sim.bench.amaranth_stream import stream_put
from tests.rtl.simulate import drive, gaps, run, seeded


def parameter(rng: random.Random) -> tuple[int, int, int]:
    """bias, mult and shift, often at an end of their range."""
    return (
        rng.choice([-(1 << 31), (1 << 31) - 1, rng.randint(-(1 << 31), (1 << 31) - 1)]),
        rng.choice([0, 0xFFFF, rng.getrandbits(16)]),
        rng.choice([1, SHIFT_MAX, rng.randint(1, SHIFT_MAX)]),
    )


def beats(parameters: list[tuple[int, int, int]], port_bytes: int, rng: random.Random) -> list[int]:
    """A 64-bit word a token; what is left of the last beat is filled with anything."""
    content = b"".join(
        (bias & 0xFFFF_FFFF | mult << 32 | shift << 48 | rng.getrandbits(8) << 56).to_bytes(8, "little")
        for bias, mult, shift in parameters
    )
    content += rng.randbytes(ceil_div(len(content), port_bytes) * port_bytes - len(content))
    return [int.from_bytes(content[at : at + port_bytes], "little") for at in range(0, len(content), port_bytes)]


@pytest.mark.parametrize("port_bytes", [1, 4, 8, 16, 64])
@pytest.mark.parametrize("seed", [None, 6], ids=["free", "gaps"])
def test_table(port_bytes: int, seed: int | None) -> None:
    """Products of fewer and of more tokens; those that are not a product's stay as the one before left them."""
    config = Config(port_bytes=port_bytes, max_tokens=19)
    rng = seeded(port_bytes, seed)
    give = gaps(seed, "beats")
    dut = RowParameters(config)
    table: dict[int, tuple[int, int, int]] = {}

    async def testbench(ctx: SimulatorContext) -> None:
        for tokens in (19, 1, 8, 3, 9, 19, 2):
            drive(ctx, dut, {"product.tokens": tokens, "start": 1})
            await ctx.tick()
            drive(ctx, dut, {"start": 0})
            parameters = [parameter(rng) for _ in range(tokens)]
            table.update(enumerate(parameters))
            for beat in beats(parameters, port_bytes, rng):
                await stream_put(ctx, dut.beats, beat, gaps=give)
            await ctx.tick().repeat(9)  # for the last beat's units, used or not
            for token in [*sorted(table), *rng.sample(sorted(table), len(table))]:
                drive(ctx, dut, {"address": token})
                await ctx.tick().repeat(PARAMETER_CYCLES)
                got = dut.parameters
                assert (ctx.get(got.bias), ctx.get(got.mult), ctx.get(got.shift)) == table[token], f"token {token}"

    run(dut, testbench, limit=5000)


def test_a_beat_is_in_the_table_after_its_units() -> None:
    """A unit a cycle: five cycles after its beat the second of two tokens can be read, no sooner."""
    config = Config(port_bytes=16, max_tokens=4)
    dut = RowParameters(config)
    words = [(5, 6, 7), (-8, 9, 10)]

    async def testbench(ctx: SimulatorContext) -> None:
        drive(ctx, dut, {"product.tokens": 2, "start": 1})
        await ctx.tick()
        (beat,) = beats(words, 16, seeded("latency"))
        drive(ctx, dut, {"start": 0, "beats.valid": 1, "beats.payload": beat, "address": 1})
        await ctx.tick()
        drive(ctx, dut, {"beats.valid": 0})
        seen = []
        for _ in range(5):
            await ctx.tick()
            seen.append(ctx.get(dut.parameters.bias))
        assert seen == [0, 0, 0, -8, -8]

    run(dut, testbench, limit=20)
