"""When beats of memory reach their consumers: `rtl.sta.control.fetch` before a memory that answers in order.

Cycles are those in which something happens, counted from the start. All is exact as long as the memory never stalls.
"""

from collections import deque
from collections.abc import Sequence

from rtl.params import BURST_BEATS, FIFO_BEATS
from rtl.sta.latencies import (
    ARRIVAL_CYCLES,
    BUFFER_DEPTH,
    BUFFER_ROOM,
    CONSUMERS,
    DELIVER_CYCLES,
    PUSH_CYCLES,
    REQUEST_CYCLES,
    ROOM_CYCLES,
    SEGMENT_CYCLES,
    SEGMENTS,
    TAKE_CYCLES,
)


class FetchTimes:
    """One fetch, and the buffers behind it. Segments are opened in their order, each when all beats of the
    one before have been taken.

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
        self._here = 0  # beats of the last burst that are still in the fetch
        self._begin = 0  # first cycle in which the segment's beats are delivered
        self._left_fetch = 0  # beats
        self._leaves = deque([-2], maxlen=2 * FIFO_BEATS)  # cycles in which the last of them did
        # Of each consumer's latest beats, the cycles in which they left and were taken: more than a buffer has.
        self._buffers = {consumer: deque[tuple[int, int]](maxlen=BUFFER_DEPTH + 1) for consumer in CONSUMERS}
        self._begun: deque[int] = deque([-1] * SEGMENTS, maxlen=SEGMENTS)  # delivery of the latest segments

    def open(self, offered: int, beats: int) -> int:
        """A segment that is offered from that cycle on. Returns the cycle in which it is taken."""
        waits = max(offered, self._segment + 1) + SEGMENT_CYCLES
        self._segment = max(waits, self._request + TAKE_CYCLES, self._begun[0] + TAKE_CYCLES)
        entered = max(self._segment + 1, self._leaves[-1] + 1)
        self._begun.append(entered)
        self._begin = entered + DELIVER_CYCLES
        self._left, self._request = beats, self._segment
        return self._segment

    def take(self, consumer: str, ready: int, offsets: Sequence[int]) -> int:
        """The segment's next beats go to their consumer, by way of its buffer. Returns the last one's cycle.

        ready : the first of them is taken in that cycle at the earliest
        offsets : cycles in which beats are taken, as they follow on one another where none is waited for
        """
        buffer, last = self._buffers[consumer], ready
        leaves = max(self._begin - 1, self._leaves[-1])
        base = ready - offsets[0]
        for offset in offsets:
            if not self._here:
                self._ask()
            here = self._arrival - self._here + 1 + ARRIVAL_CYCLES
            leaves = _with_room(buffer, max(here, leaves + 1))
            base = max(base, leaves + PUSH_CYCLES - offset)
            last = base + offset
            buffer.append((leaves, last))
            self._here -= 1
            self._left_fetch += 1
            self._leaves.append(leaves)
        return last

    def _ask(self) -> None:
        """Request the next burst as soon as there is room for it."""
        burst = min(self._left, BURST_BEATS)
        self._left -= burst
        self._request += REQUEST_CYCLES
        if (must_be_gone := self._asked + burst - FIFO_BEATS) > 0:
            self._request = max(self._request, self._leaves[must_be_gone - 1 - self._left_fetch] + ROOM_CYCLES)
        self._asked += burst
        self._arrival = max(self._request + self._latency, self._arrival + 1) + burst - 1
        self._here = burst


def _with_room(buffer: deque[tuple[int, int]], cycle: int) -> int:
    """The first cycle, from that one on, in which the fetch knows that there is room for a beat.

    It knows in a cycle what was so in the cycle before.
    """
    known = cycle - 1
    while len(buffer) > BUFFER_ROOM:
        held = [taken for left, taken in buffer if left <= known - PUSH_CYCLES and taken >= known]
        if len(held) <= BUFFER_ROOM:
            break
        known = sorted(held)[-BUFFER_ROOM - 1] + 1  # so many have to be taken first
    return known + 1
