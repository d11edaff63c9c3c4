"""Times of a state as they count from a cycle: two states that are the same so far go on in the same way."""

from collections.abc import Iterable

LONG_AGO = -(1 << 12)  # a time as old as that delays nothing any more


def since(now: int, times: Iterable[int]) -> tuple[int, ...]:
    """Times counted from `now`; all that are long ago are one."""
    return tuple([time - now if time - now > LONG_AGO else LONG_AGO for time in times])
