"""The table of the whole core's resources: what yosys and nextpnr report, added up and told."""

from typing import Any

from nmgen.bench_core_area import by_component, component, resources, section, worst_path


def stat(**modules: dict[str, int]) -> dict[str, Any]:
    return {"modules": {f"\\sta_{name}": {"num_cells_by_type": cells} for name, cells in modules.items()}}


STAT = stat(
    core={"LUT4": 10, "TRELLIS_FF": 5, "sta_array": 1, "sta_softmax": 8, "sta_drain": 1},
    array={"sta_pe": 64, "PFUMX": 3},
    pe={"LUT4": 100, "CCU2C": 20, "MULT18X18D": 2, "TRELLIS_FF": 50},
    softmax={"LUT4": 40, "DP16KD": 1, "TRELLIS_DPR16X4": 2},
    drain={"LUT4": 1, "sta_finish": 1},
    finish={"LUT4": 60000},
)
REPORT = {
    "utilization": {"TRELLIS_COMB": {"used": 70000, "available": 83640}},
    "fmax": {"$glbnet$clk": {"achieved": 41.666, "constraint": 50.0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": []},
        {
            "from": "posedge $glbnet$clk",
            "to": "posedge $glbnet$clk",
            "path": [
                {"delay": 0.5, "to": {"cell": "core.drain.finish.value_TRELLIS_FF_Q"}},
                {"delay": 1.5, "to": {"cell": "core.drain.finish.requantiser_0.x_LUT4_Z"}},
                {"delay": 20.0, "to": {"cell": "core.store.bank_0.y_LUT4_Z"}},
                {"delay": 2.0, "to": {"cell": "captured_0_TRELLIS_FF_Q"}},
            ],
        },
    ],
}


def test_a_module_counts_all_that_is_in_it() -> None:
    assert resources(STAT, "sta_pe") == {"LUTs": 140, "block RAM": 0, "multipliers": 2, "FF": 50}
    assert resources(STAT, "sta_core") == {
        "LUTs": 10 + 64 * 140 + 8 * (40 + 2 * 4) + 60001,
        "block RAM": 8,
        "multipliers": 128,
        "FF": 5 + 64 * 50,
    }


def test_components_come_largest_first_and_the_drain_in_parts() -> None:
    rows = by_component(STAT, "sta_core")
    assert [name for name, _ in rows] == ["drain", "– finish", "array", "softmax ×8"]
    assert dict(rows)["softmax ×8"] == {"LUTs": 384, "block RAM": 8, "multipliers": 0, "FF": 0}


def test_a_cell_belongs_to_the_component_in_its_name() -> None:
    assert component("core.array.pe_0_0.x_LUT4_Z") == "array"
    assert component("core.drain.finish.requantiser_0.x_LUT4_Z") == "drain finish"
    assert component("core.drain.x_LUT4_Z") == "drain"
    assert component("core.x_LUT4_Z") == "between"


def test_the_worst_path_by_component() -> None:
    assert worst_path(REPORT) == (41.666, [("drain finish", 2.0), ("store", 20.0), ("pins", 2.0)])


def test_bounds_are_missed_only_where_a_number_is_over() -> None:
    flat = stat(pins={"LUT4": 41000, "DP16KD": 208})
    missed = section(STAT, flat, REPORT, seed=1)  # 69,355 LUTs of 66,912
    assert "**missed**" in missed
    assert "| **all Components** | 69,355 (83%) |" in missed
    assert "| **flattened**, with pins | 41,000 (49%) | 208 (100%) |" in missed
    assert "41.7 MHz" in missed
    smaller = {"modules": STAT["modules"] | {"\\sta_finish": {"num_cells_by_type": {"LUT4": 50000}}}}
    assert "The bounds are met." in section(smaller, flat, REPORT, seed=1)
    assert "MHz" not in section(smaller, flat, None, seed=1)
    assert "**missed**" in section(smaller, stat(pins={"DP16KD": 209}), REPORT, seed=1)
