"""What the placer is told, and paths of what the real tools make of a small design on an LFE5U-85F."""

import json
import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from amaranth.hdl import Fragment

from nmgen.fpga.floorplan import ROWS_APART, TILES, Placement, cells_of, placement_of
from nmgen.fpga.place_and_route import DELAYS, Design, measure
from nmgen.fpga.targets import find_target
from nmgen.fpga.timing_paths import read_paths
from rtl.array.ecp5.floorplan import Floorplan
from rtl.array.grid import ELEMENT
from rtl.array.instances import COLUMN_BANKS
from rtl.engine.accelerator import Accelerator
from rtl.engine.activation_store import BANKS as ACTIVATION_BANKS
from rtl.params import Config
from rtl.sta.instances import BANK_OPERANDS, LANE_MULTIPLIERS, RESIDUAL_MEMORIES, ROW_PARTS
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta

DEVICE = "LFE5U-85F"
VERILOG = """
module small(input clk, input [15:0] a, output reg [15:0] q);
  reg [15:0] r [0:511];
  reg [15:0] x, y, z;
  always @(posedge clk) begin
    x <= a;
    y <= r[x[8:0]];
    r[q[8:0]] <= z;
    z <= x * y;
    q <= (z ^ y) + (x & q);
  end
endmodule
"""


def cell(kind: str) -> dict[str, Any]:
    """One that is connected to nothing that matters here."""
    ports = {"MULT18X18D": ["SIGNEDA", "SIGNEDB"], "DP16KD": [f"DO{side}{i}" for side in "AB" for i in range(18)]}
    return {"type": kind, "attributes": {}, "parameters": {}, "port_directions": {}} | {
        "connections": {port: ["0"] for port in ports.get(kind, ())}
    }


def written(placement: Placement | None, folder: Path, cells: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The top module of a netlist with those cells, once it has been told."""
    assert placement is not None
    ports = {"clk": {"direction": "input", "bits": [2]}}
    design = {"modules": {"other": {"attributes": {}}}}
    design["modules"]["t"] = {"attributes": {"top": "01"}, "ports": ports, "cells": cells}
    (folder / "in.json").write_text(json.dumps(design))
    placement.write(folder / "in.json", folder / "out.json")
    top: dict[str, Any] = json.loads((folder / "out.json").read_text())["modules"]["t"]
    return top


@pytest.mark.parametrize(
    ("luts", "apart"),
    [(1, 3), (46_838, 3), (46_839, 4), (52_693, 4), (52_694, 5), (56_875, 5), (56_876, 6), (58_548, 6), (58_549, None)],
)
def test_rows_that_stay_empty(luts: int, apart: int | None, tmp_path: Path) -> None:
    """As many as leave the others' LUTs filled up to 85 %: every third, or fewer. LUT RAM takes six each."""
    placement = placement_of(Config(pe="ecp5", device=DEVICE), DEVICE, room=True)
    cells = {f"x{i}": cell("LUT4") for i in range(luts % 6)} | {
        f"y{i}": cell("TRELLIS_DPR16X4") for i in range(luts // 6)
    }
    top = written(placement, tmp_path, cells)
    columns, rows = TILES[DEVICE]
    empty = rows[::apart] if apart else []
    taken = [one["attributes"]["BEL"] for name, one in top["cells"].items() if name not in cells]
    assert len(set(taken)) == len(taken) == 8 * len(columns) * len(empty)
    assert {int(re.findall("Y([0-9]+)", bel)[0]) for bel in taken} == set(empty)


@pytest.mark.parametrize(("registers", "apart"), [(55_760, 3), (55_761, None)])
def test_many_registers_leave_no_row_empty(registers: int, apart: int | None, tmp_path: Path) -> None:
    """More than two thirds of the chip's, whatever the LUTs."""
    placement = placement_of(Config(pe="ecp5", device=DEVICE), DEVICE, room=True)
    top = written(placement, tmp_path, {f"x{i}": cell("TRELLIS_FF") for i in range(registers)})
    columns, rows = TILES[DEVICE]
    assert len(top["cells"]) - registers == (8 * len(columns) * len(rows[::apart]) if apart else 0)


@pytest.mark.parametrize(("device", "luts", "block_rams"), [("LFE5U-25F", 24_288, 56), ("LFE5U-85F", 83_640, 208)])
def test_sites_of_a_device(device: str, luts: int, block_rams: int) -> None:
    """As many as it has, each once."""
    columns, rows = TILES[device]
    assert 8 * len(set(columns)) * len(set(rows)) == luts
    placement = placement_of(StaConfig(pe="ecp5", device=device, rows=2, cols=4), device, room=True)
    assert placement is not None
    sites = [site for column in placement.memories for site in column]
    assert len(set(sites)) == len(sites) == block_rams


def test_an_engine(tmp_path: Path) -> None:
    """Rows stay empty; column banks are at the left edge, the banks of activations side by side, the rest is free."""
    config = Config(rows=3)
    placement = placement_of(config, DEVICE, room=True)
    assert placement is not None
    assert placement.rows
    assert not placement.others
    names = [f"core.column_buffer.bank_{i}.memory.0.{j}" for i in range(8) for j in range(3)]
    names += [f"core.activation_store.bank_{r}.memory.part_0.0.{i}" for r in range(3) for i in range(20)]
    top = written(placement, tmp_path, {name: cell("DP16KD") for name in [*names, "core.fetch.fifo.storage.0.0"]})
    assert "BEL" not in top["cells"]["core.fetch.fifo.storage.0.0"]["attributes"]
    sites = {name: site_of(top["cells"][name]["attributes"]["BEL"]) for name in names}
    assert len({top["cells"][name]["attributes"]["BEL"] for name in names}) == len(names)
    parts = ["column_buffer.", *(f"activation_store.bank_{r}." for r in range(3))]
    across = [[x for name, (x, _) in sites.items() if part in name] for part in parts]
    for here, right in pairwise(across):
        assert max(here) <= min(right)


def test_multipliers_of_portable_elements(tmp_path: Path) -> None:
    """Each element has those of one slice; others are left to the placer."""
    names = [f"core.array.pe_{row}_{col}.operand_{lane}_2_MULT" for row in (0, 7) for col in (0, 7) for lane in (1, 0)]
    cells = {name: cell("MULT18X18D") for name in [*names, "core.post_processor.factor_0_MULT"]}
    cells["core.array.pe_0_0.x"] = cell("LUT4")
    top = written(placement_of(Config(), DEVICE, room=False), tmp_path, cells)
    sites = {name: one["attributes"].get("BEL") for name, one in top["cells"].items()}
    assert {name for name, bel in sites.items() if bel} == set(names)
    assert sites["core.array.pe_0_0.operand_0_2_MULT"] == "X4/Y10/MULT18_0"
    assert sites["core.array.pe_0_0.operand_1_2_MULT"] == "X5/Y10/MULT18_1"
    plan = Floorplan(Config(pe="ecp5", device=DEVICE))
    for row, col in ((0, 7), (7, 0), (7, 7)):
        (site,) = plan.sites(row, col) or ()
        assert tuple(sites[f"core.array.pe_{row}_{col}.operand_{lane}_2_MULT"] for lane in (0, 1)) == site.bels[:2]


@pytest.mark.parametrize("pe", ["portable", "ecp5"])
def test_multipliers_of_lanes(pe: str, tmp_path: Path) -> None:
    """Lanes of the core have what the elements leave, the two multipliers of a product in one slice."""
    kinds = {
        "pipeline.requantiser": 2,
        "pipeline.rescaler": 1,
        "norm_source.normaliser.lane": 2,
        "statistics$332.square": 1,  # where a signal has the instance's name
    }
    names = [
        f"core.post_processor.{kind}_{lane}.MULT18X18D_{i}"
        for kind, count in kinds.items()
        for lane in range(4)
        for i in range(count)
    ]
    config = StaConfig(pe=pe, device=DEVICE if pe == "ecp5" else "")
    top = written(
        placement_of(config, DEVICE, room=True), tmp_path, {name: cell("MULT18X18D") for name in reversed(names)}
    )
    sites = {name: top["cells"][name]["attributes"].get("BEL") for name in names}
    assert len(set(sites.values())) == len(names) == 24
    plan = Floorplan(StaConfig(pe="ecp5", device=DEVICE))
    elements = {bel for r in range(8) for c in range(8) for site in plan.sites(r, c) or () for bel in site.bels}
    assert not elements & set(sites.values())
    slices = [set(site.bels[:2]) for site in plan.free()]
    for lane in range(4):
        for kind in ("pipeline.requantiser", "norm_source.normaliser.lane"):
            assert {sites[name] for name in names if f"{kind}_{lane}." in name} in slices


def block_ram(columns: int, rows: int, bank: int, residual: int) -> list[str]:
    """Names as STA's netlist has them: three of each column bank, `bank` of each row, 8 of the residual's memories."""
    names = [f"core.column_buffer.bank_{i}.{of}" for i in range(columns) for of in ("selection.0.0", "weights.0.0")]
    names += [f"core.column_buffer.bank_{i}.weights.0.1" for i in range(columns)]
    names += [f"core.store.bank_{r}.memory.0.{i}" for r in range(rows) for i in range(bank)]
    names += [f"core.softmax_{r}.table_0.0.0" for r in range(rows)]
    bytes_of = [(half, i, byte) for half in range(2) for i in range(residual) for byte in range(4)]
    return names + [f"core.post_processor.residual.memory_{half}_{i}.0.{byte}" for half, i, byte in bytes_of]


def site_of(bel: str) -> tuple[int, int]:
    x, y = re.findall("[0-9]+", bel)[:2]
    return int(x), int(y)


def test_block_ram(tmp_path: Path) -> None:
    """The core's: column banks at the left edge, rows side by side near the array's, the residual at the bottom."""
    names = block_ram(columns=8, rows=8, bank=16, residual=6)
    placement = placement_of(StaConfig(), DEVICE, room=True)
    top = written(placement, tmp_path, {name: cell("DP16KD") for name in names})
    bels = {name: top["cells"][name]["attributes"]["BEL"] for name in names}
    assert len(set(bels.values())) == len(names) == 208
    sites = {name: site_of(bel) for name, bel in bels.items()}

    left = [at for name, at in sites.items() if "column_buffer" in name]
    assert max(x for x, _ in left) < min(x for name, (x, _) in sites.items() if "column_buffer" not in name)
    for bank in (0, 7):  # as the array's columns are, from top to bottom
        (y,) = {y for name, (_, y) in sites.items() if f"column_buffer.bank_{bank}." in name}
        assert y == (22 if bank == 0 else 82)
    rows = [[at for name, at in sites.items() if re.search(f"(store.bank|softmax)_{r}[.]", name)] for r in range(8)]
    for here, right in pairwise(rows):
        assert max(x for x, _ in here) <= min(x for x, _ in right)
    assert placement is not None
    for r, row in enumerate(rows):
        assert len(row) == 17
        element = site_of(placement.multipliers[r, 0][0])[0]
        assert min(x for x, _ in row) - 15 <= element <= max(x for x, _ in row)
        assert sites[f"core.softmax_{r}.table_0.0.0"][1] == 22
    residual = [
        [x for name, (x, _) in sites.items() if re.search(f"residual.memory_{half}_.*[.]0[.]{byte}", name)]
        for half in range(2)
        for byte in range(4)
    ]
    assert sum(y == 82 for name, (_, y) in sites.items() if "residual" in name) == 46, "and two that are left over"
    for byte, right_byte in pairwise(residual):
        assert max(byte) <= min(right_byte)


def test_banks_of_soft_rows_are_between_the_others(tmp_path: Path) -> None:
    """Those of rows with DSP slices are beside them, as far as the columns' leave room at the left edge."""
    config = StaConfig(pe="ecp5", device=DEVICE, cols=16, soft_rows=4, store_words=1024)
    names = block_ram(columns=16, rows=8, bank=10, residual=1)
    top = written(placement_of(config, DEVICE, room=True), tmp_path, {name: cell("DP16KD") for name in names})
    sites = {name: site_of(top["cells"][name]["attributes"]["BEL"]) for name in names}
    middles = [mean(x for name, (x, _) in sites.items() if f"store.bank_{r}." in name) for r in range(8)]
    assert sorted(range(8), key=middles.__getitem__) == [0, 1, 7, 6, 2, 5, 3, 4]
    plan = Floorplan(config)
    for row in range(1, 4):
        own = [site.x for column in range(16) for site in plan.sites(row, column) or ()]
        assert min(own) <= middles[row] <= max(own)


def test_bits_of_a_group_are_side_by_side(tmp_path: Path) -> None:
    """In whichever half of a word (M = 8), or part of a bank's words (M = 16), they are."""
    for config, names in (
        (
            StaConfig(m=8),
            [[f"core.store.bank_0.memory.0.{i}", f"core.store.bank_0.memory.0.{8 + i}"] for i in range(8)],
        ),
        (
            StaConfig(m=16, store_words=1536),
            [
                [*(f"core.store.bank_0.memory_0.0.{2 * i + k}" for k in range(2)), f"core.store.bank_0.memory_1.0.{i}"]
                for i in range(4)
            ],
        ),
    ):
        placement = placement_of(config, DEVICE, room=True)
        top = written(placement, tmp_path, {name: cell("DP16KD") for of in names for name in of})
        apart = [len({site_of(top["cells"][name]["attributes"]["BEL"])[1] for name in of}) - 1 for of in names]
        assert sum(apart) <= 2, "where a level of sites ends"


def test_more_block_ram_than_there_is(tmp_path: Path) -> None:
    """What has no place, and what is of none of these, is left to the placer; no two have the same."""
    names = block_ram(columns=4, rows=4, bank=60, residual=1)
    others = ["core.other.memory.0.0"]
    placement = placement_of(StaConfig(rows=4), DEVICE, room=True)
    top = written(placement, tmp_path, {name: cell("DP16KD") for name in [*names, *others]})
    sites = {name: top["cells"][name]["attributes"].get("BEL") for name in [*names, *others]}
    assert sites[others[0]] is None
    bels = [bel for bel in sites.values() if bel]
    assert len(set(bels)) == len(bels) < len(names)


def names_in(config: Config) -> list[str]:
    """Of a core or an engine: registers, and instances with a dot behind, which is how names of cells begin."""
    names = []

    def walk(fragment: Fragment, path: str) -> None:
        for statement in fragment.statements.get("sync", ()):
            names.extend(f"{path}{signal.name}" for signal in statement._lhs_signals())
        for part, name, _ in fragment.subfragments:
            names.append(f"{path}{name}.")
            walk(part, f"{path}{name}.")

    walk(Fragment.get(Sta(config) if isinstance(config, StaConfig) else Accelerator(config), None), "core.")
    return names


def test_what_is_placed_of_an_engine_bears_these_names() -> None:
    names = names_in(Config(n=2, m=4, rows=3, cols=4, drain=2, port_bytes=8, max_tokens=9, max_k=16))
    for beginning, count in ((COLUMN_BANKS, 4), (ACTIVATION_BANKS, 3)):
        found = [cells_of(beginning).search(name) for name in names]
        assert {int(one[1]) for one in found if one} == set(range(count))


@pytest.mark.parametrize("pe", ["portable", "ecp5"])
def test_what_is_placed_bears_these_names(pe: str) -> None:
    """In the hardware itself: as many as there are."""
    config = StaConfig(n=2, m=4, rows=3, cols=4, drain=2, port_bytes=8, max_tokens=9, max_k=16, hidden=6, pe=pe)
    names = names_in(config)

    def numbers(beginning: str) -> set[tuple[int, ...]]:
        found = [cells_of(beginning).search(name) for name in names]
        return {tuple(map(int, one.groups())) for one in found if one}

    def up_to(count: int) -> set[tuple[int, ...]]:
        return {(i,) for i in range(count)}

    assert numbers(f"{ELEMENT}.") == set(product(range(3), range(4)))
    assert numbers(COLUMN_BANKS) == up_to(4)
    assert [numbers(path) for path in ROW_PARTS] == [up_to(3)] * 2
    assert numbers(BANK_OPERANDS) == up_to(3)
    assert [numbers(path) for path in LANE_MULTIPLIERS] == [up_to(config.drain_lanes)] * 4
    assert numbers(RESIDUAL_MEMORIES) == {(0, 0), (1, 0)}


@pytest.mark.parametrize(("m", "pe", "luts"), [(16, "ecp5", 2), (8, "ecp5", 0), (16, "portable", 0)])
def test_luts_among_crowded_selectors(m: int, pe: str, luts: int, tmp_path: Path) -> None:
    cells = {
        name: {
            **cell("TRELLIS_FF"),
            "connections": {"DI": [2], "Q": [i], "LSR": ["0"]},
            "port_directions": {"Q": "output"},
        }
        for i, name in enumerate(
            ("core.array.pe_3_2.group_7", "core.store.bank_1.operands_3", "core.column_buffer.x"), 3
        )
    }
    cells["source"] = {
        **cell("TRELLIS_FF"),
        "connections": {"DI": ["0"], "Q": [2], "LSR": ["0"]},
        "port_directions": {"Q": "output"},
    }
    placement = placement_of(StaConfig(m=m, pe=pe, device=DEVICE if pe == "ecp5" else ""), DEVICE, room=True)
    top = written(placement, tmp_path, cells)
    assert sum(name.endswith("own_lut") for name in top["cells"]) == luts


def test_nothing_to_tell() -> None:
    assert placement_of(Config(pe="ecp5", device=DEVICE), DEVICE, room=False) is None
    assert placement_of(Config(), "", room=True) is None
    assert placement_of(Config(n=1, rows=10, cols=8), DEVICE, room=False) is None, "more elements than slices"
    bare, roomy = (placement_of(Config(), DEVICE, room=room) for room in (False, True))
    assert bare is not None
    assert roomy is not None
    assert bare.key != roomy.key


def test_the_real_tools(tmp_path: Path) -> None:
    """The worst path of the delays is the one that nextpnr's own timing gives the clock by."""
    target = find_target("ulx3s-85f")
    design = Design(
        title="small",
        verilog=VERILOG,
        script=target.script("small"),
        place=target.place("router1", 100),
        delays=True,
        seeds=(1,),
    )
    bare, roomy = measure(
        [design, replace(design, placement=placement_of(Config(pe="ecp5", device=DEVICE), DEVICE, room=True))],
        tmp_path / "made",
        jobs=1,
    )
    assert bare.cells == roomy.cells
    for one in (bare, roomy):
        (folder,) = one.placed
        assert sorted(path.name for path in folder.iterdir()) == [DELAYS, "nextpnr-ecp5.log", "placed.json"]
        assert 1000 / read_paths(folder / DELAYS)[0].ns == pytest.approx(one.mhz[0], rel=0.001)
    used = [json.loads((one.placed[0] / "placed.json").read_text())["utilization"] for one in (bare, roomy)]
    columns, rows = TILES[target.device]
    empty = 8 * len(columns) * len(rows[:: ROWS_APART[0]])
    constants = 2  # the LUTs of the multiplier's: it has registers, with an enable
    assert used[1]["TRELLIS_COMB"]["used"] - used[0]["TRELLIS_COMB"]["used"] == empty + constants
    assert used[0]["TRELLIS_COMB"]["available"] == 8 * len(columns) * len(rows)
