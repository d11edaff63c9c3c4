"""LUT RAM: memories that are too small, or have too many ports, for block RAM; long delays of wide values."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align
from rtl.params import ceil_div, power_of_two_at_least

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


class DelayLine(wiring.Component):
    """`align` of a wide value by many cycles: a LUT RAM of a few words, and a register behind it.

    Registers would be as many as there are cycles, and of each the logic beside it is lost: it gets its input by the
    wire of a LUT's multiplexer.

    Parameters
    ----------
    width : bits of the value
    cycles : of delay, at least 2

    Members
    -------
    input : in
    output : the input `cycles` ago; in the first `cycles` cycles undefined, out
    """

    def __init__(self, width: int, cycles: int) -> None:
        self._cycles = cycles
        super().__init__({"input": In(width), "output": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = power_of_two_at_least(self._cycles)
        written = Signal(range(depth))
        read_from = Signal(range(depth), init=depth - (self._cycles - 1))
        m.submodules.memory = memory = Memory(shape=len(self.input), depth=depth, init=[], attrs=LUT_RAM)
        write, read = memory.write_port(), memory.read_port()
        m.d.sync += [written.eq(written + 1), read_from.eq(read_from + 1)]
        m.d.comb += [
            write.en.eq(1),
            write.addr.eq(written),
            write.data.eq(self.input),
            read.addr.eq(read_from),
            self.output.eq(read.data),
        ]
        return m
