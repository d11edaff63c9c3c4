"""Arrays that a user gives as .npy files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtl.params import InputError


def read_array(path: Path, wanted: str = "") -> NDArray[Any]:
    """The array in a .npy file.

    wanted, such as 'int8 with 2 dimensions', says what the type and number of dimensions must be.

    Raises
    ------
    InputError : not a .npy file, truncated, or something else than wanted.
    OSError : the file cannot be read.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is not a whole .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays, must be one array as np.save writes it")
    if wanted:
        kind, _, dimensions = wanted.partition(" with ")
        if array.dtype != np.dtype(kind) or f"{array.ndim} dimensions" != dimensions:
            raise InputError(f"{path} is {array.dtype} {list(array.shape)}, must be {wanted}")
    return array
