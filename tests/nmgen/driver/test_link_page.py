"""docs/link.md is current."""

from nmgen.driver.link_page import MADE_BY, PAGE, page


def test_current() -> None:
    """What the tables say now; else: python -m nmgen.driver.link_page."""
    assert PAGE.read_text() == page(), MADE_BY
