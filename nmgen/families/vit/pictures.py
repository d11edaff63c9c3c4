"""Pictures from files: to calibrate a ViT on, or for a program of one."""

import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmgen.console.arrays import read_array
from pruning.data.idx import IDX_MAX, is_idx, read_idx
from pruning.encoder.patches import patches
from pruning.encoder.spread import MOST, spread
from pruning.files.reading import MIB, read_bytes, regular_file
from rtl.params import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nmgen.compiler.program import Program
    from pruning.families.vit.shape import ViTShape

Pictures = NDArray[np.uint8]  # [pictures, channels, side, side]

SUFFIXES = (".png", ".pgm", ".ppm", ".jpg", ".jpeg", ".bmp", ".npy")  # of a folder's pictures
TRAINING = "train-images-idx3-ubyte.gz"  # of a folder of MNIST-format IDX files: what is calibrated on
HEADER = re.compile(rb"P[56]" + rb"(?:\s|#[^\n]*\n)+(\d{1,6})" * 3 + rb"\s")  # of PGM and PPM
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # of those that Pillow opens; some others run programs
PICTURE_MAX = 64 * MIB  # bytes of a file
PIXELS_MAX = 1 << 24  # of a picture
MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # Pillow's, and what they are read as


def read_pictures(path: Path, channels: int, side: int, most: int | None = None) -> Pictures:
    """The pictures of a file or a folder, as a model of so many channels and pixels a side takes them.

    A file is a picture that Pillow opens (PGM and PPM need no Pillow), an .npy array uint8 [pictures, channels, side,
    side], where leading dimensions and one channel may be left out, or an IDX file. A folder holds pictures, or
    MNIST-format IDX files, of which the training pictures count. A grey picture goes to all channels.

    most : of a folder, as many of its pictures at most, spread evenly

    Raises
    ------
    InputError : no such file, damaged, of another size, or in colours where the model takes grey.
    OSError : the file cannot be read.
    """
    if not path.is_dir():
        return _shaped(path, _read(path), channels, side)
    if (path / TRAINING).is_file():
        return read_pictures(path / TRAINING, channels, side)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path} has no pictures: no {TRAINING} and nothing that ends in {', '.join(SUFFIXES)}")
    chosen = [files[i] for i in spread(len(files), most or len(files))]
    return np.concatenate([_shaped(file, _read(file), channels, side) for file in chosen])


def read_for(shape: "ViTShape", path: Path) -> "Tensor":
    """What a model of that shape is calibrated on: uint8 [pictures, channels, side, side]."""
    import torch

    return torch.from_numpy(read_pictures(path, shape.channels, shape.image, MOST))


def pictures_for(program: "Program", files: Sequence[Path]) -> tuple[Pictures, list[str]]:
    """The pictures of files for a program of a ViT, and what each is called.

    Raises
    ------
    InputError, OSError : as read_pictures; more pictures than the program is compiled for.
    """
    found: list[Pictures] = []
    names: list[str] = []
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder, must be a picture")
        read = read_pictures(file, program.about["channels"], program.about["image"])
        found.append(read)
        names += [str(file)] if len(read) == 1 else [f"{file} [{number}]" for number in range(len(read))]
    if len(names) > len(program.sequences):
        count = f"{len(names)} pictures" if len(names) > 1 else "1 picture"
        raise InputError(f"{count}, the program is compiled for {len(program.sequences)}")
    return np.concatenate(found), names


def fitted(program: "Program", pictures: Pictures) -> list[NDArray[np.int8]]:
    """The patches of pictures for every sequence of a program; those without a picture are grey."""
    grey = len(program.sequences) - len(pictures)
    found = patches(pictures, program.about["patch_side"])
    return [*found, *[np.zeros_like(found[0])] * grey]


# --- files -----------------------------------------------------------------------------------------------------------


def _read(path: Path) -> NDArray[Any]:
    """What is in a file: an array of any shape; of a picture [1, channels, height, width], with 1 channel or 3."""
    if path.suffix.lower() == ".npy":
        return read_array(path)
    with regular_file(path, IDX_MAX) as (file, _):
        begin = file.read(3)
    if is_idx(begin):
        return read_idx(path, 3)
    if begin[:2] in (b"P5", b"P6"):
        return _netpbm(path)
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise InputError(f"{path}: other pictures than PGM need Pillow: pip install 'nmgen[plot]'") from None
    data = BytesIO(read_bytes(path, PICTURE_MAX))
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(data, formats=FORMATS) as picture:
            mode, size = picture.mode, picture.width * picture.height
            if size > PIXELS_MAX:  # known before they are unpacked
                raise InputError(f"{size:,} pixels, must have at most {PIXELS_MAX:,}")
            pixels = np.array(picture.convert(MODES.get(mode, mode)))
    except Image.UnidentifiedImageError:
        raise InputError(f"{path} is no picture") from None
    except Exception as error:  # of damaged bytes Pillow raises almost anything
        raise InputError(f"{path} is no whole picture: {error}") from None
    if mode not in MODES:
        raise InputError(f"{path} has pixels of mode {mode}, must be grey or RGB in 8 bits")
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]


def _netpbm(path: Path) -> Pictures:
    """A binary PGM or PPM."""
    data = read_bytes(path, PICTURE_MAX)
    header = HEADER.match(data)
    if header is None:
        raise InputError(f"{path} is no whole picture: its header lacks width, height or the largest value")
    width, height, largest = (int(number) for number in header.groups())
    channels = 3 if data[:2] == b"P6" else 1
    if largest != 255:
        raise InputError(f"{path} has values up to {largest}, must be up to 255")
    pixels = np.frombuffer(data[header.end() :], np.uint8)
    if len(pixels) != width * height * channels:
        raise InputError(f"{path} is no whole picture: {len(pixels)} bytes of {width} x {height}")
    return np.array(pixels.reshape(height, width, channels).transpose(2, 0, 1)[None])


def _shaped(path: Path, found: NDArray[Any], channels: int, side: int) -> Pictures:
    """[pictures, channels, side, side] of what is in a file."""
    if found.dtype != np.uint8 or not 2 <= found.ndim <= 4 or not len(found):
        raise InputError(f"{path} is {found.dtype} {list(found.shape)}, must be uint8 {_wanted(channels, side)}")
    if found.ndim == 2 or (found.ndim == 3 and len(found) == channels > 1):
        found = found[None]
    if found.ndim == 3:
        found = found[:, None]
    if found.shape[1] not in (1, channels):
        if found.shape[1] == 3:
            raise InputError(f"{path} is in colours, the model takes grey")
        raise InputError(f"{path} is {found.dtype} {list(found.shape)}, must be uint8 {_wanted(channels, side)}")
    if found.shape[2:] != (side, side):
        raise InputError(f"{path} has {found.shape[3]} x {found.shape[2]} pixels, the model takes {side} x {side}")
    return np.array(np.broadcast_to(found, (len(found), channels, side, side)))


def _wanted(channels: int, side: int) -> str:
    return f"[pictures, {channels}, {side}, {side}]"
