"""Tables for people: in columns where the terminal has room for them, else one fact a line."""

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

PIPE = 132  # columns where there is no terminal: enough for the names that models give their layers
FIRST = 20  # columns that the first column is left with at least: longer names are folded
FRAME = 3  # columns around a cell

Row = Sequence[str]


def show(headings: Row, rows: Sequence[Row], *, title: str = "", caption: str = "", left: Collection[str] = ()) -> None:
    """Print a table on stdout. left : headings of columns of text, beside the first; the others are of numbers"""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else PIPE, markup=False, highlight=False)
    console.print(fitted(console.width, headings, rows, title=title, caption=caption, left=left))


def fitted(
    width: int, headings: Row, rows: Sequence[Row], *, title: str = "", caption: str = "", left: Collection[str] = ()
) -> "Table | Text":
    """A table for so many columns, as `show` prints it."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    widths = [max(map(cell_len, column)) + FRAME for column in zip(headings, *rows, strict=True)]
    if min(widths[0], FIRST) + sum(widths[1:]) + 1 > width:
        return Text(_stacked(headings, rows, title, caption))
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        caption=Text(caption) if caption else None,
        caption_justify="left",
    )
    for number, heading in enumerate(headings):
        first = number == 0
        table.add_column(
            heading,
            justify="left" if first or heading in left else "right",
            overflow="fold",
            no_wrap=not first,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _stacked(headings: Row, rows: Sequence[Row], title: str, caption: str) -> str:
    """Each row as its name and, below it, a line for each of its facts."""
    longest = max(map(len, headings[1:]), default=0)
    lines = [title] if title else []
    for name, *facts in rows:
        lines.append(name)
        lines += [f"  {heading:{longest}}  {fact}" for heading, fact in zip(headings[1:], facts, strict=True) if fact]
    return "\n".join([*lines, *([caption] if caption else [])])
