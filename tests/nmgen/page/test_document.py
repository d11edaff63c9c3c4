"""Pages of results: their parts, what is text stays text, and the same bytes for the same input."""

import json
import re
from pathlib import Path

import pytest

from nmgen.page.document import Bars, Picture, Table, document, facts_page, write_page
from rtl.params import InputError
from tests.nmgen.page.reader import NASTY, Reader

PNG = b"\x89PNG\r\n\x1a\n"


def whole() -> str:
    return facts_page(
        NASTY,
        [("cycles", "1,234"), (NASTY, NASTY)],
        notes=[NASTY],
        bars=[Bars(title=NASTY, rows=[(NASTY, 3.0, NASTY), ("half", 1.5, "1.5 of them"), ("none", 0.0, "0")])],
        pictures=[Picture(title=NASTY, png=PNG, about=NASTY)],
        tables=[Table(title=NASTY, headings=("a", NASTY), rows=[(NASTY, "7")], left=(NASTY,), caption=NASTY)],
    )


def test_text_stays_text() -> None:
    page = Reader(whole())
    assert not page.open
    assert {name for name, _ in page.elements}.isdisjoint({"b", "script"})
    # title and h1, a fact's two, note, bars' three, picture's title, table's title, heading, cell and caption
    assert page.texts.count(NASTY) == 2 + 2 + 1 + 3 + 1 + 4
    (picture,) = (attributes for name, attributes in page.elements if name == "img")
    assert picture == {"src": "data:image/png;base64,iVBORw0KGgo=", "alt": NASTY}


def test_bars_are_shares_of_the_longest() -> None:
    assert re.findall(r"width:([\d.]+%)", whole().split("<body>")[1]) == ["100.00%", "50.00%", "0.00%"]


def test_numbers_are_right_and_text_is_left() -> None:
    page = facts_page("t", [], tables=[Table(title="t", headings=("a", "b", "c"), rows=[("x", "1", "y")], left=("c",))])
    assert '<td>x</td><td class="number">1</td><td>y</td>' in page


def test_nothing_that_is_not_given_is_there() -> None:
    assert [name for name, _ in Reader(facts_page("t", [("a", "b")])).elements if name in ("section", "p")] == []


def test_the_same_bytes() -> None:
    assert whole() == whole()


def test_data_comes_back_and_ends_no_script() -> None:
    data = {NASTY: [NASTY, 0.1, None, "×", "<!--"]}
    page = document("t", "", data=data)
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert json.loads(text) == data
    assert "<" not in text


def test_scripts_do_not_end_themselves() -> None:
    page = Reader(document("t", "<p>x</p>", scripts=("plot.js", "explore.js")))
    assert page.texts == ["t", "t", "x"]


def test_written_whole_whatever_a_name_has(tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", "caf\udce9 ×")
    assert (tmp_path / "p.html").read_text(encoding="utf-8") == "caf\\udce9 ×"
    with pytest.raises(InputError, match="cannot write"):
        write_page(tmp_path, "x")
