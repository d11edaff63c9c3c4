"""The cocotb testbench that runs products on a top. sim/bench/runner.py starts it and says in a file what to run.

It lives in the simulator's process: the folder that NMGEN_RUN names, in which the simulator runs, holds run.json and
memory images, and results come back there. Whatever the design does wrong is a result too; only a fault of the
testbench itself fails the test.
"""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, Timer, Trigger
from cocotb.utils import get_sim_time

from rtl.engine.register_table import REGISTERS
from sim.bench.memory import Memory, ProtocolError, image_number
from sim.image.product import Region

PERIOD_NS = 10
PATIENCE_S = 300  # a simulator that does not finish a stretch of cycles in this time is stuck in one of them
STRETCH = 10_000  # cycles between two signs of life

signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even where Python does not get to run
signal.alarm(PATIENCE_S)


class Bench:
    """Clock, reset, control registers and memory of one top."""

    registers = REGISTERS

    def __init__(self, top: Any, run: dict[str, Any], folder: Path) -> None:
        self.top = top
        self.folder = folder
        self.edge = RisingEdge(top.clk)
        seed = run["seed"] if run["stall"] else None
        for name in ("address", "write", "write_data"):
            getattr(top, f"control__{name}").value = 0
        self.memory = Memory(top.memory, folder, latency=run["latency"], seed=seed)
        self.random = random.Random(run["seed"])
        self.number = 0  # of the product that runs

    async def cycle(self) -> None:
        """One clock cycle: what was driven before counts for it, what is read after it was so at its end."""
        await self.edge
        self.memory.check()

    async def until(self, done: Callable[[], bool], sign: Trigger, limit: int) -> bool:
        """Wait until done, which is looked at when there is a sign; False after limit cycles without. No cycle costs
        Python anything."""
        begin, passed = now(), 0
        while not (over := done()) and passed <= limit:
            self.memory.check()
            self.alive(passed)
            await First(sign, RisingEdge(self.memory.broken), Timer(STRETCH * PERIOD_NS, "ns"))
            passed = (now() - begin) // PERIOD_NS
        await self.cycle()  # what follows is driven right after an edge
        return over

    async def reset(self) -> None:
        """Start the clock with every input known, and end the reset."""
        self.top.rst.value = 1
        self.top.clk.value = 0
        await Timer(PERIOD_NS, "ns")
        Clock(self.top.clk, PERIOD_NS, "ns", impl="gpi").start()
        for _ in range(4):
            await self.edge
        self.top.rst.value = 0
        self.memory.watch()
        await self.edge

    async def write(self, register: str, value: int) -> None:
        """Write a register; returns right after the edge that takes it."""
        self.top.control__address.value = self.registers[register].offset
        self.top.control__write_data.value = value
        self.top.control__write.value = 1
        await self.cycle()
        self.top.control__write.value = 0

    async def read(self, register: str) -> int:
        """Read a register: its value comes a cycle after its address."""
        self.top.control__address.value = self.registers[register].offset
        await self.cycle()
        await self.cycle()
        return int(self.top.control__read_data.value)

    async def identify(self, wanted: int) -> None:
        """ProtocolError unless the design is the one that is meant."""
        found = await self.read("id")
        if found != wanted:
            raise ProtocolError(
                f"the design is of another version or configuration: identification {found:#010x}, want {wanted:#010x}"
            )

    async def job(self, number: int, job: dict[str, Any]) -> dict[str, Any]:
        """Run one product; returns its counts."""
        regions = {name: Region(name, *place) for name, place in job["regions"].items()}
        results = regions.pop("y")
        memory = self.memory
        memory.load(image_number(number), regions.values(), results)
        for register, value in job["registers"].items():
            await self.write(register, value)
        for _ in range(self.random.randrange(8)):
            await self.cycle()
        await self.write("control", REGISTERS["control"].value(start=1))
        started = now()
        self.top.control__address.value = REGISTERS["status"].offset
        for _ in range(2):  # until the status is what read_data shows
            await self.cycle()
        if not await self.until(self._done, RisingEdge(self.top.done), job["limit"]):
            raise ProtocolError(
                f"not done after {job['limit']} cycles, "
                f"with {memory.bytes_written} of {job['bytes_written']} bytes written"
            )
        cycles = await self.read("cycles")
        for _ in range(8):
            await self.cycle()
        if self.top.busy.value:
            raise ProtocolError("done, but still busy")
        if not memory.idle:
            raise ProtocolError("done, but bursts are outstanding")
        return {
            "cycles": cycles,
            "cycles_measured": (memory.last_write - started) // PERIOD_NS + 1,
            "bytes_read": memory.bytes_read,
            "bytes_written": memory.bytes_written,
        }

    @property
    def finished(self) -> int:
        """Of a job that failed, the parts that were finished: instructions of a program."""
        return 0

    def _done(self) -> bool:
        return bool(int(self.top.control__read_data.value) & REGISTERS["status"].field("done").mask)

    def alive(self, cycles: int) -> None:
        """Give the simulator time for another stretch, and say how far it is."""
        signal.alarm(PATIENCE_S)
        (self.folder / "progress").write_text(f"{self.number} {cycles}")


def now() -> int:
    """Simulated time in ns."""
    return int(get_sim_time("ns"))


async def serve(top: Any, kind: "type[Bench]") -> None:
    """Run the jobs of run.json on a top one after another, and write results.json."""
    folder = Path(os.environ["NMGEN_RUN"])
    run = json.loads((folder / "run.json").read_text())
    results: list[dict[str, Any]] = []
    error, bench = None, None
    try:
        bench = kind(top, run, folder)
        await bench.reset()
        await bench.identify(run["identification"])
        for number, job in enumerate(run["jobs"]):
            bench.number = number
            bench.alive(0)
            results.append(await bench.job(number, job))
    except ProtocolError as problem:
        error = str(problem)
    except ValueError as problem:  # from a handle: something at the ports is neither 0 nor 1
        error = f"an output of the design is unknown: {problem}"
    finished = bench.finished if bench else 0
    (folder / "results.json").write_text(json.dumps({"results": results, "error": error, "finished": finished}))


@cocotb.test()
async def products(top: Any) -> None:
    """The products of run.json."""
    await serve(top, Bench)
