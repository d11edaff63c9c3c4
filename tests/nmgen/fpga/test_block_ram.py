"""Block RAMs that memories take: what yosys makes of them."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from nmgen.bench.board import encoder_config
from nmgen.fpga.bitstream import find_board
from nmgen.fpga.block_ram import MemoryShape, memories
from nmgen.fpga.tools import find_tool, run_tool
from nmgen.verilog.writer import emit_modules
from rtl.sta.params import StaConfig

SHAPES = [
    MemoryShape(64, 512, 8),  # a word of 36 bits holds four of 8
    MemoryShape(40, 1536, 8),  # 512 × 36 three times, and one of 2048 × 9
    MemoryShape(28, 2048, 28),
    MemoryShape(6, 1536, 6),
    MemoryShape(20, 1024, 4),
    MemoryShape(48, 512, 16),
    MemoryShape(48, 64, 48),
    MemoryShape(8, 64, 8),  # LUTs
    MemoryShape(33, 32, 33),
    MemoryShape(256, 600, 64),  # parts of a word with several bytes each, which need not lie together
    MemoryShape(512, 768, 256),
    MemoryShape(128, 4096, 128),  # parts of a word's last bits lie together in one
    MemoryShape(64, 44, 64),  # LUTs cost little more
    MemoryShape(256, 48, 256),
    MemoryShape(256, 4096, 256),
    MemoryShape(128, 48, 128),
    MemoryShape(7, 178, 7),  # and half a unit more
]


class OneMemory(wiring.Component):
    def __init__(self, shape: MemoryShape) -> None:
        self._shape = shape
        address = In(range(shape.depth))
        super().__init__(
            {
                "write_address": address,
                "write_data": In(shape.width),
                "write_enable": In(shape.width // shape.granularity),
                "read_address": address,
                "read_data": Out(shape.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=self._shape.width, depth=self._shape.depth, init=[])
        write, read = memory.write_port(granularity=self._shape.granularity), memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
        ]
        return m


def test_shapes_are_found() -> None:
    for shape in SHAPES:
        assert list(memories(OneMemory(shape), None)) == [shape]


def drawn(rng: random.Random) -> MemoryShape:
    granularity = rng.choice((1, 2, 4, 6, 7, 8, 9, 10, 13, 16, 20, 32, 40, 64, 128))
    depth = rng.choice(
        (rng.randint(8, 200), rng.randint(100, 700), rng.choice((600, 768, 1536, 2048, 2304, 3072, 4096)))
    )
    return MemoryShape(granularity * rng.choice((1, 1, 2, 3, 4)), depth, granularity)


@pytest.mark.parametrize("seed", [1])
def test_as_yosys_maps_them(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    shapes = SHAPES + [drawn(rng) for _ in range(40)]
    written = [emit_modules(OneMemory(shape), name=f"memory_{number}") for number, shape in enumerate(shapes)]
    (tmp_path / "design.v").write_text("\n".join(text for modules in written for text in modules.values()))
    script = "read_verilog design.v; synth_ecp5 -noflatten -run coarse:map_ffram; "
    script += "tee -o cells.json stat -json"
    run_tool([find_tool("yosys"), "-q", "-p", script], tmp_path, "synthesis")
    modules = json.loads((tmp_path / "cells.json").read_text())["modules"]
    for number, shape in enumerate(shapes):
        cells = modules[f"\\nmgen_memory_{number}"]["num_cells_by_type"]
        assert shape.block_rams == cells.get("DP16KD", 0) + cells.get("PDPW16KD", 0), shape
        chosen = shape.block_rams > 0 and "$bmux" in cells  # one of several, by a registered address
        assert (shape.stacked > 1) == chosen, shape


@pytest.mark.parametrize(
    ("changes", "taken"),
    # Of the netlists of `make bench-board`.
    [({}, 208), ({"m": 16, "store_words": 1536}, 192)],
    ids=["M = 8", "M = 16"],
)
def test_of_the_image(changes: dict[str, int], taken: int) -> None:
    from boards.encoder_image import EncoderImage

    board = find_board("ulx3s-85f")
    config = encoder_config(StaConfig(device=board.device, pe="ecp5"))
    config = replace(config, sta=replace(config.sta, **changes))
    assert sum(shape.block_rams for shape in memories(EncoderImage(board, config), board.platform())) == taken
