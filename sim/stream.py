"""Put, get and assert for the streams of a Verilog top in cocotb testbenches.

A stream is the ports NAME__valid, NAME__ready and NAME__payload, or NAME__payload__FIELD for each field of a struct.
Everything is sampled as it was before the rising edge and driven right after it, as synchronous logic would.
Each call returns right after the edge of its transfer; calls that follow one another transfer one a cycle.
"""

from typing import Any

from cocotb.handle import LogicObject
from cocotb.triggers import RisingEdge

from sim.gaps import NO_GAPS, Gaps


class Stream:
    """One stream of a top, seen from the testbench.

    Parameters
    ----------
    top : the cocotb handle that has the ports
    name : NAME of the ports
    fields : names of the payload's fields; none where the payload is plain bits
    gaps : random idle cycles before each put and get
    """

    def __init__(self, top: Any, name: str, *fields: str, clock: LogicObject, gaps: Gaps = NO_GAPS) -> None:
        self._edge = RisingEdge(clock)
        self._name = name
        self._valid = getattr(top, f"{name}__valid")
        self._ready = getattr(top, f"{name}__ready")
        self._payload = {field: getattr(top, f"{name}__payload__{field}") for field in fields}
        if not fields:
            self._payload = {"": getattr(top, f"{name}__payload")}
        self._gaps = gaps

    async def put(self, *values: int) -> None:
        """Offer one payload, a value a field, until it is taken. The testbench drives valid and payload."""
        while self._gaps.stall():
            await self._edge
        for handle, value in zip(self._payload.values(), values, strict=True):
            handle.value = value
        self._valid.value = 1
        await self._edge
        while not self._ready.value:
            await self._edge
        self._valid.value = 0

    async def get(self) -> tuple[int, ...]:
        """Take one payload, a value a field. While held back, an offer once made must stay as it is."""
        offered = None
        while self._gaps.stall():
            await self._edge
            offered = self._held(offered)
        self._ready.value = 1
        await self._edge
        while (taken := self._held(offered)) is None:
            await self._edge
        self._ready.value = 0
        return taken

    async def expect(self, *values: int) -> None:
        """Take one payload and compare it."""
        got = await self.get()
        assert got == values, f"{self._name}: got {got}, want {values}"

    def _held(self, offered: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """What is offered now, if anything; it must be what was offered before, if anything was."""
        now = None
        if self._valid.value:
            now = tuple(int(handle.value) for handle in self._payload.values())
        assert offered is None or now == offered, f"{self._name}: offer {offered} became {now} before it was taken"
        return now
