"""LOAD: rows from memory into the activation store."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, preload
from rtl.sta.control.legality_checker import instruction_layout
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
        groups_a_word = c.store_word_bytes // c.m
        parts = c.store_word_bytes // c.port_bytes  # beats of a word

        tokens_left = Signal.like(instruction.tokens, reset_less=True)
        runs = Signal()
        last_token = Signal()  # these are registered when the counts change
        last_word = Signal()
        one_word = Signal()
        words = Signal.like(instruction.groups, reset_less=True)  # of a token
        # In step with `words`.
        begins = align(m, self.start & (instruction.opcode == Op.LOAD), 1, name="begins", reset=True)
        words_left = Signal.like(words, reset_less=True)
        part = Signal(parts, init=1, reset_less=True)
        bank = Signal.like(write.bank, reset_less=True)
        base = Signal.like(write.address, reset_less=True)  # of the token tile
        address = Signal.like(write.address, reset_less=True)
        next_base = Signal.like(base)
        taken = Signal()
        m.d.comb += [
            self.rows.ready.eq(runs),
            taken.eq(self.rows.valid & self.rows.ready),
            next_base.eq(base + instruction.y_pitch),
        ]
        m.d.sync += words.eq((instruction.groups + (groups_a_word - 1)) >> (groups_a_word.bit_length() - 1))
        # Relays before the store, which lies all over the chip.
        enable = Signal()
        entry = Signal.like(write, reset_less=True)
        ends = Signal()
        m.d.sync += [
            enable.eq(taken),
            entry.bank.eq(bank),
            entry.address.eq(address),
            entry.data.eq(self.rows.payload.replicate(parts)),
            entry.strobe.eq(Cat(here.replicate(c.port_bytes) for here in part)),
        ]
        m.d.comb += [write.eq(entry), write.enable.eq(enable)]

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
        return m
