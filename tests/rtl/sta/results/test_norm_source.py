"""NormSource: when each slot of a NORM goes, by its parameters and its token's statistics; where, and of what value."""

from dataclasses import dataclass, field
from random import Random

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.walk import TileWalk
from rtl.params import PARAMETER_TILES, ceil_div
from rtl.sta.params import StaConfig
from rtl.sta.results.layer_norm import Normaliser, reciprocal_square_root
from rtl.sta.results.norm_source import NormSource
from rtl.sta.results.residual import Residual
from tests.rtl.simulate import drive, gaps, run, seeded
from tests.rtl.sta.results.test_destination import slots
from tests.rtl.sta.results.test_layer_norm import scaled

CONFIGURATIONS = {
    "3x4, one slot": StaConfig(rows=3, cols=4, drain=4, max_tokens=20, hidden=30),
    "2x6, three slots": StaConfig(n=3, m=8, rows=2, cols=6, drain=2, max_tokens=9, hidden=33),
    "one of each": StaConfig(n=1, m=2, rows=1, cols=1, drain=1, max_tokens=3, hidden=5),
}
KNOWN = 2  # cycles from parameters or statistics until a slot that waits for them goes


@dataclass
class Norm:
    """One instruction, and what it is to give: the cycle in which each slot goes."""

    f: dict[str, int]
    running: int = 0  # the first cycle in which there is a slot
    loaded: list[int] = field(default_factory=list)  # cycles, of each column tile's parameters
    asked: list[int] = field(default_factory=list)  # tokens
    answered: dict[int, int] = field(default_factory=dict)  # the cycle of each token's statistics


def random_norm(config: StaConfig, rng: Random, *, normalise: bool) -> Norm:
    first = config.rows * rng.randint(0, (config.max_tokens - 1) // config.rows)
    channels = rng.choice([1, config.hidden, rng.randint(1, config.hidden)])
    f = {"first_token": first, "tokens": rng.randint(1, config.max_tokens - first), "channels": channels}
    return Norm(f | {"normalise": int(normalise), "y_base": rng.getrandbits(15), "y_pitch": rng.randrange(99)})


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("seed", [None, 1, 2, 3], ids=["free", "gaps", "others", "slow"])
def test_slots(name: str, seed: int | None) -> None:
    """NORMs of both kinds, behind products whose parameters went through the same places."""
    config = CONFIGURATIONS[name]
    rng = seeded("norm source", name, seed)
    lanes, words = config.drain_lanes, config.residual_words
    rows = [[rng.choice([-32768, 32767, rng.randint(-32768, 32767)]) for _ in range(words * lanes)] for _ in range(20)]
    loads, takes, answers = (gaps(seed, what) for what in ("parameters", "requests", "answers"))
    dut = NormSource(config)
    read: list[int] = []  # the address of each cycle
    norms: list[Norm] = []
    cycle = 0

    def statistics(token: int, channels: int) -> dict[str, int]:
        return scaled(rows[token][:channels], channels, 5)

    async def tick(ctx: SimulatorContext, norm: Norm | None = None, **inputs: object) -> int:
        """Answers what is read; a token that is asked for, or −1."""
        nonlocal cycle
        # The address of a cycle is that of its first moments: memory has it Residual.LATENCY cycles later.
        if len(read) >= Residual.LATENCY:
            token, piece = divmod(read[-Residual.LATENCY], words)
            drive(ctx, dut, {"residual.word": rows[token % len(rows)][piece * lanes : (piece + 1) * lanes]})
        drive(ctx, dut, {"parameters_loaded": 0, "drained": 0, "start": 0, "scaling": {"valid": 0}, **inputs})
        _, _, address, asks, token = await ctx.tick().sample(
            dut.residual.address, dut.request.valid & dut.request.ready, dut.request.payload
        )
        read.append(address)
        cycle += 1
        if asks:
            assert norm
            norm.asked.append(token)
        return token if asks else -1

    async def testbench(ctx: SimulatorContext) -> None:
        for number in range(5):
            # A product's column tiles: some are loaded, then all are drained.
            tiles = rng.randint(0, PARAMETER_TILES)
            for pulse in ["parameters_loaded"] * tiles + ["drained"] * tiles:
                await tick(ctx, **{pulse: 1})
            for _ in range(3):
                await tick(ctx)
            norm = random_norm(config, rng, normalise=number != 2)
            norms.append(norm)
            f = norm.f
            norm.running = cycle + TileWalk.LATENCY
            column_tiles = ceil_div(f["channels"], config.cols)
            count = column_tiles * f["tokens"] * config.slots_a_row
            pending: list[tuple[int, int]] = []  # (first cycle of an answer, token)
            inputs: dict[str, object] = {"start": 1, "instruction": f}
            end = 0
            while end == 0 or cycle < end:
                gone = sum(norm.running <= at < cycle for at in times(config, norm))
                begun = ceil_div(gone, f["tokens"] * config.slots_a_row)
                # No more tiles than there are places, with those that are not yet done.
                if len(norm.loaded) < min(column_tiles, max(begun - 1, 0) + PARAMETER_TILES) and not loads.stall():
                    norm.loaded.append(cycle)
                    inputs["parameters_loaded"] = 1
                if pending and pending[0][0] <= cycle and not answers.stall():
                    token = pending.pop(0)[1]
                    norm.answered[token] = cycle
                    answer = {"valid": 1, "token": token, "scaling": statistics(token, f["channels"])}
                    inputs["scaling"] = answer
                asked = await tick(ctx, norm, **{"request.ready": not takes.stall()}, **inputs)
                if asked >= 0:
                    pending.append((cycle + rng.choice([5, 22]) * (4 if seed == 3 else 1), asked))
                inputs = {}
                complete = times(config, norm)
                if len(complete) == count and not pending:
                    end = complete[-1] + NormSource.LATENCY + 2

    record = run(dut, testbench, limit=20_000, watch=(dut.slots.valid, dut.slots.destination, *dut.slots.values))

    layout, latency = dut.slots.destination.shape(), NormSource.LATENCY
    went = [cycle - latency for cycle, got in enumerate(record) if got[0]]
    assert went == [at for norm in norms for at in times(config, norm)]
    for norm in norms:
        f = norm.f
        tokens = list(range(f["first_token"], f["first_token"] + f["tokens"]))
        assert norm.asked == tokens * f["normalise"], "each token's statistics once"
        for at, slot in zip(times(config, norm), slots(config, f), strict=True):
            _, bits, *values = record[at + latency]
            found = layout.from_bits(bits)
            assert {part: found[part] for part in slot.destination} == slot.destination, f"cycle {at}"
            token, piece = slot.destination["token"], slot.destination["piece"]
            for lane, value in enumerate(values):
                if slot.destination["keep"] >> lane & 1:
                    element = rows[token][piece * lanes + lane]
                    own = rows[token][: f["channels"]]
                    sums = reciprocal_square_root(sum(own), sum(r * r for r in own), f["channels"], 5)
                    want = Normaliser.compute(element, *sums, f["channels"]) if f["normalise"] else element
                    assert value == want, f"cycle {at}, lane {lane}"


def times(config: StaConfig, norm: Norm) -> list[int]:
    """The cycles in which slots go, as far as what they wait for is there."""
    found: list[int] = []
    free = norm.running
    for loaded in norm.loaded:
        free = max(free, loaded + KNOWN)
        for token in range(norm.f["first_token"], norm.f["first_token"] + norm.f["tokens"]):
            if norm.f["normalise"] and loaded == norm.loaded[0]:
                if token not in norm.answered:
                    return found
                free = max(free, norm.answered[token] + KNOWN)
            found += range(free, free + config.slots_a_row)
            free += config.slots_a_row
    return found
