"""Token tiles of an instruction."""

from amaranth.hdl import Const, Value

from rtl.sta.params import StaConfig


def token_tile(config: StaConfig, first_token: Value) -> Value:
    """first_token ÷ rows: an instruction begins with a whole token tile."""
    return exact_quotient(first_token, config.rows, config.max_tiles)


def exact_quotient(value: Value, divisor: int, count: int) -> Value:
    """value ÷ divisor, which is exact, and one of so many from 0 on.

    So the low bits of the quotient follow from those of the value: multiply by the inverse of the odd part of the
    divisor, by shifts and adders.
    """
    twos = (divisor & -divisor).bit_length() - 1
    bits = (count - 1).bit_length()
    inverse = pow(divisor >> twos, -1, 1 << bits)
    odd = value[twos : twos + bits]
    return sum((odd << i for i in range(bits) if inverse >> i & 1), start=Const(0, bits))[:bits]
