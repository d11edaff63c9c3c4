"""The page of a search that was really made: what it shows is what front.json has, what it copies runs."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from nmgen.cli import main
from nmgen.explore import workers
from tests.nmgen.explore.samples import SPACE, Here, space_file, write_candidates
from tests.nmgen.page.browser import Page, browser

FEW = SPACE | {
    "n": (1, 2),
    "m": (8,),
    "rows": (1, 2),
    "cols": (2, 4),
    "store_words": (32, 64),
    "pe": ("ecp5", "portable"),
}
ENGINES = {name: of for name, of in FEW.items() if name not in ("hidden", "store_words")}


@pytest.mark.parametrize(
    ("kind", "space"),
    [pytest.param("core", FEW, marks=pytest.mark.nightly, id="core"), pytest.param("engine", ENGINES, id="engine")],
)
def test_the_page_of_a_search(
    kind: str, space: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each design of the front, chosen in the table: its numbers, and a command that makes its Verilog."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "Processes", lambda jobs: Here())
    write_candidates(Path("found"))
    line = ["explore", "found", "--seq", "7", "--kind", kind, "--space", str(space_file(Path("few.toml"), space))]
    assert main([*line, "-o", "out"]) == 0
    found = json.loads(Path("out/front.json").read_text())
    commands: dict[str, dict[str, Any]] = {}
    with browser() as one:
        page = Page(one, Path("out/report.html"))
        assert page.text("#count").endswith(" points shown")
        assert page.count("#plot .mark.front") == len(found["front"])
        page.click("#front")
        assert page.count("#points tbody tr") == len(found["front"]) > 2
        headings = page.texts("#points thead th")
        for row, number in enumerate(found["front"], start=1):
            (point,) = (design for design in found["points"] if design["id"] == number)
            own = f"#points tbody tr:nth-child({row})"
            said = dict(zip(headings, page.texts(f"{own} td"), strict=True))
            assert said["configuration"] == point["label"]
            assert said["cycles"] == f"{point['cycles']:,}"
            assert said["LUTs"] == f"{point['luts']:,}"
            assert said["block RAMs"] == f"{point['block_rams']:,}"
            assert said["multipliers"] == f"{point['multipliers']:,}"
            assert said["held by"] == point["held_by"]
            assert float(said["ms"]) == pytest.approx(point["ms"], rel=5e-3)
            page.click(f"{own} td")
            assert page.text("#chosen h2") == f"Chosen: {point['label']}, {point['candidate']}"
            assert page.text("#command") == point["command"]
            commands[page.text("#command")] = point["configuration"]
        assert page.complaints() == []
        assert page.requests() == []
    # Commands differ where designs do, and one of each kind of elements runs.
    assert len(commands) == len({json.dumps(one) for one in commands.values()})
    assert len({shlex.split(command)[-1] for command in commands}) == len(commands)
    by_pe = {configuration["pe"]: command for command, configuration in commands.items()}
    for command in by_pe.values():
        program, *words = shlex.split(command)
        assert program == "nmgen"
        assert main(words) == 0
        made = json.loads((Path(words[-1]) / "manifest.json").read_text())
        assert made["parameters"] == commands[command]
