"""The requantiser of STA: that of the matrix engine, and the sign of a sum may be turned."""

from amaranth.hdl import Module, Signal, signed

from .. import requantise as plain
from ..pipeline import delayed
from .columns import ChannelParameters


def requantise(acc: int, bias: int, mult: int, shift: int, negate: int, bits: int) -> int:
    """saturate(((±acc + bias)·mult + 2^(shift−1)) >> shift), shift 1 … 47, to `bits` = 8 or 16 signed bits."""
    return plain.requantise(-acc if negate else acc, bias, mult, shift, bits)


class Requantiser(plain.Requantiser):
    """`requantise` in hardware: a result every cycle, `LATENCY` cycles after its operands.

    Members
    -------
    acc : the sum, accumulator_bits signed, in
    parameters : in; `rescale` is not used here
    wide : saturate to 16 bits, else to 8, in; may change with every result
    result : 16 bits signed, out
    """

    compute = staticmethod(requantise)
    parameters_shape = ChannelParameters

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negate = self.parameters.negate
        # −acc is ~acc + 1: the one is the carry into the adder of the bias.
        turned = Signal(signed(self._config.accumulator_bits))
        biased = Signal(signed(self._config.biased_bits), reset_less=True)
        m.d.comb += turned.eq(self.acc ^ negate.replicate(self._config.accumulator_bits).as_signed())
        m.d.sync += biased.eq(turned + self.parameters.bias + negate)
        self._scale(m, biased, delayed(m, self.parameters.mult, 1, name="mult"))
        return m
