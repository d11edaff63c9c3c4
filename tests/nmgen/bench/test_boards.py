"""`make bench-build` with tools that only pretend: a row for each image, and a reason where there is none."""

from collections import Counter
from pathlib import Path

import pytest

from nmgen.bench import boards as bench_build
from nmgen.bench.boards import Image, images, main
from nmgen.fpga.bitstream import check_size, find_board
from rtl.params import Config
from tests.nmgen.fpga.test_bitstream import NETLIST, REPORT, STATISTICS
from tests.nmgen.tools import calls, pretend, pretend_all

PLACE = f"touch selftest.tim; echo '{REPORT % 61.5}' > selftest.report.json; touch selftest.config"
TINY = Config(n=1, m=2, rows=1, cols=1, port_bytes=4, max_tokens=4, max_k=32)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the three tools; the bench writes beside it."""
    folder = tmp_path / "tools"
    synthesis = f"touch selftest.rpt; echo '{STATISTICS}' > selftest.stat.json; echo '{NETLIST}' > selftest.json"
    pretend_all(folder, {"yosys": synthesis, "nextpnr-ecp5": PLACE, "ecppack": "echo bits > selftest.bit"}, monkeypatch)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("<!-- build: begin -->\n<!-- build: end -->\n")
    monkeypatch.setattr(bench_build, "ROOT", tmp_path)
    monkeypatch.setattr(bench_build, "FOLDER", tmp_path / "build" / "boards")
    monkeypatch.setattr(bench_build, "images", lambda: [Image("ulx3s-85f", TINY), Image("icesugar-pro", TINY)])
    return folder


def test_a_row_for_each(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "results.md"
    assert main(["--most", "1"]) == 0
    assert "Still to be built: 1." in page.read_text()
    assert main([]) == 0
    text = page.read_text()
    for board in ("ulx3s-85f", "icesugar-pro"):
        assert f"| {board} | 1×1, N = 1, M = 2, portable | 900 | 61.5 | 1 | " in text
    assert text.count("| met |") == 2
    assert "to be built" not in text
    assert Counter(call.split()[0] for call in calls(tools)) == {"yosys": 2, "nextpnr-ecp5": 2, "ecppack": 2}


def test_why_there_is_none(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "yosys", "echo ERROR: full; exit 1")
    assert main(["--most", "1"]) == 0
    row = (tmp_path / "docs" / "results.md").read_text()
    assert "| – | – | – | 0 | synthesis failed: " in row
    assert "exit status 1; its last lines: ERROR: full |" in row


def test_sizes_that_the_boards_have() -> None:
    """From one element to what fits, each M, both kinds, on both boards."""
    for image in images():
        check_size(find_board(image.board), image.config)
    on = {board: [one.config for one in images() if one.board == board] for board in ("ulx3s-85f", "icesugar-pro")}
    assert [len(configs) for configs in on.values()] == [10, 3]
    assert {(c.m, c.pe) for c in on["ulx3s-85f"]} >= {(m, pe) for m in (4, 8, 16) for pe in ("portable", "ecp5")}
    assert {(c.rows, c.cols) for c in on["ulx3s-85f"]} == {(1, 1), (2, 2), (3, 4), (4, 4), (8, 8)}
