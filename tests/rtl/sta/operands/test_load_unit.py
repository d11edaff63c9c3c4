"""LOAD: every beat lands where the instruction says, and nothing else is written or taken."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import SimulatorContext

from rtl.params import ceil_div
from rtl.sta.isa import Op
from rtl.sta.operands.load_unit import LoadUnit
from rtl.sta.params import StaConfig
from tests.rtl.simulate import drive, gaps, run, seeded

# Words of several groups, of several beats, of one of each.
CONFIGURATIONS = {
    "two groups": StaConfig(n=2, m=8, rows=3, cols=2, port_bytes=16, max_tokens=12, max_k=64, store_words=40),
    "parts": StaConfig(n=3, m=16, rows=4, cols=5, port_bytes=4, max_tokens=9, max_k=80, store_words=50),
    "one row": StaConfig(n=2, m=2, rows=1, cols=3, port_bytes=8, max_tokens=5, max_k=26, store_words=41),
    "byte": StaConfig(n=1, m=4, rows=5, cols=4, port_bytes=1, max_tokens=20, max_k=16, store_words=21),
    "wide": StaConfig(n=4, m=4, rows=2, cols=2, port_bytes=64, max_tokens=7, max_k=76, store_words=19),
    "equal": StaConfig(n=8, m=8, rows=7, cols=3, port_bytes=8, max_tokens=20, max_k=40, store_words=33),
}


def loads(config: StaConfig, rng: random.Random) -> list[dict[str, int]]:
    """The largest, the smallest, and any in between."""
    c = config
    shapes = [(c.max_tokens, c.max_groups), (1, 1)]
    shapes += [(rng.randint(1, c.max_tokens), rng.randint(1, c.max_groups)) for _ in range(4)]
    instructions = []
    for tokens, groups in shapes:
        pitch = ceil_div(groups * c.m, c.store_word_bytes) + rng.randrange(2)
        room = c.store_words - pitch * ceil_div(tokens, c.rows)
        base = rng.randrange(max(1, room))
        instructions.append(
            {"opcode": Op.LOAD, "tokens": tokens, "groups": groups, "y_base": base, "y_pitch": pitch}
        )  # fmt: skip
    return instructions


Place = tuple[int, int, int]  # bank, word, byte


async def load(
    ctx: SimulatorContext, dut: LoadUnit, config: StaConfig, instruction: dict[str, int], seed: int | None
) -> None:
    c, rng = config, seeded(seed, *instruction.items())
    give = gaps(seed, "rows")
    row_beats = ceil_div(instruction["groups"] * c.m, c.port_bytes)
    beats = [rng.randbytes(c.port_bytes) for _ in range(instruction["tokens"] * row_beats)]
    want: dict[Place, int] = {}
    for i, beat in enumerate(beats):
        token, at = divmod(i, row_beats)
        word = instruction["y_base"] + token // c.rows * instruction["y_pitch"]
        for j, byte in enumerate(beat):
            words, place = divmod(at * c.port_bytes + j, c.store_word_bytes)
            want[token % c.rows, word + words, place] = byte

    got: dict[Place, int] = {}
    sent = 0
    took = False
    finished_due: int | None = None
    for cycle in range(6 * len(beats) + 20):
        offers = sent < len(beats) and not give.stall()
        drive(ctx, dut, {"start": cycle == 0, "instruction": instruction, "rows.valid": offers})
        drive(ctx, dut, {"rows.payload": int.from_bytes(beats[sent], "little") if offers else rng.getrandbits(8)})
        write = dut.write
        _, _, ready, enable, bank, address, data, strobe, finished = await ctx.tick().sample(
            dut.rows.ready, write.enable, write.bank, write.address, write.data, write.strobe, dut.finished
        )
        where = f"cycle {cycle} of {instruction}"
        assert ready == (cycle > 1 and sent < len(beats)), f"{where}: ready"
        assert enable == took, f"{where}: a write"
        assert finished == (cycle == finished_due), f"{where}: finished"
        took = bool(offers and ready)
        if enable:
            content = data.to_bytes(c.store_word_bytes, "little")
            for i in range(c.store_word_bytes):
                if strobe >> i & 1:
                    assert (bank, address, i) not in got, f"{where}: written twice"
                    got[bank, address, i] = content[i]
        sent += took
        if took and sent == len(beats):
            finished_due = cycle + 2
        if finished_due is not None and cycle > finished_due + 3:
            break
    assert got == want, f"{instruction}"


@pytest.mark.parametrize("seed", [None, 1], ids=["free", "gaps"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_load(name: str, seed: int | None) -> None:
    config = CONFIGURATIONS[name]
    dut = LoadUnit(config)

    async def testbench(ctx: SimulatorContext) -> None:
        for instruction in loads(config, seeded(name, seed)):
            await load(ctx, dut, config, instruction, seed)

    run(dut, testbench, limit=20000)


def test_others() -> None:
    """The beats of a GATHER are not the loader's."""
    dut = LoadUnit(CONFIGURATIONS["two groups"])

    async def testbench(ctx: SimulatorContext) -> None:
        instruction = {"opcode": Op.GATHER, "tokens": 4, "channels": 16}
        for start in (1, 0, 0, 0):
            drive(ctx, dut, {"start": start, "instruction": instruction, "rows.valid": 1})
            _, _, ready, enable = await ctx.tick().sample(dut.rows.ready, dut.write.enable)
            assert (ready, enable) == (0, 0)

    run(dut, testbench, limit=10)


@pytest.mark.parametrize("name", ["two groups", "parts"])
def test_reset(name: str) -> None:
    """In the middle of a load; then everything begins anew."""
    config = CONFIGURATIONS[name]
    dut, reset = LoadUnit(config), Signal()

    async def testbench(ctx: SimulatorContext) -> None:
        for cycles, instruction in enumerate(loads(config, seeded(name)), start=2):
            drive(ctx, dut, {"start": 1, "instruction": {"opcode": Op.LOAD, "tokens": 9, "groups": 5, "y_pitch": 9}})
            await ctx.tick()
            drive(ctx, dut, {"start": 0, "rows.valid": 1})
            for _ in range(cycles):
                await ctx.tick()
            drive(ctx, dut, {"rows.valid": 0})
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)
            await load(ctx, dut, config, instruction, None)

    run(ResetInserter(reset)(dut), testbench, limit=2000)
