"""What a person sees of a series: the score that stands for a model, and a picture."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmgen.console.files import written_whole
from nmgen.families.interface import split_title

PLOT = "accuracy.png"  # in the folder of a series


def headline(scores: Mapping[str, Any]) -> tuple[str, float]:
    """The one score that stands for a model, and what it is."""
    if "cosine" in scores:
        return "cosine to what the dense model gives of the calibration data", scores["cosine"]
    if "mean" in scores:
        return "Spearman · 100, mean of the files", scores["mean"]
    if "accuracy" in scores:
        split = list(scores["accuracy"])[-1]
        return f"accuracy on {split_title(split)}, %", scores["accuracy"][split]
    return "cosine to the dense model's embeddings, validation", scores["validation"]["cosine"]


def plot(report: Mapping[str, Any], path: Path) -> None:
    """Accuracy against density: the candidates in float and int8, one-shot, and the dense model."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("nmgen: no plot, matplotlib is not installed: pip install 'nmgen[plot]'", file=sys.stderr)
        return
    what, dense = headline(report["dense"]["float"])
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(dense, color="grey", linewidth=1, linestyle="--", label="dense")
    for form, marker in (("float", "o"), ("int8", "x"), ("one-shot", "s")):
        found = [(entry["density"], headline(entry[form])[1]) for entry in report["candidates"] if form in entry]
        if found:
            axes.plot(*zip(*sorted(found), strict=True), marker=marker, label=form)
    axes.set_xlabel("density of the linear layers")
    axes.set_ylabel(what)
    axes.set_title(f"{report['recipe']['model']}, {report['recipe']['method']}")
    axes.legend()
    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)
