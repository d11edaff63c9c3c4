"""Multipliers, block RAM and its bits: what elaboration, and synthesis, find."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nmgen.cost.draw import BLOCK_RAMS, LEAST, MULTIPLIERS, drawn
from nmgen.cost.exact import block_rams, memories, memory_bits, multipliers
from nmgen.fpga import block_ram
from nmgen.fpga.block_ram import MemoryShape
from nmgen.fpga.encoder_image import NO_CHECK
from nmgen.fpga.tools import find_tool, run_tool
from nmgen.verilog.writer import emit_modules
from rtl.engine.accelerator import Accelerator
from rtl.params import Config
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta
from tests.nightly import but

TINY = Config(n=1, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32)
SMALL = StaConfig(n=1, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32, hidden=8, store_words=64)
DRAWN = [(kind, seed) for kind, count in (("engine", 13), ("core", 12)) for seed in range(count)]
EDGES: list[Config] = [
    replace(TINY, m=2),
    replace(SMALL, m=2, max_k=256),
    replace(SMALL, m=2, n=2, rows=4, groups=2, max_tokens=64, hidden=96),
    replace(SMALL, m=32, n=3, rows=4, groups=4, cols=6, max_tokens=32, hidden=384, store_words=1536),
    replace(SMALL, rows=6, groups=2, port_bytes=64, max_tokens=4096, hidden=64, max_k=4096),
    *(replace(SMALL, max_tokens=tokens) for tokens in (160, 192, 1024)),
    replace(SMALL, rows=1, cols=1, max_tokens=1, hidden=1, store_words=5000),
    replace(TINY, rows=1, cols=1, max_tokens=1, max_k=4),
    replace(TINY, port_bytes=64, max_tokens=4096, max_k=768, rows=3),
    replace(TINY, port_bytes=1, max_k=20_000, cols=5, drain=8),
]


def check_memories(config: Config) -> None:
    print(config)
    design = Sta(config) if isinstance(config, StaConfig) else Accelerator(config)
    found = Counter(shape for shape in block_ram.memories(design, None) if shape.block_rams)
    told: Counter[MemoryShape] = Counter()
    for one in memories(config):
        if one.block_rams:
            told[one.shape] += one.count
    assert told == found
    assert block_rams(config) == sum(shape.block_rams * count for shape, count in found.items())
    assert memory_bits(config) == sum(shape.width * shape.depth * count for shape, count in found.items())


@pytest.mark.parametrize(("kind", "seed"), but(DRAWN, [one for one in DRAWN if one[1] > 2]))
def test_memories_of_random_designs(kind: str, seed: int) -> None:
    check_memories(drawn(random.Random(seed), kind))


@pytest.mark.parametrize("config", EDGES, ids=str)
def test_memories_of_designs_at_the_edge(config: Config) -> None:
    check_memories(config)


@pytest.mark.parametrize(("kind", "seed"), DRAWN)
def test_random_designs_fit_and_are_the_same(kind: str, seed: int) -> None:
    config = drawn(random.Random(seed), kind)
    assert config == drawn(random.Random(seed), kind)
    assert isinstance(config, StaConfig) == (kind == "core")
    assert multipliers(config) <= MULTIPLIERS
    assert block_rams(config) <= BLOCK_RAMS
    assert config.rows * config.cols * config.n >= LEAST


def cells(config: Config, folder: Path) -> dict[str, int]:
    """Of the design, by yosys, up to where memories and multipliers are mapped."""
    design = Sta(config) if isinstance(config, StaConfig) else Accelerator(config)
    modules = emit_modules(design)
    (folder / "design.v").write_text("\n".join(modules.values()))
    synthesis = f"{NO_CHECK}; synth_ecp5 -noflatten -run begin:map_ffram -top {next(iter(modules))}"
    synthesis += "; tee -o cells.json stat -json"
    run_tool([find_tool("yosys"), "-q", "-p", f"read_verilog design.v; {synthesis}"], folder, "synthesis")
    found: dict[str, int] = json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]
    return found


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(replace(TINY, n=2, m=8), id="engine"),
        pytest.param(replace(SMALL, rows=2, groups=2), id="core", marks=pytest.mark.nightly),
        pytest.param(replace(TINY, n=3, m=8, pe="ecp5", soft_rows=1), id="slices"),
    ],
)
def test_multipliers_as_yosys_makes_them(config: Config, tmp_path: Path) -> None:
    found = cells(config, tmp_path)
    print(found)
    assert multipliers(config) == found["MULT18X18D"]
    assert block_rams(config) == found.get("DP16KD", 0)
