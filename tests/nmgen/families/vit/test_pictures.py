"""Pictures from files: whatever form they come in, the same bytes; and what does not fit is named."""

import gzip
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import unfold

from nmgen.families.vit.pictures import read_pictures
from pruning.encoder.patches import patches
from rtl.params import InputError

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (1, 1, 6, 6), np.uint8)
COLOURS = rng.integers(0, 256, (1, 3, 6, 6), np.uint8)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


@pytest.mark.parametrize("suffix", ["png", "pgm", "bmp", "npy"])
def test_grey(suffix: str) -> None:
    file = Path(f"g.{suffix}")
    if suffix == "npy":
        np.save(file, GREY[0, 0])
    else:
        Image.fromarray(GREY[0, 0]).save(file)
    assert np.array_equal(read_pictures(file, 1, 6), GREY)
    assert np.array_equal(read_pictures(file, 3, 6), GREY.repeat(3, axis=1))


@pytest.mark.parametrize("suffix", ["png", "ppm", "npy"])
def test_colours(suffix: str) -> None:
    file = Path(f"c.{suffix}")
    if suffix == "npy":
        np.save(file, COLOURS[0])
    else:
        Image.fromarray(COLOURS[0].transpose(1, 2, 0)).save(file)
    assert np.array_equal(read_pictures(file, 3, 6), COLOURS)
    if suffix == "npy":  # may as well be three grey ones
        np.save(file, COLOURS)
    with pytest.raises(InputError, match=rf"^{file} is in colours, the model takes grey$"):
        read_pictures(file, 1, 6)


def test_a_palette_has_colours() -> None:
    Image.fromarray(COLOURS[0].transpose(1, 2, 0)).quantize(256).save("p.png")
    wanted = np.array(Image.open("p.png").convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(read_pictures(Path("p.png"), 3, 6)[0], wanted)


def test_pgm_needs_no_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    header = b"P5 # made by hand\n# and so on\n6\t6 255\n"
    Path("g.pgm").write_bytes(header + GREY.tobytes())
    assert np.array_equal(read_pictures(Path("g.pgm"), 1, 6), GREY)
    Path("c.ppm").write_bytes(b"P6\n6 6\n255\n" + COLOURS[0].transpose(1, 2, 0).tobytes())
    assert np.array_equal(read_pictures(Path("c.ppm"), 3, 6), COLOURS)
    Path("g.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"^g.png: other pictures than PGM need Pillow: pip install"):
        read_pictures(Path("g.png"), 1, 6)


def test_several() -> None:
    many = rng.integers(0, 256, (5, 6, 6), np.uint8)
    np.save("many.npy", many)
    Path("many.idx").write_bytes(idx(many))
    Path("many.gz").write_bytes(gzip.compress(idx(many)))
    for name in ("many.npy", "many.idx", "many.gz"):
        assert np.array_equal(read_pictures(Path(name), 1, 6), many[:, None])
    np.save("colours.npy", COLOURS.repeat(2, axis=0))
    assert read_pictures(Path("colours.npy"), 3, 6).shape == (2, 3, 6, 6)
    np.save("three.npy", many[:3])
    assert read_pictures(Path("three.npy"), 1, 6).shape == (3, 1, 6, 6)


def test_folders() -> None:
    folder = Path("pictures")
    folder.mkdir()
    for i in range(7):
        np.save(folder / f"{i}.npy", np.full((6, 6), i, np.uint8))
    (folder / "README.txt").write_text("no picture")
    assert read_pictures(folder, 1, 6)[:, 0, 0, 0].tolist() == list(range(7))
    assert read_pictures(folder, 1, 6, 3)[:, 0, 0, 0].tolist() == [0, 2, 4]
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(GREY[0])))
    assert np.array_equal(read_pictures(folder, 1, 6), GREY)


def test_what_does_not_fit() -> None:
    for name, content, message in (
        ("a.pgm", b"P5 6 6 255\n" + bytes(35), "a.pgm is no whole picture: 35 bytes of 6 x 6"),
        ("b.pgm", b"P5 6 255\n" + bytes(36), "b.pgm is no whole picture: its header lacks width, height or the larg"),
        ("c.pgm", b"P5 6 6 65535\n" + bytes(72), "c.pgm has values up to 65535, must be up to 255"),
        ("d.pgm", b"P5 7 6 255\n" + bytes(42), "d.pgm has 7 x 6 pixels, the model takes 6 x 6"),
        ("e.png", b"\x89PNG\r\n", "e.png is no picture"),
        ("f.txt", b"", "f.txt is no picture"),
        ("g.gz", gzip.compress(idx(GREY[0]))[:-9], "g.gz is damaged: "),
        ("h.idx", idx(GREY[0])[:-1], "h.idx is no whole IDX file of bytes in 3 dimensions"),
        ("i.npy", b"", "i.npy is not a whole .npy file: "),
    ):
        Path(name).write_bytes(content)
        with pytest.raises(InputError, match=f"^{re.escape(message)}"):
            read_pictures(Path(name), 1, 6)
    for array in (np.zeros((6, 6)), np.zeros(6, np.uint8), np.zeros((1, 2, 6, 6), np.uint8), np.zeros((0, 6, 6), "u1")):
        np.save("z.npy", array)
        shown = f"z.npy is {array.dtype} {list(array.shape)}, must be uint8 [pictures, 1, 6, 6]"
        with pytest.raises(InputError, match=f"^{re.escape(shown)}$"):
            read_pictures(Path("z.npy"), 1, 6)
    Image.fromarray(GREY[0, 0]).save("whole.png")
    Path("half.png").write_bytes(Path("whole.png").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"^half.png is no whole picture: "):
        read_pictures(Path("half.png"), 1, 6)
    Image.fromarray(np.zeros((6, 6), np.uint16)).save("deep.png")
    with pytest.raises(InputError, match=r"^deep.png has pixels of mode I;16, must be grey or RGB in 8 bits$"):
        read_pictures(Path("deep.png"), 1, 6)
    Path("empty").mkdir()
    with pytest.raises(InputError, match=r"^empty has no pictures: "):
        read_pictures(Path("empty"), 1, 6)


def test_patches_are_in_the_order_of_a_convolution() -> None:
    pictures = rng.integers(0, 256, (2, 3, 6, 6), np.uint8)
    for side in (2, 3, 6):
        found = patches(pictures, side)
        wanted = unfold(torch.from_numpy(pictures).float() - 128, side, stride=side).transpose(1, 2).numpy()
        assert found.dtype == np.int8
        assert not found[:, 0].any()
        assert np.array_equal(found[:, 1:], wanted)
