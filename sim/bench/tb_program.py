"""The cocotb testbench that runs programs on STA. sim/bench/programs.py starts it and says in a file what to run.

It lives in the simulator's process: the folder that NMGEN_RUN names, in which the simulator runs, holds run.json and
the memories, which change there. Whatever the design does wrong is a result too; only a fault of the testbench itself
fails the test.
"""

from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from rtl.sta.isa import BYTES
from rtl.sta.legality import Cause
from rtl.sta.registers import REGISTERS
from sim.bench.memory import ProtocolError, image_number
from sim.bench.tb_product import PERIOD_NS, Bench, now, serve
from sim.image.product import Region

COUNTERS = ("cycles", "steps", "waits_memory", "waits_drain")


class ProgramBench(Bench):
    """Clock, reset, control registers and memory of one STA."""

    registers = REGISTERS

    def __init__(self, top: Any, run: dict[str, Any], folder: Path) -> None:
        top.fault.value = 0
        top.fault_address.value = 0
        super().__init__(top, run, folder)
        self.begun: list[int] = []  # times in ns; of the program that runs
        self.ended: list[int] = []
        cocotb.start_soon(self._note(top.execute, self.begun))
        cocotb.start_soon(self._note(top.finished, self.ended))

    async def _note(self, pulse: Any, times: list[int]) -> None:
        """When the pulses come. No cycle without one costs anything; an instruction takes longer than a pulse."""
        rises = RisingEdge(pulse)
        while True:
            await rises
            times.append(now())

    async def job(self, number: int, job: dict[str, Any]) -> dict[str, Any]:
        """Run one program; returns its counts."""
        memory = self.memory
        whole = Region("the program's memory", 0, job["size"])
        memory.load(image_number(number), [whole], whole)
        await self.write("program", job["address"])
        await self.write("limit", job["size"])
        await self.write("watch", job["address"])
        for _ in range(self.random.randrange(8)):
            await self.cycle()
        self.begun.clear()
        self.ended.clear()
        await self.write("control", REGISTERS["control"].value(start=1))
        started = now()
        for _ in range(2):  # until it is busy
            await self.cycle()
        if not await self.until(lambda: not self.top.busy.value, FallingEdge(self.top.busy), job["limit"]):
            where = self._instruction(job, await self.read("pc"))
            raise ProtocolError(f"not done after {job['limit']} cycles, at {where}")
        status = REGISTERS["status"].decode(await self.read("status"))
        if status["error"]:
            cause, address = await self.read("cause"), await self.read("cause_address")
            where = self._instruction(job, await self.read("pc"))
            raise ProtocolError(f"stopped with cause {Cause(cause).name}, {address:#010x}, at {where}")
        if not status["done"]:
            raise ProtocolError("not busy, but not done")
        for _ in range(8):
            await self.cycle()
        if not memory.idle:
            raise ProtocolError("done, but bursts are outstanding")
        counters = {name: await self.read(name) for name in COUNTERS}
        begun, ended = ([round((time - started) / PERIOD_NS) for time in times] for times in (self.begun, self.ended))
        spans = list(zip(begun, ended, strict=True))
        watched = (await self.read("watch_begin"), await self.read("watch_end"))
        if spans and watched != spans[0]:
            raise ProtocolError(f"the design says the first instruction took cycles {watched}, it took {spans[0]}")
        return {
            **counters,
            "spans": spans,
            "bytes_read": memory.bytes_read,
            "bytes_written": memory.bytes_written,
        }

    @property
    def finished(self) -> int:
        return len(self.ended)

    @staticmethod
    def _instruction(job: dict[str, Any], address: int) -> str:
        """An instruction's address, and its name."""
        number = (address - job["address"]) // BYTES
        name = f", {job['names'][number]}" if 0 <= number < len(job["names"]) else ""
        return f"{address:#010x}{name}"


@cocotb.test()
async def programs(top: Any) -> None:
    """The programs of run.json."""
    await serve(top, ProgramBench)
