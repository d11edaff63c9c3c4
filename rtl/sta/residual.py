"""The residual: 16 bits of every channel of every token, read and written by whole words."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..pipeline import delayed
from .params import RESIDUAL_BITS, StaConfig


def residual_word(config: StaConfig) -> data.ArrayLayout:
    """The elements of a word: channels drain_lanes · piece … of one token."""
    return data.ArrayLayout(signed(RESIDUAL_BITS), config.drain_lanes)


def residual_depth(config: StaConfig) -> int:
    return config.max_tokens * config.residual_words


class Residual(wiring.Component):
    """One memory; word `piece` of a token has the address token · residual_words + piece.

    A word that is written may be read in the same cycle; one whose address came in the cycle before is not defined.

    Members
    -------
    read_address : in
    read_data : `LATENCY` cycles later, out
    write_enable, write_address, write_data : in
    """

    LATENCY = 3  # address, memory, word

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
        m.submodules.memory = memory = Memory(shape=self.read_data.shape().size, depth=self._depth, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.addr.eq(delayed(m, self.read_address, 1, name="address")),  # a register: many block RAMs hang on it
            self.read_data.as_value().eq(delayed(m, read.data, 1, name="word")),
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        return m
