"""`nmgen build --image encoder`: which seed is kept, what is said of its clocks, and bad input."""

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest

from boards.encoder import EncoderConfig
from boards.encoder_image import files_of
from boards.known import BOARDS
from boards.parts.sdram.chips import common
from nmgen.cli import main
from nmgen.fpga.encoder_image import KEEP_MARKS
from nmgen.fpga.place_and_route import SCRIPT
from nmgen.fpga.router_watchdog import PASSES
from nmgen.fpga.tools import find_tool, run_tool
from tests.nmgen.tools import calls, pretend, pretend_all
from tests.sim.test_axi_sta import CASES

SMALL = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(CASES["narrow"][0]).items() if value != ""]
STATISTICS = '{"design": {"num_cells_by_type": {"LUT4": 800, "CCU2C": 50, "DP16KD": 9}}}'


# As of the real image: nextpnr calls the core's clock by the shortest of its names.
OUTPUTS = {"CLKOP": ("clk", "clocks__0"), "CLKOS": ("clocks__1", "sdram_clk"), "CLKOS2": ("clocks__2",)}
PLL = {"type": "EHXPLLL", "attributes": {}, "parameters": {}, "port_directions": {}} | {
    "connections": {output: [number] for number, output in enumerate(OUTPUTS, 2)}
}
GATES = {
    f"gate_{output}": PLL | {"type": "DCCA", "connections": {"CLKI": [number], "CE": ["1"], "CLKO": [10 + number]}}
    for number, output in enumerate(OUTPUTS, 2)
}
NETS = {name: {"bits": [number]} for number, names in enumerate(OUTPUTS.values(), 12) for name in names}
TOP = {"attributes": {"top": "1"}, "ports": {}, "cells": {"pll.pll": PLL, **GATES}, "netnames": NETS}
NETLIST = json.dumps({"modules": {"encoder": TOP}})


def placed(core: float, memory: float) -> str:
    clocks = {"clk": core, "clocks__1": memory, "clocks__2": 400}
    fmax = {f"$glbnet${net}": {"achieved": mhz, "constraint": 1} for net, mhz in clocks.items()}
    return f"echo '{json.dumps({'fmax': fmax})}' > placed.json; echo chip > chip.config; touch delays.sdf"


@cache
def files() -> dict[str, str]:
    """The image's, once: its Verilog takes seconds."""
    board = BOARDS["ulx3s-85f"]
    chip = common(board.memories)
    config = EncoderConfig(
        sta=CASES["narrow"][0], chip=chip, oscillator_mhz=25, core_mhz=100, memory_mhz=125, baud=3_000_000
    )
    return files_of(board, config, "encoder")


def test_each_element_keeps_its_marks(tmp_path: Path) -> None:
    """yosys would take those for one that have the same value in every cycle, as on a diagonal of the array."""
    (tmp_path / "design.v").write_text(files()[".v"])
    config = CASES["narrow"][0]
    counted = {"pe_*_*.first_1": config.rows * config.cols, "softmax_*.first_in_1": config.rows}
    registers = {}
    for name, keep in (("plain", "proc"), ("kept", KEEP_MARKS)):
        counts = [f"tee -o count{i} select -count w:*.{wire} %ci1:+[Q] t:$dff %i" for i, wire in enumerate(counted)]
        steps = ["read_verilog design.v", keep, "hierarchy -top encoder", "flatten", "opt_clean", "opt_merge", *counts]
        (tmp_path / name).write_text("\n".join(steps) + "\n")
        run_tool([find_tool("yosys"), "-q", "-s", name], tmp_path, name)
        registers[name] = [int((tmp_path / f"count{i}").read_text().split()[0]) for i in range(len(counted))]
    assert registers["kept"] == list(counted.values())
    assert all(plain < kept for plain, kept in zip(*registers.values(), strict=True)), registers


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """By seed 1 the core's clock is missed, by seed 2 the memory's by less, by seed 3 none."""
    folder = tmp_path / "tools"
    router = f"""case "$*" in
        *"--seed 1"*) {placed(80, 130)};;
        *"--seed 2"*) {placed(110, 115.2)};;
        *) {placed(101, 121)};;
    esac"""
    scripts = {
        "yosys": f"echo '{NETLIST}' > design.json; echo '{STATISTICS}' > cells.json",
        "nextpnr-ecp5": router,
        "ecppack": "cp chip.config encoder.bit",
    }
    pretend_all(folder, scripts, monkeypatch)
    monkeypatch.setattr("boards.encoder_image.files_of", lambda board, config, name: files())
    monkeypatch.chdir(tmp_path)
    return folder


def test_seeds_until_every_clock_is_met(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out"]) == 0
    said = capsys.readouterr().out
    assert "core            101.0 MHz possible, 100 asked for: met\n" in said
    assert "memory          121.0 MHz possible, 120 asked for: met\n" in said
    assert Path("out/encoder.bit").read_text() == "chip\n"
    built = json.loads(Path("out/build.json").read_text())
    assert (built["seed"], built["tried"]) == (3, {"1": 0.8, "2": 0.96, "3": 1.008})
    assert built["cells"]["DP16KD"] == 9
    placements = [call for call in calls(tools) if call.startswith("nextpnr")]
    assert len(placements) == 3
    assert all("--lpf pins.lpf --textcfg chip.config" in call for call in placements)


def test_the_best_is_kept(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out", "--seeds", "2", "--json"]) == 1
    built = json.loads(capsys.readouterr().out)
    assert (built["seed"], built["timing_met"]) == (2, False)
    assert built["clocks"]["memory"] == {"asked": 120, "possible": 115.2}
    assert Path("out/encoder.bit").exists()


def test_a_clock_that_is_not_told_of(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not taken for met."""
    pretend(tools, "nextpnr-ecp5", placed(101, 121).replace("$clk", "$another"))
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out"]) == 1
    said = "place and route tells of no clock of core, but of another, clocks__1, clocks__2\n"
    assert capsys.readouterr().err.endswith(said)
    assert not Path("out/encoder.bit").exists()


def test_no_seed_that_routes(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "nextpnr-ecp5", "exit 3")
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out"]) == 1
    assert "nextpnr" in capsys.readouterr().err
    assert not Path("out/encoder.bit").exists()


def test_a_tool_that_dies_at_a_later_seed(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What an earlier seed has is kept."""
    pretend(tools, "nextpnr-ecp5", f'case "$*" in *"--seed 1"*) {placed(80, 130)};; *) exit 3;; esac')
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out", "--json"]) == 1
    built = json.loads(capsys.readouterr().out)
    assert (built["seed"], built["tried"], built["timing_met"]) == (1, {"1": 0.8}, False)
    assert Path("out/encoder.bit").exists()


def test_seeds_that_do_not_route(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another is tried; where none routes there is no bitstream."""
    line = "Info:     iter=$pass wires=10 overused=7 overuse=7 tmgfail=0 archfail=NA"
    unrouted = f'for pass in $(seq {PASSES + 2}); do echo "{line}"; done; sleep 60'
    pretend(tools, "nextpnr-ecp5", f'case "$*" in *"--seed 1"*) {unrouted};; *) {placed(101, 121)};; esac')
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tried"] == {"1": 0.0, "2": 1.008}
    pretend(tools, "nextpnr-ecp5", unrouted)
    line = ["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "none", "--seeds", "2"]
    assert main(line) == 1
    assert capsys.readouterr().err.endswith("none of the seeds 1, 2 routes on ulx3s-85f\n")
    assert not Path("none/encoder.bit").exists()


def test_more_cells_than_there_are(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is placed."""
    pretend(tools, "yosys", f"echo '{NETLIST}' > design.json; echo '{STATISTICS}' | sed s/9/209/ > cells.json")
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "-o", "out"]) == 2
    assert "209" in capsys.readouterr().err
    assert not [call for call in calls(tools) if call.startswith("nextpnr")]


def test_more_memory_than_there_is(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is synthesised."""
    assert main(["build", "ulx3s-85f", "--image", "encoder", *SMALL, "--store-words", "65536", "-o", "out"]) == 2
    assert re.search(r"takes \d+ block RAMs, must be .* smaller store_words, 65536 now", capsys.readouterr().err)
    assert not [call for call in calls(tools) if SCRIPT in call]


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--image", "encoder", "--pe", "ecp5", "--mhz", "250", "--memory-mhz", "125"],
            "mhz is 250, must be at most 187 with pe ecp5, ",
        ),
        (["--image", "encoder", "--memory", "none"], "memory is none, must be any or one of IS42S16160G-7, "),
        (["--image", "encoder", "--memory-mhz", "130"], "a clock is 130 MHz, the nearest that the PLL makes beside "),
        (["--image", "encoder", "--mhz", "80"], "mhz is 80, the nearest that the PLL makes of 25 MHz is 75"),
        (["--image", "encoder", "--port-bytes", "1"], "port_bytes is 1, must be "),
        (["--memory-mhz", "120"], "memory_mhz is no parameter of the self-test; give --image encoder"),
        (["--store-words", "64"], "store_words is no parameter of the self-test; give --image encoder"),
    ],
)
def test_bad_input(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "ulx3s-85f", *flags]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"nmgen: {message}")
    assert said.err.count("\n") == 1
