"""The control registers of STA: each reads back, starts, clears, counts to the cycle; nothing changes while it runs."""

from collections.abc import Awaitable, Callable

from amaranth.sim import SimulatorContext

from rtl.sta.params import StaConfig
from rtl.sta.registers import KEPT, REGISTERS, Registers, version_number
from tests.rtl.simulate import drive, run, seeded

CONFIG = StaConfig(rows=4)
WORD = (1 << 32) - 1
START, CLEAR = 1, 2


class Host:
    """The other side of the control port."""

    def __init__(self) -> None:
        self.dut = Registers(CONFIG)

    def put(self, ctx: SimulatorContext, address: int, value: int) -> None:
        drive(ctx, self.dut, {"control.address": address, "control.write_data": value, "control.write": 1})

    async def write(self, ctx: SimulatorContext, name: str, value: int) -> None:
        self.put(ctx, REGISTERS[name].offset, value)
        await ctx.tick()
        drive(ctx, self.dut, {"control.write": 0})

    async def read(self, ctx: SimulatorContext, name: str) -> int:
        ctx.set(self.dut.control.address, REGISTERS[name].offset)
        await ctx.tick()
        ctx.set(self.dut.control.address, 0xFC)  # of the cycle before
        return int(ctx.get(self.dut.control.read_data))

    def run(self, testbench: Callable[[SimulatorContext], Awaitable[None]]) -> None:
        run(self.dut, testbench, limit=3000)


def mask(name: str) -> int:
    return 3 if name == "interrupt" else WORD


def test_offsets() -> None:
    """Words of their own, within the control port's address."""
    offsets = [register.offset for register in REGISTERS.values()]
    assert len({*offsets}) == len(offsets)
    assert all(at % 4 == 0 and at < 256 for at in offsets)


def test_read_back() -> None:
    """Each keeps its own value; what nothing is at reads as zero; writes to what can only be read change nothing."""
    host = Host()
    rng = seeded("read back")
    known = {register.offset: name for name, register in REGISTERS.items()}

    async def testbench(ctx: SimulatorContext) -> None:
        for _ in range(3):
            values = {name: rng.getrandbits(32) for name in KEPT}
            for name, value in values.items():
                await host.write(ctx, name, value)
            for address in range(256):
                if known.get(address) not in (*KEPT, "control"):
                    host.put(ctx, address, WORD)
                    await ctx.tick()
            drive(ctx, host.dut, {"control.write": 0})
            for name, value in values.items():
                assert await host.read(ctx, name) == value & mask(name)
            assert ctx.get(host.dut.program) == values["program"]
            assert ctx.get(host.dut.limit) == values["limit"]
            assert await host.read(ctx, "id") == CONFIG.identification
            assert await host.read(ctx, "version") == version_number() != 0
            for name in ("control", "status", "cycles", "steps", "waits_memory", "waits_drain", "watch_end"):
                assert await host.read(ctx, name) == 0, name
            for address in (0x44, 0xFC, 1, 0x1D):
                ctx.set(host.dut.control.address, address)
                await ctx.tick()
                assert ctx.get(host.dut.control.read_data) == 0

    host.run(testbench)


def test_what_the_sequencer_says() -> None:
    host = Host()

    async def testbench(ctx: SimulatorContext) -> None:
        for status in range(8):
            drive(
                ctx, host.dut, {"status.busy": status & 1, "status.done": status >> 1 & 1, "status.error": status >> 2}
            )
            assert await host.read(ctx, "status") == status
        drive(ctx, host.dut, {"status.cause": 13, "status.cause_address": WORD, "status.pc": 0x1234_5678})
        assert await host.read(ctx, "cause") == 13
        assert await host.read(ctx, "cause_address") == WORD
        assert await host.read(ctx, "pc") == 0x1234_5678

    host.run(testbench)


def test_start_and_clear() -> None:
    """In the cycle after the write; no start while it runs, in error, or with a clear; a clear always."""
    host = Host()
    dut = host.dut

    async def testbench(ctx: SimulatorContext) -> None:
        for busy, error in ((0, 0), (1, 0), (0, 1)):
            drive(ctx, dut, {"status.busy": busy, "status.error": error, "status.done": 1})
            for address in (REGISTERS["control"].offset, REGISTERS["status"].offset):
                for value in range(8):
                    here = address == REGISTERS["control"].offset
                    host.put(ctx, address, value)
                    assert not ctx.get(dut.start)
                    assert not ctx.get(dut.clear)
                    await ctx.tick()
                    ctx.set(dut.control.write, 0)
                    assert ctx.get(dut.start) == (here and value & 3 == START and not busy and not error)
                    assert ctx.get(dut.clear) == (here and bool(value & CLEAR))
                    await ctx.tick()

    host.run(testbench)


def test_what_was_written_counts_at_once() -> None:
    """A host that reads in the next cycle sees a start as busy, and a clear as no error; it may start right then."""
    host = Host()
    dut = host.dut

    async def testbench(ctx: SimulatorContext) -> None:
        drive(ctx, dut, {"status.done": 1})
        await host.write(ctx, "control", START)
        assert await host.read(ctx, "status") == 1
        drive(ctx, dut, {"status.done": 0, "status.error": 1, "status.cause": 5})
        for name, value in (("status", 0), ("cause", 0)):
            await host.write(ctx, "control", CLEAR)
            assert await host.read(ctx, name) == value
        await host.write(ctx, "control", CLEAR)
        await host.write(ctx, "control", START)
        assert ctx.get(dut.start)
        await host.write(ctx, "program", 0x40)
        assert ctx.get(dut.program) == 0, "it runs"

    host.run(testbench)


def test_writes_while_busy_change_nothing() -> None:
    host = Host()

    async def testbench(ctx: SimulatorContext) -> None:
        for name in KEPT:
            await host.write(ctx, name, 1)
        ctx.set(host.dut.status.busy, 1)
        for name in KEPT:
            await host.write(ctx, name, 2)
            assert await host.read(ctx, name) == 1
        ctx.set(host.dut.status.busy, 0)
        for name in KEPT:
            await host.write(ctx, name, 2)
            assert await host.read(ctx, name) == 2

    host.run(testbench)


def test_interrupt() -> None:
    """Done or error, as enabled; down when they are."""
    host = Host()
    dut = host.dut

    async def testbench(ctx: SimulatorContext) -> None:
        for enable in range(4):
            await host.write(ctx, "interrupt", enable)
            for done, error in ((0, 0), (0, 1), (1, 0), (1, 1)):
                drive(ctx, dut, {"status.done": done, "status.error": error})
                assert ctx.get(dut.interrupt) == bool(enable & (done | error << 1))

    host.run(testbench)


def test_counters() -> None:
    """From the start to the end, not beyond; the start sets them back; the watched instruction's own cycles."""
    host = Host()
    dut = host.dut
    rng = seeded("counters")
    names = ("stepping", "waits_memory", "waits_drain")

    async def testbench(ctx: SimulatorContext) -> None:
        watch = rng.getrandbits(32)
        await host.write(ctx, "watch", watch)
        for length in (1, 57, 20):
            await host.write(ctx, "control", START)
            await ctx.tick()
            ctx.set(dut.status.busy, 1)
            wanted = dict.fromkeys(names, 0)
            begin, end = (rng.randrange(length) for _ in range(2))
            for cycle in range(length):
                events = {name: rng.randint(0, 1) for name in names}
                here = cycle in (begin, end)
                pc = watch if here else watch ^ (1 << rng.randrange(32))
                execute = cycle == begin if here else rng.randint(0, 1)
                finished = cycle == end if here else rng.randint(0, 1)
                drive(ctx, dut, {**events, "status.pc": pc, "status.execute": execute, "status.finished": finished})
                await ctx.tick()
                wanted = {name: wanted[name] + events[name] for name in names}
            drive(
                ctx,
                dut,
                {
                    "status.busy": 0,
                    **dict.fromkeys(names, 1),
                    "status.pc": watch,
                    "status.execute": 1,
                    "status.finished": 1,
                },
            )
            for _ in range(2):
                assert await host.read(ctx, "cycles") == length + 2
                assert await host.read(ctx, "steps") == wanted["stepping"]
                assert await host.read(ctx, "waits_memory") == wanted["waits_memory"]
                assert await host.read(ctx, "waits_drain") == wanted["waits_drain"]
                assert await host.read(ctx, "watch_begin") == begin + 2
                assert await host.read(ctx, "watch_end") == end + 2

    host.run(testbench)
