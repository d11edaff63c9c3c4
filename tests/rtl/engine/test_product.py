"""Whole products on small accelerators, each chosen so that a slip somewhere in the data path shows."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtl.params import FIFO_BEATS, Config, InputError
from rtl.product import Product
from sim.bench.gaps import Gaps
from sim.bench.runner import Job
from tests.nightly import but
from tests.rtl.engine.product_bench import Bench
from tests.sim.operands import extreme_job, random_job

# Every one has edges that divide nothing. Together: one lane and several, units smaller and larger than a beat, words
# of several beats and of several groups, a row drained in one cycle and in several.
CONFIGURATIONS = {
    "2:4 2x3": Config(n=2, m=4, rows=2, cols=3, drain=2, port_bytes=4, max_tokens=8, max_k=32),
    "3:8 2x2": Config(n=3, m=8, rows=2, cols=2, drain=1, port_bytes=16, max_tokens=8, max_k=48),
    "1:8 1x4": Config(n=1, m=8, rows=1, cols=4, drain=4, port_bytes=2, max_tokens=4, max_k=32),
    "2:2 3x1": Config(n=2, m=2, rows=3, cols=1, drain=4, port_bytes=8, max_tokens=7, max_k=20),
    "3:16 2x3": Config(n=3, m=16, rows=2, cols=3, drain=4, port_bytes=16, max_tokens=5, max_k=64),
    "1:32 1x2": Config(n=1, m=32, rows=1, cols=2, drain=2, port_bytes=8, max_tokens=3, max_k=64),
}
SEEDS = pytest.mark.parametrize("seed", [None, 7], ids=["free", "stalls"])


def job(config: Config, seed: int, *, extreme: bool = False, **shape: Any) -> Job:
    product = Product(config=config, **shape)
    return extreme_job(product, seed) if extreme else random_job(product, seed)


@pytest.mark.parametrize(
    ("name", "seed"),
    but(itertools.product(CONFIGURATIONS, [None, 7]), [("1:32 1x2", None), ("1:32 1x2", 7), ("3:16 2x3", None)]),
)
def test_densities(name: str, seed: int | None) -> None:
    """Sparser than the lanes, as they are, denser in one coding and in the other, dense; without a reset between."""
    c = CONFIGURATIONS[name]
    shape: dict[str, Any] = {"tokens": c.max_tokens - 1, "k": c.max_k - c.m // 2 - 1, "channels": 2 * c.cols + 1}
    densities = sorted({1, min(c.n, c.m), max(1, c.m // 4), c.m // 2 + 1, c.m})
    Bench(c, seed=seed).run([job(c, 11 + n, pattern_n=n, **shape) for n in densities])


@SEEDS
@pytest.mark.parametrize("name", ["2:4 2x3", "3:8 2x2", "3:16 2x3"])
def test_extremes(name: str, seed: int | None) -> None:
    """Operands at the ends of their ranges, 8 and 16 bits, per channel and per row."""
    c = CONFIGURATIONS[name]
    shape: dict[str, Any] = {"tokens": c.rows + 1, "k": c.max_k, "channels": c.cols + 2}
    kinds = [(8, False), (16, False), (16, True), (8, True)]
    jobs = [
        job(c, 3 + i, extreme=True, pattern_n=c.m if per_row else c.n, out_bits=bits, per_row=per_row, **shape)
        for i, (bits, per_row) in enumerate(kinds)
    ]
    Bench(c, seed=seed).run(jobs)


@SEEDS
def test_tiles_shorter_than_their_drain(seed: int | None) -> None:
    """One step a tile, and a drain of one result a cycle: results wait for their turn."""
    c = Config(n=4, m=4, rows=4, cols=5, drain=1, port_bytes=32, max_tokens=18, max_k=12)
    jobs = [job(c, k, tokens=18, k=k, channels=13, pattern_n=n) for k, n in ((3, 2), (8, 4), (12, 1))]
    Bench(c, seed=seed).run(jobs)


@SEEDS
def test_one_of_everything(seed: int | None) -> None:
    c = Config(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=2, max_k=6)
    jobs = [job(c, 1, tokens=1, k=1, channels=1, pattern_n=2), job(c, 2, tokens=2, k=5, channels=3, pattern_n=1)]
    Bench(c, seed=seed).run(jobs)


def test_requantisation_per_row_over_several_column_tiles() -> None:
    """Each row has its own parameters, the same ones in every column tile, and in the next product others."""
    c = CONFIGURATIONS["2:4 2x3"]
    shape: dict[str, Any] = {"tokens": 7, "k": 21, "channels": 8, "pattern_n": 2, "per_row": True}
    Bench(c).run([job(c, 5, out_bits=16, **shape), job(c, 6, **shape)])


@pytest.mark.parametrize(("name", "densities"), [("3:8 2x2", (2, 8)), ("1:8 1x4", (1, 8))])
def test_far_memory(name: str, densities: tuple[int, ...]) -> None:
    """So far that the beats under way, not the array, say how long it takes: as many as there is room for, no more."""
    c = CONFIGURATIONS[name]
    shape = {"tokens": c.max_tokens, "k": c.max_k, "channels": 3 * c.cols}
    outcomes = Bench(c, latency=100).run([job(c, 4, pattern_n=n, **shape) for n in densities])
    for outcome in outcomes:
        under_way = [
            sum(beats for at, _, beats in outcome.read_requests if cycle - 100 < at <= cycle)
            for cycle, _, _ in outcome.read_requests
        ]
        assert max(under_way) <= FIFO_BEATS


class Closed(Gaps):
    """Holds back for a while, then no more."""

    def __init__(self, cycles: int) -> None:
        super().__init__()
        self._cycles = cycles

    def stall(self) -> bool:
        self._cycles -= 1
        return self._cycles >= 0


@pytest.mark.parametrize("stream", ["write_request", "write_data", "read_request", "read_data"])
def test_a_stream_that_stands_still(stream: str) -> None:
    """The array stops in time: with writes closed the result buffer fills up, and no result is lost."""
    c = CONFIGURATIONS["2:4 2x3"]
    bench = Bench(c)
    bench.gaps[stream] = Closed(600)
    bench.run([job(c, 9, tokens=8, k=16, channels=20, pattern_n=2)])


def test_activations_that_come_late() -> None:
    """Weights are there long before the activations: no step may use what has not come."""
    c = CONFIGURATIONS["2:4 2x3"]
    bench = Bench(c)
    bench.gaps["read_data"] = Gaps("slow")
    bench.run([job(c, 10, tokens=8, k=32, channels=4, pattern_n=1)])


def test_a_wrong_weight_shows() -> None:
    """The bench itself: one weight changed behind its back is one channel of mismatches."""
    c = CONFIGURATIONS["2:4 2x3"]
    right = job(c, 12, tokens=4, k=16, channels=5, pattern_n=2)
    w = right.w.copy()
    channel, k = np.argwhere(w)[0]
    w[channel, k] = -w[channel, k]

    class Golden(Bench):
        def golden(self, job: Job) -> NDArray[np.signedinteger]:
            return super().golden(right)

    with pytest.raises(AssertionError, match="outputs differ, first at token"):
        Golden(c).run([Job(right.product, right.x, w, right.bias, right.mult, right.shift)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 9}, "tokens is 9, must be an integer from 1 to 8"),
        ({"k": 33}, "k is 33, must be an integer from 1 to 32"),
        ({"channels": 0}, "channels is 0, must be an integer from 1 to 65535"),
        ({"pattern_n": 5}, "pattern_n is 5, must be an integer from 1 to 4"),
        ({"out_bits": 7}, "out_bits is 7, must be 8 or 16"),
    ],
)
def test_bounds(change: dict[str, Any], message: str) -> None:
    shape: dict[str, Any] = {"tokens": 8, "k": 32, "channels": 5, "pattern_n": 2}
    with pytest.raises(InputError, match=f"^{message}$"):
        Product(config=CONFIGURATIONS["2:4 2x3"], **{**shape, **change})
