"""The artefact: packed integer layers, alone or with the whole model around them, in one safetensors file; a model at
several densities (version 3) is in pruning/files/elastic.py.
``docs/format.md`` is its definition to the bit.

Numpy only, no torch: whatever runs a layer reads it through this module.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pruning.files.reading import (
    MIB,
    SCALE_MAX,
    SCALE_MIN,
    parse_json,
    read_arrays,
    read_header,
    regular_file,
    shown,
)
from pruning.files.writing import write_whole
from rtl.format import bits_per_group, check_pattern, index_bits, selection_coding
from rtl.params import BIAS_BITS, CHANNELS_MAX, MULT_BITS, SHIFT_MAX, InputError, ceil_div

if TYPE_CHECKING:
    from pruning.files.elastic import Elastic

FORMAT = "nmgen"
# Of each version what its metadata has. 1: layers alone; 2: with a model; 3: that at several densities
VERSIONS = {1: ("layers",), 2: ("layers", "model"), 3: ("densities", "layers", "model")}
K_MAX = 1 << 16
LAYER_MAX = 1 << 28  # weights of a layer
WEIGHTS_MAX = 1 << 31  # of all layers of a file
SIZE_MAX = 2048 * MIB  # bytes of a file

# The tensors of a layer, without the selection that a dense layer lacks, and their safetensors types.
TENSOR_TYPES = {"values": "I8", "selection": "U8", "bias": "I32", "mult": "U16", "shift": "U8"}
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
TOKENIZER = "tokenizer"  # the tensor that holds tokenizer.json
DENSE = (8, 8)  # the pattern of a layer that no plan names
LAYER_KEYS = ("pattern", "channels", "k", "coding", "out_bits")


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One linear layer, y = saturate(((x · weightsᵀ + bias) · mult + 2^(shift − 1)) >> shift), in integers.

    Parameters
    ----------
    name : letters, digits, '_', '-' and '.', beginning with none of the last two
    n, m : pattern; in every m consecutive weights of a channel at most n are non-zero
    weights : int8 [channels, k], −127 … 127, dense form
    bias : int32 [channels]
    mult : uint16 [channels]
    shift : uint8 [channels], 1 … 47
    out_bits : 8 or 16, width of the signed result
    extras : further facts that go along as JSON, such as x_scale and y_scale

    Raises
    ------
    InputError : anything out of its bounds; breaks of the pattern name row (channel) and group.
    """

    name: str
    n: int
    m: int
    weights: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    out_bits: int = 8
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        return int(self.weights.shape[0])

    @property
    def k(self) -> int:
        """Input dimension, unpadded."""
        return int(self.weights.shape[1])

    @property
    def groups(self) -> int:
        return ceil_div(self.k, self.m)

    @property
    def coding(self) -> str:
        return selection_coding(self.n, self.m)

    @property
    def packed_bytes(self) -> int:
        """Bytes of values and selection in the artefact."""
        cells = self.channels * self.groups
        return cells * self.n + ceil_div(cells * bits_per_group(self.n, self.m), 8)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name):
            raise InputError(
                f"layer name is {shown(self.name)}, must be letters, digits, '_', '-' and '.', the first no '-' or '.'"
            )
        where = f"layer {self.name}"
        check_pattern(self.n, self.m)
        if type(self.out_bits) is not int or self.out_bits not in (8, 16):
            raise InputError(f"{where}: out_bits is {shown(self.out_bits)}, must be 8 or 16")
        for key in LAYER_KEYS:
            if key in self.extras:
                raise InputError(f"{where}: extras has {key!r}, a name that the format keeps for itself")
        weights = self.weights
        if weights.dtype != np.int8 or weights.ndim != 2:
            raise InputError(f"{where}: weights are {_kind(weights)}, must be int8 with 2 dimensions [channels, k]")
        if not 1 <= self.channels <= CHANNELS_MAX:
            raise InputError(f"{where}: {self.channels} channels, must be 1 to {CHANNELS_MAX}")
        if not 1 <= self.k <= K_MAX:
            raise InputError(f"{where}: k is {self.k}, must be 1 to {K_MAX}")
        check_size(where, self.channels, self.k)
        for part, kind in (("bias", np.int32), ("mult", np.uint16), ("shift", np.uint8)):
            array = getattr(self, part)
            if array.dtype != kind or array.shape != (self.channels,):
                wanted = f"{np.dtype(kind)} [{self.channels}], one a channel"
                raise InputError(f"{where}: {part} is {_kind(array)}, must be {wanted}")
        _check_range(f"{where}: weight", weights, -127, 127)
        _check_range(f"{where}: shift", self.shift, 1, SHIFT_MAX)
        _check_pattern_kept(where, weights, self.n, self.m)

    @classmethod
    def from_dense(
        cls,
        name: str,
        weights: np.ndarray,
        n: int,
        m: int,
        *,
        bias: np.ndarray,
        mult: np.ndarray,
        shift: np.ndarray,
        out_bits: int = 8,
        extras: Mapping[str, Any] | None = None,
    ) -> "Layer":
        """A layer from int8 weights and from bias, mult and shift of any integer type, as long as the values fit."""
        where = f"layer {name}"
        return cls(
            name=name,
            n=n,
            m=m,
            weights=np.ascontiguousarray(weights),
            bias=_as_type(f"{where}: bias", bias, np.int32, -(1 << (BIAS_BITS - 1)), (1 << (BIAS_BITS - 1)) - 1),
            mult=_as_type(f"{where}: mult", mult, np.uint16, 0, (1 << MULT_BITS) - 1),
            shift=_as_type(f"{where}: shift", shift, np.uint8, 1, SHIFT_MAX),
            out_bits=out_bits,
            extras=dict(extras or {}),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What of a model is not a packed layer. The families' export.py give it its meaning.

    Parameters
    ----------
    config : the contents of the model's config.json
    tokenizer : the text of its tokenizer.json; empty where the model reads no text
    tensors : embeddings, norms, scales, tables and head by name; of the types in NUMPY_TYPES, floats finite
    about : facts that go along as JSON, such as the model's name, the method and the seed
    """

    config: Mapping[str, Any]
    tokenizer: str
    tensors: Mapping[str, np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in self.tensors.items():
            if array.dtype not in NUMPY_TYPES.values():
                raise InputError(f"tensor {name} is {_kind(array)}, a type that no artefact has")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(f"tensor {name} has a NaN or an infinity, must be finite")


@dataclass(frozen=True, kw_only=True, eq=False)
class Artefact:
    """All that a file holds."""

    layers: dict[str, Layer]
    model: Model | None

    @property
    def version(self) -> int:
        return 2 if self.model else 1

    @property
    def whole(self) -> Model:
        """The model; InputError where there are layers alone."""
        if self.model is None:
            raise InputError("the artefact holds layers alone (version 1), must hold a whole model")
        return self.model


def check_size(where: str, channels: int, k: int) -> None:
    """InputError where a layer has more weights than nmgen packs."""
    if channels * k > LAYER_MAX:
        raise InputError(f"{where}: {channels} x {k} weights, must be at most {LAYER_MAX:,}")


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _check_range(what: str, array: np.ndarray, low: int, high: int) -> None:
    """The first element out of bounds is named by its channel, a weight by its position along k as well."""
    bad = np.argwhere((array < low) | (array > high))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        place = f"channel {first[0]}" + "".join(f", position {i}" for i in first[1:])
        raise InputError(f"{what} of {place} is {array[first]}, must be {low} to {high}")


def _as_type(what: str, array: np.ndarray, kind: type, low: int, high: int) -> np.ndarray:
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InputError(f"{what} is {_kind(array)}, must be integers, one a channel")
    _check_range(what, array, low, high)
    return np.ascontiguousarray(array.astype(kind))


def in_groups(weights: np.ndarray, m: int) -> np.ndarray:
    """[channels, k] → [channels, groups, m], k padded with zeros to whole groups."""
    channels, k = weights.shape
    return np.pad(weights, ((0, 0), (0, -k % m))).reshape(channels, -1, m)


def _check_pattern_kept(where: str, weights: np.ndarray, n: int, m: int) -> None:
    counts = np.count_nonzero(in_groups(weights, m), axis=2)
    broken = np.argwhere(counts > n)
    if len(broken):
        row, group = broken[0]
        raise InputError(
            f"{where}: row (channel) {row}, group {group} has {counts[row, group]} non-zero weights, "
            f"the pattern {n}:{m} allows {n}"
        )


def _positions(groups: np.ndarray, n: int) -> np.ndarray:
    """[channels, groups, m] → the n positions that stand for each group, ascending, [channels, groups, n]."""
    nonzero_first = np.argsort(groups == 0, axis=2, kind="stable")  # then the zeros, both ascending
    return np.sort(nonzero_first[:, :, :n], axis=2)


def pack(weights: np.ndarray, n: int, m: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Weights [channels, k] as planes: values int8 [channels, groups, n] and selection uint8 [bytes], None if dense.

    All groups at once, equal to ``rtl.format.pack_group`` and ``rtl.format.encode`` of each.
    """
    groups = in_groups(weights, m)
    positions = _positions(groups, n)
    values = np.take_along_axis(groups, positions, axis=2)
    coding = selection_coding(n, m)
    if coding == "counted":
        return values, None
    bits: np.ndarray
    if coding == "bitmap":
        bits = np.zeros(groups.shape, np.uint8)
        np.put_along_axis(bits, positions, 1, axis=2)
    else:
        bits = (positions[..., None] >> np.arange(index_bits(m)) & 1).astype(np.uint8)
    return values, np.packbits(bits.ravel(), bitorder="little")


def unpack(where: str, values: np.ndarray, selection: np.ndarray | None, n: int, m: int, k: int) -> np.ndarray:
    """The weights int8 [channels, k] of the planes; InputError, with channel and group, where they are not pack's."""
    channels, groups, _ = values.shape
    cells = channels * groups
    if selection is None:
        positions = np.broadcast_to(np.arange(m), (channels, groups, m))
    else:
        width = bits_per_group(n, m)
        plane = np.unpackbits(selection, bitorder="little")
        if plane[cells * width :].any():
            raise InputError(f"{where}: selection has a bit set beyond its {cells * width} bits")
        bits = plane[: cells * width].reshape(channels, groups, width)
        if selection_coding(n, m) == "bitmap":
            counts = bits.sum(axis=2, dtype=np.int64)
            _refuse(where, counts != n, lambda at: f"bitmap has {counts[at]} bits set, must have {n}")
            positions = np.nonzero(bits)[2].reshape(channels, groups, n)
        else:
            fields = bits.reshape(channels, groups, n, index_bits(m)).astype(np.int64)
            positions = (fields << np.arange(index_bits(m))).sum(axis=3)
            falling = (np.diff(positions, axis=2) <= 0).any(axis=2)
            _refuse(where, falling, lambda at: f"indices are {positions[at].tolist()}, must be ascending")
    dense = np.zeros((channels, groups, m), np.int8)
    np.put_along_axis(dense, positions, values, axis=2)
    misplaced = (_positions(dense, n) != positions).any(axis=2)
    _refuse(where, misplaced, lambda at: "its pairs of value 0 are not at the lowest zero positions")
    weights = dense.reshape(channels, -1)
    beyond = np.zeros((channels, groups), bool)
    beyond[:, -1] = weights[:, k:].any(axis=1)
    _refuse(where, beyond, lambda at: f"a weight beyond k = {k} is not zero")
    return np.ascontiguousarray(weights[:, :k])


def _refuse(where: str, wrong: np.ndarray, what: Callable[[tuple[int, int]], str]) -> None:
    """InputError for the first wrong group, wrong bool [channels, groups]; what(index) says what is wrong there."""
    bad = np.argwhere(wrong)
    if len(bad):
        channel, group = (int(i) for i in bad[0])
        raise InputError(f"{where}: channel {channel}, group {group}: {what((channel, group))}")


# --- writing ---------------------------------------------------------------------------------------------------------


def checksum(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """sha256 over a text and, in order of name, each tensor's name, type, shape and bytes.

    text : the version's metadata, with newlines between
    """
    types = {kind: code for code, kind in NUMPY_TYPES.items()}
    digest = sha256(f"{text}\n".encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {types[array.dtype]} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _tensors(layer: Layer) -> dict[str, np.ndarray]:
    values, selection = pack(layer.weights, layer.n, layer.m)
    parts = {"values": values, "bias": layer.bias, "mult": layer.mult, "shift": layer.shift}
    if selection is not None:
        parts["selection"] = selection
    return {f"{layer.name}.{part}": array.astype(NUMPY_TYPES[TENSOR_TYPES[part]]) for part, array in parts.items()}


def to_bytes(layers: Iterable[Layer], model: Model | None = None) -> bytes:
    """The file. Written here because the safetensors package orders its metadata differently each time."""
    tensors: dict[str, np.ndarray] = {}
    described: dict[str, Any] = {}
    for layer in layers:
        if layer.name in described:
            raise InputError(f"layer name {layer.name} is there twice, must be unique in an artefact")
        tensors |= _tensors(layer)
        described[layer.name] = {
            "pattern": [layer.n, layer.m],
            "channels": layer.channels,
            "k": layer.k,
            "coding": layer.coding,
            "out_bits": layer.out_bits,
            **layer.extras,
        }
    if not described:
        raise InputError("an artefact of no layers, must have at least 1")
    texts = {"layers": as_json(described)}
    if model:
        own = dict(model.tensors) | {TOKENIZER: np.frombuffer(model.tokenizer.encode(), np.uint8)}
        if clash := own.keys() & tensors.keys():
            raise InputError(f"tensor {min(clash)} of the model has the name of a layer's, must be unique")
        for name, array in own.items():
            check_numbers(name, array)  # what is written can be read
        tensors |= own
        texts["model"] = as_json({"config": model.config, "about": model.about, "tensors": sorted(own)})
    return file_of(2 if model else 1, texts, tensors)


def file_of(version: int, texts: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> bytes:
    """The file of a version; texts : of its metadata, in its order"""
    digest = checksum("\n".join(texts.values()), tensors)
    metadata = {"format": FORMAT, "version": str(version), **texts, "sha256": digest}
    header: dict[str, Any] = {"__metadata__": metadata}
    types = {kind: code for code, kind in NUMPY_TYPES.items()}
    offset = 0
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # wide types first: all are aligned
    for name in order:
        array = tensors[name]
        offsets = [offset, offset + array.nbytes]
        header[name] = {"dtype": types[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        offset += array.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(tensors[name].tobytes() for name in order)


def as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def save(path: Path | str, layers: Iterable[Layer], model: Model | None = None) -> None:
    """Write the artefact, whole or not at all; the same contents give the same bytes."""
    write_whole(Path(path), to_bytes(layers, model))


# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: Path | str) -> dict[str, Layer]:
    """The layers of an artefact by name, every one checked.

    Raises
    ------
    InputError : not an artefact, truncated, damaged, newer than this program, or a layer out of its bounds.
    OSError : the file cannot be read.
    """
    return read(path).layers


def read(path: Path | str, density: str | None = None) -> Artefact:
    """All of an artefact, as load.

    density : of an artefact of several densities which one, such as 1:8; None: the densest
    """
    path = Path(path)
    with regular_file(path, SIZE_MAX) as (file, size):
        try:
            return _chosen(_read(file, size), density)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> dict[str, Layer]:
    """The layers of an artefact's bytes, as load."""
    return whole_from_bytes(data).layers


def whole_from_bytes(data: bytes) -> Artefact:
    """All of an artefact's bytes, as read."""
    return _chosen(_read(BytesIO(data), len(data)), None)


def read_elastic(path: Path | str) -> "Elastic | None":
    """All densities of an artefact of version 3, None where it has another; as load."""
    path = Path(path)
    with regular_file(path, SIZE_MAX) as (file, size):
        try:
            found = _read(file, size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    return None if isinstance(found, Artefact) else found


def _chosen(found: "Artefact | Elastic", density: str | None) -> Artefact:
    from pruning.files.elastic import chosen  # which stands on this module

    if isinstance(found, Artefact):
        if density is not None:
            raise InputError(f"the artefact has one density, so none can be chosen: {shown(density)}")
        return found
    return chosen(found, density)


def _read(file: BinaryIO, size: int) -> "Artefact | Elastic":
    header = read_header(file, size)
    metadata = header.metadata
    if metadata.get("format") != FORMAT:
        raise InputError(f"a safetensors file but no artefact: its metadata lacks format = {FORMAT!r}")
    version = str(metadata.get("version"))
    if not re.fullmatch("[0-9]{1,9}", version):
        raise InputError(f"version is {shown(version)}, must be a number")
    if int(version) not in VERSIONS:
        raise InputError(f"version is {version}, this program reads versions 1 to 3: use the nmgen that wrote it")
    keys = VERSIONS[int(version)]
    missing = [key for key in (*keys, "sha256") if key not in metadata]
    if missing:
        raise InputError(f"damaged: its metadata lacks {missing[0]!r}")
    tensors = read_arrays(file, header, NUMPY_TYPES)
    if checksum("\n".join(metadata[key] for key in keys), tensors) != metadata["sha256"]:
        raise InputError("damaged: the checksum sha256 in its metadata is not that of its contents")
    found = _elastic(metadata, tensors) if "densities" in keys else _single(metadata, keys, tensors)
    if tensors:
        raise InputError(f"tensor {min(tensors)} belongs to no layer")
    return found


def _elastic(metadata: Mapping[str, str], tensors: dict[str, np.ndarray]) -> "Elastic":
    from pruning.files.elastic import elastic_of

    return elastic_of(metadata, tensors)


def _single(metadata: Mapping[str, str], keys: Sequence[str], tensors: dict[str, np.ndarray]) -> Artefact:
    """Of versions 1 and 2; takes their tensors out of the dictionary."""
    described = parsed(metadata["layers"])
    if not isinstance(described, dict) or not described:
        raise InputError("metadata layers is not a JSON object of at least one layer")
    layers: dict[str, Layer] = {}
    for name, about in described.items():
        layers[name] = _layer(name, about, tensors)
        if sum(layer.weights.size for layer in layers.values()) > WEIGHTS_MAX:
            raise InputError(f"its layers have more than {WEIGHTS_MAX:,} weights")
    model = model_of(parsed(metadata["model"]), tensors) if "model" in keys else None
    return Artefact(layers=layers, model=model)


def parsed(text: str) -> Any:
    """What a text of JSON says, None where it is none."""
    try:
        return parse_json(text)
    except InputError:
        return None


def model_of(said: Any, tensors: dict[str, np.ndarray]) -> Model:
    """The model that the metadata says; takes its tensors out of the dictionary."""
    said = said if isinstance(said, dict) else {}
    config, about, names = said.get("config"), said.get("about"), said.get("tensors")
    if not isinstance(config, dict) or not isinstance(about, dict) or not isinstance(names, list):
        raise InputError("metadata model is not a JSON object of config, about and tensors")
    own: dict[str, np.ndarray] = {}
    for name in names:
        if not isinstance(name, str) or name not in tensors:
            raise InputError(f"tensor {shown(name)} of the model is missing, or is named twice")
        own[name] = tensors.pop(name)
        check_numbers(name, own[name])
    if TOKENIZER not in own:
        raise InputError(f"tensor {TOKENIZER} of the model is missing")
    try:
        tokenizer = own.pop(TOKENIZER).tobytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"tensor {TOKENIZER} is not UTF-8 text: byte {error.start}") from None
    return Model(config=config, tokenizer=tokenizer, tensors=own, about=about)


def check_numbers(name: str, array: np.ndarray) -> None:
    """InputError unless a model's tensor has the type that its name asks for, and numbers that one can compute with."""
    if name.startswith("zeros."):
        if array.dtype != np.int16 or array.ndim:
            raise InputError(f"tensor {name} is {_kind(array)}, must be int16 with one number")
        if not -128 <= int(array) <= 127:
            raise InputError(f"tensor {name} has {int(array)}, must be from -128 to 127")
    if not name.startswith(("scales.", "pixels.")):
        return
    if array.dtype != np.float64 or array.ndim > 1 or not array.size:
        raise InputError(f"tensor {name} is {_kind(array)}, must be float64 with one number or one a channel")
    low, high = float(array.min()), float(array.max())
    if name == "pixels.mean":
        low, high = 1.0, max(-low, high, 1.0)
    if low <= 0:
        raise InputError(f"tensor {name} has {low}, must be above 0")
    if not SCALE_MIN <= low <= high <= SCALE_MAX:
        found = low if low < SCALE_MIN else high
        raise InputError(f"tensor {name} has {found}, must be from {SCALE_MIN} to {SCALE_MAX}")


def _layer(name: str, about: Any, tensors: dict[str, np.ndarray]) -> Layer:
    """One layer; takes its tensors out of the dictionary."""
    where = f"layer {name}"
    missing = [key for key in LAYER_KEYS if not isinstance(about, dict) or key not in about]
    if missing:
        raise InputError(f"{where}: metadata lacks {missing[0]!r}")
    n, m = checked_pattern(where, about["pattern"])
    channels, k = checked_shape(where, about)
    if about["coding"] != selection_coding(n, m):
        raise InputError(f"{where}: coding is {shown(about['coding'])}, must be {selection_coding(n, m)!r} for {n}:{m}")
    groups = ceil_div(k, m)
    shapes = {"values": (channels, groups, n), "bias": (channels,), "mult": (channels,), "shift": (channels,)}
    if n < m:
        shapes["selection"] = (ceil_div(channels * groups * bits_per_group(n, m), 8),)
    parts = taken(name, shapes, tensors)
    weights = unpack(where, parts["values"], parts.get("selection"), n, m, k)
    return Layer(
        name=name,
        n=n,
        m=m,
        weights=weights,
        bias=parts["bias"],
        mult=parts["mult"],
        shift=parts["shift"],
        out_bits=about["out_bits"],
        extras={key: value for key, value in about.items() if key not in LAYER_KEYS},
    )


def checked_pattern(where: str, pattern: Any) -> tuple[int, int]:
    """(n, m) of the metadata's [n, m]."""
    if not isinstance(pattern, list) or len(pattern) != 2 or any(type(number) is not int for number in pattern):
        raise InputError(f"{where}: pattern is {shown(pattern)}, must be two integers [n, m]")
    n, m = pattern
    check_pattern(n, m)
    return n, m


def checked_shape(where: str, about: Mapping[str, Any]) -> tuple[int, int]:
    """(channels, k) of a layer's metadata."""
    channels, k = about["channels"], about["k"]
    for key, value, high in (("channels", channels, CHANNELS_MAX), ("k", k, K_MAX)):
        if type(value) is not int or not 1 <= value <= high:
            raise InputError(f"{where}: {key} is {shown(value)}, must be an integer from 1 to {high}")
    check_size(where, channels, k)
    return channels, k


def taken(name: str, shapes: Mapping[str, tuple[int, ...]], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors NAME.PART, checked, by the part; takes them out of the dictionary."""
    parts = {}
    for part, shape in shapes.items():
        array = tensors.pop(f"{name}.{part}", None)
        if array is None:
            raise InputError(f"tensor {name}.{part} is missing")
        kind = NUMPY_TYPES[TENSOR_TYPES[part]]
        if array.dtype != kind or array.shape != shape:
            raise InputError(f"tensor {name}.{part} is {_kind(array)}, must be {kind} {list(shape)}")
        parts[part] = array
    return parts
