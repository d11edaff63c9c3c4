"""cocotb test of the hosts of docs/host/ on STA behind AXI: they do all, the testbench is bus and memory.

tests/sim/test_host.py says in a file what there is to run.
"""

import ctypes
import json
import mmap
import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, First, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from rtl.sta.legality import Cause
from tests.sim.hosts import Answer, CHost, Ports, PythonHost

FOLDER = Path(os.environ["NMGEN_RUN"])
RUN = json.loads((FOLDER / "run.json").read_text())
FILE = (FOLDER / "program.nmp").read_bytes()
SIZE = 1 << 16
BASE = 0x4040  # of the image, the second time
PATIENCE = 4000  # cycles until the host looks again


class Bench:
    """The accelerator between a host's accesses and a memory."""

    def __init__(self, top):
        self.top = top
        self.memory = mmap.mmap(-1, SIZE)
        top.rst.value, top.clk.value = 1, 0
        AxiRam(AxiBus.from_prefix(top, "m_axi"), top.clk, top.rst, size=SIZE, mem=self.memory)
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(top, "s_axi"), top.clk, top.rst)

    async def begin(self):
        await Timer(10, "ns")
        Clock(self.top.clk, 10, "ns", impl="gpi").start()
        await ClockCycles(self.top.clk, 4)
        self.top.rst.value = 0
        await ClockCycles(self.top.clk, 2)

    async def read32(self, offset):
        answer = await self.bus.read(offset, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write32(self, offset, value):
        answer = await self.bus.write(offset, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def wait(self):
        """As a processor that sleeps until the interrupt."""
        if not self.top.irq.value:
            await First(RisingEdge(self.top.irq), ClockCycles(self.top.clk, PATIENCE))

    def ports(self, base):
        return Ports(resume(self.read32), resume(self.write32), resume(self.wait), self.memory, base, base)


def right(host, case):
    """The embeddings are the golden ones, to the bit."""
    found = host.run(case["texts"])
    wanted = [[np.float32(value) for value in row] for row in case["embeddings"]]
    assert [[np.float32(value) for value in row] for row in found] == wanted, case["texts"]


def session(bench, make):
    """From reset on: texts of several lengths, an error, and on; then with the image elsewhere."""
    host = make(FILE, bench.ports(0))
    assert host.load() == Answer.OK
    first, *others = RUN["cases"]
    for case in (first, *others, first):  # the instructions are shortened, and as they were
        right(host, case)
    at = RUN["breaks"]
    good = bench.memory[at]
    bench.memory[at] = good | 0xF
    assert host.run(first["texts"]) == (Cause.OPCODE, at)
    bench.memory[at] = good
    right(host, others[0])

    bench.memory[:] = bytes(SIZE)
    host = make(FILE, bench.ports(BASE))
    assert host.load() == Answer.OK
    right(host, first)


async def run(top, make):
    bench = Bench(top)
    await bench.begin()
    await bridge(session)(bench, make)
    assert await bench.read32(0x08) == 0, "control reads as 0"


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def python(top):
    await run(top, PythonHost)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def c(top):
    await run(top, lambda file, ports: CHost(ctypes.CDLL(RUN["library"]), file, ports))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def accesses_that_change_nothing(top):
    """Of registers that are not there or cannot be written, and of parts of a word."""
    bench = Bench(top)
    await bench.begin()
    program, status = 0x1C, 0x0C
    await bench.write32(program, 0x1234)
    for offset in (0x44, 0x4C, 0x50, 0x80, 0xFC):
        await bench.write32(offset, 0xFFFFFFFF)
        assert await bench.read32(offset) == 0
    await bench.write32(status, 0xFFFFFFFF)
    answer = await bench.bus.write(program, b"\xff")
    assert answer.resp == AxiResp.SLVERR
    assert (await bench.read32(program), await bench.read32(status)) == (0x1234, 0)
