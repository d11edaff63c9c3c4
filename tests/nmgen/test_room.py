"""Rows that are kept empty, and paths, of what the real tools make of a small design on an LFE5U-85F."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nmgen.measure import DELAYS, Design, measure
from nmgen.paths import read_paths
from nmgen.room import EVERY, TILES, leave_room
from nmgen.targets import find_target
from rtl.params import InputError

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


def test_a_netlist_with_room(tmp_path: Path) -> None:
    design = {"modules": {"other": {"attributes": {}}, "t": {"attributes": {"top": "01"}, "cells": {"x": {}}}}}
    (tmp_path / "in.json").write_text(json.dumps(design))
    leave_room(tmp_path / "in.json", "LFE5U-85F", tmp_path / "out.json")
    top = json.loads((tmp_path / "out.json").read_text())["modules"]["t"]
    columns, rows = TILES["LFE5U-85F"]
    taken = [cell["attributes"]["BEL"] for cell in top["cells"].values() if cell]
    assert "x" in top["cells"]
    assert len(set(taken)) == len(taken) == 8 * len(columns) * -(-len(rows) // EVERY)
    assert {int(re.findall("Y([0-9]+)", bel)[0]) for bel in taken} == set(rows[::EVERY])
    with pytest.raises(InputError, match="no rows of logic are known of an LFE5U-12F, must be LFE5U-85F"):
        leave_room(tmp_path / "in.json", "LFE5U-12F", tmp_path / "out.json")


def test_the_real_tools(tmp_path: Path) -> None:
    """The worst path of the delays is the one that nextpnr's own timing gives the clock by."""
    target = find_target("ulx3s-85f")
    design = Design(
        title="small",
        verilog=VERILOG,
        script=target.script("small"),
        place=target.place("router2"),
        delays=True,
        seeds=(1,),
    )
    bare, roomy = measure([design, replace(design, room=target.device)], tmp_path / "made", jobs=1)
    assert bare.cells == roomy.cells
    for one in (bare, roomy):
        (folder,) = one.placed
        assert sorted(path.name for path in folder.iterdir()) == [DELAYS, "nextpnr-ecp5.log", "placed.json"]
        assert 1000 / read_paths(folder / DELAYS)[0].ns == pytest.approx(one.mhz[0], rel=0.001)
    used = [json.loads((one.placed[0] / "placed.json").read_text())["utilization"] for one in (bare, roomy)]
    columns, rows = TILES[target.device]
    empty = 8 * len(columns) * -(-len(rows) // EVERY)
    assert used[1]["TRELLIS_COMB"]["used"] - used[0]["TRELLIS_COMB"]["used"] == empty
    assert used[0]["TRELLIS_COMB"]["available"] == 8 * len(columns) * len(rows)
