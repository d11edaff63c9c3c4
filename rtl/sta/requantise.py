"""The requantiser of STA: that of the matrix engine, and the sign of a sum may be turned."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .. import requantise as plain
from ..params import MULT_BITS, REQUANTISER_LATENCY
from ..pipeline import delayed
from ..requantise import SHIFT_BITS
from .columns import ChannelParameters
from .params import StaConfig


def requantise(acc: int, bias: int, mult: int, shift: int, negate: int, bits: int) -> int:
    """saturate(((±acc + bias)·mult + 2^(shift−1)) >> shift), shift 1 … 47, to `bits` = 8 or 16 signed bits."""
    return plain.requantise(-acc if negate else acc, bias, mult, shift, bits)


class Requantiser(wiring.Component):
    """`requantise` in hardware: a result every cycle, `LATENCY` cycles after its operands.

    Members
    -------
    acc : the sum, accumulator_bits signed, in
    parameters : in; `rescale` is not used here
    wide : saturate to 16 bits, else to 8, in; may change with every result
    result : 16 bits signed, out
    """

    LATENCY = REQUANTISER_LATENCY  # negate and add bias, multiply (two), round and shift, saturate

    compute = staticmethod(requantise)

    def __init__(self, config: StaConfig) -> None:
        self._config = config
        super().__init__(
            {
                "acc": In(signed(config.accumulator_bits)),
                "parameters": In(ChannelParameters),
                "wide": In(1),
                "result": Out(signed(16)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product_bits = self._config.biased_bits + MULT_BITS
        negate = self.parameters.negate
        # −acc is ~acc + 1: the one is the carry into the adder of the bias.
        turned = Signal(signed(self._config.accumulator_bits))
        biased = Signal(signed(self._config.biased_bits), reset_less=True)
        m.d.comb += turned.eq(self.acc ^ negate.replicate(self._config.accumulator_bits).as_signed())
        m.d.sync += biased.eq(turned + self.parameters.bias + negate)

        mult = delayed(m, self.parameters.mult, 1, name="mult")
        product = Signal(signed(product_bits), reset_less=True)
        product_2 = Signal(signed(product_bits), reset_less=True)
        m.d.sync += [product.eq(biased * mult), product_2.eq(product)]

        # (p + 2^(s−1)) >> s is ((p >> (s−1)) + 1) >> 1: the rounding constant needs no shifter of its own.
        shift = delayed(m, self.parameters.shift, 3, name="shift")
        halves = Signal(signed(product_bits))
        rounded = Signal(signed(product_bits), reset_less=True)
        m.d.comb += halves.eq(product_2 >> (shift - 1)[:SHIFT_BITS])
        m.d.sync += rounded.eq((halves + 1) >> 1)

        wide = delayed(m, self.wide, 4, name="wide")
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
        return m
