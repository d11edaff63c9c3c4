"""The artefact: what goes in comes out, it is what rtl/format.py says, and everything else is refused by name."""

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pruning.files.artefact import Layer, checksum, from_bytes, load, pack, save, to_bytes
from rtl.format import bits_per_group, encode, pack_group
from rtl.params import InputError
from tests.pruning.samples import layers, random_layer, random_weights

PATTERNS = [(1, 2), (2, 4), (3, 4), (2, 8), (3, 8), (8, 8), (4, 16), (7, 16), (1, 32), (6, 32), (7, 32)]
ARRAYS = ("weights", "bias", "mult", "shift")


def same(a: Layer, b: Layer) -> bool:
    plain = all(getattr(a, key) == getattr(b, key) for key in ("name", "n", "m", "out_bits", "extras"))
    return plain and all(
        np.array_equal(getattr(a, key), getattr(b, key)) and getattr(a, key).dtype == getattr(b, key).dtype
        for key in ARRAYS
    )


def there_and_back(path: Path, *given: Layer) -> dict[str, Layer]:
    save(path, given)
    return load(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artefacts") / "A.safetensors"


# --- packing ---------------------------------------------------------------------------------------------------------


@given(layers())
def test_planes_are_the_groups_of_the_definition(layer: Layer) -> None:
    values, selection = pack(layer.weights, layer.n, layer.m)
    string, bits = 0, 0
    for channel in range(layer.channels):
        row = layer.weights[channel].tolist()
        row += [0] * (-len(row) % layer.m)
        for group in range(layer.groups):
            pairs, positions = pack_group(row[group * layer.m : (group + 1) * layer.m], layer.n)
            assert values[channel, group].tolist() == pairs
            string |= encode(positions, layer.n, layer.m) << bits
            bits += bits_per_group(layer.n, layer.m)
    if layer.n == layer.m:
        assert selection is None
    else:
        assert selection is not None
        assert selection.tobytes() == string.to_bytes(-(-bits // 8), "little")
    assert layer.packed_bytes == values.nbytes + (0 if selection is None else selection.nbytes)


@given(layers())
def test_export_and_import(place: Path, layer: Layer) -> None:
    assert same(there_and_back(place, layer)["fc"], layer)


def test_several_layers_with_their_extras(place: Path) -> None:
    made = [random_layer(i, 3 + i, 19, n, m, name=f"encoder.layer.{i}") for i, (n, m) in enumerate(PATTERNS)]
    made[0] = dataclasses.replace(made[0], extras={"x_scale": 0.1, "y_scale": 1e-9, "method": "magnitude", "é": [1]})
    found = there_and_back(place, *made)
    assert list(found) == [layer.name for layer in made]
    assert all(same(found[layer.name], layer) for layer in made)


def test_any_reader_of_safetensors_opens_it(place: Path) -> None:
    layer = random_layer(1, 5, 19, 2, 8)
    save(place, [layer])
    tensors = safetensors.numpy.load_file(place)
    assert {name: (str(array.dtype), array.shape) for name, array in tensors.items()} == {
        "fc.values": ("int8", (5, 3, 2)),
        "fc.selection": ("uint8", (12,)),  # 15 groups of 6 bits
        "fc.bias": ("int32", (5,)),
        "fc.mult": ("uint16", (5,)),
        "fc.shift": ("uint8", (5,)),
    }
    with safetensors.safe_open(place, "np") as file:
        assert file.metadata()["format"] == "nmgen"


def test_same_layers_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, [random_layer(1, 5, 19, 2, 8), random_layer(2, 5, 19, 3, 8, name="second")])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_from_dense_takes_any_integer_type() -> None:
    weights = random_weights(0, 4, 10, 2, 8)
    for kind in (np.int64, np.uint16, np.dtype(">i4")):
        layer = Layer.from_dense(
            "fc", weights, 2, 8, bias=np.arange(4, dtype=kind), mult=np.arange(4, dtype=kind), shift=np.ones(4, kind)
        )
        assert [getattr(layer, name).dtype for name in ARRAYS] == [np.int8, np.int32, np.uint16, np.uint8]
        assert layer.bias.tolist() == [0, 1, 2, 3]


# --- writing ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "A.safetensors"
    layer = random_layer(0, 4, 10, 2, 8)
    save(path, [layer])
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        save(path, [random_layer(1, 4, 10, 2, 8)])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "an artefact of no layers, must have at least 1"),
        ([random_layer(0, 4, 10, 2, 8)] * 2, "layer name fc is there twice, must be unique in an artefact"),
    ],
)
def test_wrong_sets_of_layers(given: list[Layer], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        save(tmp_path / "A.safetensors", given)
    assert not list(tmp_path.iterdir())


# --- a layer out of its bounds ---------------------------------------------------------------------------------------


def weights_with(*changes: tuple[int, int, int]) -> np.ndarray:
    weights: np.ndarray = np.zeros((4, 19), np.int8)
    for channel, position, value in changes:
        weights[channel, position] = value
    return weights


BAD_LAYERS: list[tuple[dict[str, Any], str]] = [
    ({"name": "a/b"}, "layer name is 'a/b', must be letters, digits, '_', '-' and '.', the first no '-' or '.'"),
    (
        {"name": ".hidden"},
        "layer name is '.hidden', must be letters, digits, '_', '-' and '.', the first no '-' or '.'",
    ),
    ({"name": ""}, "layer name is '', must be letters, digits, '_', '-' and '.', the first no '-' or '.'"),
    ({"n": 9}, "pattern 9:8 keeps 9 of 8, must be 1 to 8"),
    ({"n": 2, "m": 6}, "pattern 2:6 has groups of 6, must be 2, 4, 8, 16 or 32"),
    ({"out_bits": 32}, "layer fc: out_bits is 32, must be 8 or 16"),
    ({"out_bits": 8.0}, "layer fc: out_bits is 8.0, must be 8 or 16"),
    ({"extras": {"k": 3}}, "layer fc: extras has 'k', a name that the format keeps for itself"),
    (
        {"weights": np.zeros((4, 19), np.int16)},
        "layer fc: weights are int16 [4, 19], must be int8 with 2 dimensions [channels, k]",
    ),
    (
        {"weights": np.zeros(19, np.int8)},
        "layer fc: weights are int8 [19], must be int8 with 2 dimensions [channels, k]",
    ),
    ({"weights": np.zeros((0, 19), np.int8)}, "layer fc: 0 channels, must be 1 to 65535"),
    ({"weights": np.zeros((65536, 1), np.int8)}, "layer fc: 65536 channels, must be 1 to 65535"),
    ({"weights": np.zeros((4, 0), np.int8)}, "layer fc: k is 0, must be 1 to 65536"),
    ({"weights": np.zeros((4, 65537), np.int8)}, "layer fc: k is 65537, must be 1 to 65536"),
    (
        {"weights": weights_with((2, 5, -128))},
        "layer fc: weight of channel 2, position 5 is -128, must be -127 to 127",
    ),
    (
        {"weights": weights_with((1, 3, 1), (3, 16, 1), (3, 17, -1), (3, 18, 2))},
        "layer fc: row (channel) 3, group 2 has 3 non-zero weights, the pattern 2:8 allows 2",
    ),
    ({"bias": np.zeros(5, int)}, "layer fc: bias is int32 [5], must be int32 [4], one a channel"),
    ({"bias": np.zeros((4, 1), int)}, "layer fc: bias is int64 [4, 1], must be integers, one a channel"),
    ({"bias": np.int64(3)}, "layer fc: bias is int64 [], must be integers, one a channel"),
    ({"bias": np.zeros(4)}, "layer fc: bias is float64 [4], must be integers, one a channel"),
    (
        {"bias": np.array([0, 0, 1 << 31, 0])},
        "layer fc: bias of channel 2 is 2147483648, must be -2147483648 to 2147483647",
    ),
    ({"mult": np.array([0, 65536, 0, 0])}, "layer fc: mult of channel 1 is 65536, must be 0 to 65535"),
    ({"mult": np.array([0, 0, 0, -1])}, "layer fc: mult of channel 3 is -1, must be 0 to 65535"),
    ({"shift": np.array([1, 2, 0, 4])}, "layer fc: shift of channel 2 is 0, must be 1 to 47"),
    ({"shift": np.array([48, 2, 3, 4])}, "layer fc: shift of channel 0 is 48, must be 1 to 47"),
]


@pytest.mark.parametrize(("change", "message"), BAD_LAYERS)
def test_layers_out_of_bounds(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "name": "fc",
        "weights": weights_with(),
        "n": 2,
        "m": 8,
        "bias": np.zeros(4, int),
        "mult": np.ones(4, int),
        "shift": np.ones(4, int),
    }
    Layer.from_dense(**good)
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Layer.from_dense(**good | change)


@pytest.mark.parametrize(("part", "kind"), [("bias", np.int64), ("mult", np.int32), ("shift", np.int8)])
def test_a_layer_itself_is_of_the_exact_types(part: str, kind: type) -> None:
    layer = random_layer(0, 4, 10, 2, 8)
    with pytest.raises(InputError, match=rf"layer fc: {part} is {np.dtype(kind)} \[4\], must be "):
        dataclasses.replace(layer, **{part: np.ones(4, kind)})


# --- a file that is not an artefact ----------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def refused_bytes(data: bytes) -> str:
    try:
        from_bytes(data)
    except InputError as error:
        return str(error)
    raise AssertionError("accepted")


@pytest.mark.parametrize("n", [2, 3, 8])
def test_no_changed_bit_is_accepted(n: int) -> None:
    data = to_bytes([random_layer(3, 2, 11, n, 8)])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        assert refused_bytes(bytes(damaged)), bit


def test_no_missing_and_no_further_byte_is_accepted() -> None:
    data = to_bytes([random_layer(3, 2, 11, 2, 8)])
    start = 8 + int.from_bytes(data[:8], "little")
    for length in range(len(data)):
        message = refused_bytes(data[:length])
        if length < 8:
            assert message == f"truncated, or no safetensors file: its header ends at byte 8, the file at {length}"
        elif length < start:
            assert message.endswith(f"its header ends at byte {start}, the file at {length}")
        else:
            assert message == f"truncated: tensor fc.values ends at byte {len(data)}, the file at {length}"
    assert refused_bytes(data + b"\0").startswith("damaged: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated, or no safetensors file: its header ends at byte 8, the file at 0"),
        (b"# a text of some length\n", "truncated, or no safetensors file: its header ends at byte 8"),
        (b"\2\0\0\0\0\0\0\0[]", "no safetensors file: bytes 8 to 10 are not its header"),
        (b"\3\0\0\0\0\0\0\0{a}", "no safetensors file: bytes 8 to 11 are not its header"),
        (b"\7\0\0\0\0\0\0\0" + b'{"a":1}', "no safetensors file: bytes 8 to 15 are not its header"),
        (b"\2\0\0\0\0\0\0\0{}", "a safetensors file but no artefact: its metadata lacks format = 'nmgen'"),
    ],
)
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    path.write_bytes(content)
    assert refused(path).startswith(message)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "A.safetensors")


def rewritten(
    path: Path,
    *,
    tensors: Callable[[dict[str, np.ndarray]], Any] = lambda tensors: None,
    about: Callable[[dict[str, Any]], Any] = lambda about: None,
    metadata: dict[str, str | None] | None = None,
    n: int = 2,
) -> None:
    """An artefact of layer fc, 3 channels, k 19, pattern n:8, with changes that its checksum agrees with."""
    save(path, [random_layer(5, 3, 19, n, 8)])
    arrays = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        described = json.loads(file.metadata()["layers"])
    tensors(arrays)
    about(described["fc"])
    text = json.dumps(described)
    digest = "" if any(array.dtype == np.float16 for array in arrays.values()) else checksum(text, arrays)
    strings = {"format": "nmgen", "version": "1", "layers": text, "sha256": digest} | (metadata or {})
    safetensors.numpy.save_file(arrays, path, {key: value for key, value in strings.items() if value is not None})


def put(name: str, index: Any, value: int) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = tensors[name].copy()
        tensors[name][index] = value

    return change


def put_codes(*codes: int, bits: int) -> Callable[[dict[str, np.ndarray]], None]:
    """Another selection for the 9 groups, and values of 1."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        string = sum(code << (bits * i) for i, code in enumerate(codes))
        tensors["fc.selection"] = np.frombuffer(string.to_bytes(-(-9 * bits // 8), "little"), np.uint8)
        tensors["fc.values"] = np.ones_like(tensors["fc.values"])

    return change


FINE = encode([0, 1], 2, 8)  # positions below k in the last group too
FINE_MAP = encode([0, 1, 2], 3, 8)
BAD_FILES: list[tuple[dict[str, Any], str]] = [
    ({"metadata": {"format": "other"}}, "a safetensors file but no artefact: its metadata lacks format = 'nmgen'"),
    ({"metadata": {"version": "4"}}, "version is 4, this program reads versions 1 to 3: use the nmgen that wrote it"),
    ({"metadata": {"version": "2"}}, "damaged: its metadata lacks 'model'"),
    ({"metadata": {"version": "one"}}, "version is 'one', must be a number"),
    ({"metadata": {"version": None}}, "version is 'None', must be a number"),
    ({"metadata": {"sha256": None}}, "damaged: its metadata lacks 'sha256'"),
    ({"metadata": {"layers": None}}, "damaged: its metadata lacks 'layers'"),
    (
        {"metadata": {"sha256": "0" * 64}},
        "damaged: the checksum sha256 in its metadata is not that of its contents",
    ),
    ({"tensors": lambda t: t.pop("fc.bias")}, "tensor fc.bias is missing"),
    ({"tensors": lambda t: t.pop("fc.selection")}, "tensor fc.selection is missing"),
    ({"tensors": lambda t: t.update({"x.bias": t["fc.bias"]})}, "tensor x.bias belongs to no layer"),
    (
        {"n": 8, "tensors": lambda t: t.update({"fc.selection": np.zeros(3, np.uint8)})},
        "tensor fc.selection belongs to no layer",
    ),
    (
        {"tensors": lambda t: t.update({"fc.bias": np.zeros(4, np.int32)})},
        "tensor fc.bias is int32 [4], must be int32 [3]",
    ),
    (
        {"tensors": lambda t: t.update({"fc.mult": np.zeros(3, np.int32)})},
        "tensor fc.mult is int32 [3], must be uint16 [3]",
    ),
    (
        {"tensors": lambda t: t.update({"fc.values": t["fc.values"].reshape(9, 2)})},
        "tensor fc.values is int8 [9, 2], must be int8 [3, 3, 2]",
    ),
    ({"about": lambda a: a.pop("k")}, "layer fc: metadata lacks 'k'"),
    ({"about": lambda a: a.update(pattern="2:8")}, "layer fc: pattern is '2:8', must be two integers [n, m]"),
    ({"about": lambda a: a.update(pattern=[True, 8])}, "layer fc: pattern is [True, 8], must be two integers [n, m]"),
    ({"about": lambda a: a.update(pattern=[2, 7])}, "pattern 2:7 has groups of 7, must be 2, 4, 8, 16 or 32"),
    ({"about": lambda a: a.update(channels=0)}, "layer fc: channels is 0, must be an integer from 1 to 65535"),
    ({"about": lambda a: a.update(k=19.0)}, "layer fc: k is 19.0, must be an integer from 1 to 65536"),
    ({"about": lambda a: a.update(k=25)}, "tensor fc.values is int8 [3, 3, 2], must be int8 [3, 4, 2]"),
    ({"about": lambda a: a.update(coding="bitmap")}, "layer fc: coding is 'bitmap', must be 'index' for 2:8"),
    ({"about": lambda a: a.update(out_bits="8")}, "layer fc: out_bits is '8', must be 8 or 16"),
    ({"tensors": put("fc.shift", 2, 48)}, "layer fc: shift of channel 2 is 48, must be 1 to 47"),
    ({"tensors": put("fc.shift", 1, 0)}, "layer fc: shift of channel 1 is 0, must be 1 to 47"),
    ({"tensors": put("fc.selection", 6, 0xFF)}, "layer fc: selection has a bit set beyond its 54 bits"),
    (
        {"tensors": put_codes(*[FINE] * 4, 1 << 3 | 5, *[FINE] * 4, bits=6)},
        "layer fc: channel 1, group 1: indices are [5, 1], must be ascending",
    ),
    (
        {"tensors": put_codes(*[FINE] * 6, 3 << 3 | 3, *[FINE] * 2, bits=6)},
        "layer fc: channel 2, group 0: indices are [3, 3], must be ascending",
    ),
    (
        {"n": 3, "tensors": put_codes(*[FINE_MAP] * 7, 0b1111, FINE_MAP, bits=8)},
        "layer fc: channel 2, group 1: bitmap has 4 bits set, must have 3",
    ),
    (
        {"n": 3, "tensors": put_codes(0, *[FINE_MAP] * 8, bits=8)},
        "layer fc: channel 0, group 0: bitmap has 0 bits set, must have 3",
    ),
    (
        {"tensors": put_codes(*[FINE] * 5, encode([2, 3], 2, 8), *[FINE] * 3, bits=6)},
        "layer fc: channel 1, group 2: a weight beyond k = 19 is not zero",
    ),
    (
        {
            "tensors": lambda t: (
                put_codes(*[FINE] * 3, encode([1, 2], 2, 8), *[FINE] * 5, bits=6)(t),
                put("fc.values", (1, 0), 0)(t),
            )
        },
        "layer fc: channel 1, group 0: its pairs of value 0 are not at the lowest zero positions",
    ),
    (
        {"tensors": lambda t: (put_codes(*[FINE] * 9, bits=6)(t), put("fc.values", (2, 1, 1), -128)(t))},
        "layer fc: weight of channel 2, position 9 is -128, must be -127 to 127",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD_FILES)
def test_files_out_of_bounds(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    rewritten(path)
    load(path)
    rewritten(path, **change)
    assert refused(path) == message


def test_a_type_that_no_artefact_has(tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    rewritten(path, tensors=lambda t: t.update({"fc.bias": np.zeros(3, np.float16)}))
    assert re.fullmatch(r"tensor fc.bias at byte \d+ is F16, a type that no artefact has", refused(path))


@pytest.mark.parametrize("text", ["{}", "[1]", "{", "null"])
def test_metadata_of_no_layers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    strings = {"format": "nmgen", "version": "1", "layers": text, "sha256": checksum(text, {})}
    safetensors.numpy.save_file({}, path, strings)
    assert refused(path) == "metadata layers is not a JSON object of at least one layer"


@given(st.binary(max_size=64))
def test_random_bytes(content: bytes) -> None:
    assert refused_bytes(content)
