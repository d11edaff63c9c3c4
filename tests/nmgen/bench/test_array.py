"""`make bench-array` with tools that only pretend: the table, the plot, what is asked for, dying tools, bad input."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nmgen.bench import array as bench_array
from nmgen.bench.array import BOARD, PEERS, Row, asked, main, rows, section
from nmgen.fpga.report import Report
from nmgen.fpga.targets import find_target
from rtl.params import Config
from tests.nmgen.tools import NETLIST, VERSION, calls, pretend, pretend_all

TINY = Config(n=2, m=2, rows=1, cols=1, max_k=32)
ROWS = [
    Row(config=replace(TINY, pe="ecp5", device="LFE5U-85F"), least_mhz=200, most_luts=48),
    Row(config=TINY, least_mhz=190, most_luts=40, most_share=0.6),
    Row(config=TINY, target="ice40-up5k"),
]
# 84 LUT equivalents of two multipliers; an iCE40 has cells of its own.
CELLS = '{"design": {"num_cells_by_type": {"LUT4": 80, "CCU2C": 2, "TRELLIS_FF": 1300, "DP16KD": 3, "MULT18X18D": 2}}}'
ICE_CELLS = '{"design": {"num_cells_by_type": {"SB_LUT4": 50, "SB_DFFE": 7}}}'
SYNTHESIS = (
    f"if grep -q synth_ice40 synth.ys; then echo '{ICE_CELLS}'; else echo '{CELLS}'; fi > cells.json;"
    f" echo '{NETLIST}' > design.json"
)
PLACE = """
while [ $# -gt 0 ]; do case $1 in --seed) seed=$2;; --report) report=$2;; esac; shift; done
echo '{"fmax": {"clk": {"achieved": '$((190 + seed * 5))'}}}' > $report
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which yosys and nextpnr-ecp5 lie; the bench writes beside it."""
    folder = tmp_path / "tools"
    pretend_all(
        folder,
        {"yosys": SYNTHESIS, "nextpnr-ecp5": PLACE},
        monkeypatch,
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("before\n<!-- array: begin -->\n<!-- array: end -->\nafter\n")
    monkeypatch.setattr(bench_array, "ROOT", tmp_path)
    monkeypatch.setattr(bench_array, "FOLDER", tmp_path / "build" / "report")
    monkeypatch.setattr(bench_array, "rows", lambda: ROWS)
    return folder


def test_page_and_plot(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "3 arrays: docs/results.md, docs/array.png, build/report/array.json" in capsys.readouterr().out
    page = (tmp_path / "docs" / "results.md").read_text()
    for part in (
        f"with\n{VERSION} and {VERSION}.",
        "`nextpnr-ecp5 --freq 200 --router\nrouter1`, seeds 1 to 3;",
        "| 1×1, N = 2, M = 2, ecp5 | LFE5U-85F | 2 | 2 | 80 | 2 | 1,300 | 3 | 42.0 | 195.0 / **200.0** / 205.0 | 0.4 "
        "| ≥ 200 MHz met, ≤ 48 LUT-eq met |",
        "| ≥ 190 MHz met, ≤ 40 LUT-eq **missed**, ≤ 60% of the LUTs met |",
        "| 1×1, N = 2, M = 2, portable | iCE40 UP5K | 2 | 0 | 50 | 0 | 7 | 0 | 25.0 | – | – | – |",
        f"{PEERS[0].name}: 100.6 MHz, 59 LUT-eq a multiplier",
        "nextpnr times no port of an ALU54B",
        "FPGA-DS-02012",
    ):
        assert part in page, page
    assert (tmp_path / "docs" / "array.png").stat().st_size > 10_000
    numbers = json.loads((tmp_path / "build" / "report" / "array.json").read_text())
    assert [one["target"] for one in numbers] == [BOARD, BOARD, "ice40-up5k"]
    assert numbers[0]["config"]["pe"] == "ecp5"
    assert len(calls(tools)) == 3 + 2 * 3


def test_json_writes_no_page(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "results.md"
    before = page.read_text()
    assert main(["--json", "--seeds", "1", "--jobs", "1"]) == 0
    assert [one["mhz"] for one in json.loads(capsys.readouterr().out)] == [[195], [195], []]
    assert page.read_text() == before
    assert not (tmp_path / "docs" / "array.png").exists()


def test_a_tool_that_dies(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written; what the others made is kept."""
    pretend(tools, "nextpnr-ecp5", f'case "$*" in *"--seed 3") echo ERROR: full; exit 1;; esac\n{PLACE}')
    page = (tmp_path / "docs" / "results.md").read_text()
    assert main([]) == 1
    said = capsys.readouterr()
    assert said.err.count("exit status 1; its last lines:\nERROR: full\n") == 2
    assert (tmp_path / "docs" / "results.md").read_text() == page
    pretend(tools, "nextpnr-ecp5", PLACE)
    before = len(calls(tools))
    assert main([]) == 0
    assert len(calls(tools)) == before + 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "seeds is 0, must be at least 1"),
        (["--jobs", "0"], "jobs is 0, must be at least 1"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"bench-array: {message}\n"
    assert not calls(tools)


def test_a_page_without_its_markers(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs" / "results.md").write_text("nothing\n")
    assert main(["--seeds", "1"]) == 2
    assert "array: begin" in capsys.readouterr().err


def test_rows_fit_their_fpgas() -> None:
    """Those that the project promises something of are there, with what it promises."""
    promised = {}
    for row in rows():
        find_target(row.target).check(row.config)
        c = row.config
        promised[c.rows, c.cols, c.n, c.m, c.pe, row.target] = row.least_mhz, row.most_luts, row.most_share
    for (rows_, cols, n, m, pe), aim in {
        (8, 8, 2, 8, "ecp5"): (200, 48, 0),
        (8, 8, 2, 8, "portable"): (110, 85, 0),
        (8, 8, 2, 4, "ecp5"): (160, 0, 0),
        (8, 8, 2, 16, "ecp5"): (160, 0, 0),
        (8, 8, 1, 8, "ecp5"): (160, 0, 0),
        (4, 8, 4, 8, "ecp5"): (160, 0, 0),
        (6, 13, 2, 8, "ecp5"): (180, 0, 0),
        (16, 8, 2, 8, "ecp5"): (110, 0, 0.6),
    }.items():
        assert promised[rows_, cols, n, m, pe, BOARD] == aim
    assert {row.target for row in rows()} == {BOARD}


def test_what_is_asked_for() -> None:
    found = Report(
        design="array", target=BOARD, config={}, multipliers=256, slices=144, luts=50_000, carries=92, registers=1,
        memories=1, lut_equivalents=50_184, mhz=(90, 109.9, 120),
    )  # fmt: skip
    row = Row(config=Config(), least_mhz=110, most_share=0.6)
    assert asked(row, found) == "≥ 110 MHz **missed**, ≤ 60% of the LUTs met"
    more = replace(found, lut_equivalents=50_185, mhz=(90, 110, 120))
    assert asked(row, more) == "≥ 110 MHz met, ≤ 60% of the LUTs **missed**"
    assert "| 256 | 144 |" in section([row], [found], [find_target(BOARD)], ["yosys", "nextpnr"], 3)
