"""Whole products on the accelerator, in Amaranth's own simulator: no build, so a small one takes a second.

The memory offers beat k of a burst at the cycle of the request + latency at the earliest, a beat a cycle, in order.
Everything that the accelerator does at its ports is checked on the way; what is wrong is an AssertionError.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray

from rtl.engine.accelerator import Accelerator
from rtl.engine.cycles import product_cycles
from rtl.engine.register_table import REGISTERS
from rtl.params import Config
from rtl.product import Product
from sim.bench.gaps import NO_GAPS, Gaps
from sim.bench.runner import Job
from sim.golden.layer import compare, linear
from sim.image import product as image

PERIOD = 1e-8


@dataclass
class Outcome:
    """What one product did. Cycles are counted from the cycle of the start write, which is 0.

    cycles : by the accelerator's own counter
    last_write : the cycle in which the last write beat was accepted
    read_requests, write_requests : (cycle, byte address, beats) of each accepted request
    """

    cycles: int = 0
    last_write: int = 0
    beats_read: int = 0
    read_requests: list[tuple[int, int, int]] = field(default_factory=list)
    write_requests: list[tuple[int, int, int]] = field(default_factory=list)


class Bench:
    """One accelerator with a memory; products run one after another without a reset in between.

    Parameters
    ----------
    latency : cycles from a read request to its first beat
    seed : of random back-pressure on all four streams of the port; None for none
    """

    def __init__(self, config: Config, *, latency: int = 3, seed: int | None = None) -> None:
        self.config = config
        self.top = Accelerator(config)
        self.latency = latency
        names = ("read_request", "read_data", "write_request", "write_data")
        self.gaps = {name: NO_GAPS if seed is None else Gaps(f"{seed} {name}") for name in names}

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Runs the products and checks their results; returns the counts."""
        outcomes: list[Outcome] = []

        async def testbench(ctx: SimulatorContext) -> None:
            for job in jobs:
                outcomes.append(await self._product(ctx, job))

        simulator = Simulator(self.top)
        simulator.add_clock(PERIOD)
        simulator.add_testbench(testbench)
        simulator.run()
        return outcomes

    async def write(self, ctx: SimulatorContext, register: str, value: int) -> None:
        control = self.top.control
        ctx.set(control.address, REGISTERS[register].offset)
        ctx.set(control.write_data, value)
        ctx.set(control.write, 1)
        await ctx.tick()
        ctx.set(control.write, 0)

    async def read(self, ctx: SimulatorContext, register: str) -> int:
        ctx.set(self.top.control.address, REGISTERS[register].offset)
        await ctx.tick()
        return int(ctx.get(self.top.control.read_data))

    async def _product(self, ctx: SimulatorContext, job: Job) -> Outcome:
        product = job.product
        layout = image.layout(product)
        memory = image.build(product, job.x, job.w, job.bias, job.mult, job.shift)
        for register, value in layout.registers(product).items():
            await self.write(ctx, register, value)
            assert await self.read(ctx, register) == value, f"register {register} does not hold what was written"
        outcome = await self._serve(ctx, product, layout, memory)

        assert await self.read(ctx, "status") == 2, "done, and not busy"
        outcome.cycles = await self.read(ctx, "cycles")
        y = image.unpack_results(product, memory[layout.y.address : layout.y.end])
        comparison = compare(y, self.golden(job))
        assert comparison.mismatches == 0, str(comparison)
        assert outcome.cycles == outcome.last_write + 1, "the counter counts the start write and the last beat"
        if all(gaps is NO_GAPS for gaps in self.gaps.values()):
            p = product
            bits, per_row = p.out_bits, p.per_row
            estimate = product_cycles(
                self.config, p.tokens, p.k, p.channels, p.pattern_n, self.latency, out_bits=bits, per_row=per_row
            )
            assert outcome.cycles == estimate, f"{outcome.cycles} cycles, product_cycles says {estimate}"
        return outcome

    def golden(self, job: Job) -> NDArray[np.signedinteger]:
        """What the results have to be."""
        return linear(job.x, job.w, job.bias, job.mult, job.shift, job.product.out_bits, job.product.per_row)

    async def _serve(
        self, ctx: SimulatorContext, product: Product, layout: image.Layout, memory: image.Bytes
    ) -> Outcome:
        """Starts the product and is its memory until the accelerator is no longer busy."""
        outcome = Outcome()
        port, size = self.top.memory, self.config.port_bytes
        reads: deque[tuple[int, int]] = deque()  # of each beat asked for: first cycle in which it may come, address
        writes: deque[int] = deque()  # of each write beat to come: address
        unwritten = image.result_bytes(product)
        takers = {"read_request": port.read_request, "write_request": port.write_request, "write_data": port.write_data}
        offering = False
        limit = 2000 + 8 * (
            product.bytes_read // size
            + product.tokens * product.column_tiles * self.config.pitch(product.out_bits // 8)
            + product.token_tiles * product.column_tiles * (product.steps + 4 * self.config.rows)
        )
        ctx.set(self.top.control.address, REGISTERS["control"].offset)
        ctx.set(self.top.control.write_data, 1)
        ctx.set(self.top.control.write, 1)
        for cycle in range(limit):
            for name, stream in takers.items():
                ctx.set(stream.ready, not self.gaps[name].stall())
            if not offering and reads and reads[0][0] <= cycle and not self.gaps["read_data"].stall():
                _, address = reads[0]
                beat = int.from_bytes(memory[address : address + size].tobytes(), "little")
                ctx.set(port.read_data.payload, beat)
                offering = True
            ctx.set(port.read_data.valid, offering)
            _, _, *now = await ctx.tick().sample(
                self.top.busy,
                port.read_request.valid & port.read_request.ready,
                port.read_request.payload,
                port.read_data.valid & port.read_data.ready,
                port.write_request.valid,
                port.write_request.valid & port.write_request.ready,
                port.write_request.payload,
                port.write_data.valid,
                port.write_data.valid & port.write_data.ready,
                port.write_data.payload,
            )
            busy, asked, request, taken, offer, wrote, write, data_offer, data_taken, data = now
            ctx.set(self.top.control.write, 0)

            if asked:
                beats = request.length + 1
                inside = [r for r in (layout.x, layout.w, layout.r) if r.address <= request.address < r.end]
                assert inside, f"cycle {cycle}: read at {request.address:#x}, where nothing lies"
                end = request.address + beats * size
                assert request.address % size == 0, f"cycle {cycle}: read at {request.address:#x}, within a beat"
                assert end <= inside[0].end, f"cycle {cycle}: read from {inside[0].name} to {end:#x}, beyond its end"
                outcome.read_requests.append((cycle, request.address, beats))
                reads.extend((cycle + self.latency, address) for address in range(request.address, end, size))
            if taken:
                reads.popleft()
                offering = False
                outcome.beats_read += 1
            if wrote:
                beats = write.length + 1
                assert write.address % size == 0, f"cycle {cycle}: write at {write.address:#x}, within a beat"
                outcome.write_requests.append((cycle, write.address, beats))
                writes.extend(range(write.address, write.address + beats * size, size))
            if data_offer:
                coming = write.length + 1 if offer and not wrote else 0
                assert len(writes) + coming > 0, f"cycle {cycle}: write beat offered before its request"
            if data_taken:
                address = writes.popleft()
                outcome.last_write = cycle
                for i in range(size):
                    if data.strobe >> i & 1:
                        at = address + i - layout.y.address
                        fine = 0 <= at < len(unwritten) and unwritten[at]
                        assert fine, f"cycle {cycle}: byte {at} of the results written twice, or none of theirs"
                        unwritten[at] = False
                        memory[address + i] = data.data >> 8 * i & 0xFF
            if cycle and not busy:
                assert not reads, f"{len(reads)} beats asked for and not taken"
                assert not writes, f"{len(writes)} beats announced and not written"
                assert not unwritten.any(), f"byte {unwritten.argmax()} of the results not written"
                assert cycle == outcome.last_write + 1, "not done right after the last write beat"
                return outcome
        written = len(unwritten) - unwritten.sum()
        raise AssertionError(f"not done after {limit} cycles, {outcome.beats_read} beats read, {written} bytes written")
