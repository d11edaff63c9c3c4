"""Sections of a page: only what stands between the markers changes."""

from pathlib import Path

import pytest

from nmgen.bench.sections import replace_section
from rtl.params import InputError

PAGE = """# Title
before
<!-- one: begin -->
old
<!-- one: end -->
<!-- two: begin -->
<!-- two: end -->
after
"""


def test_replaces_one_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    replace_section(page, "one", "new\nlines\n")
    replace_section(page, "two", "more")
    replace_section(page, "one", "newer")
    assert page.read_text() == PAGE.replace("old", "\nnewer\n").replace(
        "<!-- two: begin -->\n", "<!-- two: begin -->\n\nmore\n\n"
    )


@pytest.mark.parametrize("text", ["", PAGE.replace("<!-- one: end -->\n", ""), PAGE + PAGE])
def test_markers_that_are_missing_or_doubled(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(InputError, match="must have one"):
        replace_section(page, "one", "new")
    assert page.read_text() == text
    assert list(tmp_path.iterdir()) == [page]
