"""The residual over several memories: every word is where it was written, whichever memory it lies in."""

from rtl.sta.params import StaConfig
from rtl.sta.results.residual import WORDS, Residual, residual_depth
from tests.rtl.simulate import seeded, trace


def test_words_of_every_memory() -> None:
    """Written and read at once, one a cycle of each; a word may be read in the cycle after it was written."""
    config = StaConfig(max_tokens=24, hidden=768, max_k=768)
    depth = residual_depth(config)
    assert WORDS * 2 < depth < WORDS * 3, "three memories, the last one not full"
    rng = seeded("residual")
    few = [*(i * WORDS + j for i in range(3) for j in (-1, 0, 1) if 0 <= i * WORDS + j < depth), depth - 1]
    held: dict[int, int] = {}
    cycles, due = [], {}
    dut = Residual(config)
    for cycle in range(600):
        read, write = rng.choice([*held, few[0]]), rng.choice([*few, rng.randrange(depth)])
        word = rng.getrandbits(len(dut.write.word.as_value()))
        writes = rng.random() < 0.8 and write != read
        if read in held:
            due[cycle + Residual.LATENCY] = held[read]
        if writes:
            held[write] = word
        data = dut.write.word.shape().from_bits(word)
        cycles.append({"read.address": read, "write.address": write, "write.word": data, "write.enable": writes})
    record = trace(dut, cycles, dut.read.word)
    for cycle, word in due.items():
        if cycle < len(record):
            assert record[cycle] == (word,), f"cycle {cycle}"
