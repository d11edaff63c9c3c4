"""Memories that are too small, or have too many ports, to be worth a block RAM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

LUT_RAM = {"ram_style": "distributed"}
"""Attribute that makes synthesis tools build a memory from LUTs."""


class LutFifo(wiring.Component):
    """A FIFO in LUT RAM, also where a register behind it would make a block RAM of the two.

    Whether there is a word, or room, is a register: neither hangs on how many there are. A word is there a cycle after
    it came.

    Parameters
    ----------
    width : bits of a word
    depth : words, at least 2; a power of two. Below 8 the memory has more: it takes what is offered in any case, and
        a word that does not come does not count

    Members
    -------
    words_in, words_out : streams, in and out
    """

    def __init__(self, width: int, depth: int) -> None:
        assert depth in (2, 4, 8, 16, 32, 64, 128, 256)
        self._depth = depth
        super().__init__({"words_in": In(stream.Signature(width)), "words_out": Out(stream.Signature(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words_in, words_out, depth = self.words_in, self.words_out, self._depth
        spare = depth < 8
        slots = 2 * depth if spare else depth
        width = len(words_in.payload)
        m.submodules.storage = storage = Memory(shape=width, depth=slots, init=[], attrs=LUT_RAM)
        write, read = storage.write_port(), storage.read_port(domain="comb")
        produce = Signal(range(slots))
        consume = Signal(range(slots))
        level = Signal(range(depth + 1))
        level_after = Signal(range(depth + 1))
        some = Signal()  # level != 0
        full = Signal()  # level == depth
        comes = Signal()
        goes = Signal()
        m.d.comb += [
            comes.eq(words_in.valid & ~full),
            goes.eq(some & words_out.ready),
            words_in.ready.eq(~full),
            words_out.valid.eq(some),
            words_out.payload.eq(read.data),
            write.addr.eq(produce),
            write.data.eq(words_in.payload),
            write.en.eq(1 if spare else comes),
            read.addr.eq(consume),
            level_after.eq(level + comes - goes),
        ]
        m.d.sync += [
            produce.eq(produce + comes),
            consume.eq(consume + goes),
            level.eq(level_after),
            some.eq(level_after != 0),
            full.eq(level_after == depth),
        ]
        return m
