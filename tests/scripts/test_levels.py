"""What a netlist's paths are taken for before it is placed."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.levels import START_NS, WIRE_NS, main


def cell(kind: str, outputs: str, **connections: list[int | str]) -> dict[str, Any]:
    directions = {port: "output" if port in outputs.split() else "input" for port in connections}
    return {"type": kind, "port_directions": directions, "connections": connections}


CELLS = {
    "core.a_TRELLIS_FF_Q_1": cell("TRELLIS_FF", "Q", CLK=[2], DI=[9], Q=[3]),
    "first": cell("LUT4", "Z", A=[3], B=["0"], C=["0"], D=["0"], Z=[4]),
    "second": cell("LUT4", "Z", A=["1"], B=["0"], C=["0"], D=[4], Z=[5]),
    "both": cell("PFUMX", "Z", ALUT=[5], BLUT=[4], C0=["1"], Z=[6]),
    "sum": cell("CCU2C", "S0 S1 COUT", A0=[3], B0=["0"], CIN=["0"], S0=[7], S1=[8], COUT=[10]),
    "more": cell("CCU2C", "S0 S1 COUT", A0=["0"], CIN=[10], S0=[9], S1=[11], COUT=[12]),
    "core.b_TRELLIS_FF_Q": cell("TRELLIS_FF", "Q", CLK=[2], DI=[6], CE=[4], Q=[13]),
}


def test_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    netlist = tmp_path / "design.json"
    other = {"attributes": {"blackbox": "1"}, "cells": {}}
    top = {"attributes": {"top": "0001"}, "cells": CELLS}
    netlist.write_text(json.dumps({"modules": {"LUT4": other, "top": top}}))
    assert main([str(netlist), "--most", "5"]) == 0
    counts, *paths = capsys.readouterr().out.splitlines()
    two_tables = START_NS + 2 * (WIRE_NS + 0.24) + 0.2 + WIRE_NS
    a_sum = START_NS + WIRE_NS + 0.45 + 0.45 + WIRE_NS  # the carry needs no wire
    assert paths == [f"{two_tables:.2f}  core.a → core.b", f"{a_sum:.2f}  core.a → core.a"]
    assert counts.startswith(f"{netlist}: 0 above 10 ns, 0 above 9 ns")
