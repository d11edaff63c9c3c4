"""Groups of rows: members of Components that each has one of, and its own count of tokens."""

from typing import Any

from amaranth.hdl import Const, Value
from amaranth.lib.wiring import Member

from rtl.sta.params import StaConfig


def grouped(config: StaConfig, member: Member) -> Member:
    """The member, or where there are several groups of rows an array of it."""
    return member.array(config.groups) if config.groups > 1 else member


def each_group(config: StaConfig, members: Any) -> list[tuple[str, Any]]:
    """What names of a group's own end with, and its own of a `grouped` member."""
    return [(f"_{k}", members[k]) for k in range(config.groups)] if config.groups > 1 else [("", members)]


def own_first_token(config: StaConfig, first_token: Value) -> Value:
    """The first of an instruction's tokens in each group's own count: it is divided by groups.

    It is a multiple of rows, and so of groups: the low bits of the quotient follow from its own. Multiply by the
    inverse of the odd part of groups, by shifts and adders.
    """
    twos = (config.groups & -config.groups).bit_length() - 1
    bits = (config.row_group.max_tokens - 1).bit_length()
    inverse = pow(config.groups >> twos, -1, 1 << bits)
    odd = first_token[twos : twos + bits]
    return sum((odd << i for i in range(bits) if inverse >> i & 1), start=Const(0, bits))[:bits]
