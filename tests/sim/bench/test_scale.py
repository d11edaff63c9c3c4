"""Larger models and arrays on the generated Verilog; `make bench-scale` runs them whole."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from nmgen.bench import scale
from nmgen.bench.core import Case, Measured, parameters_of
from nmgen.bench.random_programs import random_encoder
from nmgen.estimate.cycles import estimate, total
from nmgen.families.bert.compiler import compile_encoder
from rtl.sta.params import StaConfig
from tests.nmgen.encoders import random_ids
from tests.nmgen.estimate.test_cycles import exact
from tests.sim.bench.test_programs import check

LATENCY = 30


@pytest.mark.nightly  # a minute
def test_a_layer_of_bert_base() -> None:
    """12 heads of 64, 3,072 channels between the feed-forward layers, in a store that holds a quarter of 32 tokens."""
    config = StaConfig(hidden=768, max_k=3072, max_tokens=32, store_words=250)
    shape = {"hidden": 768, "heads": 12, "inner": 3072, "layers": 1}
    parameters = random_encoder(random.Random(1), config, **shape, pattern="2:8", tokens=32)
    program = compile_encoder(parameters, config, [32])
    assert "go to memory and come back" in " ".join(program.notes)
    image = program.image(random_ids(1, [32]))
    (results,) = check(config, [(program, image)], (False,), LATENCY, each=False)
    exact(program, results[0], LATENCY)


def test_every_layer_but_the_first_takes_as_long_as_the_second() -> None:
    """As the curves of `make bench-scale` have it, of any array."""
    for config in (scale.SIZES[128], scale.SIZES[2048]):
        cycles = []
        for layers in (1, 2, 3, 6):
            case = Case(about="", config=config, pattern="2:8", lengths=(32,), model=f"minilm, {layers} layers")
            program = compile_encoder(parameters_of(case), config, case.lengths)
            cycles.append(total(program, estimate(program))["cycles"])
        one, two, three, six = cycles
        assert three - two == two - one
        assert six == one + 5 * (two - one)


def test_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = scale.rows()[0]
    monkeypatch.setattr(scale, "SIZES", {64: replace(scale.SIZES[64], max_tokens=32)})
    monkeypatch.setattr(scale, "TOKENS", (16, 32))
    found = scale.curves()
    assert found.keys() == {(64, tokens, layers) for tokens in (16, 32) for layers in scale.LAYERS}
    assert found[64, 16, 6] < found[64, 32, 6] < found[64, 32, 12] < found[64, 32, 24]
    scale.plot(found, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    points = scale.points(found, 1)
    assert points == scale.points(found, 1)
    assert all(point.config.rows == 8 for point in points)
    ran = Measured(cycles=found[64, 16, 6], utilisation=0.9, linear=0.9, bytes=1, right=True, taken=[])
    assert f"| 64 | 16 | {found[64, 16, 6]:,} |" in scale.curve_table(found)
    text = scale.point_table([(points[0], ran, found[64, 16, 6]), (points[0], ran, 1)], 1)
    assert ": 1 of 2 as estimated, and bit-exact" in text
    assert "| 8×8, N = 2, M = 8 | 4 | 1 | 16 | 2,048 | minilm | 128 | 2:8 |" in scale.table([(row, ran, ran.cycles)])
