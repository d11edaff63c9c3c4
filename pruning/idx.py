"""IDX files, in which MNIST and its kin come: bytes of any number of dimensions. Numpy only, no torch."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from rtl.params import InputError

GZIP = b"\x1f\x8b"


def is_idx(data: bytes) -> bool:
    """Whether these first bytes of a file are those of an IDX file of uint8, compressed or not."""
    return data[:2] == GZIP or data[:3] == bytes((0, 0, 8))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an IDX file: 0, 0, 8 for uint8, the number of dimensions, each as a big-endian word, the data.

    Raises
    ------
    InputError : damaged, or no IDX file of so many dimensions.
    OSError : the file cannot be read.
    """
    data = path.read_bytes()
    if data[:2] == GZIP:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path} is damaged: {error}") from None
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4))
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) != start + int(np.prod(shape, dtype=np.int64)):
        raise InputError(f"{path} is no whole IDX file of bytes in {dimensions} dimensions")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()
