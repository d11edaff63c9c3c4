"""What `mkdocs.yml` needs beside MkDocs: README's sections as pages, links that hold in the site, the docstrings.

The pages are written to be read in the repository. The site has README's introduction as its first page and each of its
sections as one of its own, and for each folder of modules a page with their docstrings. Links to files that are no page
lose their target, since the site has no sources.
"""

import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("rtl", "sim", "pruning", "boards", "nmgen")
TOP = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}  # pages beside docs/
anchor_of = slugify(case="lower")


def readme() -> tuple[str, dict[str, str]]:
    """Its introduction, and its sections by title, each with a heading of the first level."""
    first, *sections = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    titled = {text.split("\n", 1)[0]: f"# {text.replace(chr(10) + '###', chr(10) + '##')}" for text in sections}
    return first, titled


def section_page(title: str) -> str:
    return f"how-to/{anchor_of(title, '-')}.md"


def folders() -> dict[str, list[str]]:
    """Modules of each folder that has some, by the folder's dotted name."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not path.name.startswith("__"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return dict(sorted(found.items()))


def api_page(folder: str) -> str:
    return f"api/{folder}.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    lists = {
        "How to": [{title: section_page(title)} for title in readme()[1]],
        "API": [{folder: api_page(folder)} for folder in folders()],
    }
    config.nav = [{title: lists.get(title, page)} for entry in config.nav or [] for title, page in entry.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    introduction, sections = readme()
    made = {"index.md": introduction}
    made |= {section_page(title): text for title, text in sections.items()}
    made |= {page: (ROOT / source).read_text() for source, page in TOP.items()}
    for folder, modules in folders().items():
        made[api_page(folder)] = "\n\n".join([f"# {folder}", *(f"::: {module}" for module in modules)])
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.src_uri.startswith("api/"):
        return markdown
    source = {"index.md": "README.md"} | {page: name for name, page in TOP.items()}
    here = page.file.src_uri
    in_repository = source.get(here, "README.md" if here.startswith("how-to/") else f"docs/{here}")
    text = re.sub(
        r"^```sh .*$", "```sh", markdown, flags=re.MULTILINE
    )  # who runs the commands is for tests/test_docs.py
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", lambda link: _link(link, in_repository, here), text)


def _link(link: re.Match[str], source: str, here: str) -> str:
    """A Markdown link of a file of the repository, as it is in a page of the site."""
    picture, text, target = link.groups()
    if "://" in target:
        return link[0]
    file, _, anchor = target.partition("#")
    to = os.path.normpath(os.path.join(os.path.dirname(source), file)) if file else source
    if to == "README.md":
        titles = {anchor_of(title, "-"): section_page(title) for title in readme()[1]}
        page, anchor = (titles[anchor], "") if anchor in titles else ("index.md", anchor)
    elif to in TOP:
        page = TOP[to]
    elif to.startswith("docs/"):
        page = to.removeprefix("docs/")
    else:
        return text
    relative = os.path.relpath(page, os.path.dirname(here) or ".")
    return f"{picture}[{text}]({relative}{'#' if anchor else ''}{anchor})"


class DocstringsAsMarkdown(griffe.Extension):
    """Lists of parameters and the like, `name : text` under an underlined title, become lists of Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    lines: list[str] = []
    listed = False
    source = docstring.splitlines()
    for line, after in zip(source, [*source[1:], ""], strict=True):
        item = re.match(r"(\S.*?) : (.*)", line)
        if re.fullmatch(r"-{4,}", after) and line:
            lines.append(f"**{line}**")
            listed = True
        elif re.fullmatch(r"-{4,}", line) and listed:
            lines.append("")
        elif line.strip() == "::":
            continue  # what follows is indented, so it stays as it is
        elif listed and item:
            lines.append(f"* `{item[1]}`: {item[2]}")
        else:
            listed = listed and bool(line)
            if re.match(r"(\*|\d+\.) ", line) and lines and lines[-1] and not re.match(r"(\*|\d+\.|  ) ?", lines[-1]):
                lines.append("")  # a list of Markdown has an empty line before it
            lines.append(line)
    # Outside of code `sums[row][column]` would be a link of Markdown.
    return re.sub(
        r"`[^`]*`|\]\[", lambda found: found[0].replace("][", r"]\[", not found[0].startswith("`")), "\n".join(lines)
    )
