"""How files from anybody are read: of a bounded size, of bounded depth, and checked before anything is built of them.

Each format has one reader, which stands on these: what is read is a regular file no larger than its format may be,
JSON and TOML give plain values of finite numbers, and the tensors of a safetensors file lie where, and are as large, as
it says.
Standard library and numpy alone. docs/threats.md says what this is for.
"""

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rtl.params import InputError

MIB = 1 << 20
JSON_MAX = 64 * MIB  # bytes of a JSON file: tokenizers have up to 20 MB
TOML_MAX = MIB // 4
TEXT_MAX = 1024 * MIB
HEADER_MAX = 64 * MIB  # of a safetensors file; a program's has the tokenizer in it
DEPTH_MAX = 32  # of lists and tables in one another
VALUES_MAX = 8_000_000  # of a JSON text: half a gigabyte
DIGITS_MAX = 100  # of an integer: any of them is a float, too
LINE_MAX = 500  # characters of a line of TOML: what a key of many dots takes grows with their square
DIMENSIONS_MAX = 8
SCALE_MIN, SCALE_MAX = (
    1e-50,
    1e50,
)  # of what a step is worth: more than float32 has for any 16 bits, and their ratios are finite

# Bits of an element, by the types' names in safetensors files.
TYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


# --- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def regular_file(path: Path | str, most: int) -> Iterator[tuple[BinaryIO, int]]:
    """A file that is open to read, and its bytes; no device and no pipe, which may never end.

    Raises
    ------
    InputError : it is none, or has more than `most` bytes.
    OSError : it cannot be read, or is a folder.
    """
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is no regular file")
        if found.st_size > most:
            raise InputError(f"{path} has {found.st_size:,} bytes, must have at most {most:,}")
        yield file, found.st_size


def _at_once(path: str, flags: int) -> int:
    """Opens a pipe without a writer as well, for which others would wait."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_bytes(path: Path | str, most: int) -> bytes:
    """All of a regular file; as regular_file."""
    with regular_file(path, most) as (file, size):
        return file.read(size)


def read_text(path: Path | str, most: int = TEXT_MAX) -> str:
    """The text of a regular file, as regular_file; InputError where it is not UTF-8. Line ends become newlines."""
    try:
        text = read_bytes(path, most).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path | str) -> Any:
    """What a JSON file holds, as parse_json.

    Raises
    ------
    InputError : too large, not UTF-8, no JSON; the path is named.
    OSError : it cannot be read.
    """
    text = read_text(path, JSON_MAX)
    try:
        return parse_json(text)
    except InputError as error:
        raise InputError(f"{path} is not JSON: {error}") from None


# --- texts -----------------------------------------------------------------------------------------------------------


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError, which names the file, where it is missing or holds anything else."""
    if not path.is_file():
        raise InputError(f"{path} is missing")
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a JSON object")
    return found


def parse_json(text: str) -> Any:
    """The value of a JSON text: numbers finite, strings Unicode, lists and objects at most DEPTH_MAX deep.

    Raises
    ------
    InputError : it is none; the message does not say of what.
    """
    if sum(map(text.count, ",[{")) > VALUES_MAX:
        raise InputError(f"more than {VALUES_MAX:,} values")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
    except RecursionError:
        raise InputError(f"nested more than {DEPTH_MAX} deep") from None
    except json.JSONDecodeError as error:
        raise InputError(str(error)) from None
    _check_depth(value)
    if re.search(r"\\u[dD][89a-fA-F]", text):  # half of a pair of surrogates is no character, and cannot be written
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise InputError("a string has half of a surrogate pair") from None
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text of at most TOML_MAX characters.

    Raises
    ------
    InputError : it is none; the message does not say of what.
    """
    if len(text) > TOML_MAX:
        raise InputError(f"{len(text):,} characters, must be at most {TOML_MAX:,}")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_MAX:
            raise InputError(f"line {number} has {len(line):,} characters, must have at most {LINE_MAX}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"nested more than {DEPTH_MAX} deep") from None
    except ValueError as error:  # of a number with too many digits, no TOMLDecodeError
        raise InputError(str(error)) from None


def _no_constant(name: str) -> Any:
    raise InputError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InputError(f"{shown(digits)} is no finite number")
    return value


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise InputError(f"a number of {len(digits):,} digits, must have at most {DIGITS_MAX}")
    return int(digits)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not inner:
            return
        level = [one for values in inner for one in values]
    raise InputError(f"nested more than {DEPTH_MAX} deep")


# --- values ----------------------------------------------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value as messages show it: on one line, and not longer than one can read."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def integer(what: str, value: Any, low: int, high: int) -> int:
    """The value, unless it is anything but an integer within [low, high]: InputError that names it. A truth is none."""
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{what} is {shown(value)}, must be an integer from {low} to {high}")
    return value


def number(what: str, value: Any, low: float, high: float) -> float:
    """The value, unless it is anything but a number within [low, high]: InputError that names it."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise InputError(f"{what} is {shown(value)}, must be a number from {low:g} to {high:g}")
    return float(value)


def string(what: str, value: Any, most: int = 1000) -> str:
    """The value, unless it is anything but a text of 1 to `most` printable characters: InputError that names it."""
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise InputError(f"{what} is {shown(value)}, must be a text of 1 to {most} printable characters")
    return value


def items(what: str, value: Any, low: int, high: int) -> list[Any]:
    """The value, unless it is anything but a list of low to high items: InputError that names it."""
    if not isinstance(value, list) or not low <= len(value) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise InputError(f"{what} is {shown(value)}, must be a list of {wanted}")
    return value


# --- safetensors -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: type, shape, and its bytes [begin, end) from the file's beginning on."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file, checked: the tensors, in the order of their bytes, fill all behind it."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Stored]
    start: int


def read_header(file: BinaryIO, size: int) -> Header:
    """The header of a safetensors file of so many bytes, which is at its beginning; behind the header afterwards.

    Raises
    ------
    InputError : no such file, truncated, or tensors that are not where they must be; the message does not name it.
    """
    data = file.read(8)
    start = 8 + int.from_bytes(data, "little")
    if len(data) < 8 or start > size:
        end = start if len(data) == 8 else 8
        raise InputError(f"truncated, or no safetensors file: its header ends at byte {end}, the file at {size}")
    if start > HEADER_MAX:
        raise InputError(f"its header has {start - 8:,} bytes, must have at most {HEADER_MAX:,}")
    try:
        header = parse_json(file.read(start - 8).decode())
        metadata = header.pop("__metadata__", {})
        tensors = {name: _stored(about, start) for name, about in header.items()}
    except (ValueError, TypeError, AttributeError, LookupError):
        raise InputError(f"no safetensors file: bytes 8 to {start} are not its header") from None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise InputError("damaged: its metadata is not texts by name")
    tensors = dict(sorted(tensors.items(), key=lambda one: (one[1].begin, one[1].end)))
    end, last = start, ""
    for name, tensor in tensors.items():
        if tensor.begin != end:
            raise InputError(f"damaged: tensor {shown(name)} begins at byte {tensor.begin}, must at {end}")
        count = 1
        for length in tensor.shape:
            count *= length
        if 8 * (tensor.end - tensor.begin) != count * TYPE_BITS[tensor.kind]:
            raise InputError(
                f"damaged: tensor {shown(name)}, {tensor.kind} {list(tensor.shape)}, has {tensor.end - end} bytes"
            )
        end, last = tensor.end, name
    if end > size:
        raise InputError(f"truncated: tensor {last} ends at byte {end}, the file at {size}")
    if end < size:
        raise InputError(f"damaged: its tensors end at byte {end}, the file at {size}: longer, not truncated")
    return Header(metadata, tensors, start)


def _stored(about: dict[str, Any], start: int) -> Stored:
    """ValueError, TypeError or LookupError where a tensor is not described so."""
    kind, shape, (begin, end) = about["dtype"], about["shape"], about["data_offsets"]
    TYPE_BITS[kind]
    whole = [integer("length", length, 0, 1 << 48) for length in items("shape", shape, 0, DIMENSIONS_MAX)]
    integer("begin", begin, 0, 1 << 48)
    integer("end", end, begin, 1 << 48)
    return Stored(kind, tuple(whole), start + begin, start + end)


def read_arrays(file: BinaryIO, header: Header, types: Mapping[str, np.dtype[Any]]) -> dict[str, np.ndarray]:
    """The tensors behind a header, of these types alone.

    Raises
    ------
    InputError : a tensor of another type.
    """
    for name, tensor in header.tensors.items():
        if tensor.kind not in types:
            raise InputError(f"tensor {name} at byte {tensor.begin} is {tensor.kind}, a type that no artefact has")
    found = {}
    for name, tensor in header.tensors.items():
        data = bytearray(tensor.end - tensor.begin)
        file.readinto(data)  # type: ignore[attr-defined]
        found[name] = np.frombuffer(data, types[tensor.kind]).reshape(tensor.shape)
    return found
