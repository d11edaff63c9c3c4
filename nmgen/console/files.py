"""Files that are written whole or not at all."""

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

from rtl.params import InputError
from sim.process.interrupts import held, scratch_folder


@contextmanager
def written_whole(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a place beside path to write a file or a directory to, and put it at path once the block has succeeded.

    Missing parent directories are made. A file replaces the one that was there; a directory replaces an empty one or,
    with replace, any. When the block raises, nothing is left behind and what was at path stays as it was. Of several
    that are written to path at the same time, the last one is there in the end, whole.

    Raises
    ------
    InputError, OSError : the place cannot be written to.
    """
    path = Path(path)
    _refuse_devices(path)
    missing = _missing_parents(path)
    try:
        with ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # A folder of our own takes any name inside; it stands beside path, so that one rename is all it takes.
                scratch = stack.enter_context(scratch_folder(f".{path.name}.", path.parent))
            except OSError as error:
                raise InputError(f"cannot write {path}: {error.strerror}") from None
            try:
                yield scratch / path.name
                with held():
                    _put(scratch / path.name, path, replace)
                    missing = []
            except OSError as error:
                # A full disk says no name and the rename two; one alone may be of a file that the block reads.
                if error.filename is not None and error.filename2 is None:
                    raise
                raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        for parent in missing:
            with suppress(OSError):  # never made, or in use by others
                parent.rmdir()


def check_writable(path: Path) -> None:
    """Raises what `written_whole` would with a file, and leaves nothing."""
    if Path(path).is_dir():
        raise InputError(f"cannot write {path}: Is a directory")
    with suppress(_Enough), written_whole(path) as file:
        file.write_bytes(bytes(1))
        raise _Enough


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes left of `written_whole` in a folder, which need not exist.

    For a folder to which nobody else writes.
    """
    for path in list(folder.glob(".*")):
        if re.fullmatch(r"\..+\.[a-z0-9_]{8}", path.name) and path.is_dir():  # as `scratch_folder` names it
            shutil.rmtree(path)


class _Enough(Exception):  # noqa: N818
    pass


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Alone among those who lock this directory, for as long as the block lasts."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put(written: Path, path: Path, replace: bool) -> None:
    """Rename what was written to path. Where a directory has to go for it, another writer's may be there meanwhile."""
    while True:
        try:
            os.replace(written, path)
            return
        except OSError as error:
            if not (replace and error.errno in (errno.ENOTEMPTY, errno.EEXIST)):
                raise
        with suppress(FileNotFoundError):
            os.replace(path, Path(mkdtemp(dir=written.parent)) / path.name)


def _refuse_devices(path: Path) -> None:
    """A rename would take the place of a device. One question to the file system: others write here meanwhile."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, or a place that cannot be
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"cannot write {path}: it is no ordinary file")


def _missing_parents(path: Path) -> list[Path]:
    """The parents of path that do not exist yet, innermost first."""
    return [parent for parent in path.parents if not parent.exists()]
