"""When beats of memory reach their consumers: `rtl.sta.fetch` before a memory that answers in order (`sim.memory`).

Cycles are those in which something happens, counted from the start. All is exact as long as the memory never stalls.
"""

from collections import deque
from collections.abc import Sequence

from rtl.params import BURST_BEATS, FIFO_BEATS

SEGMENT_CYCLES = 3  # from a segment's offer until it is taken: add, compare, take
FIFO_CYCLES = 2  # from a beat's arrival until its consumer may take it: FIFO, register
ROOM_CYCLES = 2  # from the cycle in which a beat is taken until another may be asked for in its place
SEGMENTS = 8  # taken and not yet begun to be delivered


class FetchTimes:
    """One fetch. Segments are opened in their order, each when all beats of the one before have been taken.

    Beats of a burst come one a cycle, and no consumer is faster: so within a burst only the first beat may be waited
    for, and a burst is done in one go.

    Parameters
    ----------
    latency : cycles from a request to its first beat
    """

    def __init__(self, latency: int) -> None:
        self._latency = latency
        self._asked = 0  # beats, of all segments
        self._left = 0  # beats of the segment that are not asked for
        self._request = 0  # cycle of the last request, or in which the segment was taken
        self._arrival = 0  # of the latest beat that was asked for
        self._segment = 0  # cycle in which the segment was taken
        self._here = 0  # beats of the last burst that are not taken
        self._taken = 0  # beats
        self._last = -2  # cycle in which the last of them was taken
        self._begin = 0  # first cycle in which the segment's beats are delivered
        # (beats until its end, cycle of a beat that has offset 0, offsets, index of the offset − index of the beat)
        self._runs: deque[tuple[int, int, Sequence[int], int]] = deque(maxlen=2 * FIFO_BEATS)
        self._begun: deque[int] = deque([-1] * SEGMENTS, maxlen=SEGMENTS)  # delivery of the latest segments

    def open(self, offered: int, beats: int) -> int:
        """A segment that is offered from that cycle on. Returns the cycle in which it is taken."""
        waits = max(offered, self._segment + 1) + SEGMENT_CYCLES
        self._segment = max(waits, self._request + 1, self._begun[0] + 1)
        entered = max(self._segment + 1, self._last + 1)
        self._begun.append(entered)
        self._begin = entered + 1
        self._left, self._request = beats, self._segment
        return self._segment

    def take(self, ready: int, offsets: Sequence[int], first: int = 0, end: int | None = None) -> int:
        """The segment's next beats go to their consumer, with the offsets [first, end). Returns the last one's cycle.

        ready : the first of them is taken in that cycle at the earliest
        offsets : cycles in which beats are taken, as they follow on one another where none is waited for
        """
        end = len(offsets) if end is None else end
        base = max(ready, self._begin, self._last + 1) - offsets[first]
        at = first
        while at < end:
            if not self._here:
                self._ask()
            count = min(self._here, end - at)
            available = self._arrival - self._here + 1 + FIFO_CYCLES
            base = max(base, available - offsets[at])
            self._taken += count
            self._here -= count
            at += count
            self._runs.append((self._taken, base, offsets, at - self._taken))
        self._last = base + offsets[end - 1]
        return self._last

    def _ask(self) -> None:
        """Request the next burst as soon as there is room for it."""
        burst = min(self._left, BURST_BEATS)
        self._left -= burst
        self._request += 1
        if (must_be_gone := self._asked + burst - FIFO_BEATS) > 0:
            self._request = max(self._request, self._cycle(must_be_gone - 1) + ROOM_CYCLES)
        self._asked += burst
        self._arrival = max(self._request + self._latency, self._arrival + 1) + burst - 1
        self._here = burst

    def _cycle(self, beat: int) -> int:
        """In which a beat was taken, one of the latest."""
        for end, base, offsets, shift in reversed(self._runs):
            if beat >= end:
                break
            found = base + offsets[beat + shift] if beat + shift >= 0 else 0
        return found
