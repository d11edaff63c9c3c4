"""A program's run as a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmgen.page.document import Bars, Picture, Table, facts_page


def run_page(facts: Mapping[str, Any], rows: Sequence[tuple[str, str]], timeline: Path | None) -> str:
    """The page of a run.

    Parameters
    ----------
    facts : as `nmgen simulate --json` prints them; without instructions where the run has not ended
    rows : names and values to begin with
    timeline : a PNG
    """
    instructions = facts.get("instructions", [])
    by_opcode: dict[str, int] = {}
    for one in instructions:
        by_opcode[one["opcode"]] = by_opcode.get(one["opcode"], 0) + _cycles(one)
    spent = sorted(by_opcode.items(), key=lambda pair: -pair[1])
    total = sum(by_opcode.values())
    bars = [(opcode, float(cycles), f"{cycles:,} cycles, {cycles / total:.1%}") for opcode, cycles in spent]
    told = []
    for one in instructions:
        counts = (one["begin"], one["end"], _cycles(one), one["estimate"])
        told.append((one["name"], one["opcode"], *(f"{count:,}" for count in counts)))
    headings = ("instruction", "opcode", "begins", "ends", "cycles", "estimated")
    about = "Instructions as bars over cycles, a row for each kind"
    return facts_page(
        f"{Path(facts['program']).name} on the Verilog",
        rows,
        notes=facts["wrong"],
        bars=[Bars(title="Cycles of each opcode", rows=bars)] if bars else [],
        pictures=[Picture(title="Timeline", png=timeline.read_bytes(), about=about)] if timeline else [],
        tables=[Table(title="Instructions", headings=headings, rows=told, left=("opcode",))] if told else [],
    )


def _cycles(instruction: Mapping[str, Any]) -> int:
    cycles: int = instruction["end"] - instruction["begin"]
    return cycles
