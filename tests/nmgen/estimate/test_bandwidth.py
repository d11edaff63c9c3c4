"""Cycles before a slow memory: instructions, or their bytes, whatever takes longer."""

import re
from pathlib import Path

import pytest

from nmgen.bench.board import IMAGES, LOADS
from nmgen.bench.core import parameters
from nmgen.bench.estimate import drawn
from nmgen.commands.build import MEMORY_MHZ, MHZ
from nmgen.estimate.bandwidth import at_bandwidth
from nmgen.estimate.cycles import estimate, total
from nmgen.families.bert.compiler import compile_encoder


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


@pytest.mark.nightly  # MiniLM is compiled six times
def test_minilm_on_the_board() -> None:
    """What docs/results.md has of the image in simulation, within 1.1 %."""
    page = (Path(__file__).parents[3] / "docs" / "results.md").read_text()
    row = re.compile(r"^\| ([^|]+) \| (\d:\d) \| M = (\d+) \| ([\d,]+) \|", re.MULTILINE)
    measured = {found[:3]: int(found[3].replace(",", "")) for found in row.findall(page)}
    off = {}
    for image in IMAGES:
        for load in LOADS:
            program = compile_encoder(parameters(image.pattern), image.config, (load.tokens,) * load.sentences)
            found = at_bandwidth(program, estimate(program), 2 * MEMORY_MHZ / MHZ["encoder"])
            taken = measured.pop((load.title, image.pattern, str(image.config.m)))
            off[load.title, image.pattern] = total(program, found)["cycles"] / taken - 1
    assert not measured
    print(off)
    assert all(-0.011 < one < 0 for one in off.values()), off
