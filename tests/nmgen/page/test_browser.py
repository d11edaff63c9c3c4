"""The browser of the tests of pages: what it says where it is missing, and what it notices."""

from pathlib import Path

import pytest

from tests.nmgen.page.browser import Page, browser, program


def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AssertionError, match="chromium-headless-shell is missing: apt install"):
        program()


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<script>console.error('oops')</script>", "oops"),
        ("<script>nothing.there</script>", "nothing is not defined"),
        ("<script>Promise.reject(Error('later'))</script>", "later"),
        ("<img src='x.png'>", "ERR_FILE_NOT_FOUND"),
    ],
)
def test_what_is_wrong_is_noticed(inside: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text(f"<!doctype html><title>t</title><body>{inside}")
    with browser() as one:
        page = Page(one, tmp_path / "p.html")
        assert said in "".join(page.complaints())
        assert [Path(url).name for url in page.requests()] == (["x.png"] if "img" in inside else [])
