"""Cycles of a candidate on a configuration: what compile and estimate say, whole and in parts."""

import random
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmgen.estimate.bandwidth import at_bandwidth
from nmgen.estimate.cycles import Constants, estimate, total
from nmgen.explore import counting
from nmgen.explore.counting import CODE, Counted, Work, count, key_of, pattern_on
from nmgen.models.model_program import compiled
from pruning.families.vit.shape import ViTShape
from pruning.files.artefact import Artefact, read, save
from rtl.engine.cycles import product_cycles
from rtl.params import Config, InputError
from rtl.product import Product
from rtl.sta.params import StaConfig
from tests.nmgen.encoders import artefact
from tests.nmgen.explore.samples import SIZES
from tests.pruning.vits import vit_artefact

VIT = ViTShape(image=8, patch=4, channels=1, hidden=16, layers=2, heads=2, intermediate=24, labels=3)
CORE = StaConfig(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=32, hidden=16, store_words=64)
ENGINE = Config(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=16, max_k=32)
TWO_LAYERS = SIZES | {"layers": 2}
WORK = Work(lengths=(7, 5), mem_latency=11)


def saved(path: Path, whole: Artefact) -> str:
    save(path, whole.layers.values(), whole.model)
    return str(path)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("text") / "2of8.safetensors", artefact(**TWO_LAYERS, pattern="2:8"))


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("picture") / "2of8.safetensors", vit_artefact(VIT, "2:8"))


def by_hand(path: str, config: StaConfig, work: Work) -> tuple[dict[str, Any], list[Any], int]:
    """(sums, estimates, words of the store) of the program with all of its memory."""
    program = compiled(read(path), path, config, list(work.lengths), work.batch)
    estimates = estimate(program, Constants(memory=work.mem_latency))
    return total(program, estimates), estimates, program.about["store_words_used"]


CHANGES: list[dict[str, Any]] = [
    {},
    {"m": 4, "rows": 3, "cols": 4, "store_words": 40, "max_tokens": 32},
    {"n": 1, "m": 4, "rows": 4, "groups": 2, "port_bytes": 8},
    {"n": 3, "m": 16, "pe": "ecp5", "device": "LFE5U-85F"},
    {"n": 2, "m": 8, "pe": "ecp5", "soft_rows": 1, "store_words": 22},
    {"store_words": 26, "rows": 4},  # operand and context go to memory
]


@pytest.mark.parametrize("changes", CHANGES)
def test_of_a_core_as_compile_and_estimate_say(changes: dict[str, Any], text: str) -> None:
    config = replace(CORE, **changes)
    sums, estimates, words = by_hand(text, config, WORK)
    counted = count(text, config, WORK)
    assert counted.refused == ""
    assert counted.cycles == sums["cycles"]
    assert counted.multiplies == sums["multiplies"]
    assert counted.bytes == sums["beats"] * config.port_bytes
    assert counted.store_words == words <= config.store_words
    parts = sum(sum(ops.values()) for ops in counted.by_layer.values())
    assert parts == sum(counted.held.values()) == counted.cycles - estimates[0].begin
    assert list(counted.by_layer) == ["embeddings", "layer 0", "layer 1", "end"]
    ops: Counter[str] = Counter()
    for one in counted.by_layer.values():
        ops.update(one)
    assert dict(ops) == sums["cycles_by_opcode"]


@pytest.mark.parametrize("slow", [0.2, 0.7])
def test_before_a_slow_memory(slow: float, text: str) -> None:
    """As nmgen estimate --memory-bytes-per-cycle says; what memory makes longer is held by it."""
    work = replace(WORK, memory_bytes_per_cycle=slow)
    program = compiled(read(text), text, CORE, [7, 5], 1)
    exact = estimate(program, Constants(memory=11))
    found = at_bandwidth(program, exact, slow)
    counted, fast = count(text, CORE, work), count(text, CORE, WORK)
    assert (counted.cycles, counted.exact_cycles) == (total(program, found)["cycles"], fast.cycles)
    assert fast.exact_cycles == fast.cycles < counted.cycles
    waits = sum(one.cycles for one, other in zip(found, exact, strict=True) if one.cycles > other.cycles)
    assert 0 < waits <= counted.held["memory"]
    assert sum(counted.held.values()) == counted.cycles - found[0].begin
    engine, alone = count(text, ENGINE, work), count(text, ENGINE, WORK)
    assert engine.exact_cycles == alone.cycles
    assert (set(alone.held), sum(engine.held.values())) == ({"array"}, engine.cycles)
    assert engine.held.get("memory", 0) > 0
    assert max(alone.cycles, round(alone.bytes / slow) - 6) <= engine.cycles <= alone.cycles + alone.bytes / slow
    assert key_of("", CORE, work) != key_of("", CORE, WORK)


def test_layers_are_told_apart(text: str) -> None:
    """By the names of the instructions: those of layer 1 are in no other."""
    program = compiled(read(text), text, CORE, [7, 5], 1)
    estimates = estimate(program, Constants(memory=11))
    wanted = sum(one.cycles for one in estimates if "layer.1." in one.name)
    found = sum(count(text, CORE, WORK).by_layer["layer 1"].values())
    nameless = sum(one.cycles for one in estimates if "layer." not in one.name)
    assert 0 < wanted <= found <= wanted + nameless
    last = max(i for i, one in enumerate(estimates) if "layer." in one.name)
    behind = sum(one.cycles for one in estimates[last + 1 :])
    assert sum(count(text, CORE, WORK).by_layer["end"].values()) == behind > 0


def test_of_pictures(picture: str) -> None:
    config, work = replace(CORE, max_tokens=32), Work(lengths=(), batch=3)
    sums, _, _ = by_hand(picture, config, work)
    counted = count(picture, config, work)
    assert counted.cycles == sums["cycles"]
    assert counted.by_layer["embeddings"]
    assert counted.by_layer["end"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"store_words": 8}, "the store has 8 words a bank"),
        ({"max_tokens": 8}, "tokens of all sequences"),
        ({"hidden": 8}, "hidden channels"),
        ({"max_k": 16}, "inputs of a layer"),
    ],
)
def test_what_has_no_program(changes: dict[str, int], message: str, text: str) -> None:
    """Says what compile says, and nothing else."""
    config = replace(CORE, **changes)
    counted = count(text, config, WORK)
    assert counted == Counted(refused=counted.refused)
    assert message in counted.refused
    with pytest.raises(InputError) as raised:
        by_hand(text, config, WORK)
    assert str(raised.value) == counted.refused


@pytest.mark.parametrize("changes", [{}, {"m": 4, "cols": 3}, {"n": 4, "m": 16}, {"pe": "ecp5", "rows": 3}])
def test_of_an_engine_the_sum_of_its_products(changes: dict[str, Any], text: str) -> None:
    config, work = replace(ENGINE, **changes), Work(lengths=(7, 1), batch=2, mem_latency=11)
    counted = count(text, config, work)
    cycles = multiplies = moved = 0
    for layer in read(text).layers.values():
        n = pattern_on(layer.n, layer.m, config.m)
        shape = {"tokens": 16, "k": layer.k, "channels": layer.channels, "pattern_n": n, "out_bits": layer.out_bits}
        one = Product(config=config, **shape)
        cycles += product_cycles(config, 16, layer.k, layer.channels, n, 11, out_bits=layer.out_bits)
        multiplies += one.multiplies
        moved += one.bytes_read + one.bytes_written
    assert (counted.cycles, counted.multiplies, counted.bytes) == (cycles, multiplies, moved)
    assert sum(sum(ops.values()) for ops in counted.by_layer.values()) == cycles
    assert list(counted.by_layer) == ["layer 0", "layer 1"]


def test_of_an_engine_that_is_too_small(text: str) -> None:
    counted = count(text, ENGINE, Work(lengths=(17,)))
    assert counted == Counted(refused=counted.refused)
    assert counted.refused.startswith("encoder.layer.0.attention.self.query: tokens is 17, must be ")


@pytest.mark.parametrize(
    ("n", "m", "groups", "wanted"),
    [
        (2, 8, 8, 2),
        (2, 8, 4, 2),
        (3, 8, 2, 2),
        (1, 8, 4, 1),
        (2, 8, 16, 4),
        (3, 4, 32, 24),
        (8, 8, 4, 4),
        (8, 8, 16, 16),
        (4, 4, 4, 4),
    ],
)
def test_a_pattern_in_groups_of_another_size(n: int, m: int, groups: int, wanted: int) -> None:
    assert pattern_on(n, m, groups) == wanted


@pytest.mark.parametrize("pattern", ["2:8", "3:4", "1:16", ""])
def test_no_group_has_more(pattern: str) -> None:
    for layer in artefact(**TWO_LAYERS, pattern=pattern).layers.values():
        for groups in (2, 4, 8, 16, 32):
            most = pattern_on(layer.n, layer.m, groups)
            padded = np.pad(layer.weights, ((0, 0), (0, -layer.k % groups)))
            assert np.count_nonzero(padded.reshape(-1, groups), axis=1).max() <= most, (layer.name, groups)


def test_keys_tell_apart_what_has_other_cycles(text: str) -> None:
    """Elements of DSP slices have another latency; which slices, and whether some rows have none, is the same."""
    ecp5 = replace(CORE, pe="ecp5", device="LFE5U-85F")
    alike = [ecp5, replace(ecp5, device=""), replace(ecp5, soft_rows=1)]
    assert len({key_of("x", config, WORK) for config in alike}) == 1
    assert len({count(text, config, WORK).cycles for config in alike}) == 1
    assert count(text, CORE, WORK).cycles != count(text, ecp5, WORK).cycles
    others = [CORE, ecp5, ENGINE, *(replace(CORE, **changes) for changes in CHANGES[1:])]
    others += [replace(CORE, **{name: getattr(CORE, name) * 2}) for name in ("max_tokens", "max_k", "hidden")]
    keys = {key_of("x", config, WORK) for config in others}
    assert len(keys) == len(others)
    works = [WORK, *(replace(WORK, **one) for one in ({"lengths": (7,)}, {"batch": 2}, {"mem_latency": 12}))]
    assert len({key_of(digest, CORE, work) for digest in "xy" for work in works}) == 8


@pytest.mark.parametrize("name", ["cost.py", "cost.v"])
def test_other_code_counts_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of("x", CORE, WORK)
    for text in ("a", "b"):
        (tmp_path / text).mkdir()
        (tmp_path / text / name).write_text(text)
    keys = [before]
    for text in ("a", "b"):
        monkeypatch.setattr(counting, "CODE", (*CODE, tmp_path / text))
        keys.append(key_of("x", CORE, WORK))
    assert len(set(keys)) == 3
    monkeypatch.setattr(counting, "CODE", CODE)
    assert key_of("x", CORE, WORK) == before


@pytest.mark.parametrize("seed", range(6))
def test_equal_keys_have_equal_cycles(seed: int, text: str) -> None:
    """Of configurations that differ in what is made of what alone."""
    rng = random.Random(seed)
    n, m = rng.choice(((1, 4), (2, 8), (3, 8), (4, 16)))
    rows, cols = rng.randint(1, 6), rng.randint(1, 6)
    core = replace(CORE, n=n, m=m, rows=rows, cols=cols, pe="ecp5", max_tokens=64, store_words=256)
    found: dict[str, set[str]] = {}
    for groups in {1, rows}:
        for soft in {0, rows}:
            for pe in ("ecp5", "portable"):
                config = replace(core, groups=groups, soft_rows=soft * (pe == "ecp5"), pe=pe)
                counted = count(text, config, WORK)
                found.setdefault(key_of("x", config, WORK), set()).add(str(asdict(counted)))
    assert {len(one) for one in found.values()} == {1}
