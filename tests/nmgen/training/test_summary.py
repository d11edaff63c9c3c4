"""What a person sees of a report of `nmgen prune`."""

import re
from pathlib import Path
from typing import Any

import pytest

from nmgen.training.summary import budget_lines, series_table, summary_page
from tests.nmgen.page.reader import Reader


def series(*scores: float, dense: float = 1.0) -> dict[str, Any]:
    """Of candidates of these scores, of which each has a layer more than the one before."""
    return {
        "model": "models/small",
        "method": "magnitude",
        "dense": {"float": {"mean": dense}},
        "candidates": [
            {
                "name": f"{number}of8",
                "plan": {f"layer.{layer}": f"{number}:8" for layer in range(number)},
                "density": number / 8,
                "bytes": 1000 * number,
                "dense_bytes": 6000,
                "float": {"mean": score + 0.01},
                "int8": {"mean": score},
            }
            for number, score in enumerate(scores, start=1)
        ],
    }


BUDGET = {"cycles": 1234, "budget": 1500, "dense": 9000, "least": 1000, "patterns": "2 × 2:8"}
SENSITIVITY = {"kind": "trained", "layers": {"layer.0": {"1:8": 0.123456, "8:8": 0.0}}}


@pytest.mark.parametrize(("dense", "said"), [(1.0, ("0.7300", "0.7200")), (88.1, ("0.73", "0.72"))])
def test_table(dense: float, said: tuple[str, str]) -> None:
    table = series_table(Path("out"), series(0.72, dense=dense))
    assert table.title == "out: Spearman · 100, mean of the files"
    assert table.rows[0] == ("dense model", "", "", "", "", f"{dense:.2f}" if dense > 1 else "1.0000", "")
    assert table.rows[1] == ("1of8", "12.5%", "1,000", "16.7%", "", *said)


def test_budgets() -> None:
    said = "a plan of 1,234 cycles within {} (dense takes 9,000, the sparsest patterns 1,000): 2 × 2:8"
    report = {"budgets": [BUDGET, BUDGET | {"budget": 1400}]}
    assert budget_lines(report) == [said.format("1,500"), said.format("1,400")]
    assert budget_lines(series()) == []


def test_page(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    report = series(0.5, 0.75) | {"budgets": [BUDGET], "sensitivity": SENSITIVITY, "warning": "little text"}
    page = summary_page(report, series_table(Path("out"), report), tmp_path / "a.png")
    read = Reader(page)
    assert read.texts[1] == "small, pruned"
    assert read.facts == {"model": "models/small", "method": "magnitude"}
    assert budget_lines(report)[0] in read.texts
    assert "little text" in read.texts
    assert re.findall("width:(.*?)%", page.split("<body>")[1]) == ["100.00", "50.00", "75.00"]
    plans = read.texts[read.texts.index("Pattern of each layer") + 1 :]
    assert plans[:9] == ["layer", "1of8", "2of8", "layer.0", "1:8", "2:8", "layer.1", "dense", "2:8"]
    assert plans[9] == "Rise of the loss with one layer alone pruned, after a few steps of training"
    assert plans[10:] == ["layer", "1:8", "8:8", "layer.0", "0.12346", "0.00000"]
    assert sum(name == "img" for name, _ in read.elements) == 1


def test_page_of_a_dense_model_alone() -> None:
    report = series()
    assert "In int8" not in summary_page(report, series_table(Path("out"), report), None)
