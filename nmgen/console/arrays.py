"""Arrays that a user gives as .npy files."""

import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruning.files.reading import DIMENSIONS_MAX, MIB, read_bytes, shown
from rtl.params import InputError

ARRAY_MAX = 1024 * MIB  # bytes of a file
HEADER_MAX = 10_000  # bytes
MAGIC = b"\x93NUMPY"
ZIP = b"PK\x03\x04"  # as an archive of arrays begins

# The header without white space: a table of three entries, of an array of numbers or of truths. It may be written by
# other programs than numpy, in another order and with other quotation marks.
ENTRY = (
    r"(?:['\"]descr['\"]:['\"](?P<kind>[<>|=]?[biuf][1248])['\"]"
    r"|['\"]fortran_order['\"]:(?P<fortran>True|False)"
    r"|['\"]shape['\"]:\((?P<shape>(?:\d{1,12},)*(?:\d{1,12})?)\)),?"
)
HEADER = re.compile(r"\{" + f"(?:{ENTRY}){{3}}" + r"\}")


def read_array(path: Path, wanted: str = "") -> NDArray[Any]:
    """The array in a .npy file.

    wanted, such as 'int8 with 2 dimensions', says what the type and number of dimensions must be.

    Raises
    ------
    InputError : not a .npy file, truncated, or something else than wanted.
    OSError : the file cannot be read.
    """
    data = read_bytes(path, ARRAY_MAX)
    if data.startswith(ZIP):
        raise InputError(f"{path} is an archive of arrays, must be one array as np.save writes it")
    try:
        array = _parsed(data)
    except InputError as error:
        raise InputError(f"{path} is not a whole .npy file: {error}") from None
    if wanted:
        kind, _, dimensions = wanted.partition(" with ")
        if array.dtype != np.dtype(kind) or f"{array.ndim} dimensions" != dimensions:
            raise InputError(f"{path} is {array.dtype} {list(array.shape)}, must be {wanted}")
    return array


def _parsed(data: bytes) -> NDArray[Any]:
    """The array of a file's bytes: magic, version, length of the header in 2 or 4 bytes, header, elements."""
    if not data.startswith(MAGIC) or len(data) < 12:
        raise InputError("it does not begin as one")
    begin = 10 if data[6] == 1 else 12
    start = begin + int.from_bytes(data[8:begin], "little")
    header = "".join(data[begin : min(start, begin + HEADER_MAX)].decode("latin-1").split())
    found = HEADER.fullmatch(header)
    if found is None or None in found.groups():
        raise InputError(f"Object arrays cannot be loaded, only arrays of numbers: its header is {shown(header)}")
    kind = np.dtype(found["kind"])
    shape = tuple(int(length) for length in found["shape"].split(",") if length)
    if len(shape) > DIMENSIONS_MAX:
        raise InputError(f"{len(shape)} dimensions, must be at most {DIMENSIONS_MAX}")
    size = prod(shape) * kind.itemsize
    if start + size != len(data):
        raise InputError(f"{kind} {list(shape)} ends at byte {start + size}, the file at {len(data)}")
    if prod(length or 1 for length in shape) >> 48:
        # numpy counts bytes as if no length were 0.
        raise InputError(f"{kind} {list(shape)} has no elements, must be smaller")
    elements = np.frombuffer(data, kind, offset=start)
    return np.array(elements.reshape(shape[::-1]).T if found["fortran"] == "True" else elements.reshape(shape))
