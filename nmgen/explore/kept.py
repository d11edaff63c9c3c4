"""Cycles that were counted before: a search that was stopped goes on where it was."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from nmgen.explore.counting import Counted
from rtl.params import InputError

NAME = "cycles.db"
EVERY = 20  # results that are written at a time


class Kept:
    """A database of results by their keys (`counting.key_of`); whole whenever the process dies.

    Raises
    ------
    InputError : the file is none of ours, or cannot be written to; of all methods.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._made = [path for path in (self._path, folder, *folder.parents) if not path.exists()]
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path)
            self._database.execute("CREATE TABLE IF NOT EXISTS counted (key TEXT PRIMARY KEY, found TEXT)")
        self._new = 0

    def known(self, keys: Iterable[str]) -> dict[str, Counted]:
        wanted = set(keys)
        with self._told():
            rows = self._database.execute("SELECT key, found FROM counted")
            return {key: _checked(Counted(**json.loads(found))) for key, found in rows if key in wanted}

    def add(self, key: str, found: Counted) -> None:
        with self._told():
            self._database.execute("INSERT OR REPLACE INTO counted VALUES (?, ?)", (key, json.dumps(asdict(found))))
            self._new += 1
            if self._new % EVERY == 0:
                self._database.commit()

    def close(self) -> None:
        """Where nothing was kept, nothing is left of what was made for it."""
        try:
            with self._told():
                self._database.commit()
                empty = self._database.execute("SELECT count(*) FROM counted").fetchone() == (0,)
        finally:
            self._database.close()
        if empty and self._path in self._made:
            self._path.unlink()
            for made in self._made[1:]:
                with suppress(OSError):  # somebody else has put something there
                    made.rmdir()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """In one line, what the database, or what is in it, is wrong with."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"cannot use {self._path}: {error}") from None
        except (AttributeError, TypeError, ValueError):
            raise InputError(f"{self._path} holds no cycles that nmgen explore has kept: delete it") from None


def _checked(found: Counted) -> Counted:
    """ValueError, TypeError or AttributeError where it is no count."""
    tables = [found.held, *found.by_layer.values()]
    numbers = [found.cycles, found.exact_cycles, found.multiplies, found.bytes, found.store_words]
    numbers += [value for table in tables for value in table.values()]
    if not isinstance(found.refused, str) or any(type(one) is not int or one < 0 for one in numbers):
        raise ValueError
    if bool(found.refused) == bool(found.cycles):
        raise ValueError
    return found
