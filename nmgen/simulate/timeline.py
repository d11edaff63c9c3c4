"""The picture of a program's run: which instruction was executed when."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmgen.compiler.program import Program
from rtl.sta.isa import Columns, Op

LANES = {
    "look-up": "#7a6fb0",
    "linear": "#2f6db5",
    "scores": "#3aa39f",
    "context": "#8abf5a",
    "norm": "#e0a03c",
    "table": "#9aa5b1",
    "pool": "#c8553d",
    "load, store": "#6b7480",
}
BLOCK = re.compile(r"layer\.(\d+)\.")


def lane(instruction: dict[str, int]) -> str:
    """The kind of an instruction, a key of LANES."""
    opcode = Op(instruction.get("opcode", 0))
    if opcode == Op.PRODUCT:
        return {Columns.MEMORY: "linear", Columns.KEYS: "scores", Columns.VALUES: "context"}[
            Columns(instruction.get("columns", 0))
        ]
    return {Op.GATHER: "look-up", Op.NORM: "norm", Op.TABLE: "table", Op.POOL: "pool"}.get(opcode, "load, store")


def draw(program: Program, spans: Sequence[tuple[int, int]], title: str, file: Path) -> None:
    """Write a PNG: instructions as bars by kind over cycles, above of the whole program, below of one block.

    Parameters
    ----------
    spans : of each instruction, the cycle in which it begins and the one in which it is finished
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = [lane(instruction) for instruction in program.instructions]
    blocks = _blocks(program.names, spans)
    figure, axes = pyplot.subplots(
        2 if blocks else 1, 1, figsize=(11, 6.2 if blocks else 3.2), layout="constrained", squeeze=False
    )
    whole = axes[0, 0]
    _bars(whole, kinds, spans)
    for number, (begin, end) in blocks.items():
        if number % 2 == 0:
            whole.axvspan(begin, end, color="#eef2f6", zorder=0)
        whole.text((begin + end) / 2, -0.75, f"block {number}", ha="center", va="bottom", fontsize=8, color="#46505c")
    whole.set_title(title, loc="left", pad=18, fontsize=11)
    if blocks:
        number = sorted(blocks)[len(blocks) // 2]
        begin, end = blocks[number]
        inside = [i for i, (first, last) in enumerate(spans) if begin <= first and last <= end]
        near = axes[1, 0]
        _bars(near, [kinds[i] for i in inside], [spans[i] for i in inside])
        for i in inside:
            first, last = spans[i]
            name = program.names[i].removesuffix(".dense").rpartition(".")[2]
            if last - first > len(name) * (end - begin) / 130 and kinds[i] == "linear":
                near.text((first + last) / 2, _row(kinds[i]), name, ha="center", va="center", fontsize=8, color="white")
        near.set_xlim(begin, end)
        near.set_title(f"block {number} alone", loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("cycles from the start")
    figure.savefig(file, dpi=130, format="png")
    pyplot.close(figure)


def _bars(axes: Any, kinds: Sequence[str], spans: Sequence[tuple[int, int]]) -> None:
    """Bars of which none is thinner than is seen, however short its instruction is."""
    shown = max(end for _, end in spans) - min(begin for begin, _ in spans)
    gap = shown / 1500  # between bars that are wide enough
    least = shown / 650  # two pixels
    for kind, colour in LANES.items():
        of_kind = [span for span, one in zip(spans, kinds, strict=True) if one == kind]
        bars = [_bar(begin, end - (gap if end - begin > 10 * gap else 0), least) for begin, end in of_kind]
        axes.broken_barh(bars, (_row(kind) - 0.36, 0.72), facecolor=colour, linewidth=0)
    axes.set_yticks(range(len(LANES)), LANES)
    axes.set_ylim(len(LANES) - 0.4, -0.6)
    axes.set_xlim(0, max(end for _, end in spans))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#e3e8ee", linewidth=0.6)
    axes.set_axisbelow(True)


def _bar(begin: float, end: float, least: float) -> tuple[float, float]:
    """(begin, width), widened about its middle where it is less."""
    width = max(end - begin, least)
    return max(0.0, (begin + end - width) / 2), width


def _row(kind: str) -> int:
    return list(LANES).index(kind)


def _blocks(names: Sequence[str], spans: Sequence[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """From the first instruction of each block to its last."""
    found: dict[int, tuple[int, int]] = {}
    for name, (begin, end) in zip(names, spans, strict=True):
        if match := BLOCK.search(name):
            number = int(match[1])
            found[number] = (found.get(number, (begin, end))[0], end)
    return found
