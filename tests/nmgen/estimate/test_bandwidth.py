"""Cycles before a slow memory: instructions, or their bytes, whatever takes longer."""

import pytest

from nmgen.bench.estimate import drawn
from nmgen.estimate.bandwidth import at_bandwidth
from nmgen.estimate.cycles import estimate, total


@pytest.mark.parametrize("bytes_per_cycle", [0.3, 1, 2.4])
def test_each_instruction_is_as_long_as_its_bytes(bytes_per_cycle: float) -> None:
    config, loaded, _ = drawn("slow", 3, count=2)
    for program, _ in loaded:
        exact = estimate(program)
        slow = at_bandwidth(program, exact, bytes_per_cycle)
        for before, after in zip(exact, slow, strict=True):
            assert (before.name, before.op, before.beats) == (after.name, after.op, after.beats)
            assert after.cycles >= before.cycles
            took = after.beats * config.port_bytes / after.cycles
            assert took <= 1.01 * bytes_per_cycle or after.beats * config.port_bytes < 100
            assert after.cycles == before.cycles or took >= 0.99 * bytes_per_cycle or after.cycles < 100
        assert [one.begin + one.cycles for one in slow[:-1]] == [one.begin for one in slow[1:]]
        assert bytes_per_cycle > 1 or total(program, slow)["cycles"] > total(program, exact)["cycles"]


def test_a_memory_as_fast_as_the_port_changes_nothing() -> None:
    config, loaded, _ = drawn("slow", 4, count=2)
    for program, _ in loaded:
        exact = estimate(program)
        assert at_bandwidth(program, exact, 2 * config.port_bytes) == exact
