"""A program that shows what each of its instructions did: behind every one, STOREs of all that it wrote.

The hardware needs nothing for it, and whoever runs such a program can compare instruction by instruction. It takes more
cycles than the program itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import ceil_div, round_up
from rtl.sta.isa import Instruction, Op, assemble
from rtl.sta.params import StaConfig

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Dump:
    """What an instruction left in one memory, dumped after a run.

    Parameters
    ----------
    number : of the instruction in the program it came from
    where : 'store' or 'residual', of a further head with its number among the instruction's, 'store, head 2'
    address, pitch : bytes, of the first token's row and from row to row
    tokens, size : rows, and the bytes of each that the instruction wrote
    """

    number: int
    where: str
    address: int
    pitch: int
    tokens: int
    size: int

    def rows(self, memory: Bytes) -> NDArray[np.signedinteger]:
        """[tokens, channels]: int8 of the store, int16 of the residual."""
        rows = memory[self.address :][: self.tokens * self.pitch].reshape(self.tokens, self.pitch)[:, : self.size]
        return np.ascontiguousarray(rows).view("<i2" if self.where == "residual" else np.int8)


def with_dumps(config: StaConfig, instructions: Sequence[Instruction], end: int) -> tuple[bytes, list[Dump], int]:
    """(program with its END, dumps, bytes of memory that it takes): dumps lie in memory from byte `end` on."""
    address = round_up(end, config.port_bytes)
    found: list[dict[str, int]] = []
    dumps: list[Dump] = []
    for number, instruction in enumerate(instructions):
        found.append(dict(instruction))
        i = instruction.get
        for where, words in _places(config, instruction):
            tokens = 1 if i("opcode", 0) == Op.POOL else i("tokens", 0)
            store = {"opcode": int(Op.STORE), "tokens": tokens, "first_token": i("first_token", 0), "address": address}
            if where == "residual":
                size = 2 * i("channels", 0)
                store |= {"which": 1, "channels": i("channels", 0)}
                pitch = round_up(size, config.port_bytes)
            else:
                load = i("opcode", 0) == Op.LOAD
                groups = i("groups", 0) if load else ceil_div(i("channels", 0), config.m)
                size = groups * config.m if load else i("channels", 0)
                store |= {"groups": groups, "x_base": i("y_base", 0) + words, "x_pitch": i("y_pitch", 0)}
                pitch = round_up(groups * config.m, config.port_bytes)
            found.append(store)
            dumps.append(Dump(number, where, address, pitch, tokens, size))
            address += tokens * pitch
    return assemble([*found, {"opcode": int(Op.END)}]), dumps, address


def _places(config: StaConfig, instruction: Instruction) -> list[tuple[str, int]]:
    """(where, words of the store behind the instruction's own base)."""
    opcode = instruction.get("opcode", 0)
    if opcode in (Op.POOL, Op.GATHER):
        return [("residual", 0)]
    if opcode == Op.LOAD:
        return [("store", 0)]
    found = [(one, 0) for one in ("store", "residual") if instruction.get(f"to_{one}", 0)]
    words = ceil_div(instruction.get("channels", 0), config.store_word_bytes)
    return found + [(f"store, head {head}", head * words) for head in range(1, instruction.get("more_heads", 0) + 1)]
