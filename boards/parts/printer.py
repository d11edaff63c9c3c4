"""Prints lines that are known beforehand but for their numbers."""

from collections.abc import Mapping, Sequence
from string import Formatter

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

DIGITS = 7
VALUE_BITS = 25  # signed: seven digits and a sign
FIELD = 0x80  # a character from here on stands for a number


class Printer(wiring.Component):
    """Turns the number of a line into its characters, numbers in decimal.

    A line's text has its numbers in braces: `{cycles:7}` gives seven digits, zeros in front; `{got}` as many as it
    takes, and a minus sign. The texts lie in one ROM; a number is converted by subtracting powers of ten, which is
    small and faster than any UART.

    Parameters
    ----------
    lines : text of each line, under its name; the order of the names is their number
    fields : names of the numbers

    Members
    -------
    line : stream of a line's number, in; ready while nothing is printed
    values : of each field, 25 bits signed, in, steady while printing
    characters : stream of 8 bits, out
    """

    def __init__(self, lines: Mapping[str, str], fields: Sequence[str]) -> None:
        self._fields = tuple(fields)
        texts = [self._encoded(text) for text in lines.values()]
        self._rom = b"".join(texts)
        self._starts = [sum(map(len, texts[:i])) for i in range(len(texts))]
        self.number = {name: i for i, name in enumerate(lines)}
        super().__init__(
            {
                "line": In(stream.Signature(range(len(texts)))),
                "values": In(signed(VALUE_BITS)).array(len(self._fields)),
                "characters": Out(stream.Signature(8)),
            }
        )

    def _encoded(self, text: str) -> bytes:
        """The text in ASCII, a field as FIELD + 2·number + (1 where padded with zeros), 0 at the end."""
        coded = bytearray()
        for literal, field, padding, _ in Formatter().parse(text):
            coded += literal.encode("ascii")
            if field is not None:
                coded.append(FIELD | self._fields.index(field) << 1 | (padding == str(DIGITS)))
        return bytes(coded) + b"\0"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rom = rom = memory.Memory(shape=8, depth=len(self._rom), init=self._rom)
        read = rom.read_port()
        out = self.characters

        at = Signal(range(len(self._rom) + 1))
        code = Signal(8)
        value = Signal(signed(VALUE_BITS))
        rest = Signal(VALUE_BITS)  # of the value, what its printed digits leave
        padded = Signal()
        position = Signal(range(DIGITS))
        digit = Signal(4)
        power = Signal(VALUE_BITS)
        m.d.comb += [read.addr.eq(at), power.eq(Array(10**i for i in range(DIGITS))[position])]

        # A state for each step: there is time, and the image's clock is for the accelerator to limit.
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.line.ready.eq(1)
                m.d.sync += at.eq(Array(self._starts)[self.line.payload])
                with m.If(self.line.valid):
                    m.next = "read"
            with m.State("read"):
                m.d.sync += at.eq(at + 1)
                m.next = "fetch"
            with m.State("fetch"):
                m.d.sync += code.eq(read.data)
                m.next = "character"
            with m.State("character"):
                m.d.sync += value.eq(Array(self.values)[code[1:7]])
                with m.If(code == 0):
                    m.next = "idle"
                with m.Elif(code[7]):
                    m.next = "sign"
                with m.Else():
                    m.d.comb += [out.payload.eq(code), out.valid.eq(1)]
                    with m.If(out.ready):
                        m.next = "read"
            with m.State("sign"):
                m.d.sync += [rest.eq(Mux(value < 0, -value, value)), padded.eq(code[0])]
                m.d.sync += [position.eq(DIGITS - 1), digit.eq(0)]
                m.d.comb += [out.payload.eq(ord("-")), out.valid.eq(value < 0)]
                with m.If(out.ready | (value >= 0)):
                    m.next = "digit"
            with m.State("digit"):
                with m.If(rest >= power):
                    m.d.sync += [rest.eq(rest - power), digit.eq(digit + 1)]
                with m.Else():
                    m.next = "put"
            with m.State("put"):
                shown = Signal()
                m.d.comb += shown.eq(padded | (digit != 0) | (position == 0))
                m.d.comb += [out.payload.eq(ord("0") + digit), out.valid.eq(shown)]
                with m.If(out.ready | ~shown):
                    m.d.sync += [padded.eq(shown), digit.eq(0), position.eq(position - 1)]
                    with m.If(position == 0):
                        m.next = "read"
                    with m.Else():
                        m.next = "digit"
        return m
