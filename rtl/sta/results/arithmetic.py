"""Wide products and shifts, pipelined for a clock that an ECP5's block RAM and multipliers reach."""

from amaranth.hdl import Cat, Module, Signal, Value, signed

from rtl.lib.timing import align, hard_register

LOW_BITS = 17  # of the lower half of a wide operand; a signed multiplier has 18
FINE_BITS = 3  # low bits of a shift distance, done in the second stage


def multiplied(m: Module, value: Signal, factor: Value) -> Signal:
    """value · factor, signed · unsigned of at most LOW_BITS bits, three cycles later: lower and upper half, their sum.

    A half has two registers behind it, the second of them a `hard_register`.
    """
    bits = len(value) + len(factor)
    product = Signal(signed(bits), name="product", reset_less=True)
    if len(value) <= LOW_BITS + 1:
        only = Signal(signed(bits), name="only", reset_less=True)
        m.d.sync += [only.eq(value * factor), product.eq(hard_register(m, only, name="only"))]
        return product
    low = Signal(LOW_BITS + len(factor), name="low", reset_less=True)
    high = Signal(signed(bits - LOW_BITS), name="high", reset_less=True)
    m.d.sync += [
        low.eq(value[:LOW_BITS] * factor),
        high.eq(value[LOW_BITS:].as_signed() * factor),
    ]
    low, high = hard_register(m, low, name="low"), hard_register(m, high, name="high")
    m.d.sync += product.eq(Cat(low[:LOW_BITS], high + low[LOW_BITS:]))
    return product


def shifted(m: Module, value: Signal, distance: Signal) -> Signal:
    """value >> distance, two cycles later: by multiples of 2^FINE_BITS, by the rest."""
    coarse = Signal.like(value, name="coarse", reset_less=True)
    fine = Signal.like(value, name="fine", reset_less=True)
    rest = align(m, distance[:FINE_BITS], 1, name="rest")
    m.d.sync += [
        coarse.eq(value >> (distance[FINE_BITS:] << FINE_BITS)),
        fine.eq(coarse >> rest),
    ]
    return fine


def differs(bits: Value, sign: Value) -> Value:
    """Whether any of the bits differs from the sign."""
    return (bits.any() & ~sign) | (~bits.all() & sign)
