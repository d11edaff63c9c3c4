"""Token tiles of an instruction."""

from amaranth.hdl import Const, Value

from rtl.sta.params import StaConfig


def token_tile(config: StaConfig, first_token: Value) -> Value:
    """first_token ÷ rows, which is exact: an instruction begins with a whole token tile.

    So the low bits of the quotient follow from those of the token: multiply by the inverse of the odd part of rows,
    by shifts and adders.
    """
    twos = (config.rows & -config.rows).bit_length() - 1
    bits = (config.max_tiles - 1).bit_length()
    inverse = pow(config.rows >> twos, -1, 1 << bits)
    odd = first_token[twos : twos + bits]
    return sum((odd << i for i in range(bits) if inverse >> i & 1), start=Const(0, bits))[:bits]
