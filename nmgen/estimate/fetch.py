"""When beats of memory reach their consumers: `rtl.sta.control.fetch` before a memory that answers in order.

Cycles are those in which something happens, counted from the start. All is exact as long as the memory never stalls.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from nmgen.estimate.states import since
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

Times = tuple[int, ...]
State = tuple[Times, Times, Times, tuple[tuple[Times, Times], ...]]


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
        self._met: dict[Any, Any] = {}  # state and what is taken → the state then
        self._begun: deque[int] = deque([-1] * SEGMENTS, maxlen=SEGMENTS)  # delivery of the latest segments

    def state(self, now: int) -> State:
        """All that what comes next depends on, times counted from `now`."""
        counts = (min(self._asked, FIFO_BEATS), self._asked - self._left_fetch, self._left, self._here)
        times = (self._request, self._arrival, self._segment, self._begin, *self._begun)
        buffers = tuple(
            (since(now, [left for left, _ in buffer]), since(now, [taken for _, taken in buffer]))
            for buffer in self._buffers.values()
        )
        return counts, since(now, times), since(now, self._leaves), buffers

    def restore(self, state: State, now: int) -> None:
        """What `state` returned, `now` being another cycle."""
        (self._asked, unsent, self._left, self._here), times, leaves, buffers = state
        self._left_fetch = self._asked - unsent
        self._request, self._arrival, self._segment, self._begin, *begun = (now + time for time in times)
        self._begun.extend(begun)
        self._leaves.clear()
        self._leaves.extend(now + time for time in leaves)
        for buffer, (left, taken) in zip(self._buffers.values(), buffers, strict=True):
            buffer.clear()
            buffer.extend((now + one, now + other) for one, other in zip(left, taken, strict=True))

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
        offsets : cycles in which beats are taken, as they follow on one another where none is waited for; hashable

        Column tiles are alike, and so are the states in which they are taken: what was met before is not gone through.
        """
        now, buffer, count = self._leaves[-1], self._buffers[consumer], len(offsets)
        # What is left beyond these beats and a burst makes no difference.
        much = self._left - min(self._left, count + BURST_BEATS)
        met = (
            consumer,
            offsets,
            (min(self._asked, FIFO_BEATS), self._asked - self._left_fetch, self._left - much, self._here),
            since(now, (ready, self._request, self._arrival, self._begin)),
            since(now, self._leaves),
            since(now, [left for left, _ in buffer]),
            since(now, [taken for _, taken in buffer]),
        )
        if (found := self._met.get(met)) is None:
            asked = self._asked
            last = self._take(consumer, ready, offsets)
            beats = [(left - now, taken - now) for left, taken in [*buffer][-count:]]
            leaves = [time - now for time in [*self._leaves][-count:]]
            times = self._request - now, self._arrival - now
            self._met[met] = self._asked - asked, times, self._here, leaves, beats
            return last
        asked, (request, arrival), self._here, leaves, beats = found
        self._asked += asked
        self._left -= asked
        self._left_fetch += count
        self._request, self._arrival = now + request, now + arrival
        self._leaves.extend([now + time for time in leaves])
        buffer.extend([(now + left, now + taken) for left, taken in beats])
        return now + int(beats[-1][1])

    def _take(self, consumer: str, ready: int, offsets: Sequence[int]) -> int:
        """As take, beat by beat."""
        buffer, last = self._buffers[consumer], ready
        left, leaves = self._leaves, max(self._begin - 1, self._leaves[-1])
        base = ready - offsets[0]
        for offset in offsets:
            if not self._here:
                self._ask()
            leaves += 1
            here = self._arrival - self._here + 1 + ARRIVAL_CYCLES
            leaves = _with_room(buffer, here if here > leaves else leaves)
            if base < leaves + PUSH_CYCLES - offset:
                base = leaves + PUSH_CYCLES - offset
            last = base + offset
            buffer.append((leaves, last))
            left.append(leaves)
            self._here -= 1
            self._left_fetch += 1
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

    It knows in a cycle what was so in the cycle before. Beats leave and are taken in their order.
    """
    known, pushed = cycle - 1, len(buffer)
    while pushed > BUFFER_ROOM:
        while buffer[pushed - 1][0] > known - PUSH_CYCLES:
            pushed -= 1
            if not pushed:
                return known + 1
        oldest = pushed - BUFFER_ROOM - 1  # must be taken first, where it is not
        if oldest < 0 or buffer[oldest][1] < known:
            break
        known, pushed = buffer[oldest][1] + 1, len(buffer)
    return known + 1
