"""What holds a program up."""

from dataclasses import replace

import pytest

from nmgen.compiler.program import Program
from nmgen.estimate.bounds import OTHERS, holder
from nmgen.estimate.cycles import estimate
from nmgen.models.model_program import compiled
from rtl.params import ceil_div
from rtl.sta.isa import FIELDS, Columns, Op
from rtl.sta.params import StaConfig
from tests.nmgen.encoders import artefact

CONFIG = StaConfig(n=2, m=8, rows=4, cols=4, drain=2, port_bytes=8, max_tokens=16, max_k=64, hidden=24)
# Of weights from memory: 16 tiles of 8 groups in 4 steps each; 16 tiles of 4 rows in 2 slots each.
PRODUCT = {"opcode": Op.PRODUCT, "tokens": 16, "channels": 16, "groups": 8, "pattern_n": 8, "beats": 100}


def held(config: StaConfig = CONFIG, **fields: int) -> str:
    return holder(config, dict.fromkeys(FIELDS, 0) | PRODUCT | fields)


def test_a_product_is_held_by_what_needs_most() -> None:
    assert held() == "array"  # 512 cycles
    assert held(beats=512) == "array"
    assert held(beats=513) == "memory"
    assert held(groups=1, pattern_n=2) == "drain"  # 16 · 4 · 2 = 128 cycles; the array has 16
    assert held(groups=1, pattern_n=2, beats=129) == "memory"
    assert held(groups=2, pattern_n=8) == "array"  # both 128
    assert held(groups=1, pattern_n=2, weight_groups=8) == "array"  # in planes: both 128


def test_two_groups_of_rows_drain_in_half_the_time() -> None:
    config = replace(CONFIG, groups=2)
    assert held(groups=1, pattern_n=8, beats=70) == "drain"
    assert held(config, groups=1, pattern_n=8, beats=70) == "memory"  # 64 of array and drain


def test_few_tokens_are_held_by_copies() -> None:
    """A column tile is copied once for all token tiles: a group of a column of keys, or a value row, a cycle."""
    config = replace(CONFIG, cols=8)
    keys = {"columns": Columns.KEYS, "keys": 16, "beats": 10**6}  # 64 copies, 32 steps
    assert held(config, **keys, tokens=1) == "copies"
    assert held(config, **keys, tokens=9) == "array"
    assert held(**keys, tokens=1) == "array"  # 32 copies and 32 steps
    values = {"columns": Columns.VALUES, "keys": 16, "groups": 2}  # 16 copies, 8 steps, of the drain 16 slots
    assert held(config, **values, tokens=1) == "drain"
    assert held(config, **(values | {"keys": 17, "groups": 3}), tokens=1) == "copies"
    assert held(config, **values, tokens=5) == "drain"


@pytest.mark.parametrize("op", [op for op in Op if op not in (Op.PRODUCT, Op.END)])
def test_others_have_one_place(op: Op) -> None:
    assert held(opcode=op) == OTHERS[op]


@pytest.fixture(scope="module")
def program() -> Program:
    whole = artefact(24, 3, 40, pattern="2:8")
    return compiled(whole, "small", replace(CONFIG, store_words=512), [16], 1)


def test_no_instruction_is_faster_than_what_holds_it(program: Program) -> None:
    """Each product takes at least the cycles that the array has steps, and the drain slots."""
    config, parts = program.config, set()
    for one, partial in zip(estimate(program), program.instructions, strict=True):
        fields = dict.fromkeys(FIELDS, 0) | partial
        parts.add(part := holder(config, fields))
        if part in ("array", "drain"):
            tiles = ceil_div(fields["channels"], config.cols) * ceil_div(fields["tokens"], config.rows)
            steps = fields["groups"] * ceil_div(fields["pattern_n"], config.n)
            slots = config.group_rows * config.slots_a_row
            assert one.cycles >= tiles * max(steps, slots) - slots, one
            assert (steps >= slots) == (part == "array")
    assert parts >= {"array", "drain", "layer norm", "memory"}
