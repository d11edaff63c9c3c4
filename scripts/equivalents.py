"""Changes that no test can notice, with the reason: ``mutants/equivalent.toml``, for `scripts.mutants_sample`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from rtl.params import InputError
from scripts.definitions import places

FILE = "mutants/equivalent.toml"
KEYS = ("file", "old", "new", "reason")


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    file: str
    inside: str  # definition of that file; "": none
    old: str
    new: str
    reason: str

    def is_change(self, file: str, inside: str, old: str, new: str) -> bool:
        texts = (self.file, self.inside, self.old.rstrip("\n"), self.new.rstrip("\n"))
        return texts == (file, inside, old.rstrip("\n"), new.rstrip("\n"))


def read_equivalents(root: Path) -> list[Equivalent]:
    """Those of a tree; none where it has no such file.

    Raises
    ------
    InputError : the file is no TOML, or an entry lacks a key.
    """
    path = root / FILE
    if not path.exists():
        return []
    try:
        entries = tomllib.loads(path.read_text()).get("equivalent", [])
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{FILE}: {error}") from None
    for number, entry in enumerate(entries, 1):
        for key in KEYS:
            if not isinstance(entry.get(key), str) or not (entry[key].strip() or key == "new"):
                raise InputError(f"{FILE}: entry {number} has no text {key!r}")
        if unknown := sorted(entry.keys() - {*KEYS, "in"}):
            raise InputError(f"{FILE}: entry {number} has a key {unknown[0]!r}, may have in, {', '.join(KEYS)}")
    return [Equivalent(**{key: entry[key] for key in KEYS}, inside=entry.get("in", "")) for entry in entries]


def lost(root: Path, equivalents: list[Equivalent]) -> list[str]:
    """A line for each whose lines do not stand in the tree any more."""
    lines = []
    for one in equivalents:
        try:
            found = places((root / one.file).read_text(), one.inside, one.old)
        except OSError as error:
            lines.append(f"{FILE}: {one.file}: {error.strerror}")
        except InputError as error:
            lines.append(f"{FILE}: {one.file}: {error}")
        else:
            if not found:
                lines.append(f"{FILE}: {one.file}: {one.old.splitlines()[0]!r} does not stand in {one.inside or 'it'}")
    return lines
