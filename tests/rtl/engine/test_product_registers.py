"""The control registers: each reads back, starts and counts to the cycle; nothing changes while a product runs."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from amaranth.sim import SimulatorContext

from rtl.engine.product_registers import Registers
from rtl.engine.register_table import REGISTERS, register_values
from rtl.params import CHANNELS_MAX, Config
from rtl.product import Product
from tests.rtl.simulate import described, run, seeded

CONFIGURATIONS = {
    "base": Config(),
    "odd": Config(n=3, m=16, rows=3, cols=5, max_tokens=20, max_k=100),
    "one": Config(n=1, m=32, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=1, max_k=32),
    "large": Config(n=2, m=2, max_tokens=4096, max_k=65536),
}
EVERY = pytest.mark.parametrize("name", CONFIGURATIONS)
WORD = (1 << 32) - 1


class Host:
    """The other side of the control port."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dut = Registers(config)

    async def write(self, ctx: SimulatorContext, name: str, value: int) -> None:
        ctx.set(self.dut.control.address, REGISTERS[name].offset)
        ctx.set(self.dut.control.write_data, value)
        ctx.set(self.dut.control.write, 1)
        await ctx.tick()
        ctx.set(self.dut.control.write, 0)

    async def read(self, ctx: SimulatorContext, name: str) -> int:
        ctx.set(self.dut.control.address, REGISTERS[name].offset)
        await ctx.tick()
        return int(ctx.get(self.dut.control.read_data))

    async def finish(self, ctx: SimulatorContext) -> None:
        """The last write beat is accepted in the coming cycle."""
        ctx.set(self.dut.finished, 1)
        await ctx.tick()
        ctx.set(self.dut.finished, 0)

    def run(self, testbench: Callable[[SimulatorContext], Awaitable[None]], limit: int = 2000) -> None:
        run(self.dut, testbench, limit=limit)


def largest(config: Config) -> dict[str, int]:
    """The largest value that each register has to hold."""
    small = {"tokens": config.max_tokens, "groups": config.max_groups, "channels": CHANNELS_MAX, "mode": 0x3FF}
    return {name: small.get(name, WORD) for name in REGISTERS if name not in ("id", "control", "status", "cycles")}


@EVERY
def test_read_back(name: str) -> None:
    """Each register keeps its own value while the others change, up to its largest; a cycle after its address."""
    config = CONFIGURATIONS[name]
    host = Host(config)
    rng = seeded(name)
    rounds = [largest(config), {one: rng.randint(0, high) for one, high in largest(config).items()}]
    rounds.append(
        {one: high ^ value for (one, high), value in zip(largest(config).items(), rounds[1].values(), strict=True)}
    )

    async def testbench(ctx: SimulatorContext) -> None:
        for values in rounds:
            order = list(values)
            rng.shuffle(order)
            for register in order:
                await host.write(ctx, register, values[register])
            for register, value in values.items():
                assert await host.read(ctx, register) == value, register
            assert await host.read(ctx, "id") == config.identification
            assert await host.read(ctx, "control") == 0
            assert await host.read(ctx, "status") == 0
            assert await host.read(ctx, "cycles") == 0
            assert not ctx.get(host.dut.busy)

    host.run(testbench)


def test_unknown_addresses() -> None:
    """Read as zero, and a write to them, or to what can only be read, changes nothing."""
    config = CONFIGURATIONS["odd"]
    host = Host(config)
    known = {register.offset for register in REGISTERS.values()}

    async def testbench(ctx: SimulatorContext) -> None:
        control = host.dut.control
        values = largest(config)
        for register, value in values.items():
            await host.write(ctx, register, value)
        for address in [
            *sorted(set(range(256)) - known),
            *(REGISTERS[one].offset for one in ("id", "status", "cycles")),
        ]:
            ctx.set(control.address, address)
            ctx.set(control.write_data, 0x5A5A_5A5A)
            ctx.set(control.write, 1)
            await ctx.tick()
            ctx.set(control.write, 0)
            await ctx.tick()
            if address not in known:
                assert ctx.get(control.read_data) == 0, f"address {address:#x}"
        for register, value in values.items():
            assert await host.read(ctx, register) == value, register
        assert await host.read(ctx, "id") == config.identification
        assert await host.read(ctx, "status") == 0
        assert await host.read(ctx, "cycles") == 0

    host.run(testbench)


@pytest.mark.parametrize("length", [1, 2, 3, 57])
def test_start_to_finish(length: int) -> None:
    """Start in the cycle of its write; busy from the next to the last; cycles count both ends; and all of it again."""
    host = Host(CONFIGURATIONS["base"])
    dut = host.dut

    async def testbench(ctx: SimulatorContext) -> None:
        for cycles in (length, length + 1):
            ctx.set(dut.control.address, REGISTERS["control"].offset)
            ctx.set(dut.control.write_data, 1)
            assert not ctx.get(dut.start)
            ctx.set(dut.control.write, 1)
            assert ctx.get(dut.start)
            assert not ctx.get(dut.busy)
            await ctx.tick()
            ctx.set(dut.control.write, 0)
            ctx.set(dut.control.address, REGISTERS["status"].offset)
            for _ in range(cycles - 1):
                assert ctx.get(dut.busy)
                assert not ctx.get(dut.start)
                await ctx.tick()
                assert ctx.get(dut.control.read_data) == 0b01, "busy, and not done any more"
            ctx.set(dut.finished, 1)
            assert ctx.get(dut.busy)
            await ctx.tick()
            ctx.set(dut.finished, 0)
            assert not ctx.get(dut.busy)
            for _ in range(3):
                assert await host.read(ctx, "cycles") == cycles + 1
                assert await host.read(ctx, "status") == 0b10

    host.run(testbench)


def test_cycles_can_be_read_on_the_way() -> None:
    host = Host(CONFIGURATIONS["base"])

    async def testbench(ctx: SimulatorContext) -> None:
        await host.write(ctx, "control", 1)
        for cycle in range(1, 10):
            assert await host.read(ctx, "cycles") == cycle

    host.run(testbench)


def test_what_is_no_start() -> None:
    """Bit 0 clear; another register; write not set; finished without a product."""
    host = Host(CONFIGURATIONS["base"])
    dut = host.dut

    async def testbench(ctx: SimulatorContext) -> None:
        tries = [("control", 0, 1), ("control", WORD - 1, 1), ("status", 1, 1), ("tokens", 1, 1), ("control", 1, 0)]
        for register, value, write in tries:
            ctx.set(dut.control.address, REGISTERS[register].offset)
            ctx.set(dut.control.write_data, value)
            ctx.set(dut.control.write, write)
            assert not ctx.get(dut.start)
            await ctx.tick()
            assert not ctx.get(dut.busy)
        ctx.set(dut.control.write, 0)
        await host.finish(ctx)
        assert await host.read(ctx, "status") == 0
        assert await host.read(ctx, "cycles") == 0

    host.run(testbench)


def test_writes_while_busy_change_nothing() -> None:
    """Not the parameters, and no second start; right after the end they do again."""
    config = CONFIGURATIONS["odd"]
    host = Host(config)
    dut = host.dut
    values = largest(config)

    async def testbench(ctx: SimulatorContext) -> None:
        for register, value in values.items():
            await host.write(ctx, register, value)
        await host.write(ctx, "control", 1)
        product = ctx.get(dut.product.as_value())
        for register in [*values, "control", "status", "cycles", "id"]:
            ctx.set(dut.control.address, REGISTERS[register].offset)
            ctx.set(dut.control.write_data, 1)
            ctx.set(dut.control.write, 1)
            assert not ctx.get(dut.start), register
            await ctx.tick()
            assert ctx.get(dut.product.as_value()) == product, register
        ctx.set(dut.control.write, 0)
        for register, value in values.items():
            assert await host.read(ctx, register) == value, register
        written = 1 + len(values) + 4 + len(values)
        await host.finish(ctx)
        assert await host.read(ctx, "cycles") == written + 1
        await host.write(ctx, "tokens", 1)
        assert await host.read(ctx, "tokens") == 1
        await host.write(ctx, "control", 1)
        assert ctx.get(dut.busy)

    host.run(testbench)


@pytest.mark.parametrize("name", ["base", "odd", "one"])
def test_every_pattern_is_described(name: str) -> None:
    """What the engines see, for every pattern, width and kind of requantisation."""
    config = CONFIGURATIONS[name]
    host = Host(config)
    rng = seeded(name)

    async def testbench(ctx: SimulatorContext) -> None:
        for n in range(1, config.m + 1):
            product = Product(
                config=config,
                tokens=rng.randint(1, config.max_tokens),
                k=rng.randint(1, config.max_groups * config.m) if n % 8 else config.max_groups * config.m,
                channels=rng.randint(1, 999) if n % 8 else CHANNELS_MAX,
                pattern_n=n,
                out_bits=rng.choice([8, 16]),
                per_row=rng.random() < 0.5,
            )
            places: dict[str, Any] = {one: rng.getrandbits(32) for one in ("x_address", "w_address", "y_address")}
            for register, value in register_values(product, **places, r_address=n).items():
                await host.write(ctx, register, value)
            for field, value in described(product, **places, r_address=n).items():
                assert ctx.get(host.dut.product[field]) == value, f"{field} of {product}"

    host.run(testbench, limit=40 * config.m)
