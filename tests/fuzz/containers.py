"""safetensors files of any contents, right or wrong, and the checksums that artefacts and programs bear."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from nmgen.compiler.program import OTHERS, PARTS


@dataclass
class Tensor:
    """A tensor as a header describes it, and its bytes, which need not fit what is said of them."""

    name: str
    kind: Any
    shape: Any
    data: bytes


@dataclass
class Container:
    """A safetensors file taken apart: its metadata, None where it has none, and its tensors in the file's order."""

    metadata: dict[str, Any] | None
    tensors: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, data: bytes) -> "Container":
        """Of a right file's bytes."""
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__", None)
        tensors = []
        for name, said in header.items():
            begin, end = said["data_offsets"]
            tensors.append(Tensor(name, said["dtype"], said["shape"], data[start + begin : start + end]))
        return cls(metadata, sorted(tensors, key=lambda one: header[one.name]["data_offsets"]))

    def to_bytes(self) -> bytes:
        header: dict[str, Any] = {} if self.metadata is None else {"__metadata__": self.metadata}
        offset = 0
        for one in self.tensors:
            end = offset + len(one.data)
            header[one.name] = {"dtype": one.kind, "shape": one.shape, "data_offsets": [offset, end]}
            offset = end
        return with_header(json.dumps(header, separators=(",", ":")).encode(), b"".join(t.data for t in self.tensors))

    def sign(self) -> None:
        """Put the checksum of what is there now into the metadata, as an artefact's or as a program's."""
        if not self.metadata:
            return
        if self.metadata.get("format") == "nmgen-program":
            digest = sha256()
            for name in (*PARTS, *([OTHERS] if OTHERS in self.metadata else [])):
                digest.update(f"{name} {self.metadata.get(name)}\n".encode(errors="surrogatepass"))
            digest.update(b"".join(one.data for one in self.tensors))
        else:
            keys = ("densities", "layers", "model")
            texts = [self.metadata[key] for key in keys if self.metadata.get(key) is not None]
            digest = sha256(("\n".join(map(str, texts)) + "\n").encode(errors="surrogatepass"))
            for one in sorted(self.tensors, key=lambda one: one.name):
                digest.update(f"{one.name} {one.kind} {one.shape}\n".encode(errors="surrogatepass"))
                digest.update(one.data)
        self.metadata["sha256"] = digest.hexdigest()


def with_header(header: bytes, rest: bytes, length: int | None = None) -> bytes:
    """The file of a header, padded to whole words, and what is behind it. length : said of the header, instead"""
    header += b" " * (-len(header) % 8)
    return (len(header) if length is None else length).to_bytes(8, "little") + header + rest


def flat(tensors: Sequence[Tensor]) -> str:
    """The names of tensors, for messages."""
    return ", ".join(one.name for one in tensors)
