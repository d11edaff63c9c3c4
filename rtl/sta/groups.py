"""Members of Components that each group of rows has one of."""

from typing import Any

from amaranth.lib.wiring import Member

from rtl.sta.params import StaConfig


def grouped(config: StaConfig, member: Member) -> Member:
    """The member, or where there are several groups of rows an array of it."""
    return member.array(config.groups) if config.groups > 1 else member


def each_group(config: StaConfig, members: Any) -> list[tuple[str, Any]]:
    """What names of a group's own end with, and its own of a `grouped` member."""
    return [(f"_{k}", members[k]) for k in range(config.groups)] if config.groups > 1 else [("", members)]
