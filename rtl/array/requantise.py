"""The requantiser: from an exact sum back to 8 or 16 bits."""

from collections.abc import Callable
from typing import ClassVar

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.array.latencies import REQUANTISER_LATENCY
from rtl.lib.timing import align, hard_register, registered
from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX, Config

SHIFT_BITS = SHIFT_MAX.bit_length()


class Parameters(data.Struct):
    """What an output channel, or a row, is requantised with."""

    bias: signed(BIAS_BITS)
    mult: unsigned(MULT_BITS)
    shift: unsigned(SHIFT_BITS)


def requantise(acc: int, bias: int, mult: int, shift: int, bits: int) -> int:
    """saturate(((acc + bias)·mult + 2^(shift−1)) >> shift), shift 1 … 47, to `bits` = 8 or 16 signed bits."""
    y = ((acc + bias) * mult + (1 << (shift - 1))) >> shift
    top = (1 << (bits - 1)) - 1
    return max(-top - 1, min(top, y))


class Requantiser(wiring.Component):
    """`requantise` in hardware: a result every cycle, `LATENCY` cycles after its operands.

    Members
    -------
    acc : the sum, accumulator_bits signed, in
    parameters : in
    wide : saturate to 16 bits, else to 8, in; may change with every result
    result : 16 bits signed, out
    """

    LATENCY = REQUANTISER_LATENCY  # add bias, multiply (two), round and shift, saturate

    compute: ClassVar[Callable[..., int]] = staticmethod(requantise)
    parameters_shape: type[data.Struct] = Parameters

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "acc": In(signed(config.accumulator_bits)),
                "parameters": In(self.parameters_shape),
                "wide": In(1),
                "result": Out(signed(16)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        biased = Signal(signed(self._config.biased_bits), reset_less=True)
        mult = align(m, self.parameters.mult, 1, name="mult")
        m.d.sync += biased.eq(self.acc + self.parameters.bias)
        self._scale(m, biased, mult)
        return m

    def _scale(self, m: Module, biased: Signal, mult: Signal) -> None:
        """From the biased sum, a cycle after its operands, to the result."""
        product_bits = self._config.biased_bits + MULT_BITS
        product = Signal(signed(product_bits), reset_less=True)
        m.d.sync += product.eq(biased * mult)

        # (p + 2^(s−1)) >> s is ((p >> (s−1)) + 1) >> 1: the rounding constant needs no shifter of its own.
        shift = align(m, self.parameters.shift, 1, name="shift")
        less = registered(m, (shift - 1)[:SHIFT_BITS], name="shift_less_1")
        less = align(m, less, 1, name="shift_less_1_then")
        halves = Signal(signed(product_bits))
        rounded = Signal(signed(product_bits), reset_less=True)
        m.d.comb += halves.eq(hard_register(m, product, name="product") >> less)
        m.d.sync += rounded.eq((halves + 1) >> 1)

        wide = align(m, self.wide, 4, name="wide")
        top = Signal(signed(17))
        m.d.comb += top.eq(Mux(wide, Const(0x7FFF, signed(17)), Const(0x7F, signed(17))))
        result = Signal(signed(16), reset_less=True)
        with m.If(rounded > top):
            m.d.sync += result.eq(top)
        with m.Elif(rounded < ~top):
            m.d.sync += result.eq(~top)
        with m.Else():
            m.d.sync += result.eq(rounded)
        m.d.comb += self.result.eq(result)
