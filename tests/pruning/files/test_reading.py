"""What every reader of files stands on: regular files of a bounded size, bounded texts, tensors where they must be."""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pruning.files.reading import (
    DEPTH_MAX,
    LINE_MAX,
    parse_json,
    parse_toml,
    read_bytes,
    read_header,
    read_text,
)
from rtl.params import InputError


def refused(call: Any, *args: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


# --- files -----------------------------------------------------------------------------------------------------------


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), Path("/dev/null"), tmp_path / "pipe"):
        assert refused(read_bytes, path, 10) == f"{path} is no regular file"
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path, 10)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none", 10)


def test_no_file_is_larger_than_its_format_may_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    assert read_bytes(path, 10) == bytes(10)
    assert refused(read_bytes, path, 9) == f"{path} has 10 bytes, must have at most 9"
    os.truncate(path, 1 << 40)  # of holes alone
    assert refused(read_text, path) == f"{path} has 1,099,511,627,776 bytes, must have at most 1,073,741,824"


def test_text_is_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes("one\r\ntwo\rthré".encode())
    assert read_text(path) == "one\ntwo\nthré"
    path.write_bytes(b"caf\xe9")
    assert refused(read_text, path) == f"{path} is not UTF-8 text: byte 3"


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ("[1e400]", "'1e400' is no finite number"),
        ("1" * 101, "a number of 101 digits, must have at most 100"),
        ("[" * 100_000, f"nested more than {DEPTH_MAX} deep"),
        ("[" * 100_000 + "]" * 100_000, f"nested more than {DEPTH_MAX} deep"),
        ('{"a":' * 33 + "1" + "}" * 33, f"nested more than {DEPTH_MAX} deep"),
        ('["\\ud800"]', "a string has half of a surrogate pair"),
        ('{"\\udfff": 1}', "a string has half of a surrogate pair"),
        ("[" + "0," * 8_000_000 + "0]", "more than 8,000,000 values"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_json_of_bounds(text: str, message: str) -> None:
    assert refused(parse_json, text) == message


def test_json_within_bounds() -> None:
    deep = "[" * DEPTH_MAX + "1e300" + "]" * DEPTH_MAX
    assert json.dumps(parse_json(deep)) == deep.replace("1e300", "1e+300")
    assert parse_json('["\\ud83d\\ude00", true, null, -12, {}]') == ["😀", True, None, -12, {}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = " + "[" * 5000, f"line 1 has 5,007 characters, must have at most {LINE_MAX}"),
        ("rows = " + "[\n" * 5000, f"nested more than {DEPTH_MAX} deep"),
        ("\n" + ".".join("a" * 300) + " = 1", f"line 2 has 603 characters, must have at most {LINE_MAX}"),
        ("# " * 200_000, "400,000 characters, must be at most 262,144"),
        ("rows = ", "Invalid value (at end of document)"),
    ],
)
def test_toml_of_bounds(text: str, message: str) -> None:
    assert refused(parse_toml, text) == message


# --- safetensors -----------------------------------------------------------------------------------------------------


def file_of(header: Any, data: bytes = b"") -> BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return BytesIO(len(text).to_bytes(8, "little") + text + data)


def one(kind: Any = "I16", shape: Any = (2, 3), begin: Any = 0, end: Any = 12) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def test_a_header() -> None:
    file = file_of(
        {"__metadata__": {"a": "b"}, "y": one("U8", [], 12, 13), "x": one(), "z": one("F4", [4], 13, 15)}, bytes(15)
    )
    found = read_header(file, len(file.getvalue()))
    assert found.metadata == {"a": "b"}
    assert list(found.tensors) == ["x", "y", "z"]
    assert (found.tensors["x"].shape, found.tensors["x"].begin) == ((2, 3), found.start)
    assert file.tell() == found.start


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"x": one(begin=1, end=13)}, "damaged: tensor 'x' begins at byte"),
        ({"x": one(), "y": one(begin=6, end=18)}, "damaged: tensor 'y' begins at byte"),
        ({"x": one(end=11)}, "damaged: tensor 'x', I16 [2, 3], has 11 bytes"),
        ({"x": one(shape=[2, 3, 1 << 40])}, "damaged: tensor 'x', I16 [2, 3, 1099511627776], has 12 bytes"),
        ({"x": one("F4", [3], 0, 1)}, "damaged: tensor 'x', F4 [3], has 1 bytes"),
        ({"x": one(), "__metadata__": {"a": 1}}, "damaged: its metadata is not texts by name"),
        ({"x": one(end=20, shape=[10])}, "truncated: tensor x ends at byte"),
        ({"x": one(end=10, shape=[5])}, "damaged: its tensors end at byte"),
        *(
            ({"x": bad}, "no safetensors file: bytes 8 to ")
            for bad in (
                one("F128"), one([]), one(shape=[True, 6]), one(shape=[-2, -3]), one(shape=6), one(shape=[1] * 9),
                one(begin=False), one(begin=12, end=0), one(end=12.0), one(end=1 << 60), {}, [], None,
            )
        ),
        (b"[" * 100_000, "no safetensors file: bytes 8 to "),
        (b"[]", "no safetensors file: bytes 8 to "),
        (b"\xff\xff", "no safetensors file: bytes 8 to "),
    ],
)  # fmt: skip
def test_headers_that_are_none(header: Any, message: str) -> None:
    file = file_of(header, bytes(12))
    assert refused(read_header, file, len(file.getvalue())).startswith(message)


def test_a_header_larger_than_any() -> None:
    file = BytesIO((1 << 40).to_bytes(8, "little"))
    assert refused(read_header, file, 1 << 41) == "its header has 1,099,511,627,776 bytes, must have at most 67,108,864"
