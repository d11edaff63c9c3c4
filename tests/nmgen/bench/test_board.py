"""The tables of the encoder's image: parts, clocks over seeds, MiniLM on it."""

import json
from pathlib import Path

import pytest

from nmgen.bench import board as bench_board
from nmgen.bench.board import IMAGES, LOADS, Load, components, main
from tests.nmgen.fpga.test_encoder_image import NETLIST, files, placed
from tests.nmgen.tools import VERSION, calls, pretend, pretend_all

CELLS = {
    "encoder": {"encoder.encoder": 1, "TRELLIS_IO": 4},
    "encoder.encoder": {"encoder.encoder.sta": 1, "encoder.encoder.memory": 1, "encoder.encoder.sweep": 1, "LUT4": 3},
    "encoder.encoder.sta": {"encoder.encoder.sta.array": 1, "encoder.encoder.sta.softmax_0": 1}
    | {"encoder.encoder.sta.softmax_11$7": 1, "LUT4": 5},
    "encoder.encoder.sta.array": {"MULT18X18D": 128, "LUT4": 100, "CCU2C": 10},
    "encoder.encoder.sta.softmax_0": {"LUT4": 20, "TRELLIS_FF": 8},
    "encoder.encoder.sta.softmax_11$7": {"LUT4": 21, "DP16KD": 1},
    "encoder.encoder.memory": {"LUT4": 30, "TRELLIS_DPR16X4": 4},
    "encoder.encoder.sweep": {"TRELLIS_FF": 9},
}
STATISTICS = {
    "design": {"num_cells_by_type": {"LUT4": 900, "TRELLIS_DPR16X4": 10, "DP16KD": 208, "MULT18X18D": 152}},
    "modules": {f"\\{name}": {"num_cells_by_type": cells} for name, cells in CELLS.items()},
}


def test_parts_that_are_alike_are_told_together() -> None:
    rows = components(STATISTICS, "encoder.encoder")
    assert [name for name, _ in rows] == ["sta", "– array", "– softmax_# ×2", "memory", "sweep"]
    assert dict(rows)["sta"] == {"LUTs": 166, "block RAM": 1, "multipliers": 128, "FF": 8}
    assert dict(rows)["– softmax_# ×2"] == {"LUTs": 41, "block RAM": 1, "multipliers": 0, "FF": 8}
    assert dict(rows)["memory"]["LUTs"] == 46


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the first image seed 2 meets both clocks; the second one's are missed, and seed 3 does not route."""
    folder = tmp_path / "tools"
    router = f"""case "$* $(grep -c SECOND pins.lpf)" in
        *"--seed 3"*1) echo '{{"fmax": {{"none": {{"achieved": 0}}}}, "unrouted": "no"}}' > placed.json;;
        *1) {placed(95, 125)};;
        *"--seed 1"*) {placed(99, 140)};;
        *"--seed 2"*) {placed(110, 130)};;
        *) {placed(120, 110)};;
    esac"""
    scripts = {
        "yosys": f"echo '{NETLIST}' > design.json; cp {tmp_path}/counted cells.json",
        "nextpnr-ecp5": router,
    }
    (tmp_path / "counted").write_text(json.dumps(STATISTICS))
    pretend_all(folder, scripts, monkeypatch)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("before\n<!-- board: begin -->\n<!-- board: end -->\nafter\n")
    monkeypatch.setattr(
        "boards.encoder_image.files_of",
        lambda board, config, name: {  # two designs: what is the same is synthesised once
            ".v": f"// M = {config.sta.m}\n{files()['.v']}",
            ".lpf": "# SECOND\n" if config.sta.m == 16 else "# FIRST\n",
        },
    )
    monkeypatch.setattr(bench_board, "ROOT", tmp_path)
    monkeypatch.setattr(bench_board, "FOLDER", tmp_path / "build" / "bench-board")
    monkeypatch.setattr(bench_board, "cycles", lambda image, load: 1_000_000 * load.sentences + image.config.m)
    monkeypatch.setattr("nmgen.bench.cpu_time.milliseconds", lambda tokens, kind, sentences: 7.0 + sentences)
    return folder


def test_page(tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "docs/results.md, build/bench-board/" in capsys.readouterr().out
    page = (tmp_path / "docs" / "results.md").read_text()
    met = "| 99.0 / **110.0** / 120.0 | 110.0 / **130.0** / 140.0 | 400.0 / **400.0** / 400.0 | 1 of 3 |"
    missed = "| – / **95.0** / 95.0 | – / **125.0** / 125.0 | – / **400.0** / 400.0 | 0 of 3 |"
    for part in (
        f"3 seeds, with {VERSION} and {VERSION}.",
        "Images of `nmgen build ulx3s-85f --image encoder --m 8` and ",
        "`nmgen build ulx3s-85f --image encoder --m 16 --store-words 1536`: asked for are ",
        "| image | LUTs | block RAM | multipliers | FF | core, MHz | memory, MHz | memory's pin, MHz | ",
        f"| 8×8, N = 2, M = 8, ecp5 | 940 (1%) | 208 (100%) | 152 (97%) | 0 (0%) {met}",
        f"| 8×8, N = 2, M = 16, ecp5 | 940 (1%) | 208 (100%) | 152 (97%) | 0 (0%) {missed}",
        "| – array | 120 | 0 | 128 | 0 |",
        "| 128 | 2:8 | M = 8 | 1,000,008 | 9.1 | 110 | 8.0 | 8.0 |",
        "| 4 × 32 | 1:8 | M = 16 | 4,000,016 | 42.1 | 95 | 11.0 | 11.0 |",
    ):
        assert part in page, page
    assert len(calls(tools)) == 3 + 2 * 3
    assert main([]) == 0
    assert len(calls(tools)) == 3 + 2 * 3, "all of it is kept"
    assert main(["--m", "16", "--seeds", "1"]) == 0
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "`make bench-board` writes these tables (`python -m nmgen.bench.board --m 16`); last run on " in page
    assert "1 seed, with" in page
    assert "2:8" not in page


def test_no_seed_routes(tools: Path, tmp_path: Path) -> None:
    """Cycles are told, and no time."""
    none = json.dumps({"fmax": {"none": {"achieved": 0}}, "unrouted": "no"})
    pretend(tools, "nextpnr-ecp5", f"echo '{none}' > placed.json")
    assert main(["--seeds", "1"]) == 0
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "| 128 | 2:8 | M = 8 | 1,000,008 | – | – | 8.0 | 8.0 |" in page


def test_what_is_run() -> None:
    assert [load.title for load in LOADS] == ["128", "32", "4 × 32"]
    assert {(image.config.n, image.config.m, image.pattern) for image in IMAGES} == {(2, 8, "2:8"), (2, 16, "1:8")}
    assert Load(9).sentences == 1


@pytest.mark.parametrize(("flag", "message"), [("--seeds", "seeds is 0"), ("--jobs", "jobs is 0")])
def test_bad_input(flag: str, message: str, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag, "0"]) == 2
    assert capsys.readouterr().err.endswith(f"bench-board: {message}, must be at least 1\n")
    assert not calls(tools)
