"""The residual memory: 16 bits of every channel of every token, read and written in whole words."""

from amaranth.hdl import Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align, registered, relay, replicate
from rtl.params import ceil_div
from rtl.sta.instances import MEMORY
from rtl.sta.latencies import RESIDUAL_LATENCY
from rtl.sta.params import RESIDUAL_BITS, StaConfig

WORDS, BITS = 2048, 9  # of an ECP5's block RAM
QUARTERS = 4  # of a word, each with its own copy of the mux select


def residual_word(config: StaConfig) -> data.ArrayLayout:
    """A word: channels drain_lanes · piece … of one token."""
    return data.ArrayLayout(signed(RESIDUAL_BITS), config.drain_lanes)


def residual_depth(config: StaConfig) -> int:
    return config.max_tokens * config.residual_words


class Residual(wiring.Component):
    """Word `piece` of a token has the address token · residual_words + piece.

    A written word is readable in the next cycle; a read of its address in the same cycle is undefined.

    Members
    -------
    read_address : in
    read_data : `LATENCY` cycles later, out
    write_enable, write_address, write_data : in
    """

    LATENCY = RESIDUAL_LATENCY

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
        # Memories no deeper than a block RAM, so that the mux comes behind their output registers, not in front.
        memories = ceil_div(self._depth, WORDS)
        inner = (WORDS - 1).bit_length()
        write_data = relay(m, self.write_data.as_value(), name="write_data")
        chosen = Signal.like(self.read_data, reset_less=True)
        which: list[Value] = [Const(0)] * QUARTERS  # of each quarter of a word
        if memories > 1:
            early = align(m, self.read_address[inner:], 2, name="which_early")
            not_early = align(m, ~self.read_address[inner:], 2, name="not_which_early")
            which = [
                replicate(m, early, name="which_0_1"),
                ~replicate(m, ~early, name="not_which_1_1"),
                replicate(m, ~not_early, name="which_2_1"),
                ~replicate(m, not_early, name="not_which_3_1"),
            ]
        writes = [
            registered(m, self.write_enable & (self.write_address[inner:] == i), name=f"writes_{i}", reset=True)
            for i in range(memories)
        ]
        words = [Signal.like(write_data, name=f"word_{i}", reset_less=True) for i in range(memories)]
        # Each half of a word, of whole block RAMs, has addresses of its own: they lie all over the chip.
        address_bits = min(inner, len(self.read_address))
        middle = BITS * ceil_div(len(write_data), 2 * BITS)
        for half, own in enumerate((slice(middle), slice(middle, None))):
            init = half * ((1 << address_bits) - 1)
            read_address, write_address = (
                replicate(m, address[:address_bits], name=f"{name}_{half}", distinct_init=init)
                for name, address in (("read_address", self.read_address), ("write_address", self.write_address))
            )
            for i in range(memories):
                depth = min(WORDS, self._depth - i * WORDS)
                memory = Memory(shape=len(write_data[own]), depth=depth, init=[])
                m.submodules[MEMORY.format(half, i)] = memory
                read, write = memory.read_port(), memory.write_port()
                m.d.sync += words[i][own].eq(read.data)
                m.d.comb += [
                    read.addr.eq(read_address),
                    write.en.eq(writes[i]),
                    write.addr.eq(write_address),
                    write.data.eq(write_data[own]),
                ]
        bits = len(write_data) // QUARTERS
        for part in range(QUARTERS):
            for i in cases(m, which[part], memories):
                m.d.sync += chosen.as_value().word_select(part, bits).eq(words[i].word_select(part, bits))
        m.d.comb += self.read_data.eq(chosen)
        return m
