"""The activation store: every activation comes out where and when it is promised, however beats and steps come."""

import random
from collections import defaultdict
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.array.latencies import READ_LATENCY
from rtl.engine.activation_store import ActivationBank, ActivationStore
from rtl.params import Config, ceil_div
from tests.rtl.simulate import drive, gaps, run, seeded, trace

# Words of several beats, of several groups, of one of each.
CONFIGURATIONS = {
    "parts": Config(n=1, m=16, rows=3, cols=1, port_bytes=4, max_tokens=10, max_k=80),
    "groups": Config(n=1, m=2, rows=2, cols=1, port_bytes=16, max_tokens=7, max_k=50),
    "equal": Config(n=3, m=8, rows=4, cols=1, port_bytes=8, max_tokens=13, max_k=40),
    "byte": Config(n=1, m=32, rows=1, cols=1, port_bytes=1, max_tokens=3, max_k=64),
    "one": Config(n=2, m=2, rows=3, cols=1, port_bytes=64, max_tokens=3, max_k=2),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)


def group_of(content: int, group: int, m: int) -> int:
    """A group of the activations that lie in memory as bytes."""
    return (content >> 8 * m * group) & ((1 << 8 * m) - 1)


def random_beat(rng: random.Random, size: int) -> int:
    """Of random bytes, many of them at an end of their range."""
    return int.from_bytes([rng.choice([0x80, 0x7F, 0xFF, rng.getrandbits(8)]) for _ in range(size)], "little")


@EVERY
def test_bank(name: str) -> None:
    """Reads and writes of all words in a random mixture: parts, groups, marks, and what is not enabled."""
    config = CONFIGURATIONS[name]
    rng = seeded(name)
    size, parts = config.port_bytes, config.store_word_bytes // config.port_bytes
    groups = config.store_word_bytes // config.m
    content: dict[int, bytearray] = defaultdict(lambda: bytearray(config.store_word_bytes))
    inputs: list[dict[str, Any]] = []
    want: list[tuple[int, ...]] = []
    for _ in range(600):
        step = {
            "word": rng.randrange(config.store_depth),
            "group": rng.randrange(groups),
            **{mark: rng.getrandbits(1) for mark in ("valid", "first", "last")},
        }
        write = {
            "word": rng.randrange(config.store_depth),
            "parts": rng.choice([1 << rng.randrange(parts), rng.getrandbits(parts)]),
            "beat": random_beat(rng, size),
        }
        enable = rng.random() < 0.6 and write["word"] != step["word"]
        inputs.append({"write": write, "write_enable": enable, "step_in": step})
        word = int.from_bytes(content[step["word"]], "little")
        want.append((group_of(word, step["group"], config.m), 0, step["valid"], step["first"], step["last"]))
        for part in range(parts):
            if enable and write["parts"] >> part & 1:
                content[write["word"]][part * size : (part + 1) * size] = write["beat"].to_bytes(size, "little")

    bank = ActivationBank(config)
    row = bank.row
    record = trace(bank, inputs, bank.step_in, bank.step_out, row.group, row.unsigned, row.valid, row.first, row.last)
    assert READ_LATENCY == 2
    for cycle in range(2, len(record)):
        assert record[cycle][1] == record[cycle - 1][0], f"cycle {cycle}: what goes on downwards"
        assert record[cycle][2:] == want[cycle - 2], f"cycle {cycle}"


def shapes(config: Config) -> list[tuple[int, int]]:
    """(tokens, groups) of products that follow one another: largest, smallest, around a tile, around a word."""
    a_word = config.store_word_bytes // config.m
    tokens = [config.max_tokens, 1, config.rows, config.rows + 1, config.max_tokens - 1, config.max_tokens]
    groups = [config.max_groups, 1, a_word, a_word + 1, max(1, config.max_groups - 1), 1]
    return [(min(t, config.max_tokens), min(g, config.max_groups)) for t, g in zip(tokens, groups, strict=True)]


class Loaded:
    """A store whose tiles are read, over and over, as soon as they are there and while the others still come."""

    def __init__(self, config: Config, seed: int | None, name: str) -> None:
        self.config = config
        self.dut = ActivationStore(config)
        self.rng = seeded(name, seed)
        self.give = gaps(seed, "beats")
        # What each row must show in a cycle: its group (None where no token lies there), and the marks.
        self.want: dict[tuple[int, int], tuple[int | None, tuple[int, int, int]]] = {}
        self.cycle = 0

    async def product(self, ctx: SimulatorContext, tokens: int, groups: int) -> None:
        c, rng = self.config, self.rng
        beats_a_token = ceil_div(groups * c.m, c.port_bytes)
        x = [[random_beat(rng, c.port_bytes) for _ in range(beats_a_token)] for _ in range(tokens)]
        beats = [(token, i) for token in range(tokens) for i in range(beats_a_token)]
        sent = 0
        drive(ctx, self.dut, {"product": {"tokens": tokens, "groups": groups}, "start": 1, "beats.valid": 0})
        await self.tick(ctx, tiles=None)
        drive(ctx, self.dut, {"start": 0})
        steps_left = 3 * groups
        tiles = 0
        while sent < len(beats) or steps_left:
            whole_tokens = sent // beats_a_token
            ready = tiles  # those that a step may come from: that were loaded a cycle ago
            tiles = ceil_div(tokens, c.rows) if whole_tokens == tokens else whole_tokens // c.rows
            offer = sent < len(beats) and not self.give.stall()
            payload = x[beats[sent][0]][beats[sent][1]] if offer else rng.getrandbits(8 * c.port_bytes)
            drive(ctx, self.dut, {"beats.valid": offer, "beats.payload": payload})
            if ready and rng.random() < 0.8:
                self.step(ctx, x, rng.choice([rng.randrange(ready), ready - 1]), rng.randrange(groups), groups)
                steps_left -= sent == len(beats)
            else:
                self.step(ctx, None, 0, 0, groups)
            sent += offer
            await self.tick(ctx, tiles=tiles)

    def step(self, ctx: SimulatorContext, x: list[list[int]] | None, tile: int, group: int, groups: int) -> None:
        """One step of a tile, or none; in either case the marks arrive."""
        c = self.config
        marks = (int(x is not None), self.rng.getrandbits(1), self.rng.getrandbits(1))
        a_word = c.store_word_bytes // c.m
        word = tile * ceil_div(groups, a_word) + group // a_word
        step = {"word": word, "group": group % a_word, "valid": marks[0], "first": marks[1], "last": marks[2]}
        drive(ctx, self.dut, {"step": step})
        for r in range(c.rows):
            activations = None
            token = tile * c.rows + r
            if x is not None and token < len(x):
                content = sum(beat << 8 * c.port_bytes * i for i, beat in enumerate(x[token]))
                activations = group_of(content, group, c.m)
            self.want[self.cycle + READ_LATENCY + r, r] = (activations, marks)

    async def tick(self, ctx: SimulatorContext, *, tiles: int | None) -> None:
        c = self.config
        _, _, ready, loaded, *sampled = await ctx.tick().sample(
            self.dut.beats.ready,
            self.dut.tiles_loaded,
            *(value for row in self.dut.rows for value in (row.group.as_value(), row.valid, row.first, row.last)),
        )
        assert ready, "never stalls"
        if tiles is not None:
            assert loaded == tiles, f"cycle {self.cycle}: tiles loaded"
        for r in range(c.rows):
            group, *marks = sampled[4 * r : 4 * r + 4]
            want_group, want_marks = self.want.pop((self.cycle, r), (None, None))
            if want_marks is not None:
                assert tuple(marks) == want_marks, f"cycle {self.cycle}, row {r}"
            if want_group is not None:
                assert group == want_group, f"cycle {self.cycle}, row {r}"
        self.cycle += 1


@EVERY
@pytest.mark.parametrize("seed", [None, 4], ids=["free", "gaps"])
def test_store(name: str, seed: int | None) -> None:
    """Products of several shapes one after another; the tiles of the one before count no more after a start."""
    config = CONFIGURATIONS[name]
    bench = Loaded(config, seed, name)

    async def testbench(ctx: SimulatorContext) -> None:
        for tokens, groups in shapes(config):
            await bench.product(ctx, tokens, groups)
            bench.step(ctx, None, 0, 0, groups)
            for _ in range(READ_LATENCY + config.rows):
                await bench.tick(ctx, tiles=ceil_div(tokens, config.rows))
                bench.step(ctx, None, 0, 0, groups)
        assert all(cycle >= bench.cycle for cycle, _ in bench.want)

    run(bench.dut, testbench, limit=20000)
