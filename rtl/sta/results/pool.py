"""POOL: each channel summed over all tokens."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, gated, preload, replicate
from rtl.sta.control.instruction import instruction_layout
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import PieceWalk, Slots, destination
from rtl.sta.results.residual import Residual, ResidualRead, residual_address


class Pool(wiring.Component):
    """Reads a word of the residual a cycle: for each piece all tokens. The sum's destination is the first token.

    A pass takes tokens · ⌈channels / drain_lanes⌉ cycles.

    Members
    -------
    start, instruction : of a POOL, in
    residual : `ResidualRead`, out
    slots : the sums, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "residual": Out(ResidualRead(config)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pieces = pieces = PieceWalk(self._config)
        running = Signal()
        first = Signal()  # token of the pass
        last = Signal()
        m.d.comb += [
            pieces.start.eq(~running),
            pieces.channels.eq(self.instruction.channels),
            pieces.advance.eq(running & last),
        ]
        self._walk(m, pieces, running, first, last)
        self._sum(m, pieces, running, first, last)
        return m

    def _walk(self, m: Module, pieces: PieceWalk, running: Signal, first: Signal, last: Signal) -> None:
        """The address of every token of a piece, then of the next piece."""
        c, instruction = self._config, self.instruction
        begins = align(m, self.start, 1, name="begins", reset=True)  # in step with the first piece
        tokens_left = Signal.like(instruction.tokens, reset_less=True)  # 1 where `last` is set
        first_address = Signal.like(self.residual.address, reset_less=True)  # of the piece, of the first token
        address = Signal.like(self.residual.address, reset_less=True)
        m.d.comb += self.residual.address.eq(address)
        with m.If(running):
            m.d.sync += [first.eq(0), tokens_left.eq(tokens_left - 1), address.eq(address + c.residual_words)]
            m.d.sync += last.eq(tokens_left == 2)
            with m.If(last):
                m.d.sync += [
                    first.eq(1),
                    tokens_left.eq(instruction.tokens),
                    last.eq(instruction.tokens == 1),
                    first_address.eq(first_address + 1),
                    address.eq(first_address + 1),
                    running.eq(~pieces.last),
                ]
        with preload(m, ~running):
            begin = Signal.like(self.residual.address)
            m.d.comb += begin.eq(residual_address(c, instruction.first_token, Const(0)))
            m.d.sync += [
                running.eq(begins),
                first.eq(1),
                tokens_left.eq(instruction.tokens),
                last.eq(instruction.tokens == 1),
                first_address.eq(begin),
                address.eq(begin),
            ]

    def _counts(self, m: Module, running: Signal, first: Signal) -> Signal:
        """Of a group of rows: the word beside the sum is of a token of its own. All walk through as many tokens."""
        left = Signal.like(self.instruction.own_tokens, name="own_left", reset_less=True)
        current = Signal.like(left, name="own_current")
        m.d.comb += current.eq(Mux(first, self.instruction.own_tokens, left))
        m.d.sync += left.eq(Mux(current == 0, 0, current - 1))
        counts: Signal = align(m, current != 0, Residual.LATENCY + 1, name="counts")
        return counts

    def _sum(self, m: Module, pieces: PieceWalk, running: Signal, first: Signal, last: Signal) -> None:
        """Sums of the words: the word that was read is in a register beside the sum, a cycle later it is in the sum."""
        c = self._config
        own = Signal(destination(c), name="destination")
        m.d.comb += [
            own.token.eq(self.instruction.first_token),
            own.piece.eq(pieces.piece),
            own.keep.eq(pieces.keep),
            own.last.eq(pieces.last),
        ]
        reads = align(m, running, Residual.LATENCY, name="reads", reset=True)
        words = replicate(m, self.residual.word, name="words", enable=reads)
        word_first = align(m, first, Residual.LATENCY + 1, name="first")
        m.d.comb += [
            self.slots.valid.eq(align(m, running & last, Residual.LATENCY + 2, name="valid", reset=True)),
            self.slots.destination.eq(align(m, own, Residual.LATENCY + 2, name="destination")),
        ]
        counts = self._counts(m, running, first) if c.is_group else None
        for lane, element in enumerate(words):
            if counts is not None:
                element = gated(element.as_unsigned(), counts).as_signed()
            total = Signal(signed(c.accumulator_bits), name=f"total_{lane}", reset_less=True)
            m.d.sync += total.eq(Mux(word_first, 0, total) + element)
            m.d.comb += self.slots.values[lane].eq(total)
