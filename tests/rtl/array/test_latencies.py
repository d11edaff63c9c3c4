"""When a tile drains: as soon as its results are there, and none is lost."""

import pytest

from rtl.array.latencies import drain_start, drain_window
from rtl.params import (
    Config,
)
from tests.rtl.configurations import CONFIGS


def reads(config: Config, begins: int) -> dict[tuple[int, int], int]:
    """When each element's result is looked at if a tile's drain begins in that cycle, all rows in use."""
    slots = len(range(0, config.cols, config.drain_lanes))
    return {
        (r, i): begins + r * slots + i // config.drain_lanes + 1 + i
        for r in range(config.rows)
        for i in range(config.cols)
    }


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_drain_begins_as_soon_as_it_may(config: Config) -> None:
    """Counted from the decision to issue the last step: 3 cycles to the first element, 8 through an element."""
    ready = {(r, i): 3 + r + i + 8 for r in range(config.rows) for i in range(config.cols)}
    fits = [
        all(cycle >= ready[element] for element, cycle in reads(config, begins).items())
        for begins in (drain_start(config), drain_start(config) - 1)
    ]
    assert fits == [True, False]


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_next_tile_ends_as_soon_as_it_may(config: Config) -> None:
    """Its results must not come before those of the tile before are read."""
    last_reads = reads(config, 0)
    fits = [
        all(last_reads[r, i] < issued + 3 + r + i + 8 for r in range(config.rows) for i in range(config.cols))
        for issued in (drain_window(config), drain_window(config) - 1)
    ]
    assert fits == [True, False]
