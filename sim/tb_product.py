"""The cocotb testbench that runs products on a top. sim/runner.py starts it and says in a file what to run.

It lives in the simulator's process: the folder that NMGEN_RUN names holds run.json and memory images, and results come
back there. Whatever the design does wrong is a result too; only a fault of the testbench itself fails the test.
"""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from rtl.params import REGISTERS
from sim.image import Region
from sim.memory import Memory, ProtocolError

PERIOD_NS = 10
PATIENCE_S = 300  # a simulator that does not finish a stretch of cycles in this time is stuck in one of them
STRETCH = 1000  # cycles between two signs of life
STATUS_DONE = 2

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
        self.memory = Memory(top, run["port_bytes"], latency=run["latency"], seed=seed)
        self.random = random.Random(run["seed"])
        self.number = 0  # of the product that runs

    async def cycle(self) -> None:
        """One clock cycle: what was driven before counts for it, what is read after it was so at its end."""
        await self.edge
        self.memory.step()

    async def reset(self) -> None:
        """Start the clock with every input known, and end the reset."""
        self.top.rst.value = 1
        self.top.clk.value = 0
        await Timer(PERIOD_NS, "ns")
        Clock(self.top.clk, PERIOD_NS, "ns", impl="gpi").start()
        for _ in range(4):
            await self.edge
        self.top.rst.value = 0
        await self.edge

    async def write(self, register: str, value: int) -> None:
        """Write a register; returns right after the edge that takes it."""
        self.top.control__address.value = self.registers[register][0]
        self.top.control__write_data.value = value
        self.top.control__write.value = 1
        await self.cycle()
        self.top.control__write.value = 0

    async def read(self, register: str) -> int:
        """Read a register: its value comes a cycle after its address."""
        self.top.control__address.value = self.registers[register][0]
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

    async def product(self, number: int, job: dict[str, Any]) -> dict[str, Any]:
        """Run one product; returns its counts, and leaves the bytes of region y in a file."""
        images = np.load(self.folder / f"image{number}.npz")
        regions = {name: Region(name, *place) for name, place in job["regions"].items()}
        results = regions.pop("y")
        content = bytearray(images["memory"].tobytes())
        self.memory.load(content, regions.values(), images["writable"].tobytes(), results)
        try:
            return await self._run(job)
        finally:
            np.save(self.folder / f"y{number}.npy", np.frombuffer(content, np.uint8)[results.address : results.end])

    async def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        memory = self.memory
        for register, value in job["registers"].items():
            await self.write(register, value)
        for _ in range(self.random.randrange(8)):
            await self.cycle()
        await self.write("control", 1)
        start = memory.cycle
        self.top.control__address.value = REGISTERS["status"][0]
        for _ in range(2):  # until the status is what read_data shows
            await self.cycle()
        # Looking at the status every cycle would take time, and is needed only once all results are there.
        while not self._done(memory.bytes_written == job["bytes_written"] or memory.cycle % 64 == 0):
            if memory.cycle - start > job["limit"]:
                raise ProtocolError(
                    f"not done after {job['limit']} cycles, "
                    f"with {memory.bytes_written} of {job['bytes_written']} bytes written"
                )
            if memory.cycle % STRETCH == 0:
                self.alive(memory.cycle - start)
            await self.cycle()
        cycles = await self.read("cycles")
        for _ in range(8):
            await self.cycle()
        if self.top.busy.value:
            raise ProtocolError("done, but still busy")
        if not memory.idle:
            raise ProtocolError("done, but bursts are outstanding")
        return {
            "cycles": cycles,
            "cycles_measured": memory.last_write - start + 1,
            "bytes_read": memory.bytes_read,
            "bytes_written": memory.bytes_written,
        }

    def _done(self, worth_looking: bool) -> bool:
        return worth_looking and bool(int(self.top.control__read_data.value) & STATUS_DONE)

    def alive(self, cycles: int) -> None:
        """Give the simulator time for another stretch, and say how far it is."""
        signal.alarm(PATIENCE_S)
        (self.folder / "progress").write_text(f"{self.number} {cycles}")


@cocotb.test()
async def products(top: Any) -> None:
    """Run the products of run.json one after another, and write results.json."""
    folder = Path(os.environ["NMGEN_RUN"])
    run = json.loads((folder / "run.json").read_text())
    results: list[dict[str, Any]] = []
    error = None
    try:
        bench = Bench(top, run, folder)
        await bench.reset()
        await bench.identify(run["identification"])
        for number, job in enumerate(run["jobs"]):
            bench.number = number
            bench.alive(0)
            results.append(await bench.product(number, job))
    except ProtocolError as problem:
        error = str(problem)
    except ValueError as problem:  # from a handle: something at the ports is neither 0 nor 1
        error = f"an output of the design is unknown: {problem}"
    (folder / "results.json").write_text(json.dumps({"results": results, "error": error}))
