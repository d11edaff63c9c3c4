"""A program of STA: the memory image with the instructions in it, and what a host has to know of it. One file, `.nmp`.

The file is safetensors with one tensor, `memory`; everything else is JSON in its metadata, under a checksum.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmgen.files import written_whole
from rtl.params import InputError
from rtl.sta.isa import BYTES, Op, decode, encode
from rtl.sta.params import StaConfig
from sim.image import Region

FORMAT = "nmgen-program"
VERSION = 1
PARTS = ("configuration", "address", "names", "regions", "sequences", "results", "notes", "about", "tokenizer")
BEGIN = f'{{"__metadata__":{{"format":"{FORMAT}",'.encode()

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """The tokens of one sequence: their ids are 32-bit words at ids + 4 · first_token."""

    first_token: int
    tokens: int


@dataclass(frozen=True)
class Result:
    """What a program leaves in memory for each sequence: `channels` signed 16-bit elements in steps of `scale`."""

    name: str
    address: int
    pitch: int  # bytes from one sequence's to the next
    channels: int
    scale: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Everything that a machine needs to run a model.

    Parameters
    ----------
    memory : the image, from address 0
    address : of the first instruction
    names : of the instructions in order, END left out
    regions : of the image, in the order of their addresses; 'ids', or 'patches' of a ViT, is the host's to fill
    notes : what the compiler did that costs cycles and that nobody asked for
    about : facts of the model
    tokenizer : what makes ids of text, JSON of the package tokenizers; empty where there is none
    """

    config: StaConfig
    memory: bytes
    address: int
    names: tuple[str, ...]
    regions: tuple[Region, ...]
    sequences: tuple[Placed, ...]
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: str = ""

    @cached_property
    def instructions(self) -> list[dict[str, int]]:
        """Every instruction but END, by the names of its fields; those that are zero are left out.

        Raises
        ------
        InputError : there is no END where the names end, or a bit is set that no field has.
        """
        found = []
        for number in range(len(self.names) + 1):
            at = self.address + number * BYTES
            code = self.memory[at : at + BYTES]
            instruction = decode(code)
            if encode(instruction) != code:
                raise InputError(f"instruction {number} has a bit set that no field has, or lacks bytes")
            if (instruction["opcode"] == Op.END) != (number == len(self.names)):
                raise InputError(f"instruction {number} is {Op(instruction['opcode']).name}, of {len(self.names)}")
            found.append({name: value for name, value in instruction.items() if value})
        return found[:-1]

    @property
    def takes_pictures(self) -> bool:
        """Whether the host fills in patches of pictures; otherwise, ids of tokens."""
        return any(region.name == "patches" for region in self.regions)

    def region(self, name: str) -> Region:
        for region in self.regions:
            if region.name == name:
                return region
        raise InputError(f"the program has no region {name!r}")

    def image(self, ids: Sequence[Sequence[int]]) -> Bytes:
        """The memory with the token ids of each sequence in it.

        Raises
        ------
        InputError : not as many sequences or tokens as the program is compiled for, or an id beyond the embeddings.
        """
        if len(ids) != len(self.sequences):
            raise InputError(f"{len(ids)} sequences, the program is compiled for {len(self.sequences)}")
        memory = np.array(np.frombuffer(self.memory, np.uint8))
        words = memory[self.region("ids").address :][: self.region("ids").size].view("<u4")
        for place, row in zip(self.sequences, ids, strict=True):
            if len(row) != place.tokens:
                raise InputError(f"a sequence of {len(row)} tokens, the program is compiled for {place.tokens}")
            if wrong := [token for token in row if not 0 <= token < self.about["vocabulary"]]:
                raise InputError(f"token id is {wrong[0]}, must be below {self.about['vocabulary']}")
            words[place.first_token : place.first_token + place.tokens] = row
        return memory

    def image_of_patches(self, patches: Sequence[NDArray[np.int8]]) -> Bytes:
        """The memory with the patches of each picture in it, int8 [tokens, pixels], of a program for a ViT.

        Raises
        ------
        InputError : not as many pictures, tokens or pixels as the program is compiled for.
        """
        if len(patches) != len(self.sequences):
            raise InputError(f"{len(patches)} pictures, the program is compiled for {len(self.sequences)}")
        memory = np.array(np.frombuffer(self.memory, np.uint8))
        pixels, pitch = self.about["patch"], self.about["patch_bytes"]
        region = self.region("patches")
        rows = memory[region.address :][: region.size].reshape(-1, pitch)
        for place, picture in zip(self.sequences, patches, strict=True):
            if picture.shape != (place.tokens, pixels) or picture.dtype != np.int8:
                found = f"{picture.dtype} {list(picture.shape)}"
                raise InputError(f"patches are {found}, the program is compiled for int8 {[place.tokens, pixels]}")
            rows[place.first_token : place.first_token + place.tokens, :pixels] = picture.view(np.uint8)
        return memory

    def result(self, name: str, memory: Bytes) -> NDArray[np.int16]:
        """[sequences, channels] out of the memory after a run."""
        for result in self.results:
            if result.name == name:
                rows = [
                    memory[result.address + i * result.pitch :][: 2 * result.channels].view("<i2")
                    for i in range(len(self.sequences))
                ]
                return np.stack(rows).astype(np.int16)
        raise InputError(f"the program gives no {name!r}, but {', '.join(result.name for result in self.results)}")

    def check(self, config: StaConfig) -> None:
        """InputError unless the program is compiled for this configuration."""
        theirs = config.architecture
        for name, value in self.config.architecture.items():
            if theirs[name] != value:
                raise InputError(f"the program is compiled for {name} = {value}, the accelerator has {theirs[name]}")

    # --- the file ------------------------------------------------------------------------------
    def to_bytes(self) -> bytes:
        parts = {
            "configuration": asdict(self.config),
            "address": self.address,
            "names": self.names,
            "regions": [[r.name, r.address, r.size] for r in self.regions],
            "sequences": [[s.first_token, s.tokens] for s in self.sequences],
            "results": [asdict(result) for result in self.results],
            "notes": self.notes,
            "about": self.about,
            "tokenizer": self.tokenizer,
        }
        texts = {name: json.dumps(part, allow_nan=False, separators=(",", ":")) for name, part in parts.items()}
        metadata = {"format": FORMAT, "version": str(VERSION), **texts, "sha256": _checksum(texts, self.memory)}
        size = len(self.memory)
        header = {"__metadata__": metadata, "memory": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head + self.memory

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; the same program gives the same bytes."""
        with written_whole(path) as file:
            file.write_bytes(self.to_bytes())


def is_program(path: Path) -> bool:
    """Whether a file begins as programs do."""
    with path.open("rb") as file:
        return file.read(8 + len(BEGIN))[8:] == BEGIN


def load(path: Path) -> Program:
    """The program of a file, checked.

    Raises
    ------
    InputError : no program, truncated, damaged, or newer than this nmgen.
    OSError : the file cannot be read.
    """
    try:
        return from_bytes(path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Program:
    metadata, start = _metadata(data)
    if metadata.get("version") != str(VERSION):
        raise InputError(f"version is {metadata.get('version')}, this program reads version {VERSION}")
    texts = {name: metadata.get(name) for name in PARTS}
    memory = data[start:]
    if _checksum(texts, memory) != metadata.get("sha256"):
        raise InputError("damaged: the checksum sha256 in its metadata is not that of its contents")
    try:
        parts = {name: json.loads(str(text)) for name, text in texts.items()}
        program = Program(
            config=StaConfig(**parts["configuration"]),
            memory=memory,
            address=int(parts["address"]),
            names=tuple(parts["names"]),
            regions=tuple(Region(*region) for region in parts["regions"]),
            sequences=tuple(Placed(*place) for place in parts["sequences"]),
            results=tuple(Result(**result) for result in parts["results"]),
            notes=tuple(parts["notes"]),
            about=parts["about"],
            tokenizer=parts["tokenizer"],
        )
    except (ValueError, TypeError, LookupError) as error:  # InputError of StaConfig among them
        raise InputError(f"no program of this nmgen: {error}") from None
    program.instructions  # noqa: B018  (checks them)
    if program.to_bytes() != data:
        raise InputError("damaged: its header is not one that nmgen compile writes")
    return program


def _metadata(data: bytes) -> tuple[dict[str, Any], int]:
    """(metadata, offset of the memory) of a file that has all its bytes."""
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise InputError(f"truncated, or no program: its header ends at byte {max(start, 8)}, the file at {len(data)}")
    try:
        header = json.loads(data[8:start])
        metadata, size = header["__metadata__"], header["memory"]["data_offsets"][1]
        if metadata["format"] != FORMAT or not isinstance(size, int):
            raise ValueError
    except (ValueError, TypeError, LookupError, RecursionError):
        raise InputError("no program that nmgen compile wrote") from None
    if start + size != len(data):
        raise InputError(f"truncated: its memory ends at byte {start + size}, the file at {len(data)}")
    return metadata, start


def _checksum(texts: Mapping[str, str | None], memory: bytes) -> str:
    digest = sha256()
    for name in PARTS:
        digest.update(f"{name} {texts[name]}\n".encode())
    digest.update(memory)
    return digest.hexdigest()
