"""A deep memory: block RAMs of few bits and many words, side by side."""

from functools import reduce
from itertools import accumulate
from operator import or_

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, gated

LEAST = 512  # words of a block RAM of the widest words: to split fewer saves none
SMALL = 8  # nor is a remainder split of less than 1/8 of the first part


def parts(depth: int) -> list[int]:
    """Words of each part: powers of two, and a remainder. 8,256 words are 8,192 and 64; 1,500 are 1,024 and 476."""
    found: list[int] = []
    while depth >= LEAST and (not found or depth * SMALL >= found[0]):
        found.append(1 << (depth.bit_length() - 1))
        depth -= found[-1]
    return [*found, depth] if depth else found


class DeepMemory(wiring.Component):
    """A memory in parts, each a power of two of words deep and built of block RAMs of few bits side by side.

    For another depth yosys stacks wide, shallow block RAMs to save the last few: 17 × 2 of 512 × 36 for 8,256 words of
    64 bits, with a 17:1 mux for each bit. Those have three times the wires of 32 of 8,192 × 2 and cannot be routed.

    Parameters
    ----------
    width : bits of a word
    depth : words
    granularity : bits that a bit of write_enable stands for; divides width

    Members
    -------
    write_address, write_data, write_enable : the word may be read from the next cycle on, in
    read_address : in
    read_data : the word, `LATENCY` cycles later, out
    """

    LATENCY = 1

    def __init__(self, width: int, depth: int, granularity: int) -> None:
        self._width, self._depth, self._granularity = width, depth, granularity
        super().__init__(
            {
                "write_address": In(range(depth)),
                "write_data": In(width),
                "write_enable": In(width // granularity),
                "read_address": In(range(depth)),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = parts(self._depth)
        if len(sizes) == 1:
            written_part = read_part = Const(1)
        else:
            written_part, read_part = part_of(self.write_address, sizes), part_of(self.read_address, sizes)
            read_part = align(m, read_part, self.LATENCY, name="part")
        words = []
        for i, size in enumerate(sizes):
            m.submodules[f"part_{i}"] = memory = Memory(shape=self._width, depth=size, init=[])
            write = memory.write_port(granularity=self._granularity)
            read = memory.read_port()
            m.d.comb += [
                write.addr.eq(self.write_address[: len(write.addr)]),
                write.data.eq(self.write_data),
                write.en.eq(self.write_enable & written_part[i].replicate(len(self.write_enable))),
                read.addr.eq(self.read_address[: len(read.addr)]),
            ]
            words.append(gated(read.data, read_part[i]))
        m.d.comb += self.read_data.eq(reduce(or_, words))
        return m


def part_of(address: Value, sizes: list[int]) -> Value:
    """One bit a part: the address is in it. A part begins at a multiple of its size, rounded up to a power of two."""
    starts = accumulate(sizes, initial=0)
    bits = [(size - 1).bit_length() for size in sizes]
    return Cat(address[b:] == start >> b for start, b in zip(starts, bits, strict=False))
