"""The walk: every tile of products of all shapes, once, in order, with its rows and columns."""

from collections.abc import Iterator
from typing import Any

import pytest

from rtl.array.walk import TileWalk
from rtl.params import CHANNELS_MAX, Config
from tests.rtl.simulate import gaps, trace

CONFIGURATIONS = [
    Config(rows=3, cols=5, max_tokens=20),
    Config(rows=1, cols=1, max_tokens=4),
    Config(rows=8, cols=2, max_tokens=16),
    Config(rows=2, cols=32, max_tokens=5),
]
MORE_HEADS = 5
Tile = tuple[int, int, int, bool, bool]  # running, rows, columns, last_tokens, last_channels


def tiles(config: Config, tokens: int, channels: int) -> Iterator[Tile]:
    for channel in range(0, channels, config.cols):
        for token in range(0, tokens, config.rows):
            rows, columns = min(config.rows, tokens - token), min(config.cols, channels - channel)
            yield 1, rows, columns, token + config.rows >= tokens, channel + config.cols >= channels


def begin(tokens: int, channels: int, **heads: int) -> list[dict[str, Any]]:
    """The start, and no tile yet; neither channels nor heads stay."""
    start = {"tokens": tokens, "channels": channels, **heads, "start": 1, "advance": 0}
    behind = {"start": 0, "channels": 3, **dict.fromkeys(heads, MORE_HEADS)}
    return [start, *[behind] * (TileWalk.LATENCY - 1)]


def shapes(config: Config) -> list[tuple[int, int]]:
    """Below a tile, a whole one, one more; several."""
    rows, cols = config.rows, config.cols
    tokens = {1, rows, rows + 1, 2 * rows, config.max_tokens}
    channels = {1, cols, cols + 1, 3 * cols - 1}
    return [(t, c) for t in sorted(tokens) if t <= config.max_tokens for c in sorted(channels)]


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda c: f"{c.rows}x{c.cols}")
@pytest.mark.parametrize("seed", [None, 3], ids=["free", "gaps"])
def test_tiles(config: Config, seed: int | None) -> None:
    """Walks follow one another on one instance, with and without a pause in between."""
    hold = gaps(seed, "advance")
    walk = TileWalk(config)
    inputs: list[dict[str, Any]] = []
    want: list[Tile | None] = []
    ahead: list[Tile | None] = []  # the next one, where there is one
    for tokens, channels in shapes(config):
        walked = list(tiles(config, tokens, channels))
        inputs += begin(tokens, channels)
        want += [None] * TileWalk.LATENCY
        ahead += [*[None] * (TileWalk.LATENCY - 1), walked[0]]
        for tile, behind in zip(walked, [*walked[1:], None], strict=True):
            while hold.stall():
                inputs.append({"start": 0, "advance": 0})
                want.append(tile)
                ahead.append(behind)
            inputs.append({"start": 0, "advance": 1})
            want.append(tile)
            ahead.append(behind)
        inputs += [{"start": 0, "advance": 0}] * 2
        want += [(0, 0, 0, False, False)] * 2
        ahead += [None] * 2
    outputs = (walk.running, walk.rows, walk.columns, walk.last_tokens, walk.last_channels, walk.next_one_row)
    record = trace(walk, inputs, *outputs)
    for cycle, (expected, behind, got) in enumerate(zip(want, ahead, record, strict=True)):
        if expected is not None:
            assert got[0] == expected[0], f"cycle {cycle}: running"
            if expected[0]:
                assert got[:-1] == expected, f"cycle {cycle}"
        if behind is not None:
            assert got[-1] == (behind[1] == 1), f"cycle {cycle}: of the next tile"


def test_idle_before_the_first_start() -> None:
    walk = TileWalk(CONFIGURATIONS[0])
    assert trace(walk, [{"tokens": 5, "channels": 7}] * 3, walk.running, walk.idle) == [(0, 1)] * 3


def test_idle_until_the_start_and_from_the_last_tile_on() -> None:
    walk = TileWalk(CONFIGURATIONS[0])
    inputs = begin(1, 6) + [{"advance": 1}] * 2 + [{"advance": 0}] * 2
    assert trace(walk, inputs, walk.running, walk.idle) == [(0, 1), (0, 0), (0, 0), (1, 0), (1, 0), (0, 1), (0, 1)]
    nothing = [{"tokens": 1, "channels": 0, "start": 1}, *[{"start": 0}] * 4]
    walk = TileWalk(CONFIGURATIONS[0])
    assert trace(walk, nothing, walk.idle) == [(1,), (0,), (1,), (1,), (1,)]


def test_most_channels() -> None:
    """The first and the last column tile of the largest product."""
    config = Config(rows=1, cols=32, max_tokens=1)
    walk = TileWalk(config)
    count = -(-CHANNELS_MAX // 32)
    inputs = begin(1, CHANNELS_MAX) + [{"start": 0, "advance": 1}] * count + [{"advance": 0}]
    record = trace(walk, inputs, walk.running, walk.columns, walk.last_channels)[TileWalk.LATENCY - 1 :]
    assert record[1] == (1, 32, 0)
    assert record[count - 1] == (1, 32, 0)
    assert record[count] == (1, 31, 1)
    assert record[count + 1][0] == 0


def test_start_right_behind_the_last_tile() -> None:
    """In the first cycle without one, each walk of other tokens and channels than the one before."""
    config = CONFIGURATIONS[0]
    walk = TileWalk(config)
    inputs, want = [], []
    for tokens, channels in ((4, 6), (1, 1), (config.max_tokens, 2), (2, 6), (4, 1)):
        walked = list(tiles(config, tokens, channels))
        inputs += begin(tokens, channels) + [{"advance": 1}] * len(walked)
        want += [*[None] * TileWalk.LATENCY, *walked]
    record = trace(walk, inputs, walk.running, walk.rows, walk.columns, walk.last_tokens, walk.last_channels)
    assert [got if one else None for got, one in zip(record, want, strict=True)] == want


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda c: f"{c.rows}x{c.cols}")
@pytest.mark.parametrize("seed", [None, 4], ids=["free", "gaps"])
def test_heads(config: Config, seed: int | None) -> None:
    """A head's tiles come again for each of the others, without a gap; walks of other sizes follow."""
    hold = gaps(seed, "advance")
    walk = TileWalk(config, max_more_heads=MORE_HEADS)
    inputs: list[dict[str, Any]] = []
    want: list[tuple[int, ...] | None] = []
    ahead: list[bool | None] = []
    for number, (tokens, channels) in enumerate(shapes(config)):
        more_heads = number % (MORE_HEADS + 1)
        heads = range(more_heads + 1)
        walked = [(*tile, head == more_heads) for head in heads for tile in tiles(config, tokens, channels)]
        inputs += begin(tokens, channels, more_heads=more_heads)
        want += [None] * TileWalk.LATENCY
        ahead += [*[None] * (TileWalk.LATENCY - 1), walked[0][1] == 1]
        for tile, behind in zip(walked, [*walked[1:], None], strict=True):
            steps = 1
            while hold.stall():
                steps += 1
            inputs += [{"start": 0, "advance": 0}] * (steps - 1) + [{"start": 0, "advance": 1}]
            want += [tile] * steps
            ahead += [behind and behind[1] == 1] * steps
        # The next one begins at once, or after a pause.
        pause = number % 2
        inputs += [{"start": 0, "advance": 0}] * pause
        want += [(0,) * 6] * pause
        ahead += [None] * pause
    outputs = (walk.running, walk.rows, walk.columns, walk.last_tokens, walk.last_channels, walk.last_head)
    record = trace(walk, inputs, *outputs, walk.next_one_row)
    for cycle, (expected, one_row, got) in enumerate(zip(want, ahead, record, strict=True)):
        if expected is not None:
            assert got[:-1] == expected if expected[0] else not got[0], f"cycle {cycle}"
        if one_row is not None:
            assert got[-1] == one_row, f"cycle {cycle}: of the next tile"
