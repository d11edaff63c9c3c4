"""docs/results.md: what stands between two markers is what a bench writes, but for its numbers and names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nmgen.bench
import nmgen.fpga.report

BENCHES = sorted(Path(nmgen.bench.__path__[0]).glob("*.py"))
PAGE = Path(nmgen.bench.__path__[0]).parents[1] / "docs" / "results.md"


def threes(text: str) -> list[tuple[str, ...]]:
    """Each three words that follow on one another, of what is no code."""
    words = re.findall("[A-Za-z']+", re.sub("`[^`]*`", " 0 ", text))
    return list(zip(words, words[1:], words[2:], strict=False))


def written() -> set[tuple[str, ...]]:
    """By the benches, in any of their strings."""
    found: list[str] = []
    for path in [*BENCHES, Path(nmgen.fpga.report.__file__)]:
        strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        found += [text for text in strings if isinstance(text, str)]
    return {three for text in found for three in threes(text)}


def sentences() -> Iterator[str]:
    """The lines of the sections, without those of tables."""
    within = False
    for line in PAGE.read_text().splitlines():
        if marker := re.fullmatch("<!-- .*: (begin|end) -->", line):
            within = marker[1] == "begin"
        elif within and not line.startswith("|"):
            yield line


def test_nothing_is_written_by_hand() -> None:
    """Some words of each line are a bench's; the rest are numbers, versions of tools, names."""
    known = written()
    lines = [line for line in sentences() if len(threes(line)) > 3]
    assert len(lines) > 40
    assert not [line for line in lines if known.isdisjoint(threes(line))]
