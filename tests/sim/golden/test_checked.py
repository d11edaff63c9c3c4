"""Dumps behind each instruction: all that it wrote, of every head."""

import random

import numpy as np

from nmgen.compiler.random_instructions import random_instructions
from rtl.sta.isa import Columns
from rtl.sta.legality import head_words
from rtl.sta.params import StaConfig
from sim.golden.checked import with_dumps
from sim.golden.machine import Machine

CONFIG = StaConfig(n=2, m=4, rows=3, cols=4, drain=4, port_bytes=8, max_tokens=20, max_k=32, hidden=20, store_words=200)


def test_every_head_is_dumped() -> None:
    program, image = random_instructions(random.Random(5), CONFIG, 30, ("attention",))
    code, dumps, end = with_dumps(CONFIG, program.instructions, len(image))
    memory = np.zeros(end + 64 + len(code), np.uint8)
    memory[: len(image)] = image
    start = -(-end // 64) * 64
    memory[start : start + len(code)] = np.frombuffer(code, np.uint8)
    dumped = Machine(CONFIG, memory, address=start)
    dumped.finish()

    machine, left, heads = Machine(CONFIG, image, address=program.address), list(dumps), 0
    for done in machine.run():
        i = done.instruction
        own = [dump for dump in left if dump.number == done.number]
        if i["columns"] == Columns.MEMORY:
            continue
        assert [dump.where for dump in own] == ["store", *(f"store, head {h + 1}" for h in range(i["more_heads"]))]
        for head, dump in enumerate(own):
            base = i["y_base"] + head * head_words(CONFIG, i)[2]
            rows = machine.rows(base, i["y_pitch"], i["tokens"], i["channels"])
            assert np.array_equal(dump.rows(dumped.memory), rows), (i, head)
        heads += i["more_heads"]
    assert heads > 20
