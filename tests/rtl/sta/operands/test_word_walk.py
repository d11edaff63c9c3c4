"""The words of a token's row in the activation store, row after row, at any pace."""

import pytest
from amaranth.sim import SimulatorContext

from rtl.sta.operands.word_walk import WordWalk
from rtl.sta.params import StaConfig
from tests.rtl.simulate import drive, run, seeded

MOST_WORDS = 5
WALKS = [(1, 1), (1, MOST_WORDS), (7, 1), (7, 2), (12, MOST_WORDS), (2, 3)]  # tokens, words of each


@pytest.mark.parametrize("share", [1, 0.5])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_words(rows: int, share: float) -> None:
    """One walk after another, with gaps between the words or without."""
    config = StaConfig(n=1, m=2, rows=rows, cols=2, max_tokens=12, max_k=64, store_words=200)
    dut = WordWalk(config, MOST_WORDS)
    rng = seeded("word walk", rows, share)

    async def testbench(ctx: SimulatorContext) -> None:
        for tokens, words in WALKS:
            base, pitch = rng.randrange(80), words + rng.randrange(3)
            want = [
                (token % rows, base + token // rows * pitch + word, word == words - 1)
                for token in range(tokens)
                for word in range(words)
            ]
            drive(ctx, dut, {"start": 1, "tokens": tokens, "words": words, "base": base, "pitch": pitch, "advance": 0})
            *_, running = await ctx.tick().sample(dut.running)
            assert not running
            drive(ctx, dut, {"start": 0})
            *_, running = await ctx.tick().sample(dut.running)
            assert not running
            for number, (bank, address, row_last) in enumerate(want):
                while True:
                    advance = rng.random() < share
                    drive(ctx, dut, {"advance": advance})
                    _, _, running, *got, last = await ctx.tick().sample(
                        dut.running, dut.bank, dut.address, dut.row_last, dut.last
                    )
                    assert running
                    assert (*got, last) == (bank, address, row_last, number == len(want) - 1), f"word {number}"
                    if advance:
                        break
            drive(ctx, dut, {"advance": 0})
            *_, running = await ctx.tick().sample(dut.running)
            assert not running

    run(dut, testbench, limit=2000)
