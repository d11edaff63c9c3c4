"""The accelerator: random small products, each result and, where memory never stalls, each cycle."""

import random
from collections.abc import Sequence

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator, SimulatorContext

from rtl.engine.register_table import REGISTERS
from rtl.params import BURST_BEATS, Config
from rtl.product import Product
from sim.bench.runner import Job
from sim.image import product as image
from tests.nightly import but
from tests.rtl.engine.product_bench import Bench, Outcome
from tests.rtl.simulate import seeded
from tests.sim.operands import extreme_job, random_job

SEEDS = but(range(24), [2, *range(8, 24)])  # the others take long


def random_config(rng: random.Random) -> Config:
    m = rng.choice([2, 4, 8, 8, 16, 32])
    return Config(
        n=rng.randint(1, min(m, 4)),
        m=m,
        rows=rng.randint(1, 4),
        cols=rng.randint(1, 5),
        drain=rng.choice([1, 2, 4, 8]),
        port_bytes=rng.choice([1, 2, 4, 8, 16, 32, 64]),
        max_tokens=rng.randint(6, 14),
        max_k=max(m, rng.choice([20, 48])),
    )


def random_product(config: Config, rng: random.Random) -> Product:
    m = config.m
    return Product(
        config=config,
        tokens=rng.choice([1, config.rows, rng.randint(1, config.max_tokens)]),
        k=rng.choice([rng.randint(1, m), rng.randint(1, config.max_k), config.max_k]),
        channels=rng.choice([1, 2 * config.cols, rng.randint(1, 5 * config.cols)]),
        pattern_n=rng.choice([1, config.n, rng.randint(1, m), m]),
        out_bits=rng.choice([8, 16]),
        per_row=rng.random() < 0.3,
    )


@pytest.mark.parametrize("stalls", [False, True], ids=["free", "stalls"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_products(seed: int, stalls: bool) -> None:
    """Two on the same instance. Without stalls the cycles are those of product_cycles; the bench compares them."""
    rng = seeded("products", seed)
    config = random_config(rng)
    products = [random_product(config, rng) for _ in range(2)]
    jobs = [random_job(products[0], seed), extreme_job(products[1], seed)]
    bench = Bench(config, latency=rng.choice([1, 2, 10, 30, 75]), seed=seed if stalls else None)
    for job, outcome in zip(jobs, bench.run(jobs), strict=True):
        p = job.product
        assert max(beats for _, _, beats in outcome.read_requests) <= BURST_BEATS
        assert outcome.beats_read * config.port_bytes == p.bytes_read
        assert len(outcome.write_requests) == p.tokens * p.column_tiles


class Disturbed(Bench):
    """Before the first job comes a product that ends in a reset, or the host writes registers while products run."""

    def __init__(self, config: Config, *, seed: int, noise: int = 0, meddle: bool = False) -> None:
        super().__init__(config, latency=5)
        self.rng = seeded("disturbed", seed)
        self.noise = noise
        self.meddle = meddle
        self.reset = ClockDomain("sync")

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        top = Module()
        top.domains.sync = self.reset
        top.submodules.accelerator = self.top

        async def testbench(ctx: SimulatorContext) -> None:
            if self.noise:
                await self.cut_short(ctx, jobs[0].product)
            for job in jobs:
                outcomes.append(await self._product(ctx, job))

        simulator = Simulator(top)
        simulator.add_clock(1e-8)
        simulator.add_testbench(testbench)
        if self.meddle:
            simulator.add_testbench(self.write_while_busy, background=True)
        simulator.run()
        return outcomes

    async def cut_short(self, ctx: SimulatorContext, product: Product) -> None:
        """A product that gets nothing but noise from memory, and after some cycles a reset."""
        port = self.top.memory
        for register, value in image.layout(product).registers(product).items():
            await self.write(ctx, register, value)
        await self.write(ctx, "control", 1)
        for stream in (port.read_request, port.write_request, port.write_data):
            ctx.set(stream.ready, 1)
        for cycle in range(self.noise):
            ctx.set(port.read_data.valid, cycle > 3)
            ctx.set(port.read_data.payload, self.rng.getrandbits(8 * self.config.port_bytes))
            await ctx.tick()
        ctx.set(port.read_data.valid, 0)
        ctx.set(self.reset.rst, 1)
        await ctx.tick()
        ctx.set(self.reset.rst, 0)
        assert not ctx.get(self.top.busy)

    async def write_while_busy(self, ctx: SimulatorContext) -> None:
        """Anything into any register, starts among it."""
        control = self.top.control
        async for _ in ctx.tick():
            if ctx.get(self.top.busy):
                ctx.set(control.address, self.rng.choice([register.offset for register in REGISTERS.values()]))
                ctx.set(control.write_data, self.rng.choice([1, 3, self.rng.getrandbits(32)]))
                ctx.set(control.write, 1)


@pytest.mark.parametrize("seed", but([0, 1, 2, 4, 5, 6, 7, 8, 9, 11], range(4, 12)))
def test_reset_in_the_middle(seed: int) -> None:
    """Whatever a product has left behind when a reset ends it, the next one is right, to the cycle."""
    rng = seeded("reset", seed)
    config = random_config(rng)
    products = [random_product(config, rng) for _ in range(2)]
    bench = Disturbed(config, seed=seed, noise=rng.randint(5, 200))
    bench.run([random_job(product, seed) for product in products])


@pytest.mark.parametrize("seed", range(3))
def test_writes_while_busy(seed: int) -> None:
    """Change nothing: neither a result nor a cycle."""
    rng = seeded("meddle", seed)
    config = random_config(rng)
    products = [random_product(config, rng) for _ in range(2)]
    Disturbed(config, seed=seed, meddle=True).run([random_job(product, seed) for product in products])
