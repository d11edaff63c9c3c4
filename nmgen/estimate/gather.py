"""When a group of rows has its rows of embeddings: `rtl.sta.results.gather_switch` and the cutter behind its FIFO."""

from collections import deque

from rtl.sta.latencies import ROW_FIFO_BEATS


class RowTimes:
    """Beats of row after row through a FIFO, whose output is a register, to the cutter.

    Parameters
    ----------
    ready : the cutter takes a beat in that cycle at the earliest
    """

    def __init__(self, ready: int) -> None:
        self._base = self._read = ready
        # Of the latest beats the cycles in which they went to the output register: as many as wait before it.
        self._out: deque[int] = deque([0] * (ROW_FIFO_BEATS - 1), maxlen=ROW_FIFO_BEATS - 1)

    def room(self) -> int:
        """The first cycle in which another beat may come."""
        return self._out[0] + 1

    def beat(self, comes: int, offset: int) -> None:
        """A beat comes in that cycle.

        offset : cycles from the row's first beat until it is taken, where none is waited for
        """
        self._out.append(max(comes + 1, self._read))
        self._read = max(self._base + offset, self._out[-1] + 1)
        self._base = self._read - offset

    def row(self, cycles: int) -> int:
        """The row is complete: the next one's first beat is taken so many cycles behind its last one. Returns when."""
        self._base = self._read + cycles
        return self._base
