"""What a page has, read as HTML."""

from html.parser import HTMLParser
from pathlib import Path

NASTY = "</script><b onclick=\"x('y')\">&amp;"  # which, as a name, is but text


def page_facts(path: Path) -> dict[str, str]:
    """The facts that a page of results begins with, and nothing is left open in it."""
    page = Reader(path.read_text(encoding="utf-8"))
    assert not page.open
    return page.facts


class Reader(HTMLParser):
    """The elements of a page, and its text without style and scripts.

    Attributes
    ----------
    elements : name, attributes; open : names of those that do not end; texts : between them; facts : of its lists
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.facts: dict[str, str] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open} and data.strip():
            self.texts.append(data)
            if self.open[-1] == "dt":
                self._name = data
            elif self.open[-1] == "dd":
                self.facts[self._name] = data
