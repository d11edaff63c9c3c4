"""Files that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from rtl.params import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place beside path to write a file or a directory to, and put it at path once the block has succeeded.

    Missing parent directories are made. A file replaces the one that was there; a directory replaces an empty one.
    When the block raises, nothing is left behind and what was at path stays as it was.

    Raises
    ------
    InputError, OSError : the place cannot be written to.
    """
    path = Path(path)
    missing = _missing_parents(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of our own takes any name inside; it stands beside path so that the rename stays on one file system.
        scratch = Path(mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    written = scratch / path.name
    try:
        yield written
        os.replace(written, path)
        missing = []
    except OSError as error:
        # A full disk says no name and the rename two; one alone may be of a file that the block reads.
        if error.filename is not None and error.filename2 is None:
            raise
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for parent in missing:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _missing_parents(path: Path) -> list[Path]:
    """The parents of path that do not exist yet, innermost first."""
    return [parent for parent in path.parents if not parent.exists()]
