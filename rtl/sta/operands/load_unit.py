"""LOAD: rows from memory into the activation store."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, preload, relay
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.isa import Op
from rtl.sta.operands.store import store_write
from rtl.sta.params import StaConfig


class LoadUnit(wiring.Component):
    """Writes the tokens' rows from memory, whole beats, to the addresses of the instruction.

    Members
    -------
    start : an instruction begins; anything but LOAD is ignored, in
    instruction : steady from start to finished, in
    rows : beats, token after token, stream in; always ready from two cycles after the start to finished, never
        otherwise
    write : `store_write`, a cycle after the beat, out
    finished : all is readable from the next cycle on, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "rows": In(stream.Signature(8 * config.port_bytes)),
                "write": Out(store_write(config)),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction, write = self._config, self.instruction, self.write
        words = Signal.like(instruction.groups, reset_less=True)  # of a token
        groups_a_word = c.store_word_bytes // c.m
        m.d.sync += words.eq((instruction.groups + (groups_a_word - 1)) >> (groups_a_word.bit_length() - 1))
        # In step with `words`.
        begins = align(m, self.start & (instruction.opcode == Op.LOAD), 1, name="begins", reset=True)

        beats_a_word = c.store_word_bytes // c.port_bytes
        part = Signal(beats_a_word, init=1, reset_less=True)  # of the word, one-hot
        bank = Signal.like(write.bank, reset_less=True)
        address = Signal.like(write.address, reset_less=True)
        taken = Signal()
        runs = self._walk(m, words, begins, taken, part, bank, address)
        m.d.comb += [self.rows.ready.eq(runs), taken.eq(self.rows.valid & self.rows.ready)]

        # Relays before the store, which lies all over the chip.
        m.d.comb += [
            write.enable.eq(relay(m, taken, name="enable", reset=True)),
            write.bank.eq(relay(m, bank, name="bank")),
            write.address.eq(relay(m, address, name="address")),
            write.data.eq(relay(m, self.rows.payload.replicate(beats_a_word), name="data")),
            write.strobe.eq(relay(m, Cat(bit.replicate(c.port_bytes) for bit in part), name="strobe")),
        ]
        return m

    def _walk(
        self, m: Module, words: Signal, begins: Signal, taken: Signal, part: Signal, bank: Signal, address: Signal
    ) -> Signal:
        """Where the next beat goes, beat after beat, word after word, token after token: whether there is one."""
        c, instruction = self._config, self.instruction
        tokens_left = Signal.like(instruction.tokens, reset_less=True)
        words_left = Signal.like(words, reset_less=True)
        runs = Signal()
        last_token = Signal()  # these are registered when the counts change
        last_word = Signal()
        one_word = Signal()
        base = Signal.like(address, reset_less=True)  # of the token tile
        next_base = Signal.like(base)
        ends = Signal()
        m.d.comb += next_base.eq(base + instruction.y_pitch)
        m.d.sync += [self.finished.eq(ends), ends.eq(0), one_word.eq(words == 1)]
        with m.If(taken):
            m.d.sync += part.eq(part.rotate_left(1))
            with m.If(part[-1]):
                m.d.sync += [address.eq(address + 1), words_left.eq(words_left - 1), last_word.eq(words_left == 2)]
                with m.If(last_word):
                    m.d.sync += [
                        words_left.eq(words),
                        last_word.eq(one_word),
                        tokens_left.eq(tokens_left - 1),
                        last_token.eq(tokens_left == 2),
                        runs.eq(~last_token),
                        ends.eq(last_token),
                        bank.eq(bank + 1),
                        address.eq(base),
                    ]
                    with m.If(bank == c.rows - 1):
                        m.d.sync += [bank.eq(0), base.eq(next_base), address.eq(next_base)]
        with preload(m, ~runs):
            m.d.sync += [
                tokens_left.eq(instruction.tokens),
                last_token.eq(instruction.tokens == 1),
                runs.eq(begins),
                words_left.eq(words),
                last_word.eq(words == 1),
                part.eq(1),
                bank.eq(0),
                base.eq(instruction.y_base),
                address.eq(instruction.y_base),
            ]
        return runs
