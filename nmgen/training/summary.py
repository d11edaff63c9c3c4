"""What a person sees of the report of `nmgen prune`: a table, and a page."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from nmgen.page.document import Bars, Picture, Table, facts_page
from nmgen.training.report import headline

FORMS = ("one-shot", "float", "int8")


def layers_table(out: Path, report: Mapping[str, Any]) -> Table:
    """Of layers alone: a row for each pattern."""
    rows = []
    for result in report["artefacts"]:
        layers = result["layers"]
        weights = sum(layer["dense_bytes"] for layer in layers)
        packed = sum(layer["bytes"] for layer in layers)
        rows.append(
            (
                result["pattern"],
                result["file"],
                f"{sum(layer['density'] * layer['dense_bytes'] for layer in layers) / weights:.1%}",
                f"{packed:,}",
                f"{packed / weights:.1%}",
                f"{fmean(layer['pruning_error'] for layer in layers):.1%}",
                f"{fmean(layer['error'] for layer in layers):.1%}",
            )
        )
    return Table(
        title=f"{out}: {report['model']}, {report['method']}, linear layers: {len(report['activations'])}, "
        f"calibrated on {report['calibration_tokens']} tokens",
        headings=("pattern", "artefact", "density", "bytes", "of dense", "pruning error", "error with int8"),
        rows=rows,
        left=("artefact",),
        caption="error: of a layer's results, root mean square, mean of the layers",
    )


def series_table(out: Path, report: Mapping[str, Any]) -> Table:
    """Of whole models: a row for each candidate."""
    what, dense = headline(report["dense"]["float"])
    rows: list[tuple[str, ...]] = [("dense model", "", "", "", "", _score(dense, dense), "")]
    for entry in report["candidates"]:
        scores = [_score(headline(entry[form])[1], dense) if form in entry else "" for form in FORMS]
        share = f"{entry['bytes'] / entry['dense_bytes']:.1%}"
        rows.append((entry["name"], f"{entry['density']:.1%}", f"{entry['bytes']:,}", share, *scores))
    return Table(
        title=f"{out}: {what}",
        headings=("candidate", "density", "bytes", "of dense", "one-shot", "float", "int8"),
        rows=rows,
    )


def budget_lines(report: Mapping[str, Any]) -> list[str]:
    """What each plan within a budget of cycles takes."""
    return [
        f"a plan of {one['cycles']:,} cycles within {one['budget']:,} (dense takes {one['dense']:,}, the sparsest "
        f"patterns {one['least']:,}): {one['patterns']}"
        for one in report.get("budgets", [])
    ]


def summary_page(report: Mapping[str, Any], table: Table, picture: Path | None) -> str:
    """A page: the table that is printed, bars of it, and the patterns or errors of each layer.

    picture : PNG of accuracy against density
    """
    whole = "candidates" in report
    recipe = report.get("recipe", report)
    facts = [(name, str(recipe[name])) for name in ("model", "method", "seed") if recipe.get(name) is not None]
    notes = [*budget_lines(report), *([report["warning"]] if report.get("warning") else [])]
    about = "Accuracy of the candidates against the density of their linear layers"
    return facts_page(
        f"{Path(recipe['model']).name}, pruned",
        facts,
        notes=notes,
        bars=_scores(report) if whole else (),
        pictures=[Picture(title="Accuracy", png=picture.read_bytes(), about=about)] if picture else (),
        tables=[
            table,
            _plans(report) if whole else _errors(report),
            *([_sensitivity(report["sensitivity"])] if "sensitivity" in report else []),
        ],
    )


def _scores(report: Mapping[str, Any]) -> list[Bars]:
    """In int8, beside the dense model in float."""
    what, dense = headline(report["dense"]["float"])
    found = [(one["name"], headline(one["int8"])[1]) for one in report["candidates"] if "int8" in one]
    rows = [(name, score, _score(score, dense)) for name, score in [("dense model", dense), *found]]
    return [Bars(title=f"In int8: {what}", rows=rows)] if found else []


def _plans(report: Mapping[str, Any]) -> Table:
    candidates = report["candidates"]
    layers = dict.fromkeys(layer for one in candidates for layer in one["plan"])
    return Table(
        title="Pattern of each layer",
        headings=("layer", *(one["name"] for one in candidates)),
        rows=[(layer, *(one["plan"].get(layer, "dense") for one in candidates)) for layer in layers],
    )


def _sensitivity(found: Mapping[str, Any]) -> Table:
    after = {"one-shot": "as it is", "trained": "after a few steps of training"}[found["kind"]]
    layers = found["layers"]
    patterns = list(next(iter(layers.values())))
    return Table(
        title=f"Rise of the loss with one layer alone pruned, {after}",
        headings=("layer", *patterns),
        rows=[(name, *(f"{rises[pattern]:.5f}" for pattern in patterns)) for name, rises in layers.items()],
    )


def _errors(report: Mapping[str, Any]) -> Table:
    artefacts = report["artefacts"]
    by_layer = zip(*(result["layers"] for result in artefacts), strict=True)
    return Table(
        title="Error with int8 of each layer",
        headings=("layer", *(result["pattern"] for result in artefacts)),
        rows=[(layers[0]["name"], *(f"{layer['error']:.1%}" for layer in layers)) for layers in by_layer],
    )


def _score(score: float, dense: float) -> str:
    """A percentage has two digits, a correlation or a cosine four."""
    return f"{score:.2f}" if dense > 1 else f"{score:.4f}"
