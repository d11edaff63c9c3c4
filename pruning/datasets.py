"""Data sets from files that are there already; nothing is fetched."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtl.params import InputError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it


@dataclass(frozen=True, kw_only=True)
class Images:
    """Pictures and what they show."""

    pixels: Tensor  # uint8 [images, height, width]
    labels: Tensor  # int64 [images]

    def part(self, start: int, stop: int) -> "Images":
        return Images(pixels=self.pixels[start:stop], labels=self.labels[start:stop])


def fashion_mnist(folder: Path = FASHION_MNIST) -> tuple[Images, Images]:
    """(60,000 training images, 10,000 test images) of 28 × 28 pixels in 10 classes.

    Raises
    ------
    InputError : a file that is missing or no such file.
    """
    return _images(folder, "train", 60_000), _images(folder, "t10k", 10_000)


def _images(folder: Path, part: str, count: int) -> Images:
    pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz", (count, 28, 28))
    labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", (count,))
    if labels.max() > 9:
        raise InputError(f"{folder / part}-labels-idx1-ubyte.gz: label {labels.max()} is out of range, must be 0 to 9")
    return Images(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels).to(torch.int64))


def _idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an IDX file: 0, 0, 8 for uint8, the number of dimensions, each as a big-endian word, the data."""
    if not path.is_file():
        raise InputError(f"{path} is missing: install Debian's dataset-fashion-mnist, or say where it is")
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    head = bytes((0, 0, 8, len(shape))) + b"".join(size.to_bytes(4, "big") for size in shape)
    if not data.startswith(head) or len(data) != len(head) + int(np.prod(shape)):
        raise InputError(f"{path} is no IDX file of {' × '.join(map(str, shape))} bytes")
    return np.frombuffer(data, np.uint8, offset=len(head)).reshape(shape).copy()
