"""`nmgen pack`: what is packed, and one line for each thing that cannot be."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmgen.cli import main
from nmgen.commands.pack import never_saturating
from pruning.files.artefact import Layer, load
from pruning.integers.layer import golden
from tests.pruning.samples import random_weights

WEIGHTS = random_weights(0, 5, 19, 2, 8)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs in a folder that holds W.npy, b.npy, m.npy and s.npy."""
    monkeypatch.chdir(tmp_path)
    np.save("W.npy", WEIGHTS)
    np.save("b.npy", np.array([-(1 << 31), -1, 0, 1, (1 << 31) - 1]))
    np.save("m.npy", np.array([0, 1, 32768, 65534, 65535]))
    np.save("s.npy", np.array([1, 2, 16, 46, 47]))


def pack(*further: str) -> int:
    return main(["pack", "W.npy", "--pattern", "2:8", *further, "-o", "A.safetensors"])


PARAMETERS = ["--bias", "b.npy", "--mult", "m.npy", "--shift", "s.npy"]


@pytest.mark.parametrize("kind", ["i8", "i4", ">i8", "u8", "i2", "u4"])
def test_everything_given(kind: str) -> None:
    """Of any integer type, as long as the values fit."""
    names = {"b": "bias", "m": "mult", "s": "shift"}
    for name in names:
        array = np.load(f"{name}.npy")
        fits = (array.astype(kind) == array).all()
        np.save(f"{name}.npy", array.astype(kind) if fits else array)
    assert pack(*PARAMETERS, "--out-bits", "16", "--name", "block.3") == 0
    layer = load("A.safetensors")["block.3"]
    assert np.array_equal(layer.weights, WEIGHTS)
    assert (layer.n, layer.m, layer.out_bits) == (2, 8, 16)
    for name, part in names.items():
        assert getattr(layer, part).tolist() == np.load(f"{name}.npy").tolist()


def test_columns_first_is_the_same_array() -> None:
    np.save("W.npy", np.asfortranarray(WEIGHTS))
    assert pack() == 0
    assert np.array_equal(load("A.safetensors")["layer"].weights, WEIGHTS)


def test_defaults() -> None:
    assert pack() == 0
    layer = load("A.safetensors")["layer"]
    assert layer.out_bits == 8
    assert not layer.bias.any()
    assert set(layer.mult.tolist()) == {32768}
    assert len(set(layer.shift.tolist())) == 1


@given(st.integers(0, 1 << 32), st.sampled_from((8, 16)), st.integers(1, 40), st.booleans())
def test_no_input_saturates_without_mult_and_shift(seed: int, bits: int, k: int, biased: bool) -> None:
    """And with one bit less of shift some input would, unless the shift is none already."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (3, k)).astype(np.int8)
    bias = rng.integers(-(1 << 31), 1 << 31, 3) if biased else np.zeros(3, np.int64)
    mult, shift = never_saturating(weights, bias, bits)
    wide = Layer.from_dense("fc", weights, 8, 8, bias=bias, mult=mult, shift=shift, out_bits=16)
    worst = np.where(weights > 0, 127, -128) * np.where(bias < 0, -1, 1)[:, None]
    x = np.clip(np.concatenate([worst, -worst]), -128, 127).astype(np.int8)
    largest = np.abs(golden(wide, x).astype(int)).max()
    assert largest <= (1 << (bits - 1)) - 1
    s = int(shift[0]) - 15
    most = max(128 * int(np.abs(row.astype(int)).sum()) + abs(int(b)) for row, b in zip(weights, bias, strict=True))
    assert s == 0 or (most + (1 << (s - 1) >> 1)) >> (s - 1) >= 1 << (bits - 1)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "A.safetensors",
        "layers": [
            {
                "name": "layer",
                "pattern": "2:8",
                "channels": 5,
                "k": 19,
                "coding": "index",
                "out_bits": 8,
                "density": np.count_nonzero(WEIGHTS) / 95,
                "bytes": 30 + 12,
                "dense_bytes": 95,
            }
        ],
    }


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert pack() == 0
    assert "19 → 5" in capsys.readouterr().out


def broken() -> np.ndarray:
    weights = WEIGHTS.copy()
    weights[3, 8:11] = 1, -1, 1
    weights[3, 11:16] = 0
    return weights


def beyond() -> np.ndarray:
    weights = np.zeros_like(WEIGHTS)
    weights[4, 17] = -128
    return weights


def at(index: int, value: int) -> np.ndarray:
    array: np.ndarray = np.ones(5, np.int64)
    array[index] = value
    return array


BAD: list[tuple[dict[str, Any], list[str], str]] = [
    (
        {"W": broken()},
        [],
        "layer layer: row (channel) 3, group 1 has 3 non-zero weights, the pattern 2:8 allows 2",
    ),
    ({"W": beyond()}, [], "layer layer: weight of channel 4, position 17 is -128, must be -127 to 127"),
    ({"W": WEIGHTS.astype(np.int16)}, [], "W.npy is int16 [5, 19], must be int8 with 2 dimensions"),
    ({"W": WEIGHTS.astype(np.float32)}, [], "W.npy is float32 [5, 19], must be int8 with 2 dimensions"),
    ({"W": WEIGHTS != 0}, [], "W.npy is bool [5, 19], must be int8 with 2 dimensions"),
    ({"W": WEIGHTS[0]}, [], "W.npy is int8 [19], must be int8 with 2 dimensions"),
    ({"W": WEIGHTS[None]}, [], "W.npy is int8 [1, 5, 19], must be int8 with 2 dimensions"),
    ({"W": WEIGHTS[:, :0]}, [], "layer layer: k is 0, must be 1 to 65536"),
    ({"W": WEIGHTS[:0]} | dict.fromkeys("bms", np.ones(0, int)), [], "layer layer: 0 channels, must be 1 to 65535"),
    ({"W": np.array([None])}, [], "W.npy is not a whole .npy file: Object arrays cannot be loaded"),
    ({"b": np.ones(4, int)}, [], "b.npy is int64 [4], must be integers [5], one a channel"),
    ({"m": np.ones((5, 1), int)}, [], "m.npy is int64 [5, 1], must be integers [5], one a channel"),
    ({"s": np.int64(3)}, [], "s.npy is int64 [], must be integers [5], one a channel"),
    ({"m": np.ones(5)}, [], "m.npy is float64 [5], must be integers [5], one a channel"),
    ({"b": at(2, 1 << 31)}, [], "layer layer: bias of channel 2 is 2147483648, must be -2147483648 to 2147483647"),
    ({"m": at(1, 65536)}, [], "layer layer: mult of channel 1 is 65536, must be 0 to 65535"),
    ({"m": at(4, -1)}, [], "layer layer: mult of channel 4 is -1, must be 0 to 65535"),
    ({"s": at(0, 0)}, [], "layer layer: shift of channel 0 is 0, must be 1 to 47"),
    ({"s": at(3, 48)}, [], "layer layer: shift of channel 3 is 48, must be 1 to 47"),
    ({}, ["--pattern", "9:8"], "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
    ({}, ["--pattern", "2:6"], "pattern 2:6 has groups of 6, must be 2, 4, 8, 16 or 32"),
    ({}, ["--pattern", "half"], "pattern is 'half', must be N:M such as 2:8"),
    ({}, ["--name", "a b"], "layer name is 'a b', must be letters, digits, '_', '-' and '.'"),
    ({}, ["--out-bits", "12"], "argument --out-bits: invalid choice: 12"),
    ({}, ["--bias", "none.npy"], "none.npy: No such file or directory"),
    ({}, ["--bias", "."], ".: Is a directory"),
]


@pytest.mark.parametrize(("files", "further", "message"), BAD)
def test_bad_input(
    files: dict[str, Any], further: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, array in files.items():
        np.save(f"{name}.npy", array, allow_pickle=True)
    before = sorted(tmp_path.iterdir())
    assert pack(*PARAMETERS, *further) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"nmgen: {message}")
    assert err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("given", [["--mult", "m.npy"], ["--shift", "s.npy"]])
def test_mult_and_shift_belong_together(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(*given) == 2
    assert capsys.readouterr().err == "nmgen: --mult and --shift: only one is given, must be both or none\n"


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY", None])
def test_files_that_hold_no_array(content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("W.npy").read_bytes()
    Path("W.npy").write_bytes(whole[:-1] if content is None else content)
    assert pack() == 2
    err = capsys.readouterr().err
    assert err.startswith("nmgen: W.npy is not a whole .npy file: ")
    assert err.count("\n") == 1


def test_an_archive_of_arrays(capsys: pytest.CaptureFixture[str]) -> None:
    with open("W.npy", "wb") as file:
        np.savez(file, a=WEIGHTS)
    assert pack() == 2
    expected = "nmgen: W.npy is an archive of arrays, must be one array as np.save writes it\n"
    assert capsys.readouterr().err == expected


def test_unwritable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "W.npy", "--pattern", "2:8", "-o", "W.npy/A.safetensors"]) == 2
    assert capsys.readouterr().err == "nmgen: cannot write W.npy/A.safetensors: File exists\n"
