"""A FIFO between two clocks."""

from amaranth.hdl import DomainRenamer, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.lut_ram import LUT_RAM
from rtl.lib.timing import registered


class GrayPointer(wiring.Component):
    """Counts words round and round, also in a Gray code, of which the other clock may look at any bit at any time.

    What comes next is in a register, so that `advance` may come late.

    Members
    -------
    advance : a word more, in
    count : modulo 2 · depth, out
    gray : the same in the Gray code, out
    """

    def __init__(self, depth: int) -> None:
        self._bits = depth.bit_length()
        super().__init__({"advance": In(1), "count": Out(self._bits), "gray": Out(self._bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # No resets: one of one clock alone would take words from the other.
        count = Signal(self._bits, reset_less=True)
        ahead = Signal(self._bits, init=1, reset_less=True)
        gray = Signal(self._bits, reset_less=True)
        with m.If(self.advance):
            m.d.sync += [count.eq(ahead), ahead.eq(ahead + 1), gray.eq(ahead ^ (ahead >> 1))]
        m.d.comb += [self.count.eq(count), self.gray.eq(gray)]
        return m


class CrossingFifo(wiring.Component):
    """Wide words from one clock to another, in LUT RAM: the block RAM that STA leaves free is far from here
    (docs/timing.md).

    ::

        words_in ────► LUT RAM ────► register ────► words_out
            │                            ▲
        written ══ Gray code, synchronised ══► is there one?
        room?   ◄══ Gray code, synchronised ══ read

    Parameters
    ----------
    width : bits of a word
    depth : words, a power of two, at least 4
    write_domain, read_domain : the clocks
    reserved : the writer knows by itself that there is room for what it writes: words_in.ready is always high. Else it
        is a register, high while there is room for three words or more

    Members
    -------
    words_in : stream, in
    words_out : from a register, of which `ready` is the enable, stream out
    """

    def __init__(self, width: int, depth: int, *, write_domain: str, read_domain: str, reserved: bool = False) -> None:
        assert depth >= 4
        assert depth & (depth - 1) == 0
        self._width = width
        self._depth = depth
        self._reserved = reserved
        self._write_domain, self._read_domain = write_domain, read_domain
        super().__init__({"words_in": In(stream.Signature(width)), "words_out": Out(stream.Signature(width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        written, read = GrayPointer(self._depth), GrayPointer(self._depth)
        m.submodules.written = DomainRenamer(self._write_domain)(written)
        m.submodules.read = DomainRenamer(self._read_domain)(read)
        m.submodules.store = store = Memory(shape=self._width, depth=self._depth, init=[], attrs=LUT_RAM)
        write_port, read_port = store.write_port(domain=self._write_domain), store.read_port(domain="comb")

        push, words_in = self.words_in.valid & self.words_in.ready, self.words_in
        m.d.comb += [
            written.advance.eq(push),
            write_port.en.eq(push),
            write_port.addr.eq(written.count[:-1]),
            write_port.data.eq(words_in.payload),
        ]
        if self._reserved:
            m.d.comb += words_in.ready.eq(1)
        else:
            self._count_room(m, written.count, read.gray)

        written_seen = Signal.like(written.gray)
        m.submodules.written_seen = FFSynchronizer(written.gray, written_seen, o_domain=self._read_domain)
        there = read.gray != written_seen
        takes = ~self.words_out.valid | self.words_out.ready
        m.d.comb += [read.advance.eq(there & takes), read_port.addr.eq(read.count[:-1])]
        with m.If(takes):
            m.d[self._read_domain] += [self.words_out.valid.eq(there), self.words_out.payload.eq(read_port.data)]
        return m

    def _count_room(self, m: Module, written: Value, read: Value) -> None:
        """The level is two cycles old where it is used: words may have come in both, and one comes in this."""
        writer = Module()
        read_seen = Signal.like(read)
        writer.submodules.read_seen = FFSynchronizer(read, read_seen)
        level = Signal(len(written), reset_less=True)
        writer.d.sync += [
            level.eq(written - registered(writer, decoded(read_seen), name="read")),
            self.words_in.ready.eq(level <= self._depth - 3),
        ]
        m.submodules.room = DomainRenamer(self._write_domain)(writer)


def decoded(gray: Value) -> Value:
    """The number of a Gray code."""
    number = gray
    shift = 1
    while shift < len(gray):
        number = number ^ (number >> shift)
        shift *= 2
    return number
