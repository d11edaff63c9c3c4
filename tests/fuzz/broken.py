"""Strategies that break a good file: by its structure where it has one, by its bytes otherwise."""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.containers import Container, Tensor, with_header

Draw = st.DrawFn

DEEP = 5000  # brackets, five times what Python recurses
NUMBERS = [0, 1, -1, 2, 3, 7, 127, 128, 255, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**9, 10**30]
FLOATS = [0.0, -0.0, 0.5, -1.0, 1e-300, 5e-324, 1e38, 1e39, 1e300, float("nan"), float("inf"), -float("inf")]
TEXTS = [
    "",
    " ",
    "x",
    "0",
    "-1",
    "é" * 200,
    "x" * 5000,
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "\0",
    "\ud800",
    "../x",
    "/",
    "%s",
]
OTHERS = [None, True, False, [], {}, [[]], [None], {"": 0}, [0] * 3, ["x"], [1.5], [[0, 10**9]], {"x": {"y": []}}]
VALUES: list[Any] = [*NUMBERS, *FLOATS, *TEXTS, *OTHERS]
KINDS = [
    "BOOL",
    "U8",
    "I8",
    "F8_E4M3",
    "F8_E5M2",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "F64",
    "I64",
    "U64",
]
NONSENSE_KINDS: list[Any] = ["F4", "", "f32", 7, None, ["F32"], "C64"]
SIZES = {"F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2} | {
    "I32": 4, "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8
}  # fmt: skip


class Raw(str):
    """JSON that json.dumps would not write."""


RAW = [
    Raw("[" * DEEP + "]" * DEEP),
    Raw("9" * 5000),
    Raw("1e999"),
    Raw('{"a":' * DEEP + "0" + "}" * DEEP),
    Raw("01"),
    Raw(""),
]


def one_of(draw: Draw, items: Sequence[Any]) -> Any:
    return draw(st.sampled_from(items))


def yes(draw: Draw, out_of: int) -> bool:
    """True once in so many times."""
    return draw(st.integers(0, out_of - 1)) == out_of - 1


def numbers(draw: Draw) -> random.Random:
    """What draws in bulk: hypothesis bounds how much one example may draw."""
    return random.Random(draw(st.integers(0, 2**32 - 1)))


# --- bytes and text --------------------------------------------------------------------------------------------------


def broken_bytes(draw: Draw, data: bytes) -> bytes:
    """Cut, lengthened, bits flipped, a part written over, doubled or left out."""
    rng = numbers(draw)
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice([1, 2, 8, 64, 1024]))
    match one_of(draw, ["cut", "flip", "over", "longer", "double", "leave", "empty", "noise", "zeros"]):
        case "cut":
            return data[:at]
        case "flip" if data:
            changed = bytearray(data)
            for _ in range(rng.choice([1, 1, 1, 4, 32])):
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(changed)
        case "over":
            return data[:at] + rng.randbytes(end - at) + data[end:]
        case "longer":
            return data + rng.randbytes(rng.choice([1, 8, 1000]))
        case "double":
            return data[:end] + data[at:]
        case "leave":
            return data[:at] + data[end:]
        case "noise":
            return rng.randbytes(rng.choice([1, 7, 8, 100, 5000]))
        case "zeros":
            return data[:at] + bytes(end - at) + data[end:]
    return b""


def broken_text(draw: Draw, data: bytes) -> bytes:
    """A text of lines: lines left out, doubled, changed; strange characters put in; or its bytes broken."""
    lines = data.split(b"\n")
    rng = numbers(draw)
    at = rng.randrange(len(lines))
    strange = [
        b"\xff\xfe",
        b"\0",
        b"\xed\xa0\x80",
        b"\r",
        "\u2028".encode(),
        b"\x1b[2J",
        b"[" * DEEP,
        b"x" * 100_000,
        b"\xef\xbb\xbf",
    ]
    match one_of(draw, ["leave", "double", "strange", "number", "bytes", "only", "word", "value"]):
        case "leave":
            del lines[at]
        case "double":
            lines.insert(at, lines[at])
        case "strange":
            lines[at] += one_of(draw, strange)
        case "number":
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = str(one_of(draw, [*NUMBERS, *FLOATS])).encode()
            lines[at] = b" ".join(words)
        case "only":
            lines = lines[:at]
        case "word":
            lines[at] = b" ".join(lines[at].split(b" ")[:-1])
        case "value" if b"=" in lines[at]:
            value = one_of(
                draw,
                [
                    b"[" * DEEP,
                    b"9" * 5000,
                    b"-1",
                    b"1e400",
                    b"nan",
                    b"''",
                    b"true",
                    b"{a={a={}}}",
                    b"[1]",
                    b"2030-01-01",
                    b"'2:8'",
                ],
            )
            lines[at] = lines[at].partition(b"=")[0] + b"= " + value
        case _:
            return broken_bytes(draw, data)
    return b"\n".join(lines)


# --- JSON ------------------------------------------------------------------------------------------------------------


def broken_value(draw: Draw, value: Any) -> Any:
    """A value with something in it changed: another value, gone, doubled, renamed, wrapped, exchanged."""
    value = deepcopy(value)
    for _ in range(one_of(draw, [1, 1, 1, 2, 3])):
        value = _broken_once(draw, value)
    return value


def _value(draw: Draw) -> Any:
    """One of VALUES, of its own: it may be broken further."""
    return deepcopy(one_of(draw, VALUES))


def _broken_once(draw: Draw, value: Any) -> Any:
    inner = isinstance(value, dict | list) and len(value) > 0
    if not inner or yes(draw, 12):
        return _other(draw, value)
    if isinstance(value, dict):
        key = one_of(draw, list(value))
        match one_of(draw, ["into", "into", "into", "gone", "renamed", "added", "exchanged"]):
            case "into":
                value[key] = _broken_once(draw, value[key])
            case "gone":
                del value[key]
            case "renamed":
                value[one_of(draw, [*TEXTS, f"{key}x", key.upper()])] = value.pop(key)
            case "added":
                value[one_of(draw, [*TEXTS, "new"])] = _value(draw)
            case "exchanged":
                other = one_of(draw, list(value))
                value[key], value[other] = value[other], value[key]
        return value
    at = draw(st.integers(0, len(value) - 1))
    match one_of(draw, ["into", "into", "into", "gone", "doubled", "many", "added"]):
        case "into":
            value[at] = _broken_once(draw, value[at])
        case "gone":
            del value[at]
        case "doubled":
            value.insert(at, deepcopy(value[at]))
        case "many":
            value *= one_of(draw, [2, 17, 1000]) if len(value) < 100 else 2
        case "added":
            value.insert(at, _value(draw))
    return value


def _other(draw: Draw, value: Any) -> Any:
    if type(value) is int and yes(draw, 2):
        return (
            value + one_of(draw, [-1, 1, 2, 8, 64]) if yes(draw, 2) else one_of(draw, [2 * value, -value, value // 2])
        )
    if type(value) is float and yes(draw, 2):
        return value * one_of(draw, [-1.0, 0.0, 1e-9, 1e9, 1e-300, 1e300])
    if isinstance(value, str) and yes(draw, 3):
        return value + one_of(draw, TEXTS)
    return (
        one_of(draw, RAW)
        if yes(draw, 20)
        else _value(draw)
        if yes(draw, 2)
        else one_of(draw, [[value], {"x": value}, None, "", 0])
    )


def to_json(value: Any) -> str:
    """As json.dumps, with NaN and what it would not write."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{to_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value)


def broken_json(draw: Draw, data: bytes) -> bytes:
    if yes(draw, 6):
        return broken_bytes(draw, data)
    return to_json(broken_value(draw, json.loads(data))).encode()


# --- safetensors, artefacts, programs --------------------------------------------------------------------------------


def broken_container(draw: Draw, data: bytes) -> bytes:
    """A safetensors file: its header, its metadata, or its tensors; what is signed is mostly signed again."""
    if yes(draw, 8):
        return broken_bytes(draw, data)
    if yes(draw, 8):
        return _broken_header(draw, data)
    found = Container.of(data)
    for _ in range(one_of(draw, [1, 1, 2])):
        if found.metadata and yes(draw, 2):
            _break_metadata(draw, found.metadata)
        elif found.tensors and found.metadata and found.metadata.get("names") and yes(draw, 2):
            _break_instruction(draw, found)
        elif found.tensors:
            _break_tensors(draw, found.tensors)
    if not yes(draw, 6):
        found.sign()
    return found.to_bytes()


def _broken_header(draw: Draw, data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if yes(draw, 3):
        lengths = [0, 1, 7, length - 1, length + 1, len(data), 2**31, 2**32, 2**63, 2**64 - 1]
        return with_header(header, rest, one_of(draw, lengths))
    if yes(draw, 2):
        return with_header(to_json(broken_value(draw, json.loads(header))).encode(), rest)
    return with_header(broken_bytes(draw, header), rest)


def _break_metadata(draw: Draw, metadata: dict[str, Any]) -> None:
    key = one_of(draw, list(metadata))
    texts = {key: text for key, text in metadata.items() if isinstance(text, str) and text[:1] in "[{" and text != ""}
    if texts and not yes(draw, 6):
        key = one_of(draw, list(texts))
        try:
            metadata[key] = to_json(broken_value(draw, json.loads(texts[key])))
        except (ValueError, RecursionError):  # broken before
            metadata[key] = one_of(draw, TEXTS)
    elif yes(draw, 4):
        del metadata[key]
    elif isinstance(metadata[key], str) and metadata[key].isdigit() and yes(draw, 2):
        metadata[key] = str(one_of(draw, [*NUMBERS, *FLOATS]))
    else:
        metadata[key] = one_of(draw, [*TEXTS, "1", "2", "3", "[]", "{}", "null", "9" * 5000, "[" * DEEP])


def _break_instruction(draw: Draw, program: Container) -> None:
    """A byte, or four, of one of a program's instructions."""
    assert program.metadata
    try:
        at, count = int(program.metadata["address"]), len(json.loads(program.metadata["names"]))
    except (ValueError, TypeError, LookupError, RecursionError):  # broken before
        return
    at += draw(st.integers(0, 64 * (count + 1 if type(count) is int else 1) - 1))
    size = one_of(draw, [1, 1, 4])
    new = one_of(draw, [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0xFFFFFFFF]).to_bytes(4, "little")[:size]
    memory = program.tensors[0]
    memory.data = memory.data[:at] + new + memory.data[at + size :]


def _break_tensors(draw: Draw, tensors: list[Tensor]) -> None:
    one = one_of(draw, tensors)
    rng = numbers(draw)
    match one_of(
        draw, ["kind", "shape", "fill", "flip", "gone", "renamed", "doubled", "exchanged", "empty", "said", "word"]
    ):
        case "kind":
            kind = one_of(draw, KINDS)
            count = len(one.data) // SIZES.get(one.kind, 1)
            one.kind, one.data = kind, (one.data * 8)[: count * SIZES[kind]]
        case "shape" if isinstance(one.shape, list) and all(type(size) is int for size in one.shape):
            count = int(np.prod(one.shape, dtype=np.int64))
            shapes = [[count], [1, count], [count, 1], [*one.shape, 1], [], one.shape[::-1], [1] * 40 + [count]]
            one.shape = one_of(draw, shapes)
            if one.shape == []:
                one.data = one.data[: SIZES.get(one.kind, 1)]
        case "fill":
            with np.errstate(over="ignore"):
                value = one_of(draw, [*FLOATS, 1.0, 3.0, 127.0, -128.0, 255.0])
                numpy_kind = {"F32": "<f4", "F64": "<f8", "F16": "<f2"}.get(one.kind)
                made = np.array(value, numpy_kind).tobytes() if numpy_kind else rng.randbytes(1)
            if yes(draw, 2):
                one.data = (made * (len(one.data) // len(made) + 1))[: len(one.data)]
            else:
                at = rng.randrange(max(1, len(one.data) // len(made))) * len(made)
                one.data = one.data[:at] + made + one.data[at + len(made) :]
        case "flip":
            one.data = broken_bytes(draw, one.data) if yes(draw, 3) else _flipped(rng, one.data)
        case "word" if len(one.data) >= 8:  # a field of an instruction, an address, a scale
            at = rng.randrange(len(one.data) // 4) * 4
            word = one_of(draw, [0, 1, 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000])
            one.data = one.data[:at] + word.to_bytes(4, "little") + one.data[at + 4 :]
        case "gone":
            tensors.remove(one)
        case "renamed":
            one.name = one_of(draw, [*TEXTS, f"{one.name}x", one.name.upper()])
        case "doubled":
            tensors.append(Tensor(f"{one.name}.again", one.kind, one.shape, one.data))
        case "exchanged":
            other = one_of(draw, tensors)
            one.data, other.data = other.data, one.data
        case "empty":
            one.shape, one.data = [0], b""
        case "said":
            one.kind = one_of(draw, [one.kind, *NONSENSE_KINDS])
            one.shape = one_of(draw, [[2**40], [-1], [2**63], [0, 2**62], "x", None, [1.5], [[1]], 7, [True], {}])


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 4]) if data else 0):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


# --- arrays and pictures ---------------------------------------------------------------------------------------------


def broken_npy(draw: Draw, data: bytes) -> bytes:
    array = np.load(io.BytesIO(data))
    match one_of(draw, ["bytes", "header", "array", "array", "said", "said"]):
        case "bytes":
            return broken_bytes(draw, data)
        case "header":
            return data[:10] + broken_bytes(draw, data[10:128]) + data[128:]
        case "said":
            said: dict[str, Any] = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            kinds = [
                "<f8",
                "|O",
                "<U99999999",
                "|V2147483647",
                "<M8[s]",
                "x",
                ">i8",
                7,
                [("a", "<i4")],
                "|S0",
                "<c16",
                "|b1",
            ]
            shapes = [
                (99999999999, 48),
                (-1, 4),
                (2**63,),
                (0,),
                (),
                (1,) * 70,
                ("x",),
                (1.5,),
                3,
                None,
                (10**30,),
                (True, 8),
            ]
            if yes(draw, 2):
                said["descr"] = one_of(draw, kinds)
            if yes(draw, 2):
                said["shape"] = one_of(draw, shapes)
            if yes(draw, 6):
                said[one_of(draw, ["fortran_order", "descr", "shape", "x"])] = one_of(draw, [None, "x", 1, True, []])
            text = repr(said).encode() if not yes(draw, 10) else b"{" * 3000 + repr(said).encode()
            text += b" " * (-(len(text) + 11) % 64) + b"\n"
            return data[:8] + (len(text) % 65536).to_bytes(2, "little") + text + data[128:]
    rng = numbers(draw)
    makes: list[Callable[[], Any]] = [
        lambda: array.astype(np.float64) * one_of(draw, FLOATS),
        lambda: array.astype(one_of(draw, [np.int8, np.uint8, np.int64, np.uint64, np.float16, np.complex64, bool])),
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array[:0],
        lambda: array[..., :0],
        lambda: array.astype(object),
        lambda: array.astype(str),
        lambda: np.asfortranarray(array),
        lambda: np.repeat(array, rng.choice([2, 50]), axis=rng.randrange(array.ndim)),
        lambda: np.full_like(array, rng.choice([0, 1, 127])),
        lambda: array.astype(array.dtype.newbyteorder(">")),
        lambda: array[0, ...] if array.ndim else array,
    ]
    made = io.BytesIO()
    with np.errstate(all="ignore"):
        np.save(made, one_of(draw, makes)(), allow_pickle=True)
    return made.getvalue()


def broken_picture(draw: Draw, data: bytes) -> bytes:
    if data[:2] == b"P5" and not yes(draw, 3):
        side, most = (one_of(draw, [b"8", b"0", b"999999", b"-1", b"x", b"8 "]) for _ in range(2))
        return b"P5\n" + side + b" 8\n" + most + b"\n" + data[-64:]
    return broken_bytes(draw, data)


@cache
def bomb() -> bytes:
    """An IDX file of 4 GB in 4 MB."""
    side = 1 << 16
    packer = zlib.compressobj(9, wbits=31)
    head = bytes((0, 0, 8, 3)) + b"".join(size.to_bytes(4, "big") for size in (1, side, side))
    piece = bytes(1 << 20)
    return packer.compress(head) + b"".join(packer.compress(piece) for _ in range(1 << 12)) + packer.flush()


def broken_idx(draw: Draw, data: bytes) -> bytes:
    inside = bytearray(gzip.decompress(data))
    if yes(draw, 3):
        return broken_bytes(draw, data)
    if yes(draw, 2):
        at = one_of(draw, [2, 3, 4, 5, 6, 7])
        inside[at] = one_of(draw, [0, 1, 9, 127, 255])
        return gzip.compress(bytes(inside), mtime=0)
    if yes(draw, 6):
        return bomb()
    return gzip.compress(broken_bytes(draw, bytes(inside)), mtime=0)


Breaker = Callable[[Draw, bytes], bytes]
BREAKERS: dict[str, Breaker] = {
    "safetensors": broken_container, "nmp": broken_container, "npy": broken_npy, "json": broken_json,
    "gz": broken_idx, "pgm": broken_picture, "png": broken_bytes, "v": broken_bytes,
}  # fmt: skip


def breaker(name: str) -> Breaker:
    """What breaks the contents of a file of that name, in the way of its kind."""
    return BREAKERS.get(name.rpartition(".")[2], broken_text)
