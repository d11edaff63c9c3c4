"""The residual: 16 bits of every channel of every token, read and written by whole words."""

from amaranth.hdl import Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..cases import cases
from ..params import ceil_div
from ..pipeline import delayed
from .params import RESIDUAL_BITS, StaConfig

WORDS = 2048  # of an ECP5's block RAM of 9 bits
QUARTERS = 4  # of a word: parts with a choice of their own


def residual_word(config: StaConfig) -> data.ArrayLayout:
    """The elements of a word: channels drain_lanes · piece … of one token."""
    return data.ArrayLayout(signed(RESIDUAL_BITS), config.drain_lanes)


def residual_depth(config: StaConfig) -> int:
    return config.max_tokens * config.residual_words


class Residual(wiring.Component):
    """Word `piece` of a token has the address token · residual_words + piece.

    A word that is written may be read in the next cycle; one whose address came in the same cycle is not defined.

    Members
    -------
    read_address : in
    read_data : `LATENCY` cycles later, out
    write_enable, write_address, write_data : in
    """

    LATENCY = 4  # address, memories, their words, the one memory's

    def __init__(self, config: StaConfig) -> None:
        self._depth = residual_depth(config)
        super().__init__(
            {
                "read_address": In(range(self._depth)),
                "read_data": Out(residual_word(config)),
                "write_enable": In(1),
                "write_address": In(range(self._depth)),
                "write_data": In(residual_word(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Memories of no more words than a block RAM has: which of them comes behind their own output registers, not
        # in front of them.
        memories = ceil_div(self._depth, WORDS)
        inner = (WORDS - 1).bit_length()
        address = delayed(m, self.read_address, 1, name="address")  # a register: many block RAMs hang on it
        write_data = delayed(m, self.write_data.as_value(), 1, name="write_data")
        chosen = Signal.like(self.read_data, reset_less=True)
        # For each quarter of a word its own, every other one inverted, lest synthesis make one register of them.
        which: list[Value] = [Const(0)] * QUARTERS
        if memories > 1:
            early = delayed(m, address[inner:], 1, name="which_early")
            not_early = delayed(m, ~address[inner:], 1, name="not_which_early")
            which = [
                delayed(m, early, 1, name="which_0"),
                ~delayed(m, ~early, 1, name="not_which_1"),
                delayed(m, ~not_early, 1, name="which_2"),
                ~delayed(m, not_early, 1, name="not_which_3"),
            ]
        words = []
        for i in range(memories):
            depth = min(WORDS, self._depth - i * WORDS)
            m.submodules[f"memory_{i}"] = memory = Memory(shape=len(write_data), depth=depth, init=[])
            read, write = memory.read_port(), memory.write_port()
            writes = Signal(name=f"writes_{i}")
            write_address = Signal(range(max(depth, 2)), name=f"write_address_{i}", reset_less=True)
            m.d.comb += writes.eq(self.write_enable & (self.write_address[inner:] == i))
            with m.If(writes):  # an address of each memory's own
                m.d.sync += write_address.eq(self.write_address)
            m.d.comb += [
                read.addr.eq(address),
                write.en.eq(delayed(m, writes, 1, name=f"writes_{i}", reset=True)),
                write.addr.eq(write_address),
                write.data.eq(write_data),
            ]
            words.append(delayed(m, read.data, 1, name=f"word_{i}"))
        bits = len(write_data) // QUARTERS
        for part in range(QUARTERS):
            for i in cases(m, which[part], memories):
                m.d.sync += chosen.as_value().word_select(part, bits).eq(words[i].word_select(part, bits))
        m.d.comb += self.read_data.eq(chosen)
        return m
