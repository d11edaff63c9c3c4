"""The whole core in Amaranth's simulator: one instruction of every kind, and what the program leaves in memory.

It is small, for the wires between the Components; whole encoders run in tests/sim, in generated Verilog.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator, SimulatorContext

from rtl.lib.port import Request
from rtl.params import ceil_div
from rtl.product import Product
from rtl.sta.isa import BYTES, Columns, Op, assemble
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS
from rtl.sta.top import Sta
from sim.golden.machine import Machine
from sim.golden.twins import exponential_table
from sim.image.product import pack_weights
from sim.image.program import pack_parameters, pack_table, pack_wide_rows, parameter_units
from tests.nightly import but
from tests.rtl import simulate
from tests.rtl.lib.test_collisions import Inverting
from tests.rtl.simulate import drive, gaps, run
from tests.rtl.sta.memory import ReadMemory

CONFIG = StaConfig(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=8, max_tokens=6, max_k=16, hidden=6, store_words=40)
TOKENS, WIDTH = 5, 6  # of a sentence; channels of everything
RESULTS = 1 << 12  # address of what is stored
LIMIT = RESULTS + (1 << 11)
START, CLEAR = 1, 2


class Image:
    """Memory, filled from address 0 on."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.bytes = np.zeros(LIMIT, np.uint8)
        self.end = 0
        self.stored = RESULTS

    def put(self, data: np.ndarray) -> int:
        content = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        address, self.end = self.end, self.end + ceil_div(len(content), BYTES) * BYTES
        assert self.end <= RESULTS
        self.bytes[address : address + len(content)] = content
        return address

    def units(self, spread: int) -> np.ndarray:
        """Parameters of WIDTH channels, for accumulators of that magnitude."""
        rng = self.rng
        return parameter_units(
            bias=rng.integers(-spread // 4, spread // 4, WIDTH),
            mult=rng.integers(1 << 15, 1 << 16, WIDTH),
            shift=np.full(WIDTH, 16),
            negate=rng.integers(0, 2, WIDTH),
            rescale=rng.integers(100, 512, WIDTH),
        )

    def store(self, **fields: int) -> dict[str, int]:
        address = self.stored
        self.stored += 128
        return {"opcode": Op.STORE, "tokens": TOKENS, "address": address, **fields}


def program(image: Image) -> list[dict[str, int]]:
    """Attention over what is loaded; a product of it and a NORM in the residual; their mean."""
    c, rng = CONFIG, image.rng
    words = ceil_div(ceil_div(WIDTH, c.m) * c.m, c.store_word_bytes)
    groups, beats = ceil_div(WIDTH, c.m), 512 // c.port_bytes
    x, scores, context, narrow = ({"base": 8 * i, "pitch": words + i % 2} for i in range(4))

    def region(letter: str, of: dict[str, int]) -> dict[str, int]:
        return {f"{letter}_{name}": value for name, value in of.items()}

    loaded = rng.integers(0, 256, (TOKENS, ceil_div(groups * c.m, c.port_bytes) * c.port_bytes), np.uint8)
    rows = pack_wide_rows(c, rng.integers(-3000, 3000, (7, WIDTH)))
    product = Product(config=c, tokens=TOKENS, k=WIDTH, channels=WIDTH, pattern_n=c.m)
    weights = pack_weights(product, rng.integers(-127, 128, (WIDTH, WIDTH)).astype(np.int8), image.units(1 << 15))
    parameters = pack_parameters(c, image.units(1 << 18))
    heads = {"opcode": Op.PRODUCT, "to_store": 1, "pattern_n": c.m, "tokens": TOKENS, "mult": 50000}
    of_weights = {"pattern_n": c.m, "groups": groups, "address": image.put(weights), "tile_beats": product.w_tile_beats}
    of_weights |= {"beats": product.column_tiles * product.w_tile_beats, "channels": WIDTH, "tokens": TOKENS}
    exponential, activation = exponential_table(0.02), rng.integers(-32768, 32768, 256)
    return [
        {"opcode": Op.TABLE, "which": 1, "address": image.put(pack_table(c, exponential)), "beats": beats},
        {"opcode": Op.LOAD, "tokens": TOKENS, "groups": groups, "address": image.put(loaded)}
        | {"beats": loaded.size // c.port_bytes, **region("y", x)},
        {"opcode": Op.TABLE, "address": image.put(pack_table(c, activation)), "beats": beats},
        heads | {"columns": Columns.KEYS, "maximum": 1, "channels": TOKENS, "groups": groups, "shift": 24}
        | region("x", x) | region("c", x) | region("y", scores),
        heads | {"columns": Columns.VALUES, "channels": WIDTH, "groups": ceil_div(TOKENS, c.m), "keys": TOKENS}
        | {"shift": 15} | region("x", scores) | region("c", x) | region("y", context),
        image.store(groups=groups, **region("x", context)),
        {"opcode": Op.GATHER, "tokens": TOKENS, "channels": WIDTH, "address": image.put(rows)}
        | {"beats": rows.shape[1] // c.port_bytes, "ids_address": image.put(rng.integers(0, 7, TOKENS).astype("<u4"))},
        {"opcode": Op.PRODUCT, "to_residual": 1, "add": 1, **of_weights, **region("x", context)},
        {"opcode": Op.PRODUCT, "to_store": 1, "table": 1, "rescale_shift": 16, **of_weights}
        | region("x", context) | region("y", scores),
        image.store(groups=groups, **region("x", scores)),
        {"opcode": Op.NORM, "to_residual": 1, "to_store": 1, "normalise": 1, "tokens": TOKENS, "channels": WIDTH}
        | {"address": image.put(parameters), "tile_beats": parameters.shape[1], "epsilon": 9}
        | {"beats": parameters.shape[0] * parameters.shape[1], "rescale_shift": 16, **region("y", narrow)},
        image.store(groups=groups, **region("x", narrow)),
        image.store(which=1, channels=WIDTH),
        {"opcode": Op.POOL, "tokens": TOKENS, "channels": WIDTH, "mult": 52429, "shift": 18},
        image.store(which=1, channels=WIDTH, tokens=1),
    ]  # fmt: skip


class Host:
    """Registers and memory of a core."""

    def __init__(self, image: Image, seed: int | None, config: StaConfig = CONFIG) -> None:
        self.dut = Sta(config)
        self.image = image
        self.over = False
        self.written = image.bytes.copy()
        self.reads = ReadMemory(CONFIG.port_bytes, LIMIT, 9, gaps(seed, "request"), gaps(seed, "data"))
        self.reads.write(0, image.bytes.tobytes())
        self.accepts = gaps(seed, "write")
        self.cycle = 0
        self.pulses: list[tuple[str, int]] = []  # of the outputs of these names, and in which cycle

    async def note_pulses(self, ctx: SimulatorContext) -> None:
        outputs = {"execute": self.dut.execute, "finished": self.dut.finished}
        while not self.over:
            _, _, *high = await ctx.tick().sample(*outputs.values())
            self.pulses += [(name, self.cycle) for name, value in zip(outputs, high, strict=True) if value]
            self.cycle += 1

    async def read_memory(self, ctx: SimulatorContext) -> None:
        port = self.dut.memory
        await self.reads.run(ctx, port.read_request, port.read_data, lambda: self.over)

    async def write_memory(self, ctx: SimulatorContext) -> None:
        """A burst, then its beats."""
        port = self.dut.memory
        address, left = 0, 0
        while not self.over:
            ready = not self.accepts.stall()
            ctx.set(port.write_request.ready, ready and not left)
            ctx.set(port.write_data.ready, ready and left != 0)
            _, _, asked, request, sent, beat = await ctx.tick().sample(
                port.write_request.valid & port.write_request.ready,
                port.write_request.payload.as_value(),
                port.write_data.valid & port.write_data.ready,
                port.write_data.payload,
            )
            if asked:
                burst = Request.from_bits(request)
                address, left = burst.address, burst.length + 1
            if sent:
                for byte in range(CONFIG.port_bytes):
                    if beat.strobe >> byte & 1:
                        self.written[address + byte] = beat.data >> 8 * byte & 0xFF
                address, left = address + CONFIG.port_bytes, left - 1

    async def write(self, ctx: SimulatorContext, name: str, value: int) -> None:
        at = REGISTERS[name].offset
        drive(ctx, self.dut, {"control.address": at, "control.write_data": value, "control.write": 1})
        await ctx.tick()
        ctx.set(self.dut.control.write, 0)

    async def read(self, ctx: SimulatorContext, name: str) -> int:
        ctx.set(self.dut.control.address, REGISTERS[name].offset)
        await ctx.tick()
        return int(ctx.get(self.dut.control.read_data))

    async def idle(self, ctx: SimulatorContext) -> None:
        await ctx.tick().until(~self.dut.busy)


# Seed of the gaps, cycles before each clear, groups of rows. In cycles 1237 to 1298 of a run without gaps weights wait
# beside the column loader.
RUNS: dict[str, tuple[int | None, list[int], int]] = {
    "free": (None, [1250], 1),
    "gaps": (1, [700, 300], 1),
    "two groups of rows": (None, [60, 417, 774, 1131], 2),
}


@pytest.mark.parametrize(
    ("how", "collisions"),
    but(
        product(RUNS, ["any", "inverted"]),
        [("free", "inverted"), ("gaps", "any"), ("two groups of rows", "inverted")],
    ),
)
def test_every_instruction(how: str, collisions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the machine says; behind clears in the middle, too. collisions : what is read of a word while it is written"""
    seed, stops, groups = RUNS[how]
    if collisions == "inverted":
        monkeypatch.setattr(simulate, "Simulator", lambda top: Simulator(Fragment.get(top, Inverting())))
    image = Image(3)
    instructions = program(image)
    address = image.put(np.frombuffer(assemble([*instructions, {"opcode": Op.END}]), np.uint8))
    machine = Machine(CONFIG, image.bytes, address=address)
    machine.finish()
    host = Host(image, seed, replace(CONFIG, groups=groups))

    async def testbench(ctx: SimulatorContext) -> None:
        for name, value in {"program": address, "limit": LIMIT, "interrupt": 1, "watch": address + BYTES}.items():
            await host.write(ctx, name, value)
        for cycles in stops:
            await host.write(ctx, "control", START)
            await ctx.tick().repeat(cycles)
            await host.write(ctx, "control", CLEAR)
            await host.idle(ctx)
        host.written[:] = image.bytes
        assert not ctx.get(host.dut.irq)
        host.pulses.clear()
        started = host.cycle
        await host.write(ctx, "control", START)
        await host.idle(ctx)
        assert ctx.get(host.dut.irq)
        host.over = True
        assert await host.read(ctx, "status") == 2
        steps = 0
        for i in instructions:
            if i["opcode"] == Op.PRODUCT:
                tiles = ceil_div(i["channels"], CONFIG.cols) * ceil_div(i["tokens"], CONFIG.rows)
                steps += tiles * i["groups"] * ceil_div(i["pattern_n"], CONFIG.n)
        assert await host.read(ctx, "steps") == steps
        # Of each instruction a pulse when it begins and one when it is done; the registers hold the second one's.
        assert [name for name, _ in host.pulses] == ["execute", "finished"] * len(instructions)
        for (_, cycle), name in zip(host.pulses[2:4], ("watch_begin", "watch_end"), strict=True):
            assert cycle - started == await host.read(ctx, name) + 1, name

    run(host.dut, host.note_pulses, testbench, host.read_memory, host.write_memory, limit=25000)
    wrong = np.flatnonzero(host.written != machine.memory)
    assert not wrong.size, f"byte {wrong[0] - RESULTS} of the results"
    assert len(np.unique(machine.memory[RESULTS:])) > 60, "there is something to compare"
