"""cocotb tests of STA behind AXI against cocotbext-axi: AxiRam is the memory, AxiLiteMaster the host.

The top is rtl/sta/axi_top.py's `AxiSta`. tests/sim/test_axi_sta.py says in a file what there is to run.
"""

import json
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp

from rtl.sta.legality import Cause
from rtl.sta.registers import REGISTERS

FOLDER = Path(os.environ["NMGEN_RUN"])
RUN = json.loads((FOLDER / "run.json").read_text())
IMAGES = np.load(FOLDER / "images.npz")
BEAT = RUN["port_bytes"]
SEED = RUN["seed"]
SIZE = 1 << 16
PAGE = 4096
START, CLEAR = 1, 2  # of the control register
BUSY, DONE, ERROR = 1, 2, 4  # of the status
PATIENCE = 40_000  # cycles
BACK_PRESSURE = 0.4
HOST_PAUSES = 0.2
ERRORS = [AxiResp.SLVERR, AxiResp.DECERR]


class Bench:
    """The host, the memory, and what both channels of the memory saw."""

    def __init__(self, top, share=BACK_PRESSURE):
        self.top = top
        self.edge = RisingEdge(top.clk)
        top.rst.value, top.clk.value = 1, 0
        self.ram = AxiRam(AxiBus.from_prefix(top, "m_axi"), top.clk, top.rst, size=SIZE)
        self.host = AxiLiteMaster(AxiLiteBus.from_prefix(top, "s_axi"), top.clk, top.rst)
        self.channels = self._channels(self.ram)
        self.host_channels = list(self._channels(self.host).values())
        self.share = dict.fromkeys(self.channels, share)  # of the cycles in which a channel of the memory pauses
        self.random = random.Random(f"{SEED} pauses")
        self.limit = self.cycle = 0
        self.reads, self.writes = [], []  # (address, beats) of all bursts since `load`
        self.beats_asked = self.beats_written = self.bursts_written = self.answers = self.bursts_read = 0
        self.bad_read = self.bad_write = None  # number of the burst that ends in an error, `response`
        self.response = AxiResp.SLVERR
        self.bad_beats = "all"  # of the burst that is read; "first" or "last"
        self.begins = True
        self._spoil("read_if", "r_channel")
        self._spoil("write_if", "b_channel")

    @staticmethod
    def _channels(side):
        write, read = side.write_if, side.read_if
        return {
            "aw": write.aw_channel,
            "w": write.w_channel,
            "b": write.b_channel,
            "ar": read.ar_channel,
            "r": read.r_channel,
        }

    def _pause(self):
        """Random pauses; one task for all channels, since ten tasks would take most of the time."""
        for name, channel in self.channels.items():
            channel.pause = self.random.random() < self.share[name]
        for channel in self.host_channels:
            channel.pause = self.random.random() < HOST_PAUSES

    def _spoil(self, side, name):
        """Have the memory answer the bursts that a test names with errors; what is read with them is noise."""
        channel = getattr(getattr(self.ram, side), name)
        send = channel.send
        numbers = random.Random(f"{SEED} {name} noise")
        self.sent = dict.fromkeys(("r_channel", "b_channel"), 0)

        async def spoiled(answer):
            wanted = self.bad_read if name == "r_channel" else self.bad_write
            ends = name == "b_channel" or bool(answer.rlast)
            if wanted == self.sent[name]:
                if name == "b_channel":
                    answer.bresp = self.response
                elif {"first": self.begins, "last": ends, "all": True}[self.bad_beats]:
                    answer.rresp = self.response
                    answer.rdata = numbers.getrandbits(8 * BEAT)
            self.sent[name] += ends
            if name == "r_channel":
                self.begins = ends
            await send(answer)

        channel.send = spoiled

    async def begin(self):
        await Timer(10, "ns")
        Clock(self.top.clk, 10, "ns", impl="gpi").start()
        await ClockCycles(self.top.clk, 4)
        self.top.rst.value = 0
        await ClockCycles(self.top.clk, 2)
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """The rules: every burst lies in the program's memory and in a page, nothing is left open, no early irq."""
        names = ("len", "size", "burst")
        handles = {f"{way}{name}": getattr(self.top, f"m_axi_{way}{name}") for way in ("ar", "aw") for name in names}
        busy, irq, address_of, last = self.top.busy, self.top.irq, self._axi("addr"), self._axi("last")
        valid, ready = self._axi("valid"), self._axi("ready")
        while True:
            await self.edge
            self._pause()
            offered = {channel: bool(signal.value) for channel, signal in valid.items()}
            done = {channel: offered[channel] and bool(ready[channel].value) for channel in valid}
            if not busy.value:
                assert not offered["aw"]
                assert not offered["w"]
                assert self.beats_written == self.beats_asked, "a burst lacks beats"
                assert self.answers == self.bursts_written == len(self.writes), "a burst is not answered"
                assert not offered["ar"]
                assert self.bursts_read == len(self.reads), "idle, but a burst comes"
            else:
                assert not irq.value
            for channel, bursts in (("ar", self.reads), ("aw", self.writes)):
                if done[channel]:
                    address, beats = int(address_of[channel].value), int(handles[f"{channel}len"].value) + 1
                    end = address + beats * BEAT
                    assert end <= self.limit, f"{channel} {address:#x} to {end:#x}, of {self.limit:#x}"
                    assert address % BEAT == 0
                    assert address // PAGE == (end - 1) // PAGE, f"{channel} {address:#x} to {end:#x}"
                    assert (1 << int(handles[f"{channel}size"].value), handles[f"{channel}burst"].value) == (BEAT, 1)
                    bursts.append((address, beats))
                    if channel == "aw":
                        self.beats_asked += beats
            if done["w"]:
                self.beats_written += 1
                self.bursts_written += bool(last["w"].value)
            self.answers += done["b"]
            self.bursts_read += done["r"] and bool(last["r"].value)
            self.cycle += 1

    def _axi(self, signal):
        """This signal of all channels that have it."""
        names = {channel: f"m_axi_{channel}{signal}" for channel in self.channels}
        return {channel: getattr(self.top, name) for channel, name in names.items() if hasattr(self.top, name)}

    # --- the host ------------------------------------------------------------------------------
    async def write(self, register, value):
        answer = await self.host.write(REGISTERS[register].offset, value.to_bytes(4, "little"))
        assert answer.resp == AxiResp.OKAY

    async def read(self, register):
        answer = await self.host.read(REGISTERS[register].offset, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    def load(self, image):
        """Put an image into memory, and forget what was counted. Nothing runs."""
        assert not self.top.busy.value
        self.ram.write(0, image.tobytes())
        self.reads, self.writes = [], []
        self.beats_asked = self.beats_written = self.bursts_written = self.answers = self.bursts_read = 0
        self.sent = dict.fromkeys(self.sent, 0)
        self.bad_read = self.bad_write = None

    async def start(self, address, limit, interrupt=3):
        self.limit = limit
        await self.write("program", address)
        await self.write("limit", limit)
        await self.write("interrupt", interrupt)
        await self.write("control", START)

    async def until(self, condition):
        for _ in range(PATIENCE):
            if condition():
                return
            await self.edge
        raise AssertionError(f"not there after {PATIENCE} cycles")

    async def over(self, numbers):
        """The status when it is over, which the interrupt, or the status read again and again, tells."""
        if numbers.random() < 0.5:
            await self.until(lambda: self.top.irq.value)
            return await self.read("status")
        begin = self.cycle
        while (status := await self.read("status")) == BUSY:
            assert self.cycle - begin < PATIENCE
            await ClockCycles(self.top.clk, numbers.randrange(1, 300))
        await self.edge
        assert self.top.irq.value
        return status

    async def program(self, name):
        """Load a program and start it."""
        self.load(IMAGES[name])
        await self.start(RUN[name], len(IMAGES[name]))

    async def right(self, name, numbers):
        """Run a program, and compare all of memory."""
        await self.program(name)
        assert await self.over(numbers) == DONE
        self.compare(name)

    def compare(self, name):
        found = np.frombuffer(self.ram.read(0, len(IMAGES[name])), np.uint8)
        wrong = np.flatnonzero((found != IMAGES[f"{name}_after"]) & ~IMAGES[f"{name}_anything"])
        assert not len(wrong), f"{name}: {len(wrong)} bytes, from {wrong[:1]}"

    async def stopped(self, numbers, cause, address):
        """It is in error, for this reason, and stays so until a clear."""
        assert await self.over(numbers) == ERROR
        assert (await self.read("cause"), hex(await self.read("cause_address"))) == (cause, hex(address))
        asked = len(self.reads)
        await self.write("control", START)
        await ClockCycles(self.top.clk, 20)
        assert await self.read("status") == ERROR
        assert len(self.reads) == asked
        await self.clear()

    async def clear(self):
        await self.write("control", CLEAR)
        while await self.read("status") & BUSY:
            await ClockCycles(self.top.clk, 10)
        assert await self.read("status") == 0
        assert await self.read("cause") == Cause.NONE
        assert not self.top.irq.value


async def bench_of(top, test, **options):
    bench = Bench(top, **options)
    await bench.begin()
    return bench, random.Random(f"{SEED} {test}")


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def programs(top):
    """Whole encoders, without and with back-pressure on every channel, one after another."""
    bench, numbers = await bench_of(top, "programs", share=0)
    assert await bench.read("id") == RUN["identification"]
    for share in (0, 0.5):
        bench.share = dict.fromkeys(bench.share, share)
        await bench.right("dumps", numbers)
    for name in bench.share:  # one channel much slower than the others
        bench.share = dict.fromkeys(bench.share, 0.1) | {name: 0.9}
        await bench.right("plain", numbers)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def answers_that_come_late(top):
    """Nobody is told that a program is over before its writes are answered."""
    bench, numbers = await bench_of(top, "answers_that_come_late", share=0.1)
    for bad in (False, True):
        for interrupt in (1, 3):
            wanted = RUN["plain_writes"]
            bench.load(IMAGES["plain"])
            bench.share["b"] = 1
            if bad:
                bench.bad_write = wanted - 1
            await bench.start(RUN["plain"], len(IMAGES["plain"]), interrupt)
            assert await bench.read("status") == BUSY
            await bench.until(lambda wanted=wanted: bench.bursts_written == wanted)
            await ClockCycles(top.clk, 300)
            assert bench.answers <= bench.bursts_written - 1
            access = cocotb.start_soon(bench.read("status") if numbers.random() < 0.5 else bench.read("cycles"))
            await ClockCycles(top.clk, 200)
            assert not access.done()
            assert top.busy.value
            assert not top.irq.value
            bench.share["b"] = 0.1
            await access
            assert bench.answers == wanted
            assert await bench.read("status") == (ERROR if bad else DONE)
            if bad:
                assert top.irq.value == (interrupt == 3)
                assert await bench.read("cause") == Cause.BUS
                assert await bench.read("cause_address") == bench.writes[-1][0]
                await bench.clear()
            else:
                assert top.irq.value
                bench.compare("plain")


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def faults(top):
    """A burst that ends in an error ends the program; after a clear it runs."""
    bench, numbers = await bench_of(top, "faults")
    await bench.right("dumps", numbers)
    count = {"read": len(bench.reads), "write": len(bench.writes)}
    for i in range(8):
        way = ("read", "write")[i % 2]
        number = {0: 0, 1: 0, 2: count["read"] - 1, 3: count["write"] - 1}.get(i, numbers.randrange(count[way]))
        bench.response = ERRORS[i // 2 % 2]
        bench.bad_beats = ("first", "last", "all")[i // 2 % 3]
        await bench.program("dumps")
        setattr(bench, f"bad_{way}", number)
        await bench.until(lambda: bench.top.irq.value)
        asked = bench.reads if way == "read" else bench.writes
        await bench.stopped(numbers, Cause.BUS, asked[number][0])
        bench.share = dict.fromkeys(bench.share, numbers.choice([0, 0.3, 0.6]))
        await bench.right("plain", numbers)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def clears(top):
    """A clear ends a program at any time, in the middle of a burst that it writes too; then it runs."""
    bench, numbers = await bench_of(top, "clears")
    await bench.right("dumps", numbers)
    cycles = await bench.read("cycles")
    for _ in range(5):  # at any time
        await bench.program("dumps")
        await ClockCycles(top.clk, numbers.randrange(cycles))
        await bench.clear()
        bench.share = dict.fromkeys(bench.share, numbers.choice([0, 0.3, 0.6]))
        await bench.right("plain", numbers)
    for held in ("w", "aw", "b"):  # while beats, an address or an answer cannot go on
        await bench.program("dumps")
        before = numbers.randrange(RUN["dumps_writes"] // 2)
        await bench.until(lambda before=before: len(bench.writes) >= before)
        bench.share[held] = 1
        await ClockCycles(top.clk, 5)  # until the pause is there
        if held == "b":
            await bench.until(lambda: bench.bursts_written > bench.answers + 2)  # which the memory keeps
        else:
            valid = getattr(top, f"m_axi_{held}valid")
            await bench.until(lambda valid=valid: valid.value)
        await bench.write("control", CLEAR)
        await ClockCycles(top.clk, 200)
        assert top.busy.value
        bench.share[held] = 0.3
        await bench.until(lambda: not top.busy.value)
        assert await bench.read("status") == 0
        await bench.right("plain", numbers)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def wrong_programs(top):
    """Ends with the reason and its address, and without an access outside of the program's memory."""
    bench, numbers = await bench_of(top, "wrong_programs")
    for number, wrong in enumerate(RUN["wrong"]):
        image = IMAGES["plain"].copy()
        code = bytes.fromhex(wrong["bytes"])
        image[wrong["at"] : wrong["at"] + len(code)] = np.frombuffer(code, np.uint8)
        bench.load(image)
        await bench.start(wrong["start"], wrong["limit"])
        try:
            await bench.stopped(numbers, wrong["cause"], wrong["address"])
        except AssertionError as error:
            raise AssertionError(f"{wrong['name']}: {error}") from error
        if number % 3 == 1:
            await bench.right("plain", numbers)
