"""The hosts of docs/host/ behind one interface: that in Python, and that in C as a shared library."""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from importlib.util import module_from_spec, spec_from_file_location
from mmap import mmap
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "host"
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wno-sign-conversion", "-Werror")

Found = list[list[float]] | tuple[int, int]  # embeddings, or cause and address


class Answer(IntEnum):
    """`enum nmgen_answer` of host.h."""

    OK = 0
    BAD_FILE = 1
    OTHER_ACCELERATOR = 2
    NO_ROOM = 3
    BAD_TEXT = 4
    STOPPED = 5


@dataclass(frozen=True)
class Ports:
    """What a host reaches. The image goes to `offset` of the memory, which is the accelerator's address `base`."""

    read32: Callable[[int], int]
    write32: Callable[[int, int], None]
    wait: Callable[[], None]
    memory: mmap
    base: int = 0
    offset: int = 0


def module() -> ModuleType:
    """docs/host/host.py."""
    if "docs_host" not in sys.modules:
        spec = spec_from_file_location("docs_host", FOLDER / "host.py")
        assert spec
        assert spec.loader
        sys.modules["docs_host"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["docs_host"])
    return sys.modules["docs_host"]


def library(folder: Path) -> Path:
    """host.c, compiled without a warning."""
    path = folder / "host.so"
    sources = [FOLDER / "host.c", FOLDER / "sha256.c"]
    subprocess.run(
        ["gcc", *STRICT, "-O1", "-shared", "-fPIC", f"-I{DOCS}", *sources, "-o", path], check=True, timeout=60
    )
    return path


class PythonHost:
    def __init__(self, file: bytes, ports: Ports) -> None:
        self._module = module()
        memory = memoryview(ports.memory)[ports.offset :]
        self._host = self._module.Host(
            self._module.parse(file), ports.read32, ports.write32, memory, ports.base, ports.wait
        )

    def load(self) -> Answer:
        self._host.load()
        return Answer.OK

    def run(self, texts: list[list[int]]) -> Found:
        try:
            return self._host.run(texts)
        except self._module.StoppedError as stopped:
            return stopped.cause, stopped.address


READ, WRITE, WAIT = (
    ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint32),
    ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32),
    ctypes.CFUNCTYPE(None),
)
SEQUENCES_MAX = 64


def words(*names: str) -> list[tuple[str, Any]]:
    return [(name, ctypes.c_uint32) for name in names]


class Sequence(ctypes.Structure):
    _fields_ = words("first_token", "tokens")


class Embedding(ctypes.Structure):
    _fields_ = [*words("address", "pitch", "channels"), ("scale", ctypes.c_double)]


class Struct(ctypes.Structure):
    """`struct nmgen_host`."""

    _fields_ = [
        ("read32", READ),
        ("write32", WRITE),
        ("wait", WAIT),
        ("memory", ctypes.c_void_p),
        ("memory_size", ctypes.c_size_t),
        *words(
            "base", "image_size", "program", "instructions", "ids", "vocabulary", "group", "query_tokens", "sequences"
        ),
        ("sequence", Sequence * SEQUENCES_MAX),
        ("embedding", Embedding),
        *words("cause", "cause_address"),
    ]


class CHost:
    """host.c. What it calls back raises nothing: a failed access is printed, and reads as 0."""

    def __init__(self, loaded: ctypes.CDLL, file: bytes, ports: Ports) -> None:
        self._library, self._file = loaded, file
        self._memory = ctypes.c_char.from_buffer(ports.memory, ports.offset)
        self.struct = Struct(
            READ(ports.read32),
            WRITE(ports.write32),
            WAIT(ports.wait),
            ctypes.addressof(self._memory),
            len(ports.memory) - ports.offset,
            ports.base,
        )
        self._at = ctypes.byref(self.struct)

    def load(self) -> Answer:
        return Answer(self._library.nmgen_load(self._at, self._file, ctypes.c_size_t(len(self._file))))

    def answer(self, texts: list[list[int]]) -> Answer:
        rows = [(ctypes.c_uint32 * len(text))(*text) for text in texts]
        pointers = (ctypes.POINTER(ctypes.c_uint32) * len(rows))(*rows)
        lengths = (ctypes.c_uint32 * len(rows))(*map(len, rows))
        return Answer(self._library.nmgen_run(self._at, len(rows), pointers, lengths))

    def run(self, texts: list[list[int]]) -> Found:
        answer = self.answer(texts)
        if answer == Answer.STOPPED:
            return self.struct.cause, self.struct.cause_address
        assert answer == Answer.OK
        found = []
        for number in range(len(texts)):
            values = (ctypes.c_float * self.struct.embedding.channels)()
            self._library.nmgen_embedding(self._at, number, values)
            found.append(list(values))
        return found
