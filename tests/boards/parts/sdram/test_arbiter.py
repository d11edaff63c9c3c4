"""The arbiter before a memory that answers at random: who comes when, and what a read sees."""

import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.sdram.arbiter import MemoryArbiter
from boards.parts.sdram.controller import CHUNK_BEATS
from sim.bench.amaranth_stream import stream_get, stream_put
from sim.bench.gaps import NO_GAPS, Gaps

SEED = int(os.environ.get("NMGEN_SEED", "2026"))
PORT_BYTES = 4
ROOM = 2 * CHUNK_BEATS

Burst = tuple[int, int]  # first beat, beats


@dataclass
class Chunk:
    """A chunk as the memory gets it."""

    write: bool
    first: int
    beats: int


class Bench:
    """An arbiter, its masters and a memory. Each word that is written is another one.

    Parameters
    ----------
    reads, writes : bursts of each master, asked for one after another
    gaps : whether channels wait at random
    chunk_cycles : that the memory takes for a chunk
    pause : cycles at most before a read is asked for
    whole : masters whose bursts cross no chunk

    Attributes
    ----------
    chunks : that the memory got, in order
    checked : beats that were read and compared
    """

    def __init__(
        self,
        reads: list[list[Burst]],
        writes: list[list[Burst]],
        *,
        gaps: bool = False,
        chunk_cycles: int = 0,
        pause: int = 0,
        whole: Sequence[int] = (),
    ) -> None:
        self.arbiter = MemoryArbiter(len(reads), PORT_BYTES, ROOM, whole)
        self.chunks: list[Chunk] = []
        self.checked = 0
        self._written: dict[int, list[int]] = {}  # words of each beat
        self._complete: dict[int, list[int]] = {}  # the same, from when the last of their burst was taken
        self._word = 0
        self._memory: dict[int, int] = {}
        self._stored: deque[int] = deque()
        self._answers: deque[int] = deque()
        self._gaps, self._chunk_cycles, self._pause, self._whole = gaps, chunk_cycles, pause, whole
        simulator = Simulator(self.arbiter)
        simulator.add_clock(1e-6)
        simulator.add_testbench(self._take_words, background=True)
        simulator.add_testbench(self._take_chunks, background=True)
        simulator.add_testbench(self._answer, background=True)
        for i in range(len(reads)):
            asked: deque[tuple[int, int]] = deque()  # beat, words that it had
            simulator.add_testbench(partial(self._ask, i=i, bursts=reads[i], asked=asked))
            simulator.add_testbench(partial(self._check, i=i, bursts=reads[i], asked=asked))
            simulator.add_testbench(partial(self._write, i=i, bursts=writes[i]))
        simulator.run()

    def _waits(self, channel: str) -> Gaps:
        return Gaps(f"{SEED} {channel}") if self._gaps else NO_GAPS

    async def _ask(self, ctx: SimulatorContext, i: int, bursts: list[Burst], asked: deque[tuple[int, int]]) -> None:
        gaps = self._waits(f"ask {i}")
        generator = random.Random(f"{SEED} {i}")
        for first, beats in bursts:
            for _ in range(generator.randint(0, self._pause)):
                await ctx.tick()
            request = {"address": first * PORT_BYTES, "length": beats - 1}
            offered = {beat: len(self._complete.get(beat, [])) for beat in range(first, first + beats)}
            await stream_put(ctx, self.arbiter.ports[i].read_request, request, gaps=gaps)
            taken = {beat: len(self._complete.get(beat, [])) for beat in offered}
            asked += (offered if i in self._whole else taken).items()

    async def _check(self, ctx: SimulatorContext, i: int, bursts: list[Burst], asked: deque[tuple[int, int]]) -> None:
        """A read sees the last word that was complete when it was asked for, or a later one."""
        gaps = self._waits(f"check {i}")
        for _ in range(sum(beats for _, beats in bursts)):
            word = await stream_get(ctx, self.arbiter.ports[i].read_data, gaps=gaps)
            beat, known = asked.popleft()
            newest = self._complete.get(beat, [])[known - 1] if known else 0
            assert word >= newest, f"master {i} reads {word} of beat {beat}, which was {newest}: NMGEN_SEED={SEED}"
            assert word in (0, *self._written.get(beat, []))
            self.checked += 1

    async def _write(self, ctx: SimulatorContext, i: int, bursts: list[Burst]) -> None:
        gaps = self._waits(f"write {i}")
        port = self.arbiter.ports[i]
        for first, beats in bursts:
            request = {"address": first * PORT_BYTES, "length": beats - 1}
            await stream_put(ctx, port.write_request, request, gaps=gaps)
            for beat in range(first, first + beats):
                self._word += 1
                self._written.setdefault(beat, []).append(self._word)
                await stream_put(ctx, port.write_data, {"data": self._word, "strobe": 15}, gaps=gaps)
            for beat in range(first, first + beats):
                self._complete.setdefault(beat, []).append(self._written[beat][-1])

    async def _take_words(self, ctx: SimulatorContext) -> None:
        gaps = self._waits("words")
        while True:
            self._stored.append((await stream_get(ctx, self.arbiter.write_beats, gaps=gaps)).data)

    async def _take_chunks(self, ctx: SimulatorContext) -> None:
        gaps = self._waits("chunks")
        while True:
            got = await stream_get(ctx, self.arbiter.chunks, gaps=gaps)
            chunk = Chunk(bool(got.write), got.address, got.beats + 1)
            self.chunks.append(chunk)
            assert chunk.first // CHUNK_BEATS == (chunk.first + chunk.beats - 1) // CHUNK_BEATS
            for beat in range(chunk.first, chunk.first + chunk.beats):
                if chunk.write:
                    self._memory[beat] = self._stored.popleft()
                else:
                    self._answers.append(self._memory.get(beat, 0))
            assert len(self._answers) <= ROOM
            for _ in range(self._chunk_cycles):
                await ctx.tick()

    async def _answer(self, ctx: SimulatorContext) -> None:
        gaps = self._waits("answers")
        while True:
            if self._answers:
                await stream_put(ctx, self.arbiter.read_beats, self._answers[0], gaps=gaps)
                self._answers.popleft()
            else:
                await ctx.tick()


@pytest.mark.parametrize(
    ("beats", "longest", "count", "chunk_cycles", "pause", "whole"),
    [(150, 40, 30, 0, 0, ()), (2, 1, 150, 4, 100, (1, 2))],
)
def test_a_read_sees_what_was_written_before(
    beats: int, longest: int, count: int, chunk_cycles: int, pause: int, whole: Sequence[int]
) -> None:
    """Three masters write beats of their own and read all of them. Words grow: an older one is a smaller one."""
    generator = random.Random(SEED)

    def bursts(count: int, first: int, beats: int) -> list[Burst]:
        found = []
        for _ in range(count):
            begin = generator.randrange(beats)
            found.append((first + begin, generator.randint(1, min(beats - begin, longest))))
        return found

    reads = [bursts(count, 0, 3 * beats) for _ in range(3)]
    writes = [bursts(3 * count, beats * i, beats) for i in range(3)]
    bench = Bench(reads, writes, gaps=chunk_cycles == 0, chunk_cycles=chunk_cycles, pause=pause, whole=whole)
    assert bench.checked == sum(beats for of in reads for _, beats in of)


def test_reads_of_masters_take_turns() -> None:
    chunks = 40
    reads = [[((i * chunks + n) * CHUNK_BEATS, CHUNK_BEATS) for n in range(chunks)] for i in range(3)]
    bench = Bench(reads, [[], [], []])
    order = [chunk.first // (chunks * CHUNK_BEATS) for chunk in bench.chunks]
    steady = order[6:-6]
    assert all(len({*steady[at : at + 3]}) == 3 for at in range(len(steady) - 2)), order


def test_reads_and_writes_take_turns() -> None:
    """Two masters read and one writes, all faster than the memory."""
    chunks = 20
    reads = [[(n * CHUNK_BEATS, CHUNK_BEATS) for n in range(chunks)] for _ in range(2)]
    writes = [[], [(n, 1) for n in range(2 * chunks)]]
    bench = Bench(reads, writes, chunk_cycles=40)
    steady = [chunk.write for chunk in bench.chunks][4:-4]
    assert all(a != b for a, b in pairwise(steady)), steady
