"""A memory behind the read half of a memory port: bursts in order, a latency, gaps; checks what is asked for."""

from collections import deque
from collections.abc import Callable
from typing import Any

from amaranth.sim import SimulatorContext

from rtl.params import BURST_BEATS
from sim.bench.gaps import NO_GAPS, Gaps
from tests.rtl.simulate import seeded


def noise(address: int, size: int) -> int:
    """What a beat holds that nothing was written to."""
    return seeded(address).getrandbits(8 * size)


class ReadMemory:
    """``run`` is a testbench: between the streams `request` and `data` of a component, until it is over.

    Parameters
    ----------
    limit : no request may leave [0, limit)
    latency : cycles from a request to its first beat, at least 1
    """

    def __init__(self, size: int, limit: int, latency: int, accept: Gaps = NO_GAPS, give: Gaps = NO_GAPS) -> None:
        self.size = size
        self.limit = limit
        self.latency = latency
        self.content: dict[int, int] = {}  # beats by their addresses
        self.requests: list[tuple[int, int, int]] = []  # (cycle, address, beats)
        self.arrivals: list[int] = []  # the cycle in which each beat came
        self.cycle = 0
        self.coming: deque[tuple[int, int]] = deque()  # (first cycle in which it may come, address)
        self._accept, self._give = accept, give

    def write(self, address: int, content: bytes) -> None:
        for at in range(0, len(content), self.size):
            self.content[address + at] = int.from_bytes(content[at : at + self.size], "little")

    def beat(self, address: int) -> int:
        return self.content.get(address, noise(address, self.size))

    async def run(self, ctx: SimulatorContext, request: Any, data: Any, over: Callable[[], bool]) -> None:
        offered: tuple[int, int] | None = None
        giving = False
        while not over():
            ready = not self._accept.stall()
            giving = giving or bool(self.coming and self.coming[0][0] <= self.cycle and not self._give.stall())
            ctx.set(request.ready, ready)
            ctx.set(data.valid, giving)
            ctx.set(data.payload, self.beat(self.coming[0][1]) if giving else 0)
            _, _, valid, payload, takes = await ctx.tick().sample(
                request.valid,
                request.payload,
                data.ready,
            )
            if offered is not None:
                assert valid, "a request was taken back"
                assert (payload.address, payload.length + 1) == offered, "a request changed"
            offered = None
            if valid:
                address, beats = payload.address, payload.length + 1
                if ready:
                    assert beats <= BURST_BEATS
                    assert address % self.size == 0
                    assert address + beats * self.size <= self.limit, f"read outside: {address:#x}"
                    self.requests.append((self.cycle, address, beats))
                    due = self.cycle + self.latency
                    self.coming.extend((due, address + i * self.size) for i in range(beats))
                else:
                    offered = address, beats
            if giving:
                assert takes, "no room for a beat that was asked for"
                self.coming.popleft()
                self.arrivals.append(self.cycle)
                giving = False
            self.cycle += 1
