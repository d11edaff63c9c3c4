"""Data sets from files that are there already; nothing is fetched."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pruning.data.idx import read_idx
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
    training, test = labelled(folder)
    for part, found, count in (("train", training, 60_000), ("t10k", test, 10_000)):
        if tuple(found.pixels.shape) != (count, 28, 28):
            shape = " × ".join(map(str, found.pixels.shape))
            raise InputError(f"{folder} has {shape} bytes of {part}, Fashion-MNIST {count} × 28 × 28")
        if found.labels.max() > 9:
            raise InputError(f"{folder}: label {found.labels.max()} of {part} is out of range, must be 0 to 9")
    return training, test


def labelled(folder: Path) -> tuple[Images, Images]:
    """(training images, test images) of a folder of four MNIST-format IDX files, named as MNIST's are.

    Raises
    ------
    InputError : a file that is missing or no such file; labels that are not one an image.
    """
    return _images(folder, "train"), _images(folder, "t10k")


def _images(folder: Path, part: str) -> Images:
    pixels, labels = (
        _idx(folder / f"{part}-{what}-idx{dimensions}-ubyte.gz", dimensions)
        for what, dimensions in (("images", 3), ("labels", 1))
    )
    if not len(pixels) or len(pixels) != len(labels):
        raise InputError(
            f"{folder} has {len(pixels)} images and {len(labels)} labels of {part}, must have one for each"
        )
    return Images(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels).to(torch.int64))


def _idx(path: Path, dimensions: int) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path} is missing: install Debian's dataset-fashion-mnist, or say where it is")
    return read_idx(path, dimensions)
