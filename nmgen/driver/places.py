"""Where in a board's memory a program runs: its own place, and a second one, so that an input comes in during a run.

A place is what a run has of its own: instructions, input and results. Weights and tables are there once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.memory_map import ALIGNMENT
from nmgen.compiler.program import Program
from nmgen.compiler.program_check import own_regions
from rtl.params import round_up
from rtl.sta.isa import BYTES, USED, Op, decode, encode
from sim.image.product import Region

Bytes = NDArray[np.uint8]
ADDRESSES = ("address", "ids_address")  # fields of an instruction that say where in memory


@dataclass(frozen=True)
class Place:
    """Of one program.

    Parameters
    ----------
    origin : the program as it is in its file
    program : the same with its own regions here; `origin` itself where they are
    """

    origin: Program
    program: Program

    @cached_property
    def _moved(self) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Words of the instructions that are others here, and what they are."""
        here, there = (_instructions(one).view("<u4") for one in (self.program, self.origin))
        at = np.flatnonzero(here != there)
        return at, here[at]

    def instructions(self, memory: Bytes) -> Bytes:
        """Those of a run, as they are here. memory : with the run's input and instructions, where the file has them"""
        found = np.array(_instructions(self.origin, memory))
        at, words = self._moved
        found.view("<u4")[at] = words
        return found

    def input(self, memory: Bytes) -> Bytes:
        """The input of a run. memory : the same"""
        region = self.origin.host_region
        return memory[region.address : region.end]


def _instructions(program: Program, memory: Bytes | None = None) -> Bytes:
    """Of a program, or of another memory at the same place; END left out."""
    memory = np.frombuffer(program.memory, np.uint8) if memory is None else memory
    return memory[program.address : program.address + len(program.names) * BYTES]


def places_of(program: Program, room: int) -> tuple[bytes, list[list[Place]]]:
    """What a board's memory holds, and of each of a file's programs its places.

    room : bytes of the board's memory; where it is too small for second places, there are none
    """
    end = round_up(len(program.memory), ALIGNMENT)
    parts = [program.memory, bytes(end - len(program.memory))]
    seconds = []
    for one in program.every:
        second, contents = _moved_to(end, one)
        end += len(contents)
        parts.append(contents)
        seconds.append(second)
    if end > room:
        return program.memory, [[Place(one, one)] for one in program.every]
    memory = b"".join(parts)
    return memory, [
        [Place(one, one), Place(one, replace(second, memory=memory))]
        for one, second in zip(program.every, seconds, strict=True)
    ]


def _moved_to(address: int, program: Program) -> tuple[Program, bytes]:
    """The program with its own regions from an address on, and what is in them; its memory is the old one."""
    old = [program.region(name) for name in own_regions(program)]
    new = []
    for region in old:
        new.append(Region(region.name, address, region.size))
        address += round_up(region.size, ALIGNMENT)

    def moved(at: int) -> int:
        for before, after in zip(old, new, strict=True):
            if before.address <= at < before.end:
                return at - before.address + after.address
        return at

    contents = b""
    for region in old:
        part = program.memory[region.address : region.end]
        if region.name == "program":
            part = b"".join(_relocated(part[at : at + BYTES], moved) for at in range(0, len(part), BYTES))
        contents += part + bytes(-len(part) % ALIGNMENT)
    found = replace(
        program,
        address=moved(program.address),
        regions=tuple(sorted([*(one for one in program.regions if one not in old), *new], key=lambda one: one.address)),
        results=tuple(replace(result, address=moved(result.address)) for result in program.results),
    )
    return found, contents


def _relocated(code: bytes, moved: Callable[[int], int]) -> bytes:
    """An instruction whose addresses are those that others have moved to."""
    fields = decode(code)
    used = USED[Op(fields["opcode"])]
    return encode({**fields, **{name: moved(fields[name]) for name in ADDRESSES if name in used}})
