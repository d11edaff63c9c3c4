"""The words of tokens in the activation store, one after another, as LOAD writes them and STORE reads them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.rows import count_rows
from rtl.lib.timing import align, preload, registered
from rtl.sta.params import StaConfig


class WordWalk(wiring.Component):
    """Generates bank and address of word after word of token after token, from bank 0 on.

    Parameters
    ----------
    most_words : of a token

    Members
    -------
    start : a walk begins, in
    tokens, words : how many, and of each, at least 1; steady from start to the last word, in
    base, pitch : the first token tile's first word, and from there to the next tile's; steady as well, in
    advance : step to the next word, only while running, in
    running : there is a word, from two cycles after start on, out
    row_last : it is its token's last, out
    last : it is the last of all, out
    bank, address : of the word, out
    """

    def __init__(self, config: StaConfig, most_words: int) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "tokens": In(range(config.max_tokens + 1)),
                "words": In(range(most_words + 1)),
                "base": In(range(config.store_words)),
                "pitch": In(range(config.store_words)),
                "advance": In(1),
                "running": Out(1),
                "row_last": Out(1),
                "last": Out(1),
                "bank": Out(range(config.rows)),
                "address": Out(range(config.store_words)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        running = Signal()
        words = registered(m, self.words, name="words")
        begins = align(m, self.start, 1, name="begins", reset=True)  # in step with the words
        ends = count_rows(m, self.tokens, words, idle=~running, advance=self.advance)
        bank = Signal.like(self.bank, reset_less=True)
        address = Signal.like(self.address, reset_less=True)
        base = Signal.like(self.base, reset_less=True)  # of the token tile
        next_base = Signal.like(base)
        m.d.comb += [
            self.running.eq(running),
            self.row_last.eq(ends.row_last),
            self.last.eq(ends.row_last & ends.last_row),
            self.bank.eq(bank),
            self.address.eq(address),
            next_base.eq(base + self.pitch),
        ]
        with m.If(self.advance):
            m.d.sync += address.eq(address + 1)
            with m.If(ends.row_last):
                m.d.sync += [running.eq(~ends.last_row), bank.eq(bank + 1), address.eq(base)]
                with m.If(bank == self._config.rows - 1):
                    m.d.sync += [bank.eq(0), base.eq(next_base), address.eq(next_base)]
        with preload(m, ~running):
            m.d.sync += [running.eq(begins), bank.eq(0), base.eq(self.base), address.eq(self.base)]
        return m
