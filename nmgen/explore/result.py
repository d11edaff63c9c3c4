"""What a search leaves: front.json, points.csv, report.html."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmgen.console.files import written_whole
from nmgen.page.explore import explore_page

JSON, CSV, HTML = "front.json", "points.csv", "report.html"
# Of a point, in this order; its configuration follows, then what holds it.
COLUMNS = (
    "id", "front", "candidate", "accuracy", "cycles", "mhz", "ms", "luts", "registers", "block_rams", "multipliers",
    "utilisation", "bytes",
)  # fmt: skip


def write(found: Mapping[str, Any], out: Path) -> None:
    """All three files, each whole or not at all.

    found : as `nmgen.page.explore.explore_page` takes it

    Raises
    ------
    InputError, OSError : the folder cannot be written to.
    """
    front = set(found["front"])
    on_front = {**found, "points": [one for one in found["points"] if one["id"] in front]}
    for name, text in (
        (JSON, json.dumps(on_front, indent=2) + "\n"),
        (CSV, _table(found["points"])),
        (HTML, explore_page(found)),
    ):
        with written_whole(out / name) as file:
            file.write_text(text, encoding="utf-8", newline="")


def _table(points: Sequence[Mapping[str, Any]]) -> str:
    parameters = list(points[0]["configuration"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *parameters, "held_by"])
    for one in points:
        own = [one[name] for name in COLUMNS]
        writer.writerow([*own, *(one["configuration"][name] for name in parameters), one["held_by"]])
    return text.getvalue()
