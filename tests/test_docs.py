"""The pages say what is so: each command runs as written, each link leads somewhere.

A fence ```sh holds commands that `make test` runs, ```sh slow those that `make nightly` adds, ```sh by-hand those that
no test can run: they call the tests themselves, or want a board. A page's commands run in their order in one folder.
"""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
KINDS = {"sh": "cheap", "sh slow": "slow", "sh by-hand": "by-hand"}


@dataclass(frozen=True)
class Block:
    kind: str
    commands: str
    line: int


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found: list[Block] = []
    opened: tuple[str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if not line.startswith("```"):
            inside.append(line)
        elif opened is None:
            opened, inside = (line.removeprefix("```").strip(), number), []
        else:
            info, start = opened
            if info.startswith("sh"):
                assert info in KINDS, f"{name(page)}:{start}: a fence of kind {info!r}, must be one of {list(KINDS)}"
                found.append(Block(KINDS[info], "\n".join(inside), start))
            opened = None
    assert opened is None, f"{name(page)}: the fence of line {opened and opened[1]} is not closed"
    return found


def pages_with(*kinds: str) -> list[Path]:
    return [page for page in PAGES if any(block.kind in kinds for block in blocks(page))]


def run(page: Path, kinds: tuple[str, ...], folder: Path) -> None:
    """Runs the page's commands of these kinds in a folder that shows the repository but for build/."""
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            (folder / entry.name).symlink_to(entry)
    for block in blocks(page):
        if block.kind in kinds:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.commands],
                cwd=folder,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=1800,
            )
            assert done.returncode == 0, f"{name(page)}:{block.line}: exit {done.returncode}\n{done.stdout[-3000:]}"


@pytest.mark.parametrize("page", pages_with("cheap"), ids=name)
def test_commands(page: Path, tmp_path: Path) -> None:
    run(page, ("cheap",), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("page", pages_with("slow"), ids=name)
def test_slow_commands(page: Path, tmp_path: Path) -> None:
    run(page, ("cheap", "slow"), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        to = (page.parent / file) if file else page
        assert to.exists(), f"{name(page)} links to {target}, which is not there"
        if heading:
            slugs = {
                re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
                for line in to.read_text().splitlines()
                if line.startswith("#")
            }
            assert heading in slugs, f"{name(page)} links to {target}; {name(to.resolve())} has no such heading"


def test_results_are_generated() -> None:
    """docs/results.md is what commands write, and each says which one it is and, or a test runs it, when it ran."""
    text = (ROOT / "docs" / "results.md").read_text()
    section = re.compile(r"<!-- ([\w-]+): begin -->(.*?)<!-- \1: end -->", re.DOTALL)
    written = {found[1]: found[2] for found in section.finditer(text)}
    assert len(written) >= 8
    _, *by_hand = re.split(r"^## .*$", section.sub("", text), flags=re.MULTILINE)
    assert "".join(by_hand).strip() == ""
    for name_of, tables in written.items():
        tables = tables.strip()
        assert not tables or re.match(r"`(make bench[\w-]*|python -m nmgen\.bench\.[^`]*)` writes th", tables), name_of
        dated = re.search(r"last run on \d{4}-\d\d-\d\d\b", tables)
        assert not tables or dated or name_of == "bench", name_of  # test_layers.py holds "bench" to what it writes now


def test_targets_of_make_are_documented() -> None:
    """`make help` lists every target, and README names each."""
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  make {target} ", done.stdout, re.MULTILINE), f"make help does not list {target}"
        assert target == "help" or f"make {target}" in (ROOT / "README.md").read_text(), f"README lacks make {target}"
