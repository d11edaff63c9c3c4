"""An HTML document and its parts: facts, tables, bars, pictures. What is given is text, whatever signs it has."""

import json
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from nmgen.console.files import written_whole

# Nothing is fetched, whatever a name in the data says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table. left : headings of columns of text, beside the first; the others are of numbers"""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[str] = ()
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Bars from 0. rows : name, length and, beside the bar, what it is"""

    title: str
    rows: Sequence[tuple[str, float, str]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG. about : what it shows, for who does not see it"""

    title: str
    png: bytes
    about: str


def facts_page(
    title: str,
    facts: Sequence[tuple[str, str]],
    *,
    tables: Sequence[Table] = (),
    bars: Sequence[Bars] = (),
    pictures: Sequence[Picture] = (),
    notes: Sequence[str] = (),
) -> str:
    """A page of results: facts (name, value), notes, bars, pictures, tables, in this order."""
    parts = [
        facts_list(facts),
        *map(paragraph, notes),
        *map(_bars, bars),
        *map(_picture, pictures),
        *map(table, tables),
    ]
    return document(title, "\n".join(parts))


def write_page(path: Path, page: str) -> None:
    """A byte of a file's name that is no character is written by its number."""
    with written_whole(path) as file:
        file.write_text(page, encoding="utf-8", errors="backslashreplace")


def document(title: str, body: str, *, data: Mapping[str, Any] | None = None, scripts: Sequence[str] = ()) -> str:
    """The whole document.

    body : HTML, below the title
    data : what scripts find as JSON in the element `data`
    scripts : names of files of this folder
    """
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_file('page.css')}</style>",
        "</head>",
        "<body>",
        f"<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>",
    ]
    if data is not None:
        lines.append(f'<script type="application/json" id="data">{_json(data)}</script>')
    if scripts:
        lines.append("<script>\n" + "\n".join(map(_file, scripts)) + "</script>")
    return "\n".join([*lines, "</body>", "</html>", ""])


def section(title: str, inside: str, *, name: str = "") -> str:
    """A part with a heading. inside : HTML; name : its id"""
    return f"<section{_id(name)}>\n<h2>{escape(title)}</h2>\n{inside}\n</section>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def facts_list(facts: Sequence[tuple[str, str]]) -> str:
    """Names and values."""
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return '<dl class="facts">\n' + "\n".join(pairs) + "\n</dl>"


def table(given: Table) -> str:
    """A section with a table."""
    texts = [number == 0 or heading in given.left for number, heading in enumerate(given.headings)]
    head = _row("th", given.headings, texts, ' scope="col"')
    rows = [_row("td", row, texts) for row in given.rows]
    inside = "\n".join(["<thead>", head, "</thead>", "<tbody>", *rows, "</tbody>"])
    below = f'\n<p class="quiet">{escape(given.caption)}</p>' if given.caption else ""
    return section(given.title, f'<div class="wide"><table>\n{inside}\n</table></div>{below}')


def _row(cell: str, values: Sequence[str], texts: Sequence[bool], further: str = "") -> str:
    kinds = ("" if text else ' class="number"' for text in texts)
    cells = (f"<{cell}{further}{kind}>{escape(value)}</{cell}>" for value, kind in zip(values, kinds, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _bars(given: Bars) -> str:
    """A table whose second column is the bars, each a share of the longest."""
    longest = max([0.0, *(length for _, length, _ in given.rows)]) or 1
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="bar"><span style="width:{max(length, 0) / longest:.2%}"></span></td>'
        f'<td class="number">{escape(said)}</td></tr>'
        for name, length, said in given.rows
    )
    return section(given.title, f'<table class="bars">\n<tbody>\n{rows}\n</tbody>\n</table>')


def _picture(given: Picture) -> str:
    source = f"data:image/png;base64,{b64encode(given.png).decode()}"
    return section(given.title, f'<img src="{source}" alt="{escape(given.about)}">')


def _id(name: str) -> str:
    return f' id="{escape(name)}"' if name else ""


def _json(data: Mapping[str, Any]) -> str:
    """JSON that ends no script element and begins no comment in it, and says the same."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
