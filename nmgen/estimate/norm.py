"""When the statistics of a NORM's tokens are there: `rtl.sta.results.layer_norm` and its five last stages."""

from collections import deque

from rtl.params import ceil_div, signed_bits
from rtl.sta.latencies import (
    KNOWN_CYCLES,
    RADICAND_CYCLES,
    ROOT_CYCLES,
    ROOT_RECIPROCAL_CYCLES,
    SCALE_CYCLES,
    STATISTICS_CYCLES,
)
from rtl.sta.params import RESIDUAL_BITS, StaConfig


class StatisticsTimes:
    """Token after token through the stages, each of which holds one.

    Parameters
    ----------
    start : cycle from which tokens are asked for
    """

    ROOT_STAGE = 2  # takes a token in the cycle in which it gives one away; the others a cycle later

    def __init__(self, config: StaConfig, start: int) -> None:
        elements = config.residual_words * config.drain_lanes
        digits = ceil_div(signed_bits(elements << (RESIDUAL_BITS - 1)), 2)
        self._cycles = (digits + 4, RADICAND_CYCLES, ROOT_CYCLES, ROOT_RECIPROCAL_CYCLES, SCALE_CYCLES)
        self._leaves = [start - 1] * len(self._cycles)  # cycle in which the token before left each stage

    def next(self, written: deque[range]) -> int:
        """The cycle from which on the next token may be normalised.

        written : cycles in which the residual is written, in their order: no request is accepted in those behind them.
            What lies before this token's request is forgotten
        """
        asked = self._leaves[0] + 1
        while written and written[0].stop < asked:
            written.popleft()
        for writes in written:
            if asked - 1 in writes:
                asked = writes.stop + 1
        enters = asked + STATISTICS_CYCLES
        for stage, cycles in enumerate(self._cycles):
            free = self._leaves[stage + 1] + (stage + 1 != self.ROOT_STAGE) if stage + 1 < len(self._cycles) else 0
            enters = self._leaves[stage] = max(enters + cycles, free)
        return enters + KNOWN_CYCLES
