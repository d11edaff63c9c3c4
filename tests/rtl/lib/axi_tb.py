"""cocotb tests of the AXI adapters against cocotbext-axi: a testbench plays the accelerator, AxiRam the memory.

The top is tests/rtl/lib/test_axi.py's `Harness`. Every channel has random back-pressure.
"""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from sim.bench.gaps import Gaps
from sim.bench.memory import request
from sim.bench.stream import Stream

SIZE = 1 << 16
BEAT = int(os.environ["NMGEN_PORT_BYTES"])
SEED = int(os.environ["NMGEN_SEED"])
BAD = 0x8000  # from here on the memory answers with errors, where a test says so
PAGE = 4096


def pauses(seed, share):
    numbers = random.Random(f"{SEED} {seed}")
    while True:
        yield numbers.random() < share


class Host:
    """The accelerator's side of the port, and the memory."""

    def __init__(self, top, share=0.4):
        self.top = top
        gaps = lambda name: Gaps(f"{SEED} {name}" if share else None)  # noqa: E731
        self.read_request, self.read_data, self.write_request, self.write_data = (
            Stream(top, f"port__{name}", top.clk, gaps=gaps(name))
            for name in ("read_request", "read_data", "write_request", "write_data")
        )
        for name in ("read_request", "write_request", "write_data"):
            getattr(top, f"port__{name}__valid").value = 0
        top.port__read_data__ready.value = 0
        top.rst.value, top.clk.value, top.hold.value, top.clear.value = 1, 0, 0, 0
        self.ram = AxiRam(AxiBus.from_prefix(top, "axi_"), top.clk, top.rst, size=SIZE)
        channels = self.ram.write_if.aw_channel, self.ram.write_if.w_channel, self.ram.write_if.b_channel
        for name, channel in zip(
            ("aw", "w", "b", "ar", "r"),
            (*channels, self.ram.read_if.ar_channel, self.ram.read_if.r_channel),
            strict=True,
        ):
            if share:
                channel.set_pause_generator(pauses(name, share))
        self.lite = AxiLiteMaster(AxiLiteBus.from_prefix(top, "lite_"), top.clk, top.rst)

    async def begin(self):
        await Timer(10, "ns")
        Clock(self.top.clk, 10, "ns").start()
        await ClockCycles(self.top.clk, 4)
        self.top.rst.value = 0
        await ClockCycles(self.top.clk, 2)


def bursts(numbers, count):
    """Aligned bursts of any length, many of them across a page; (address, beats)."""
    for _ in range(count):
        beats = numbers.choice([1, 2, numbers.randint(1, 16), numbers.randint(1, 256)])
        page = numbers.randrange(1, SIZE // PAGE) * PAGE
        start = max(0, page - numbers.randint(0, beats) * BEAT)
        yield min(start, SIZE - beats * BEAT), beats


async def watch_pages(top):
    """No burst crosses a page."""
    while True:
        await RisingEdge(top.clk)
        for channel in ("ar", "aw"):
            signal = {name: getattr(top, f"axi__{channel}{name}") for name in ("valid", "ready", "addr", "len")}
            if signal["valid"].value and signal["ready"].value:
                first = int(signal["addr"].value)
                last = first + (int(signal["len"].value) + 1) * BEAT - 1
                assert first // PAGE == last // PAGE, f"{channel} {first:#x} to {last:#x}"


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reads(top):
    host, numbers = Host(top), random.Random(SEED)
    await host.begin()
    cocotb.start_soon(watch_pages(top))
    content = numbers.randbytes(SIZE)
    host.ram.write(0, content)
    wanted = list(bursts(numbers, 30))

    async def ask():
        for address, beats in wanted:
            await host.read_request.put(request(address, beats))

    task = cocotb.start_soon(ask())
    for address, beats in wanted:
        for place in range(address, address + beats * BEAT, BEAT):
            assert await host.read_data.get() == int.from_bytes(content[place : place + BEAT], "little"), hex(place)
    await task


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def writes(top):
    host, numbers = Host(top), random.Random(SEED + 1)
    await host.begin()
    cocotb.start_soon(watch_pages(top))
    content = bytearray(numbers.randbytes(SIZE))
    host.ram.write(0, bytes(content))
    wanted = [(address, beats, numbers.randbytes(beats * BEAT)) for address, beats in bursts(numbers, 30)]

    async def ask():
        for address, beats, _ in wanted:
            await host.write_request.put(request(address, beats))

    task = cocotb.start_soon(ask())
    for address, beats, data in wanted:
        for beat in range(beats):
            strobe = numbers.getrandbits(BEAT)
            part = data[beat * BEAT : (beat + 1) * BEAT]
            await host.write_data.put(int.from_bytes(part, "little") | strobe << 8 * BEAT)
            for i in range(BEAT):
                if strobe >> i & 1:
                    content[address + beat * BEAT + i] = part[i]
    await task
    while top.pending.value:
        await RisingEdge(top.clk)
    assert host.ram.read(0, SIZE) == content
    assert not top.fault_seen.value


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def faults(top):
    """An error of either direction is told with the address where its burst began."""
    host, numbers = Host(top), random.Random(SEED + 2)
    await host.begin()
    read, write = host.ram.read_if._read, host.ram.write_if._write

    def failing(access):
        async def checked(address, *rest):
            if address >= BAD:
                raise ValueError("no memory here")
            return await access(address, *rest)

        return checked

    host.ram.read_if._read, host.ram.write_if._write = failing(read), failing(write)
    for address in (BAD, BAD + 5 * BEAT):
        top.clear.value = 1
        await ClockCycles(top.clk, 1)
        top.clear.value = 0
        await host.read_request.put(request(0, 3))
        await host.read_request.put(request(address, 4))
        for _ in range(7):
            await host.read_data.get()
        await ClockCycles(top.clk, 2)
        assert top.fault_seen.value
        assert int(top.fault_first.value) == address
        top.clear.value = 1
        await ClockCycles(top.clk, 1)
        top.clear.value = 0
        await ClockCycles(top.clk, 1)
        assert not top.fault_seen.value
        await host.write_request.put(request(address, 2))
        for _ in range(2):
            await host.write_data.put(numbers.getrandbits(8 * BEAT) | (1 << BEAT) - 1 << 8 * BEAT)
        while top.pending.value:
            await RisingEdge(top.clk)
        await ClockCycles(top.clk, 2)
        assert top.fault_seen.value
        assert int(top.fault_first.value) == address


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def control(top):
    """Whole words are written and read; a part of a word is refused; accesses wait while they are held."""
    host, numbers = Host(top), random.Random(SEED + 3)
    await host.begin()
    written = {address: numbers.randbytes(4) for address in range(0, 256, 4)}
    for address, word in written.items():
        assert (await host.lite.write(address, word)).resp == AxiResp.OKAY
    assert (await host.lite.write(8, b"\xff")).resp == AxiResp.SLVERR
    for address, word in written.items():
        answer = await host.lite.read(address, 4)
        assert (answer.data, answer.resp) == (word, AxiResp.OKAY)
    top.hold.value = 1
    await ClockCycles(top.clk, 2)
    task = cocotb.start_soon(host.lite.read(4, 4))
    await ClockCycles(top.clk, 50)
    assert not task.done()
    top.hold.value = 0
    assert (await task).data == written[4]
