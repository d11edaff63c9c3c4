"""Second places of programs in a board's memory: the same results, by instructions, input and results of their own."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nmgen.compiler.memory_map import ALIGNMENT
from nmgen.compiler.program import Program
from nmgen.compiler.program_check import check, own_regions
from nmgen.driver.places import places_of
from nmgen.families.bert.compiler import compile_encoder
from nmgen.families.bert.sentences import fitted
from nmgen.families.vit.compiler import compile_vit
from pruning.families.bert.integer import IntegerEncoder
from sim.golden.machine import Machine
from tests.nmgen.commands.conftest import VIT
from tests.nmgen.encoders import artefact, random_ids
from tests.pruning.vits import parameters
from tests.sim.test_axi_sta import CASES

CONFIG, SIZES = CASES["narrow"]


@pytest.fixture(scope="module")
def several() -> Program:
    return compile_encoder(IntegerEncoder(artefact(**SIZES)).parameters, CONFIG, [4, 3], {}, [[2, 2], [1, 1]])


def test_runs_of_second_places(several: Program) -> None:
    """Of full and shorter inputs; what is not theirs stays as it is."""
    memory, places = places_of(several, 1 << 20)
    for one, (first, second) in zip(several.every, places, strict=True):
        assert first.origin is first.program is second.origin is one
        check(second.program)
        for lengths in ([sequence.tokens for sequence in one.sequences], [1, 1]):
            shortened, padded = fitted(one, random_ids(sum(lengths), lengths))
            given = shortened.image(padded)
            board = np.array(np.frombuffer(memory, np.uint8))
            region = second.program.host_region
            board[region.address : region.end] = second.input(given)
            code = second.instructions(given)
            board[second.program.address : second.program.address + len(code)] = code
            mine, theirs = (
                Machine(CONFIG, given, address=one.address),
                Machine(CONFIG, board, address=second.program.address),
            )
            mine.finish()
            theirs.finish()
            for result in second.program.results:
                expected = one.result(result.name, mine.memory)
                np.testing.assert_array_equal(second.program.result(result.name, theirs.memory), expected)
            np.testing.assert_array_equal(theirs.memory[: len(several.memory)], np.frombuffer(several.memory, np.uint8))


def test_places_do_not_meet(several: Program) -> None:
    memory, places = places_of(several, 1 << 20)
    own = [place.program.region(name) for each in places for place in each for name in own_regions(place.program)]
    own.sort(key=lambda region: region.address)
    assert len(own) == 2 * 4 * len(several.every)
    assert all(one.end <= following.address for one, following in pairwise(own))
    assert all(region.address % ALIGNMENT == 0 for region in own)
    assert own[-1].end <= len(memory)


def test_room(several: Program) -> None:
    """All second places, or none."""
    memory, _ = places_of(several, 1 << 20)
    assert len(places_of(several, len(memory))[0]) == len(memory)
    without, places = places_of(several, len(memory) - 1)
    assert without == several.memory
    assert [len(each) for each in places] == [1] * len(several.every)


def test_pictures() -> None:
    """Patches and logits move; all else is as it was."""
    vit = compile_vit(parameters(VIT), replace(CONFIG, max_tokens=16), 2)
    _, ((_, second),) = places_of(vit, 1 << 20)
    check(second.program)
    assert second.program.host_region.address >= len(vit.memory)
    changed = {
        name
        for mine, theirs in zip(vit.instructions, second.program.instructions, strict=True)
        for name in mine.keys() | theirs.keys()
        if mine.get(name) != theirs.get(name)
    }
    assert changed == {"address"}
