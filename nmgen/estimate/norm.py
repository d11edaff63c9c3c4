"""When the statistics of a NORM's tokens are there: `rtl.sta.results.layer_norm` and its five last stages."""

from collections import deque

from rtl.sta.latencies import KNOWN_CYCLES, STATISTICS_CYCLES, statistics_stages
from rtl.sta.params import StaConfig


class StatisticsTimes:
    """Token after token through the stages, each of which holds one.

    Parameters
    ----------
    start : cycle from which tokens are asked for
    """

    def __init__(self, config: StaConfig, start: int) -> None:
        self._stages = statistics_stages(config)
        self._leaves = [start - 1] * len(self._stages)  # cycle in which the token before left each stage

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
        for number, stage in enumerate(self._stages):
            enters = self._leaves[number] = max(enters + stage.cycles, self._free(number + 1))
        return enters + KNOWN_CYCLES

    def _free(self, number: int) -> int:
        """The first cycle in which that stage takes a token; behind the last one nothing is waited for."""
        if number == len(self._stages):
            return 0
        return self._leaves[number] + (not self._stages[number].at_once)
