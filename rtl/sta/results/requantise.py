"""The requantiser of STA: it can negate the sum, and is pipelined deeper than the engine's."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed

from rtl.array import requantise as plain
from rtl.lib.timing import align, hard_register
from rtl.sta.latencies import REQUANTISE_LATENCY
from rtl.sta.operands.columns import ChannelParameters
from rtl.sta.results.arithmetic import differs, multiplied, shifted

RESULT_BITS = 16


def requantise(acc: int, bias: int, mult: int, shift: int, negate: int, bits: int) -> int:
    """saturate(((±acc + bias)·mult + 2^(shift−1)) >> shift), shift 1 … 47, to `bits` = 8 or 16 signed bits."""
    return plain.requantise(-acc if negate else acc, bias, mult, shift, bits)


class Requantiser(plain.Requantiser):
    """`requantise` in hardware: a result every cycle, `LATENCY` cycles after its operands.

    Of the engine's it has the members alone: its pipeline of ten cycles is its own, all of it below.

    Members
    -------
    acc : the sum, accumulator_bits signed, in
    parameters : in; `rescale` is not used here
    wide : saturate to 16 bits, else to 8, in; may change with every result
    result : 16 bits signed, out
    """

    # Add bias; operands; multiply (two) and add the halves; shift (two); round; detect overflow; saturate.
    LATENCY = REQUANTISE_LATENCY

    compute = staticmethod(requantise)
    parameters_shape = ChannelParameters

    def elaborate(self, platform: object) -> Module:
        m = Module()
        negate = self.parameters.negate
        # −acc is ~acc + 1: the one is a carry, out of a bit below, into the adder of the bias.
        turned = Signal(signed(self._config.accumulator_bits))
        carried = Signal(signed(self._config.biased_bits + 1))
        biased = Signal(signed(self._config.biased_bits), reset_less=True)
        m.d.comb += [
            turned.eq(self.acc ^ negate.replicate(self._config.accumulator_bits).as_signed()),
            carried.eq(Cat(negate, turned).as_signed() + Cat(negate, self.parameters.bias).as_signed()),
        ]
        m.d.sync += biased.eq(carried >> 1)

        operand = hard_register(m, biased, name="operand")
        product = multiplied(m, operand, align(m, self.parameters.mult, 2, name="mult"))
        # (p + 2^(s−1)) >> s is ((p >> (s−1)) + 1) >> 1: so the rounding constant needs no shifter.
        less = Signal(plain.SHIFT_BITS, reset_less=True)
        m.d.sync += less.eq(align(m, self.parameters.shift, 4, name="shift") - 1)
        halves = shifted(m, product, less)
        rounded = Signal(signed(len(product)), reset_less=True)
        m.d.sync += rounded.eq((halves + 1) >> 1)

        # Overflow: the bits above the 16, or 8, that are kept are not all the sign.
        wide = align(m, self.wide, 8, name="wide")
        sign = rounded[-1]
        over = Signal(reset_less=True)
        over_byte = Signal(reset_less=True)
        bound = Signal(signed(RESULT_BITS), reset_less=True)
        value = align(m, rounded[:RESULT_BITS].as_signed(), 1, name="value")
        result = Signal(signed(RESULT_BITS), reset_less=True)
        top = Mux(wide, (1 << (RESULT_BITS - 1)) - 1, (1 << 7) - 1)
        m.d.sync += [
            over.eq(differs(rounded[RESULT_BITS - 1 :], sign)),
            over_byte.eq(~wide & differs(rounded[7 : RESULT_BITS - 1], sign)),
            bound.eq(top ^ sign.replicate(RESULT_BITS)),
            result.eq(Mux(over | over_byte, bound, value)),
        ]
        m.d.comb += self.result.eq(result)
        return m
