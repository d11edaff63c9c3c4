"""IDX files, the format of MNIST: bytes of any number of dimensions. Numpy only, no torch."""

import gzip
import zlib
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np

from pruning.files.reading import MIB, read_bytes
from rtl.params import InputError

GZIP = b"\x1f\x8b"
IDX_MAX = 1024 * MIB  # bytes of the array, and of the file


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
    data = read_bytes(path, IDX_MAX)
    file = gzip.GzipFile(fileobj=BytesIO(data)) if data[:2] == GZIP else BytesIO(data)
    try:
        head = file.read(4 + 4 * dimensions)
        shape = tuple(int.from_bytes(head[at : at + 4], "big") for at in range(4, len(head), 4))
        if head[:4] != bytes((0, 0, 8, dimensions)) or len(shape) != dimensions:
            file.read(MIB)  # finds damage, which says more
            raise InputError(f"{path} is no whole IDX file of bytes in {dimensions} dimensions")
        if prod(length or 1 for length in shape) > IDX_MAX:
            raise InputError(f"{path} is said to hold {list(shape)} bytes, must be at most {IDX_MAX:,}")
        array = bytearray(prod(shape))  # of compressed data no more is unpacked than the header says
        if file.readinto(array) != len(array) or file.read(1):
            raise InputError(f"{path} is no whole IDX file of bytes in {dimensions} dimensions")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    return np.frombuffer(array, np.uint8).reshape(shape)
