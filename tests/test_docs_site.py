"""The site of `make docs`: it has every page, picture and public docstring, and a broken link is an error."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs_site import as_markdown, section_page

ROOT = Path(__file__).resolve().parent.parent


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_and_picture(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").exists(), page.name
    for title in re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert (site / section_page(title)).with_suffix(".html").exists(), title
    first = (site / "index.html").read_text()
    for page in (
        "changelog.html",
        "contributing.html",
        "results.html",
        "api/rtl.lib.html",
        "how-to/prune-a-model.html",
    ):
        assert f'href="{page}"' in first, page
    for html in site.rglob("*.html"):
        for source in re.findall(r'<(?:img|script)\b[^>]*\bsrc="([^"]+)"', html.read_text()):
            assert html.name == "404.html" or (html.parent / source).exists(), f"{html.name} shows {source}"


def test_search_knows_pages_and_docstrings(site: Path) -> None:
    found = {
        one["location"]: one["text"] for one in json.loads((site / "search" / "search_index.json").read_text())["docs"]
    }
    assert any(page.startswith("numerics.html") and "softmax" in text.lower() for page, text in found.items())
    modules = [path for path in (ROOT / "rtl").rglob("*.py") if path.name != "__init__.py"]
    assert len(modules) > 50
    for path in modules:
        *folder, name = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(folder)
        assert f"api/{dotted}.html#{dotted}.{name}" in found, path
    assert "row_in" in found["api/rtl.array.html#rtl.array.pe.ProcessingElement"]


@pytest.mark.parametrize(
    ("link", "message"),
    [("[a page](nowhere.md)", "nowhere.md"), ("[a heading](numerics.md#nowhere)", "#nowhere")],
)
def test_a_broken_link_is_an_error(link: str, message: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "docs", root / "docs")
    (root / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "docs_site.py", root / "scripts")
    with (root / "docs" / "threats.md").open("a") as page:
        page.write(f"\n{link}\n")
    done = build(root, tmp_path / "site")
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert "Aborted with 1 warnings" in done.stdout + done.stderr


def test_docstrings_as_markdown() -> None:
    docstring = """\
Adds `a[0][1]` to b[0][1].

::

    a ─► b

Members
-------
a, b : in, 8 bits,
    signed
c : out

Sums may follow each other:
* one
* two"""
    assert (
        as_markdown(docstring)
        == r"""Adds `a[0][1]` to b[0]\[1].


    a ─► b

**Members**

* `a, b`: in, 8 bits,
    signed
* `c`: out

Sums may follow each other:

* one
* two"""
    )
