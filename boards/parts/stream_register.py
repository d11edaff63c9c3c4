"""Registers in a stream, so that no path of logic goes through."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamRegister(wiring.Component):
    """Holds a word at most: valid, payload and ready are registers. So a word passes every other cycle at most.

    Parameters
    ----------
    shape : of a word

    Members
    -------
    words_in : stream, in
    words_out : the same, a cycle later, stream out
    """

    def __init__(self, shape: ShapeLike) -> None:
        super().__init__({"words_in": In(stream.Signature(shape)), "words_out": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal()
        word = Signal.like(self.words_out.payload, reset_less=True)
        m.d.comb += [
            self.words_in.ready.eq(~held),
            self.words_out.valid.eq(held),
            self.words_out.payload.eq(word),
        ]
        with m.If(~held):
            m.d.sync += [held.eq(self.words_in.valid), word.eq(self.words_in.payload)]
        with m.Elif(self.words_out.ready):
            m.d.sync += held.eq(0)
        return m


class StreamBuffer(StreamRegister):
    """Holds two words at most: valid, payload and ready are registers, and a word passes each cycle."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal()
        word = Signal.like(self.words_out.payload, reset_less=True)
        waits = Signal()  # a word that came when `word` was not taken
        waiting = Signal.like(self.words_out.payload, reset_less=True)
        m.d.comb += [
            self.words_in.ready.eq(~waits),
            self.words_out.valid.eq(held),
            self.words_out.payload.eq(word),
        ]
        with m.If(~waits):
            m.d.sync += waiting.eq(self.words_in.payload)
        with m.If(~held | self.words_out.ready):
            m.d.sync += [held.eq(waits | self.words_in.valid), waits.eq(0)]
            m.d.sync += word.eq(Mux(waits, waiting, self.words_in.payload))
        with m.Else():
            m.d.sync += waits.eq(waits | self.words_in.valid)
        return m
