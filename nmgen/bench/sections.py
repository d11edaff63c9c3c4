"""Sections of a page that a program writes: what stands between two markers is replaced, the rest is left alone."""

from pathlib import Path

from nmgen.console.files import written_whole
from rtl.params import InputError


def replace_section(page: Path, name: str, text: str) -> None:
    """Puts text between ``<!-- name: begin -->`` and ``<!-- name: end -->`` of a page, whole or not at all.

    Raises
    ------
    InputError : the page lacks one of the markers.
    """
    lines = page.read_text().splitlines()
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    for marker in (begin, end):
        if lines.count(marker) != 1:
            raise InputError(f"{page} has {lines.count(marker)} lines {marker!r}, must have one")
    new = [*lines[: lines.index(begin) + 1], "", *text.strip().splitlines(), "", *lines[lines.index(end) :]]
    with written_whole(page) as written:
        written.write_text("\n".join(new) + "\n")
