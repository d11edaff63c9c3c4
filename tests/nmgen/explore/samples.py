"""Candidates of a tiny model, and what a search of them needs."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from nmgen.explore.candidates import Candidate, open_candidates
from nmgen.explore.counting import Counted, Work, count
from nmgen.explore.workers import Task
from nmgen.fpga.place_and_route import OwnTools
from pruning.files.artefact import save
from tests.nmgen.encoders import artefact

SIZES: dict[str, Any] = {"hidden": 16, "heads": 2, "inner": 24, "layers": 1}
SCORES = {"4:8": 0.97, "2:8": 0.91, "1:4": 0.85}
# A space in which a model of that size has more and fewer words than it needs: some of its pairs have no program.
SPACE: dict[str, tuple[Any, ...]] = {
    "n": (1, 2),
    "m": (4, 8),
    "rows": (2, 3),
    "cols": (2, 4),
    "drain": (2,),
    "port_bytes": (4,),
    "max_k": (32,),
    "pe": ("portable",),
    "hidden": (16,),
    "store_words": (16, 20, 24, 28, 32, 40, 64, 256),
}


def write_candidates(folder: Path, patterns: Sequence[str] = ("4:8", "2:8"), **sizes: int) -> Path:
    """A folder of artefacts and their report, as `nmgen prune` leaves it."""
    folder.mkdir(parents=True)
    entries = []
    for pattern in patterns:
        whole = artefact(**(SIZES | sizes), pattern=pattern)
        file = folder / f"{pattern.replace(':', 'of')}.safetensors"
        save(file, whole.layers.values(), whole.model)
        entries.append({"artefact": file.name, "int8": {"cosine": SCORES.get(pattern, 0.5)}})
    (folder / "report.json").write_text(json.dumps({"candidates": entries}))
    return folder


def candidates(folder: Path, patterns: Sequence[str] = ("4:8", "2:8"), **sizes: int) -> list[Candidate]:
    return open_candidates([str(write_candidates(folder, patterns, **sizes))])


def space_file(path: Path, values: dict[str, tuple[Any, ...]]) -> Path:
    path.write_text("".join(f"{name} = {json.dumps(list(of))}\n" for name, of in values.items()))
    return path


counted_once = cache(count)  # what several tests ask for


class Here:
    """Counts in this process, the last task first, and keeps what it was asked."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def count(self, tasks: Sequence[Task], work: Work) -> list[tuple[int, Counted]]:
        self.tasks += tasks
        return [(number, counted_once(*task, work)) for number, task in reversed([*enumerate(tasks)])]

    def tools(self) -> OwnTools:
        return OwnTools()

    @property
    def at_a_time(self) -> int:
        return 2

    def close(self) -> None:
        pass
