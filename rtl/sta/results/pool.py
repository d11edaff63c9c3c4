"""POOL: each channel summed over all tokens."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, preload, replicate
from rtl.sta.control.legality_checker import instruction_layout
from rtl.sta.params import StaConfig
from rtl.sta.results.destination import PieceWalk, Slots, destination, residual_address
from rtl.sta.results.residual import Residual, residual_depth, residual_word


class Pool(wiring.Component):
    """Reads a word of the residual a cycle: for each piece all tokens. The sum's destination is the first token.

    A pass takes tokens · ⌈channels / drain_lanes⌉ cycles.

    Members
    -------
    start, instruction : of a POOL, in
    read_address : of the residual, out
    read_data : `Residual.LATENCY` cycles later, in
    slots : the sums, out
    """

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "instruction": In(instruction_layout(config)),
                "read_address": Out(range(residual_depth(config))),
                "read_data": In(residual_word(config)),
                "slots": Out(Slots(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c, instruction = self._config, self.instruction
        m.submodules.pieces = pieces = PieceWalk(c)
        running = Signal()
        begins = align(m, self.start, 1, name="begins", reset=True)  # in step with the first piece
        tokens_left = Signal.like(instruction.tokens, reset_less=True)
        first = Signal()
        last = Signal()  # tokens_left == 1
        first_address = Signal.like(self.read_address, reset_less=True)  # of the piece, of the first token
        address = Signal.like(self.read_address, reset_less=True)
        m.d.comb += [
            pieces.start.eq(~running),
            pieces.channels.eq(instruction.channels),
            pieces.advance.eq(running & last),
            self.read_address.eq(address),
        ]
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
            begin = Signal.like(self.read_address)
            m.d.comb += begin.eq(residual_address(c, instruction.first_token, Const(0)))
            m.d.sync += [
                running.eq(begins),
                first.eq(1),
                tokens_left.eq(instruction.tokens),
                last.eq(instruction.tokens == 1),
                first_address.eq(begin),
                address.eq(begin),
            ]

        # In step with the word that was read, in a register beside the sum, and a cycle later with the sum.
        here = Signal(destination(c))
        m.d.comb += [
            here.token.eq(instruction.first_token),
            here.piece.eq(pieces.piece),
            here.keep.eq(pieces.keep),
            here.last.eq(pieces.last),
        ]
        reads = align(m, running, Residual.LATENCY, name="reads", reset=True)
        words = replicate(m, self.read_data, name="words", enable=reads)
        word_first = align(m, first, Residual.LATENCY + 1, name="first")
        m.d.comb += [
            self.slots.valid.eq(align(m, running & last, Residual.LATENCY + 2, name="valid", reset=True)),
            self.slots.destination.eq(align(m, here, Residual.LATENCY + 2, name="destination")),
        ]
        for lane, element in enumerate(words):
            total = Signal(signed(c.accumulator_bits), name=f"total_{lane}", reset_less=True)
            m.d.sync += total.eq(Mux(word_first, 0, total) + element)
            m.d.comb += self.slots.values[lane].eq(total)
        return m
