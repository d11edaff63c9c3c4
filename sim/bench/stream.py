"""Put, get and assert for the streams of a Verilog top in cocotb testbenches.

A stream is the ports NAME__valid, NAME__ready and NAME__payload; a payload is the number that its bits are.
Everything is sampled as it was before the rising edge and driven right after it, as synchronous logic would.
Each call returns right after the edge of its transfer; calls that follow one another transfer one a cycle.
"""

from typing import Any

from cocotb.handle import LogicObject
from cocotb.triggers import RisingEdge

from sim.bench.gaps import NO_GAPS, Gaps


class Stream:
    """One stream of a top, seen from the testbench.

    Parameters
    ----------
    top : the cocotb handle that has the ports
    name : NAME of the ports
    clock : what everything is synchronous to
    gaps : random idle cycles before each put and get
    """

    def __init__(self, top: Any, name: str, clock: LogicObject, *, gaps: Gaps = NO_GAPS) -> None:
        self._edge = RisingEdge(clock)
        self._name = name
        self._valid = getattr(top, f"{name}__valid")
        self._ready = getattr(top, f"{name}__ready")
        self._payload = getattr(top, f"{name}__payload")
        self._gaps = gaps

    async def put(self, value: int) -> None:
        """Offer one payload until it is taken. The testbench drives valid and payload."""
        while self._gaps.stall():
            await self._edge
        self._payload.value = value
        self._valid.value = 1
        await self._edge
        while not self._ready.value:
            await self._edge
        self._valid.value = 0

    async def get(self) -> int:
        """Take one payload. While held back, an offer once made must stay as it is."""
        offered = None
        while self._gaps.stall():
            await self._edge
            offered = self._offer(offered)
        self._ready.value = 1
        await self._edge
        while (taken := self._offer(offered)) is None:
            await self._edge
        self._ready.value = 0
        return taken

    async def expect(self, want: int) -> None:
        """Take one payload and compare it."""
        got = await self.get()
        assert got == want, f"{self._name}: got {got:#x}, want {want:#x}"

    def _offer(self, before: int | None) -> int | None:
        """What is offered now, if anything; it must be what was offered before, if anything was."""
        now = int(self._payload.value) if self._valid.value else None
        assert before is None or now == before, f"{self._name}: offer {before} became {now} before it was taken"
        return now
