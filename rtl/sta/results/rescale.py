"""Rescales a 16-bit result to the 8-bit operand of the next product, by a factor for each channel."""

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import align, hard_register
from rtl.sta.isa import FIELDS
from rtl.sta.latencies import RESCALE_LATENCY
from rtl.sta.params import RESCALE_BITS, RESIDUAL_BITS
from rtl.sta.results.arithmetic import differs, shifted

SHIFT_BITS = FIELDS["rescale_shift"].bits


def rescale(value: int, factor: int, shift: int) -> int:
    """saturate((value·factor + 2^(shift−1)) >> shift), shift 1 … 31, to 8 signed bits."""
    y = (value * factor + (1 << (shift - 1))) >> shift
    return max(-128, min(127, y))


class Rescaler(wiring.Component):
    """`rescale` in hardware: a result every cycle, `LATENCY` cycles after its operands.

    Members
    -------
    value : 16 bits signed, in
    factor : of its channel, in
    shift : 1 … 31, in; may change with every value
    narrow : the value has 8 bits already and passes unchanged, in
    result : 8 bits signed, out
    """

    LATENCY = RESCALE_LATENCY

    compute = staticmethod(rescale)

    def __init__(self) -> None:
        super().__init__(
            {
                "value": In(signed(RESIDUAL_BITS)),
                "factor": In(RESCALE_BITS),
                "shift": In(SHIFT_BITS),
                "narrow": In(1),
                "result": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product_bits = RESIDUAL_BITS + RESCALE_BITS
        product = Signal(signed(product_bits), reset_less=True)
        less = Signal.like(self.shift, reset_less=True)  # by one: rounding shifts out the last bit
        rounded = Signal(signed(product_bits), reset_less=True)
        value, factor = (
            hard_register(m, one, name=name) for one, name in ((self.value, "value"), (self.factor, "factor"))
        )
        m.d.sync += [product.eq(value * factor), less.eq(align(m, self.shift, 1, name="shift") - 1)]
        m.d.sync += rounded.eq((shifted(m, product, less) + 1) >> 1)

        narrow = align(m, self.narrow, 5, name="narrow")
        narrow_value = align(m, self.value[:8].as_signed(), 5, name="narrow_value")
        result = Signal(signed(8), reset_less=True)
        with m.If(narrow):
            m.d.sync += result.eq(narrow_value)
        with m.Elif(differs(rounded[7:], rounded[-1])):
            m.d.sync += result.eq(Const(127, signed(8)) ^ rounded[-1].replicate(8).as_signed())
        with m.Else():
            m.d.sync += result.eq(rounded)
        m.d.comb += self.result.eq(result)
        return m
