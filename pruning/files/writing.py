"""Files that are written whole or not at all. `nmgen.console.files` has this for what takes a block to write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtl.params import InputError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses within the block is an InputError that names path."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Replaces the file at path; a kill or a full disk in between leaves the old one, and nothing beside it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
