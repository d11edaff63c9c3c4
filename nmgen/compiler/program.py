"""A program of STA: the memory image with the instructions in it, and what a host has to know of it. One file, `.nmp`.

The file is safetensors with one tensor, `memory`; everything else is JSON in its metadata, under a checksum.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.memory_map import ACTIVATIONS
from nmgen.compiler.program_check import DENSITY, INSTRUCTIONS_MAX, OTHERS_MAX, check, check_others
from nmgen.console.files import written_whole
from pruning.files.reading import (
    MIB,
    SCALE_MAX,
    SCALE_MIN,
    integer,
    items,
    number,
    parse_json,
    read_header,
    regular_file,
    shown,
    string,
)
from rtl.params import InputError
from rtl.sta.isa import BYTES, decode
from rtl.sta.params import StaConfig
from sim.image.product import Region

FORMAT = "nmgen-program"
VERSION = 1
PARTS = ("configuration", "address", "names", "regions", "sequences", "results", "notes", "about", "tokenizer")
OWN = ("address", "names", "regions", "sequences", "results", "notes", "about")  # of each of several in one memory
OTHERS = "shorter"  # a part of those that have some; at first all of them were of fewer tokens
SIZE_MAX = 2048 * MIB  # bytes of a file
FACTS = ("hidden", "layers", "heads", "intermediate", "store_words_used", "query_tokens")
TEXT_FACTS = ("vocabulary",)
PICTURE_FACTS = ("image", "channels", "patch_side", "patch", "patch_bytes")
FACT_MAX = 1 << 24
BEGIN = f'{{"__metadata__":{{"format":"{FORMAT}",'.encode()

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Placed:
    """The tokens of one sequence: their ids are 32-bit words at ids + 4 · first_token."""

    first_token: int
    tokens: int

    @property
    def end(self) -> int:
        """The token behind the last one."""
        return self.first_token + self.tokens


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
    others : the same model in the same memory: for as many sequences of fewer tokens, from many to few; then all that
        again for each sparser density
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
    others: "tuple[Program, ...]" = ()

    @property
    def every(self) -> "tuple[Program, ...]":
        """This one and the others."""
        return (self, *self.others)

    @property
    def shorter(self) -> "tuple[Program, ...]":
        """Those of its density, for fewer tokens."""
        return tuple(one for one in self.others if one.density == self.density)

    @property
    def density(self) -> str | None:
        """Of weights that lie in planes, such as 1:8; None where there is one density."""
        found: str | None = self.about.get(DENSITY)
        return found

    @property
    def densities(self) -> tuple[str, ...]:
        """Of all programs, from dense to sparse."""
        return tuple(dict.fromkeys(one.density for one in self.every if one.density is not None))

    def at(self, density: str | None) -> "Program":
        """The program of a density, with its shorter ones alone; None: the densest.

        Raises
        ------
        InputError : there is none of that density.
        """
        found = [one for one in self.every if one.density == (self.density if density is None else density)]
        if not found:
            known = ", ".join(self.densities)
            raise InputError(f"density is {density}, must be one of {known}" if known else "it is of one density alone")
        return replace(found[0], others=tuple(found[1:]))

    def each_with(self, **parts: Any) -> "Program":
        """Every one of them with these parts: its configuration, or its tokenizer."""
        return replace(self, **parts, others=tuple(replace(one, **parts) for one in self.others))

    def fitting(self, tokens: Sequence[int]) -> "Program":
        """The shortest of its density for sequences of these tokens; this one where none is long enough."""
        for program in reversed((self, *self.shorter)):
            if all(one <= sequence.tokens for one, sequence in zip(tokens, program.sequences, strict=False)):
                return program
        return self

    @cached_property
    def instructions(self) -> list[dict[str, int]]:
        """Every instruction but END, by the names of its fields; those that are zero are left out."""
        ends = self.address + len(self.names) * BYTES
        codes = [decode(self.memory[at : at + BYTES]) for at in range(self.address, ends, BYTES)]
        return [{name: value for name, value in code.items() if value} for code in codes]

    @property
    def takes_pictures(self) -> bool:
        """Whether the host fills in patches of pictures; otherwise, ids of tokens."""
        return any(region.name == "patches" for region in self.regions)

    @property
    def host_region(self) -> Region:
        """What the host fills before a run: ids of tokens, 32 bits each, or patches of pictures."""
        return self.region("patches" if self.takes_pictures else "ids")

    @property
    def written(self) -> list[range]:
        """Addresses that a run writes: results of each sequence, and activations."""
        spans = [
            range(at, at + 2 * result.channels)
            for result in self.results
            for at in range(result.address, result.address + result.pitch * len(self.sequences), result.pitch)
        ]
        return spans + [range(one.address, one.end) for one in self.regions if one.name == ACTIVATIONS]

    def region(self, name: str) -> Region:
        """The region of that name.

        Raises
        ------
        InputError : there is none.
        """
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
        for sequence, row in zip(self.sequences, ids, strict=True):
            if len(row) != sequence.tokens:
                raise InputError(f"a sequence of {len(row)} tokens, the program is compiled for {sequence.tokens}")
            if wrong := [token for token in row if not 0 <= token < self.about["vocabulary"]]:
                raise InputError(f"token id is {wrong[0]}, must be below {self.about['vocabulary']}")
            words[sequence.first_token : sequence.first_token + sequence.tokens] = row
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
        for sequence, picture in zip(self.sequences, patches, strict=True):
            if picture.shape != (sequence.tokens, pixels) or picture.dtype != np.int8:
                found = f"{picture.dtype} {list(picture.shape)}"
                raise InputError(f"patches are {found}, the program is compiled for int8 {[sequence.tokens, pixels]}")
            rows[sequence.first_token : sequence.first_token + sequence.tokens, :pixels] = picture.view(np.uint8)
        return memory

    def result(self, name: str, memory: Bytes) -> NDArray[np.int16]:
        """[sequences, channels] out of the memory after a run."""
        for result in self.results:
            if result.name == name:
                return self.rows(result, memory[result.address :])
        raise InputError(f"the program gives no {name!r}, but {', '.join(result.name for result in self.results)}")

    def rows(self, result: Result, contents: Bytes) -> NDArray[np.int16]:
        """[sequences, channels] of a result. contents : of memory, from its address on"""
        at = [i * result.pitch for i in range(len(self.sequences))]
        return np.stack([contents[begin : begin + 2 * result.channels].view("<i2") for begin in at]).astype(np.int16)

    def check(self, config: StaConfig) -> None:
        """InputError unless the program is compiled for this configuration."""
        theirs = config.architecture
        for name, value in self.config.architecture.items():
            if theirs[name] != value:
                raise InputError(f"the program is compiled for {name} = {value}, the accelerator has {theirs[name]}")

    # --- the file ------------------------------------------------------------------------------
    def header(self) -> bytes:
        """All of the file that stands before the memory."""
        parts = {"configuration": asdict(self.config), **self._own(), "tokenizer": self.tokenizer}
        if self.others:
            parts[OTHERS] = [program._own() for program in self.others]
        texts = {name: json.dumps(part, allow_nan=False, separators=(",", ":")) for name, part in parts.items()}
        metadata = {"format": FORMAT, "version": str(VERSION), **texts, "sha256": _checksum(texts, self.memory)}
        size = len(self.memory)
        header = {"__metadata__": metadata, "memory": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        return len(head).to_bytes(8, "little") + head

    def _own(self) -> dict[str, Any]:
        """The values of OWN."""
        return {
            "address": self.address,
            "names": self.names,
            "regions": [[r.name, r.address, r.size] for r in self.regions],
            "sequences": [[s.first_token, s.tokens] for s in self.sequences],
            "results": [asdict(result) for result in self.results],
            "notes": self.notes,
            "about": self.about,
        }

    def to_bytes(self) -> bytes:
        return self.header() + self.memory

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all; the same program gives the same bytes."""
        with written_whole(path) as file:
            file.write_bytes(self.to_bytes())


def is_program(path: Path) -> bool:
    """Whether a file begins as programs do.

    Raises
    ------
    InputError, OSError : no regular file, or it cannot be read.
    """
    with regular_file(path, SIZE_MAX) as (file, _):
        return file.read(8 + len(BEGIN))[8:] == BEGIN


def load(path: Path) -> Program:
    """The program of a file, all of it checked: what every command does first.

    Raises
    ------
    InputError : no program, truncated, damaged, newer than this nmgen, or contents that no program has.
    OSError : the file cannot be read.
    """
    with regular_file(path, SIZE_MAX) as (file, size):
        try:
            return _read(file, size)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def from_bytes(data: bytes) -> Program:
    """As load, of a file's bytes."""
    return _read(BytesIO(data), len(data))


def _read(file: BinaryIO, size: int) -> Program:
    header = read_header(file, size)
    metadata = header.metadata
    if metadata.get("format") != FORMAT or list(header.tensors) != ["memory"] or header.tensors["memory"].kind != "U8":
        raise InputError("no program that nmgen compile wrote")
    if metadata.get("version") != str(VERSION):
        raise InputError(f"version is {shown(metadata.get('version'))}, this program reads version {VERSION}")
    if missing := [name for name in PARTS if name not in metadata]:
        raise InputError(f"damaged: its metadata lacks {missing[0]!r}")
    memory = file.read()
    if _checksum(metadata, memory) != metadata.get("sha256"):
        raise InputError("damaged: the checksum sha256 in its metadata is not that of its contents")
    parts = [*PARTS, *([OTHERS] if OTHERS in metadata else [])]
    program = _program({name: _part(name, metadata[name]) for name in parts}, memory)
    file.seek(0)
    if program.header() != file.read(header.start):
        raise InputError("damaged: its header is not one that nmgen compile writes")
    for one in program.every:
        check(one)
    return program


def _part(name: str, text: str) -> Any:
    try:
        return parse_json(text)
    except InputError as error:
        raise InputError(f"{name} is not JSON: {error}") from None


def _program(parts: Mapping[str, Any], memory: bytes) -> Program:
    """The program of the values of PARTS, and OTHERS, each of the type and within the bounds that it has."""
    given = _table("configuration", parts["configuration"], [field.name for field in fields(StaConfig)])
    config = StaConfig(**given)
    if not isinstance(parts["tokenizer"], str):
        raise InputError(f"tokenizer is {shown(parts['tokenizer'])}, must be a text")
    program = _one(config, parts, memory, parts["tokenizer"])
    if OTHERS not in parts:
        return program
    listed = items(OTHERS, parts[OTHERS], 1, OTHERS_MAX)
    others = [
        _one(config, _table(f"{OTHERS} {i}", one, list(OWN)), memory, program.tokenizer) for i, one in enumerate(listed)
    ]
    found = replace(program, others=tuple(others))
    check_others(found)
    return found


def _one(config: StaConfig, parts: Mapping[str, Any], memory: bytes, tokenizer: str) -> Program:
    """The program of the values of OWN."""
    end = len(memory)
    regions = [items(f"region {i}", one, 3, 3) for i, one in enumerate(items("regions", parts["regions"], 1, end))]
    listed = items("sequences", parts["sequences"], 1, config.max_tokens)
    names = [string("name of an instruction", name) for name in items("names", parts["names"], 1, INSTRUCTIONS_MAX)]
    return Program(
        config=config,
        memory=memory,
        address=integer("address", parts["address"], 0, end),
        names=tuple(names),
        regions=tuple(
            Region(
                string("name of a region", name),
                integer(f"address of region {name}", address, 0, end),
                integer(f"size of region {name}", size, 1, end),
            )
            for name, address, size in regions
        ),
        sequences=tuple(
            Placed(*(integer(f"sequence {i}", one, 0, config.max_tokens) for one in items(f"sequence {i}", pair, 2, 2)))
            for i, pair in enumerate(listed)
        ),
        results=tuple(_result(one, end) for one in items("results", parts["results"], 1, 2)),
        notes=tuple(string("note", note) for note in items("notes", parts["notes"], 0, INSTRUCTIONS_MAX)),
        about=_about(parts["about"], pictures=any(name == "patches" for name, *_ in regions)),
        tokenizer=tokenizer,
    )


def _result(value: Any, end: int) -> Result:
    given = _table("result", value, [field.name for field in fields(Result)])
    name = string("name of a result", given["name"])
    return Result(
        name=name,
        address=integer(f"address of result {name}", given["address"], 0, end),
        pitch=integer(f"pitch of result {name}", given["pitch"], 1, end),
        channels=integer(f"channels of result {name}", given["channels"], 1, end),
        scale=number(f"scale of result {name}", given["scale"], SCALE_MIN, SCALE_MAX),
    )


def _about(value: Any, *, pictures: bool) -> dict[str, Any]:
    """The facts that commands count on; any others go along."""
    keys = (*FACTS, *(PICTURE_FACTS if pictures else TEXT_FACTS))
    if not isinstance(value, dict) or (missing := [key for key in keys if key not in value]):
        raise InputError(
            f"about is {shown(value)}, must have {', '.join(keys if not isinstance(value, dict) else missing)}"
        )
    for key in keys:
        integer(f"{key} in about", value[key], 1, FACT_MAX)
    if DENSITY in value:
        string("density in about", value[DENSITY])
    for name in items("classes in about", value.get("classes", []), 0, FACT_MAX):
        string("name of a class", name)
    return value


def _table(what: str, value: Any, keys: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or sorted(value) != sorted(keys):
        raise InputError(f"{what} is {shown(value)}, must be a table of {', '.join(keys)}")
    return value


def _checksum(texts: Mapping[str, str], memory: bytes) -> str:
    digest = sha256()
    for name in (*PARTS, *([OTHERS] if OTHERS in texts else [])):
        digest.update(f"{name} {texts[name]}\n".encode())
    digest.update(memory)
    return digest.hexdigest()
