"""The table of the whole core's resources: what yosys and nextpnr report, added up and told."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from amaranth.lib.wiring import Component

from nmgen.bench import core_area as bench_core_area
from nmgen.bench.core_area import CORES, Core, Latency, area, by_component, clock, main, resources
from nmgen.commands.report import add_arguments
from nmgen.fpga.array_harness import OperandMemory
from nmgen.fpga.report import Report, Worst
from nmgen.fpga.targets import configuration_for, find_target
from rtl.sta.params import StaConfig
from tests.nmgen.bench.test_array import PLACE
from tests.nmgen.tools import NETLIST, VERSION, calls, pretend_all


def stat(**modules: dict[str, int]) -> dict[str, Any]:
    return {"modules": {f"\\sta_{name}": {"num_cells_by_type": cells} for name, cells in modules.items()}}


STAT = stat(
    core={"LUT4": 10, "TRELLIS_FF": 5, "sta_array": 1, "sta_softmax": 8, "sta_post_processor": 1},
    array={"sta_pe": 64, "PFUMX": 3},
    pe={"LUT4": 100, "CCU2C": 20, "MULT18X18D": 2, "TRELLIS_FF": 50},
    softmax={"LUT4": 40, "DP16KD": 1, "TRELLIS_DPR16X4": 2},
    post_processor={"LUT4": 1, "sta_pipeline": 1},
    pipeline={"LUT4": 60000},
)


def test_a_module_counts_all_that_is_in_it() -> None:
    assert resources(STAT, "sta_pe") == {"LUTs": 140, "block RAM": 0, "multipliers": 2, "FF": 50}
    assert resources(STAT, "sta_core") == {
        "LUTs": 10 + 64 * 140 + 8 * (40 + 2 * 4) + 60001,
        "block RAM": 8,
        "multipliers": 128,
        "FF": 5 + 64 * 50,
    }


def test_components_come_largest_first_and_the_post_processor_in_parts() -> None:
    rows = by_component(STAT, "sta_core")
    assert [name for name, _ in rows] == ["post_processor", "– pipeline", "array", "softmax ×8"]
    assert dict(rows)["softmax ×8"] == {"LUTs": 384, "block RAM": 8, "multipliers": 0, "FF": 0}


def found(mhz: tuple[float, ...] = (40, 60, 50), luts: int = 41000, memories: int = 208) -> Report:
    path = Worst(ns=20, logic_ns=2, through=("post_processor pipeline", "store"))
    return Report(
        design="core",
        target="ulx3s-85f",
        config={},
        multipliers=128,
        slices=152,
        luts=luts - 40,
        carries=20,
        registers=30000,
        memories=memories,
        lut_equivalents=luts,
        mhz=mhz,
        paths=(path,) if mhz else (),
    )


def table(stat: dict[str, Any] = STAT, **options: Any) -> str:
    return area(stat, dict.fromkeys(CORES, found(**options)), "yosys 1")


def clock_of(core: Core, *mhz: float) -> str:
    times = [Latency(pattern="2:8", tokens=32, cycles=1_000_000)]
    return clock(core, found(mhz), times, versions=["yosys 1", "nextpnr 2"], seeds=3)


def test_bounds_are_missed_only_where_a_number_is_over() -> None:
    missed = table()  # 69,355 LUTs of 66,912
    assert "The bounds are **missed**." in missed
    assert "| **all Components** | 69,355 (83%) |" in missed
    assert "| **flattened**, ecp5, with pins | 41,000 (49%) | 208 (100%) | 152 (97%) | 30,000 (36%) |" in missed
    smaller = {"modules": STAT["modules"] | {"\\sta_pipeline": {"num_cells_by_type": {"LUT4": 50000}}}}
    assert "The bounds are met." in table(smaller)
    assert "The bounds are **missed**." in table(smaller, memories=209)
    assert "The bounds are **missed**." in table(smaller, luts=66913)


def test_clock_paths_and_latency() -> None:
    slices, portable, sixteen, _ = CORES
    text = clock_of(slices, 84, 85, 131)
    assert "| 41,000 | 30,000 | 84.0 / **85.0** / 131.0 | 10.9 | ≥ 130 MHz **missed** |" in text
    assert "| 20.0 | 2.0 | post_processor pipeline → store |" in text
    assert "| 32 | 2:8 | 1,000,000 | 11.76 |" in text
    assert "84.0 / **85.0** / 131.0 | 10.9 | ≥ 85 MHz met |" in clock_of(portable, 84, 85, 131)
    assert "130.0 / **130.0** / 131.0 | 16.6 | ≥ 130 MHz **missed** |" in clock_of(sixteen, 129.96, 129.97, 131)
    assert "`nmgen report ulx3s-85f --core --pe ecp5 --m 16 --store-words 1536 --seeds 3`" in clock_of(sixteen, 1, 2, 3)
    unrouted = clock_of(slices, 0, 0, 57)
    assert "| 41,000 | 30,000 | – / **–** / 57.0 | – | ≥ 130 MHz **missed** |" in unrouted
    assert "| 32 | 2:8 | 1,000,000 | – |" in unrouted


def test_a_core_is_what_its_flags_of_nmgen_report_say() -> None:
    target = find_target("ulx3s-85f")
    for core in CORES:
        parser = ArgumentParser()
        add_arguments(parser)
        args = parser.parse_args(["ulx3s-85f", "--core", *core.flags.split()])
        assert configuration_for(args, StaConfig, target) == core.config


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which tools lie that only pretend; something small stands for the core."""
    folder = tmp_path / "tools"
    counted = {"design": {"num_cells_by_type": {"LUT4": 41000, "DP16KD": 208}}, **STAT}
    script = f"cat synth.ys >> {folder}/scripts; cp {tmp_path}/counted cells.json; echo '{NETLIST}' > design.json"
    (tmp_path / "counted").write_text(json.dumps(counted))
    pretend_all(folder, {"yosys": script, "nextpnr-ecp5": PLACE}, monkeypatch)
    (tmp_path / "docs").mkdir()
    sections = ("area", *(f"clock-{core.name}" for core in CORES))
    marked = [f"<!-- {name}: begin -->\n{name} as it was\n<!-- {name}: end -->\n" for name in sections]
    (tmp_path / "docs" / "results.md").write_text("".join(["before\n", *marked, "after\n"]))

    def small(config: StaConfig) -> Component:
        return OperandMemory(config.m + config.cols - (config.pe == "ecp5"), "other")

    def latencies(core: Core) -> list[Latency]:
        return [Latency(pattern=pattern, tokens=32, cycles=1_000_000) for pattern in core.patterns]

    monkeypatch.setattr("nmgen.fpga.report.CoreHarness", small)
    monkeypatch.setattr(bench_core_area, "latencies", latencies)
    monkeypatch.setattr(bench_core_area, "ROOT", tmp_path)
    monkeypatch.setattr(bench_core_area, "FOLDER", tmp_path / "build" / "report")
    return folder


def test_page(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "docs/results.md, build/report/" in capsys.readouterr().out
    page = (tmp_path / "docs" / "results.md").read_text()
    for part in (
        f"with\n{VERSION}. The whole core",
        "| **all Components** | 69,355 (83%) |",
        "| **flattened**, ecp5, M = 16, with pins | 41,000 (49%) |",
        f"synthesised and placed with {VERSION} and {VERSION},",
        "--freq 130 --router router1 --lpf-allow-unconstrained --placer-heap-timingweight 200`.",
        "| 41,000 | 0 | 195.0 / **200.0** / 205.0 | 25.6 | ≥ 130 MHz met |",
        "| 41,000 | 0 | 195.0 / **200.0** / 205.0 | 25.6 | ≥ 85 MHz met |",
        "| 32 | 2:8 | 1,000,000 | 5.00 |",
        "| 32 | 2:16 | 1,000,000 | 5.00 |",
        "FPGA-DS-02012",
    ):
        assert part in page, page
    assert "as it was" not in page
    assert (tools / "scripts").read_text().count("synth_ecp5 -noflatten -top sta_pins\n") == 1
    assert len(calls(tools)) == 5 + 4 * 3


def test_one_core_alone_or_the_areas_alone(tools: Path, tmp_path: Path) -> None:
    """The others keep what is written of them."""
    assert main(["--place", "ecp5", "--seeds", "1"]) == 0
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| 41,000 | 0 | 195.0 / **195.0** / 195.0 | 25.0 | ≥ 130 MHz met |" in page
    assert "| 32 | 2:8 | 1,000,000 | 5.13 |" in page
    assert len(calls(tools)) == 1 + 1
    assert [line for line in page.splitlines() if "as it was" in line] == [
        "area as it was",
        "clock-portable as it was",
        "clock-m16 as it was",
        "clock-soft as it was",
    ]
    assert main(["--place", "none"]) == 0
    tabled = (tmp_path / "docs" / "results.md").read_text()
    assert [line for line in tabled.splitlines() if "as it was" in line] == [
        "clock-portable as it was",
        "clock-m16 as it was",
        "clock-soft as it was",
    ]
    assert "| **flattened**, ecp5, with pins | 41,000 (49%) |" in tabled
    clocks = page.partition("<!-- clock-ecp5: begin -->")[2]
    assert tabled.partition("<!-- clock-ecp5: begin -->")[2] == clocks
    assert len(calls(tools)) == 5 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "seeds is 0, must be at least 1"),
        (["--jobs", "0"], "jobs is 0, must be at least 1"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"bench-core-area: {message}\n"
    assert not calls(tools)
