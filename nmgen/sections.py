"""Sections of a page that a program writes: what stands between two markers is replaced, the rest is left alone."""

import os
from pathlib import Path

from rtl.params import InputError


def replace_section(page: Path, name: str, text: str) -> None:
    """Puts text between ``<!-- name: begin … -->`` and ``<!-- name: end -->`` of a page, whole or not at all.

    Raises
    ------
    InputError : the page lacks one of the markers.
    """
    lines = page.read_text().splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith(f"<!-- {name}: begin")), None)
    end = next((i for i, line in enumerate(lines) if line == f"<!-- {name}: end -->"), None)
    if begin is None or end is None or end < begin:
        raise InputError(f"{page} lacks the markers of section {name!r}")
    new = [*lines[: begin + 1], "", *text.strip().splitlines(), "", *lines[end:]]
    sibling = page.with_name(f".{page.name}.new")
    sibling.write_text("\n".join(new) + "\n")
    os.replace(sibling, page)
