"""LUT RAM: memories that are too small, or have too many ports, for block RAM."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align
from rtl.params import ceil_div

LUT_RAM = {"ram_style": "distributed"}
"""Attribute for synthesis: build this memory from LUTs."""


class LutMemory(wiring.Component):
    """A memory in LUT RAM, in parts: a register behind each part, a mux behind these, so that no cycle has both.

    Parameters
    ----------
    width : bits of a word
    depth : words
    part : words of a part, a power of two

    Members
    -------
    write : enable, address and data; the word may be read from the next cycle on, in
    read_address : in
    read_data : `LATENCY` cycles later, out
    """

    LATENCY = 2

    def __init__(self, width: int, depth: int, part: int = 32) -> None:
        self._part = min(part, max(depth, 2))
        address = range(max(depth, 2))
        super().__init__(
            {
                "write": In(data.StructLayout({"enable": 1, "address": address, "data": width})),
                "read_address": In(address),
                "read_data": Out(width),
            }
        )
        self._depth = depth

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write_in, part = self.write, self._part
        inner = (part - 1).bit_length()
        parts = ceil_div(self._depth, part)
        words = []
        for i in range(parts):
            memory = Memory(shape=len(self.read_data), depth=part, init=[], attrs=LUT_RAM)
            m.submodules[f"part_{i}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(write_in.enable & (write_in.address[inner:] == i if parts > 1 else 1)),
                write.addr.eq(write_in.address),
                write.data.eq(write_in.data),
                read.addr.eq(self.read_address),
            ]
            words.append(read.data)
        read_data = Signal.like(self.read_data, reset_less=True)
        which = align(m, self.read_address[inner:], 1, name="which") if parts > 1 else Const(0)
        for i in cases(m, which, parts):
            m.d.sync += read_data.eq(words[i])
        m.d.comb += self.read_data.eq(read_data)
        return m
