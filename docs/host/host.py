"""A host for axi-sta, standard library only: docs/host.md explains each step, host.c is the same in C.

host = Host(parse(Path("P.nmp").read_bytes()), read32, write32, memory)
host.load()
embeddings = host.run([[101, 7592, 102], [101, 102]])
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

# Control registers: byte offsets, and bits.
ID, VERSION, CONTROL, STATUS, CAUSE, CAUSE_ADDRESS = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14
PROGRAM, LIMIT, INTERRUPT = 0x1C, 0x20, 0x24
START, CLEAR = 1, 2
BUSY, ERROR = 1, 4
ON_DONE, ON_ERROR = 1, 2

# Instructions: bytes, opcodes, and those fields that a host reads or changes: word, lowest bit, bits.
INSTRUCTION = 64
END, PRODUCT, NORM, POOL, GATHER, LOAD, STORE, TABLE = range(8)
KEYS, VALUES = 1, 2
FIELDS = {
    "opcode": (0, 0, 4),
    "columns": (0, 8, 2),
    "tokens": (1, 0, 16),
    "channels": (1, 16, 16),
    "first_token": (2, 0, 16),
    "groups": (2, 16, 16),
    "address": (6, 0, 32),
    "ids_address": (9, 0, 32),
    "mult": (10, 0, 16),
    "shift": (10, 16, 6),
    "keys": (12, 0, 16),
    "weight_groups": (12, 16, 16),
    "planes_address": (13, 0, 32),
}

PARTS = ("configuration", "address", "names", "regions", "sequences", "results", "notes", "about", "tokenizer")
MAKING = ("pe", "device", "soft_rows", "groups")  # of the configuration: how the array is made, not what it computes


class StoppedError(Exception):
    """The accelerator stopped with a cause and an address. It is cleared: the next run may begin."""

    def __init__(self, cause: int, address: int) -> None:
        super().__init__(f"stopped with cause {cause} at {address:#x}")
        self.cause, self.address = cause, address


# --- the file --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Program:
    """A .nmp file: the image, and the values of PARTS."""

    memory: bytes
    configuration: dict[str, Any]
    address: int  # of the first instruction
    names: list[str]
    regions: list[tuple[str, int, int]]  # name, address, bytes
    sequences: list[tuple[int, int]]  # first token, tokens
    results: list[dict[str, Any]]
    notes: list[str]
    about: dict[str, Any]
    tokenizer: str

    def region(self, name: str) -> int:
        """The address of a region."""
        return next(address for other, address, _ in self.regions if other == name)

    def identification(self, version: int) -> int:
        """What `id` reads in an accelerator of that version that the program is compiled for."""
        sizes = {name: value for name, value in self.configuration.items() if name not in MAKING}
        text = f"nmgen {version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF} {sizes}"
        return int.from_bytes(sha256(text.encode()).digest()[:4], "little")


def parse(file: bytes) -> Program:
    """The program in the bytes of a file; ValueError where it is none, or damaged."""
    begin = 8 + int.from_bytes(file[:8], "little")
    metadata = json.loads(file[8:begin]).get("__metadata__", {})
    memory = file[begin:]
    if (metadata.get("format"), metadata.get("version")) != ("nmgen-program", "1"):
        raise ValueError("no program of version 1")
    checked = [*PARTS, *(["shorter"] if "shorter" in metadata else [])]
    texts = "".join(f"{name} {metadata.get(name)}\n" for name in checked)
    if sha256(texts.encode() + memory).hexdigest() != metadata.get("sha256"):
        raise ValueError("the file is damaged")
    return Program(memory=memory, **{name: json.loads(metadata[name]) for name in PARTS})


# --- the accelerator -------------------------------------------------------------------------------------------------
class Host:
    """Runs a program.

    Parameters
    ----------
    read32, write32 : access to the control registers by their byte offsets
    memory : a bytearray, or what takes and gives slices as one does: the accelerator's memory from `base` on
    base : where that is in the accelerator's addresses, a multiple of 64
    wait : called while it runs: returns at the interrupt, or whenever `status` may be read again
    """

    def __init__(
        self,
        program: Program,
        read32: Callable[[int], int],
        write32: Callable[[int, int], None],
        memory: bytearray,
        base: int = 0,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._program, self._read32, self._write32 = program, read32, write32
        self._memory, self._base, self._wait = memory, base, wait

    def load(self) -> None:
        """Check that the program fits the accelerator, and put its image into memory."""
        program = self._program
        version = self._read32(VERSION)
        if self._read32(ID) != program.identification(version):
            raise ValueError("the program is compiled for another accelerator")
        if "vocabulary" not in program.about:
            raise ValueError("the program takes patches of pictures, not token ids")
        if self._base + len(program.memory) > 0xFFFFFFFF:
            raise ValueError("the image ends beyond 2^32 - 1, which limit cannot hold")
        self._memory[: len(program.memory)] = program.memory
        for at in self._instructions():
            opcode = self._get(at, "opcode")
            if opcode in (NORM, GATHER, LOAD, STORE, TABLE) or (opcode == PRODUCT and not self._get(at, "columns")):
                self._set(at, address=self._get(at, "address") + self._base)
            if opcode == PRODUCT and self._get(at, "weight_groups"):
                self._set(at, planes_address=self._get(at, "planes_address") + self._base)
            if opcode == GATHER:
                self._set(at, ids_address=self._get(at, "ids_address") + self._base)

    def run(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """The embedding of each text, given as token ids, special ones included."""
        self.place(texts)
        if self._read32(STATUS) & (BUSY | ERROR):
            self.clear()
        self._write32(PROGRAM, self._base + self._program.address)
        self._write32(LIMIT, self._base + len(self._program.memory))
        self._write32(INTERRUPT, ON_DONE | ON_ERROR)
        self._write32(CONTROL, START)
        while (status := self._read32(STATUS)) & BUSY:
            self._wait()
        if status & ERROR:
            cause, address = self._read32(CAUSE), self._read32(CAUSE_ADDRESS)
            self.clear()
            raise StoppedError(cause, address)
        return [self.result("embedding", number) for number in range(len(texts))]

    def clear(self) -> None:
        """End what runs, and forget an error."""
        self._write32(CONTROL, CLEAR)
        while self._read32(STATUS) & BUSY:
            pass

    def place(self, texts: Sequence[Sequence[int]]) -> None:
        """Put ids into memory, and the lengths of the texts into the instructions."""
        program = self._program
        if len(texts) > len(program.sequences):
            raise ValueError(f"{len(texts)} texts, the program takes {len(program.sequences)}")
        lengths = []  # of each sequence: first token, tokens, tokens of its text
        for number, (first, tokens) in enumerate(program.sequences):
            ids = list(texts[number]) if number < len(texts) else [0]
            if not 1 <= len(ids) <= tokens or not all(0 <= one < program.about["vocabulary"] for one in ids):
                raise ValueError(f"text {number} has no 1 to {tokens} ids below {program.about['vocabulary']}")
            lengths.append((first, tokens, len(ids)))
            for i, one in enumerate(ids + [0] * (tokens - len(ids))):
                self._put32(program.region("ids") + 4 * (first + i), one)
        for at in self._instructions():
            opcode, columns = self._get(at, "opcode"), self._get(at, "columns")
            first = self._get(at, "first_token")
            text, before = next(((t, first - f) for f, tokens, t in lengths if f <= first < f + tokens), (0, 0))
            if opcode == PRODUCT and columns in (KEYS, VALUES):
                self._set(at, tokens=max(1, min(text - before, program.about["query_tokens"])))
            if opcode == PRODUCT and columns == KEYS:
                self._set(at, channels=text)
            elif opcode == PRODUCT and columns == VALUES:
                self._set(at, keys=text, groups=-(-text // program.configuration["m"]))
            elif opcode == POOL:
                shift = 15 + (text - 1).bit_length()
                self._set(at, tokens=text, mult=((2 << shift) + text) // (2 * text), shift=shift)

    def result(self, name: str, number: int) -> list[float]:
        """A result of a sequence, after a run."""
        found = next(one for one in self._program.results if one["name"] == name)
        at = found["address"] + number * found["pitch"]
        elements = [self._memory[at + 2 * i : at + 2 * i + 2] for i in range(found["channels"])]
        return [int.from_bytes(one, "little", signed=True) * found["scale"] for one in elements]

    # --- instructions in memory ----------------------------------------------------------------
    def _instructions(self) -> range:
        """The place of each instruction in memory, END left out."""
        begin = self._program.address
        return range(begin, begin + INSTRUCTION * len(self._program.names), INSTRUCTION)

    def _get(self, at: int, field: str) -> int:
        word, low, bits = FIELDS[field]
        return self._get32(at + 4 * word) >> low & ((1 << bits) - 1)

    def _set(self, at: int, **values: int) -> None:
        for field, value in values.items():
            word, low, bits = FIELDS[field]
            others = self._get32(at + 4 * word) & ~(((1 << bits) - 1) << low)
            self._put32(at + 4 * word, others | value << low)

    def _get32(self, at: int) -> int:
        return int.from_bytes(self._memory[at : at + 4], "little")

    def _put32(self, at: int, value: int) -> None:
        self._memory[at : at + 4] = value.to_bytes(4, "little")


def main() -> None:
    """Say what a program asks of its host: python docs/host/host.py P.nmp"""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/host/host.py P.nmp")
    try:
        program = parse(Path(sys.argv[1]).read_bytes())
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    print(f"memory     {len(program.memory):,} bytes, instructions from {program.address:#x} on")
    for name, address, size in program.regions:
        print(f"region     {address:#010x} {size:12,} bytes  {name}")
    for number, (first, tokens) in enumerate(program.sequences):
        print(f"sequence   {number}: 1 to {tokens} ids, from token {first} on")
    for one in program.results:
        print(f"result     {one['name']}: {one['channels']} elements from {one['address']:#x} on, x {one['scale']}")


if __name__ == "__main__":
    main()
