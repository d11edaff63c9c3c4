"""A FIFO between two clocks."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LUT_RAM


class CrossingFifo(wiring.Component):
    """Wide words from one clock to another, in LUT RAM: the block RAM that STA leaves free is far from here
    (docs/timing.md).

    Parameters
    ----------
    width : bits of a word
    depth : words, a power of two
    write_domain, read_domain : the clocks
    early : `ready` of words_in is a register, high while there is room for three words or more

    Members
    -------
    words_in : stream, in
    words_out : from a register, of which `ready` is the enable, stream out
    """

    def __init__(self, width: int, depth: int, *, write_domain: str, read_domain: str, early: bool = False) -> None:
        assert depth & (depth - 1) == 0
        self._width = width
        self._depth = depth
        self._early = early
        self._write_domain, self._read_domain = write_domain, read_domain
        super().__init__({"words_in": In(stream.Signature(width)), "words_out": Out(stream.Signature(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Of it only what is there, and room: its own memory, of a constant, goes.
        m.submodules.level = level = AsyncFIFO(
            width=1, depth=self._depth, w_domain=self._write_domain, r_domain=self._read_domain
        )
        m.submodules.store = store = Memory(shape=self._width, depth=self._depth, init=[], attrs=LUT_RAM)
        write, read = store.write_port(domain=self._write_domain), store.read_port(domain="comb")
        write_at = Signal(range(self._depth))
        read_at = Signal(range(self._depth), reset_less=True)  # as the FIFO's: the writer's reset counts
        m.d.comb += [
            level.w_en.eq(self.words_in.valid & self.words_in.ready),
            write.addr.eq(write_at),
            write.data.eq(self.words_in.payload),
            write.en.eq(level.w_en),
            read.addr.eq(read_at),
        ]
        if self._early:  # the level is a cycle old: a word may come in that one, in this, in the next
            m.d[self._write_domain] += self.words_in.ready.eq(level.w_level <= self._depth - 3)
        else:
            m.d.comb += self.words_in.ready.eq(level.w_rdy)
        m.d[self._write_domain] += write_at.eq(write_at + write.en)
        with m.If(level.r_en & level.r_rdy):
            m.d[self._read_domain] += read_at.eq(read_at + 1)
        with m.If(level.r_rst):
            m.d[self._read_domain] += read_at.eq(0)
        out = self.words_out
        m.d.comb += level.r_en.eq(~out.valid | out.ready)
        with m.If(level.r_en):
            m.d[self._read_domain] += [out.valid.eq(level.r_rdy), out.payload.eq(read.data)]
        return m
