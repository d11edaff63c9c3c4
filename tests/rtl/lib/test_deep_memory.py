"""A memory in parts: each word has one place, whatever the depth."""

from typing import Any

import pytest

from rtl.lib.deep_memory import DeepMemory, parts
from tests.rtl.simulate import seeded, trace

DEPTHS = [1, 2, 13, 511, 512, 513, 514, 767, 1023, 1025, 1535, 1536, 1537, 1599, 2561]


@pytest.mark.parametrize(
    ("depth", "sizes"),
    [
        (1, [1]),
        (13, [13]),
        (1500, [1024, 476]),
        (1536, [1024, 512]),
        (3073, [2048, 1024, 1]),
        (8192, [8192]),
        (8256, [8192, 64]),
        (12288, [8192, 4096]),
    ],
)
def test_parts(depth: int, sizes: list[int]) -> None:
    assert parts(depth) == sizes


def test_no_part_is_more_than_it_must_be() -> None:
    for depth in range(1, 9000):
        sizes = parts(depth)
        assert sum(sizes) == depth
        assert all(size & (size - 1) == 0 for size in sizes[:-1])
        assert len(sizes) <= 5


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_word_is_kept(depth: int) -> None:
    """All words written in a random order, some again in part, read in between and at the end."""
    rng = seeded(f"{depth}")
    inputs: list[dict[str, Any]] = []
    kept = dict.fromkeys(range(depth), 0)
    want: list[int] = []
    for write in [*rng.sample(range(depth), depth), *rng.choices(range(depth), k=200), *[None] * depth]:
        read = rng.randrange(depth) if write is not None else len(inputs) % depth
        enable = 0 if write in (None, read) else rng.choice([3, 3, 2, 1])
        data = rng.getrandbits(16)
        inputs.append({"write_address": write or 0, "write_data": data, "write_enable": enable, "read_address": read})
        want.append(kept[read])
        mask = (0xFF if enable & 1 else 0) | (0xFF00 if enable & 2 else 0)
        kept[write or 0] = (kept[write or 0] & ~mask) | (data & mask)
    dut = DeepMemory(16, depth, granularity=8)
    record = trace(dut, [*inputs, {}], dut.read_data)
    assert [data for (data,) in record[1:]] == want
