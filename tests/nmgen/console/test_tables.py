"""Tables: in columns where there is room, a fact a line where there is not; readable either way."""

import io

import pytest
from rich.console import Console

from nmgen.console import tables

HEADINGS = ("layer", "pattern", "coding", "bytes")
NAME = "encoder.layer.0.attention.output.dense"
ROWS = [(NAME, "2:8", "index", "1,234,567"), ("short", "8:8", "counted", "89")]


def printed(width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, markup=False, highlight=False)
    console.print(tables.fitted(width, HEADINGS, ROWS, title="A", caption="B", left=("coding",)))
    return out.getvalue()


def test_wide() -> None:
    said = printed(132)
    (row,) = (line for line in said.splitlines() if NAME in line)
    assert row.split() == ["│", NAME, "│", "2:8", "│", "index", "│", "1,234,567", "│"]
    assert "│     8:8 │ counted │        89 │" in said
    assert said.splitlines()[0].strip() == "A"
    assert said.splitlines()[-1].strip() == "B"


def test_long_names_are_folded_first() -> None:
    said = printed(60)
    assert "1,234,567" in said
    assert NAME not in said
    assert "encoder.layer.0" in said
    assert max(map(len, said.splitlines())) <= 60


@pytest.mark.parametrize("width", [40, 44])
def test_narrow(width: int) -> None:
    """No number is cut or folded at 40 columns."""
    assert printed(width).splitlines() == [
        "A",
        NAME,
        "  pattern  2:8",
        "  coding   index",
        "  bytes    1,234,567",
        "short",
        "  pattern  8:8",
        "  coding   counted",
        "  bytes    89",
        "B",
    ]


def test_nothing_is_said_of_what_is_not_there() -> None:
    said = tables.fitted(10, ("a", "one", "two"), [("x" * 9, "", "3")])
    assert str(said) == "xxxxxxxxx\n  two  3"
