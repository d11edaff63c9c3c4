"""The residual memory: 16 bits of every channel of every token, read and written in whole words."""

from amaranth.hdl import Const, Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.lib.cases import cases
from rtl.lib.timing import align, hard_register, registered, relay, replicate
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


def residual_address(config: StaConfig, token: Value, piece: Value) -> Value:
    """token · residual_words + piece, by shifts and adders: the factor is constant."""
    words = config.residual_words
    return sum(((token << i) for i in range(words.bit_length()) if words >> i & 1), start=piece)


class ResidualRead(wiring.Signature):
    """Reads of the residual, seen from the reader.

    Members
    -------
    address : of a word, out
    word : `Residual.LATENCY` cycles later, in
    """

    def __init__(self, config: StaConfig) -> None:
        super().__init__({"address": Out(range(residual_depth(config))), "word": In(residual_word(config))})


class ResidualWrite(wiring.Signature):
    """Writes to the residual, seen from the writer.

    Members
    -------
    enable, address, word : out
    """

    def __init__(self, config: StaConfig) -> None:
        address = range(residual_depth(config))
        super().__init__({"enable": Out(1), "address": Out(address), "word": Out(residual_word(config))})


class Residual(wiring.Component):
    """Word `piece` of a token has the address token · residual_words + piece.

    A written word is readable in the next cycle; a read of its address in the same cycle is undefined.

    Members
    -------
    read : `ResidualRead`, in
    write : `ResidualWrite`, in
    """

    LATENCY = RESIDUAL_LATENCY

    def __init__(self, config: StaConfig) -> None:
        self._depth = residual_depth(config)
        super().__init__({"read": In(ResidualRead(config)), "write": In(ResidualWrite(config))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Memories no deeper than a block RAM, so that the mux comes behind their output registers, not in front.
        words = self._memories(m, ceil_div(self._depth, WORDS))
        selects = self._selects(m, len(words))
        chosen = Signal.like(self.read.word, reset_less=True)
        bits = len(chosen.as_value()) // QUARTERS
        for part in range(QUARTERS):
            for i in cases(m, selects[part], len(words)):
                m.d.sync += chosen.as_value().word_select(part, bits).eq(words[i].word_select(part, bits))
        m.d.comb += self.read.word.eq(chosen)
        return m

    def _memories(self, m: Module, count: int) -> list[Signal]:
        """Writes one of the memories; the word that each one reads, in its output registers."""
        inner = (WORDS - 1).bit_length()
        write_word = relay(m, self.write.word.as_value(), name="write_word")
        writes = [
            registered(m, self.write.enable & (self.write.address[inner:] == i), name=f"writes_{i}", reset=True)
            for i in range(count)
        ]
        words = [Signal.like(write_word, name=f"word_{i}") for i in range(count)]
        # Each half of a word, of whole block RAMs, has addresses of its own: they lie all over the chip.
        address_bits = min(inner, len(self.read.address))
        middle = BITS * ceil_div(len(write_word), 2 * BITS)
        for half, own in enumerate((slice(middle), slice(middle, None))):
            init = half * ((1 << address_bits) - 1)
            read_address, write_address = (
                replicate(m, port.address[:address_bits], name=f"{name}_address_{half}", distinct_init=init)
                for name, port in (("read", self.read), ("write", self.write))
            )
            for i in range(count):
                depth = min(WORDS, self._depth - i * WORDS)
                memory = Memory(shape=len(write_word[own]), depth=depth, init=[])
                m.submodules[MEMORY.format(half, i)] = memory
                read, write = memory.read_port(), memory.write_port()
                m.d.comb += [
                    words[i][own].eq(hard_register(m, read.data, name=f"word_{half}_{i}")),
                    read.addr.eq(read_address),
                    write.en.eq(writes[i]),
                    write.addr.eq(write_address),
                    write.data.eq(write_word[own]),
                ]
        return words

    def _selects(self, m: Module, count: int) -> list[Value]:
        """Of each quarter of a word the number of the memory that was read, in registers that stay apart."""
        if count == 1:
            return [Const(0)] * QUARTERS
        number = self.read.address[(WORDS - 1).bit_length() :]
        early = align(m, number, 2, name="which_early")
        not_early = align(m, ~number, 2, name="not_which_early")
        return [
            replicate(m, early, name="which_0"),
            ~replicate(m, ~early, name="not_which_1"),
            replicate(m, ~not_early, name="which_2"),
            ~replicate(m, not_early, name="not_which_3"),
        ]
