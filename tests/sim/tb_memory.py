"""cocotb tests of the memory model: a testbench plays the accelerator and notes in which cycle everything comes.

Cycle n is the one that ends with the n-th rising edge. Payloads of reads are bits, of writes strobe over data.
"""

import random
from itertools import count
from pathlib import Path

import cocotb
import numpy as np
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, Timer
from cocotb.types import Logic, LogicArray
from cocotb.utils import get_sim_time

from sim.bench.gaps import Gaps
from sim.bench.memory import Memory, ProtocolError, content_file, request, write_image
from sim.bench.stream import Stream
from sim.image.product import Region

BEAT = 4  # bytes
LATENCY = 7
READABLE = [Region("x", 0x10, 0x40), Region("w", 0x80, 0x100)]
RESULTS = Region("y", 0x200, 0x40)
GAP = 0x210  # a byte of y that is no result's
PERIOD_NS = 10
VERILATOR = cocotb.SIM_NAME.lower().startswith("verilator")  # knows no unknown bits


class Host:
    """The accelerator's side of the port, the memory, and the cycle of every transfer."""

    images = count(1)

    def __init__(self, top, *, seed=None, latency=LATENCY):
        self.top = top

        def stream(name):
            return Stream(top, f"host__{name}", top.clk, gaps=Gaps(None if seed is None else f"{seed} host {name}"))

        self.read_request, self.read_data = stream("read_request"), stream("read_data")
        self.write_request, self.write_data = stream("write_request"), stream("write_data")
        for name in ("read_request", "write_request", "write_data"):
            getattr(top, f"host__{name}__valid").value = 0
        top.host__read_data__ready.value = 0
        self.memory = Memory(top.memory, Path(), latency=latency, seed=seed)
        self.image = next(self.images)
        content = np.arange(0x300, dtype=np.int64) * 7 & 0xFF
        writable = np.ones(RESULTS.size, np.uint8)
        writable[GAP - RESULTS.address] = 0
        write_image(Path(), self.image, content.astype(np.uint8), writable, BEAT)
        self.memory.load(self.image, READABLE, RESULTS)

    async def begin(self):
        self.top.clk.value = 0
        await Timer(PERIOD_NS, "ns")
        self.first_edge = get_sim_time("ns")
        self.clock = Clock(self.top.clk, PERIOD_NS, "ns", impl="gpi")
        self.clock.start()
        await RisingEdge(self.top.clk)
        self.memory.watch()

    @property
    def content(self):
        """What the memory holds."""
        return content_file(Path(), self.image).read_bytes()

    def end(self):
        """Make room for another host in the same test."""
        self.clock.stop()

    def cycle(self):
        """The cycle that has just ended."""
        return int(get_sim_time("ns") - self.first_edge) // PERIOD_NS

    async def read(self, *bursts):
        """Ask for bursts of (address, beats) one after another; returns the cycles in which they were taken."""
        cycles = []
        for address, beats in bursts:
            await self.read_request.put(request(address, beats))
            cycles.append(self.cycle())
        return cycles

    async def beats(self, count):
        """Take beats; returns their values and cycles."""
        values, cycles = [], []
        for _ in range(count):
            values.append(await self.read_data.get())
            cycles.append(self.cycle())
        return values, cycles

    def stored(self, address, beats):
        """What the memory holds there."""
        places = range(address, address + beats * BEAT, BEAT)
        return [int.from_bytes(self.content[i : i + BEAT], "little") for i in places]

    async def fails(self, message):
        """Wait for an error of the port's rules."""
        await ClockCycles(self.top.clk, 3)
        with pytest.raises(ProtocolError) as noticed:
            self.memory.check()
        assert message in str(noticed.value), noticed.value


@cocotb.test()
async def first_beat_comes_a_latency_after_its_request(top):
    for latency in (1, 2, 30):
        host = Host(top, latency=latency)
        await host.begin()
        taker = cocotb.start_soon(host.beats(5))
        (asked,) = await host.read((0x80, 5))
        values, cycles = await taker
        assert values == host.stored(0x80, 5)
        assert cycles == [asked + latency + i for i in range(5)]
        await Timer(1, "ns")  # the memory has seen that edge too
        assert host.memory.bytes_read == 5 * BEAT
        assert host.memory.idle
        host.end()


@cocotb.test()
async def bursts_are_accepted_one_a_cycle_and_served_in_order(top):
    host = Host(top)
    await host.begin()
    taker = cocotb.start_soon(host.beats(10))
    asked = await host.read((0x90, 4), (0x10, 1), (0x100, 5))
    assert asked == [asked[0], asked[0] + 1, asked[0] + 2]
    values, cycles = await taker
    assert values == host.stored(0x90, 4) + host.stored(0x10, 1) + host.stored(0x100, 5)
    assert cycles == [asked[0] + LATENCY + i for i in range(10)]


@cocotb.test()
async def a_late_request_waits_its_own_latency(top):
    host = Host(top)
    await host.begin()
    taker = cocotb.start_soon(host.beats(3))
    (first,) = await host.read((0x80, 2))
    await ClockCycles(top.clk, 6)
    (second,) = await host.read((0x88, 1))
    _, cycles = await taker
    assert cycles == [first + LATENCY, first + LATENCY + 1, second + LATENCY]


@cocotb.test()
async def a_beat_waits_for_its_taker(top):
    host = Host(top)
    await host.begin()
    (asked,) = await host.read((0x80, 2))
    await ClockCycles(top.clk, LATENCY + 5)
    values, cycles = await host.beats(2)
    assert values == host.stored(0x80, 2)
    assert cycles == [asked + LATENCY + 6, asked + LATENCY + 7]


@cocotb.test()
async def writes_go_where_their_strobe_lets_them(top):
    host = Host(top)
    await host.begin()
    before = host.content
    asker = cocotb.start_soon(host.write_request.put(request(0x200, 3)))
    await host.write_data.put(0b1111 << 32 | 0x44332211)
    first = host.cycle()
    await asker
    await host.write_data.put(0b0000 << 32 | 0xFFFFFFFF)
    await host.write_data.put(0b1010 << 32 | 0x88776655)
    last, edge = host.cycle(), int(get_sim_time("ns"))
    assert last == first + 2
    await Timer(1, "ns")  # the memory has seen that edge too
    assert host.memory.last_write == edge
    await ClockCycles(top.clk, 2)
    assert host.content[0x200:0x204] == bytes([0x11, 0x22, 0x33, 0x44])
    assert host.content[0x204:0x208] == before[0x204:0x208]
    assert host.content[0x208:0x20C] == bytes([before[0x208], 0x66, before[0x20A], 0x88])
    assert host.memory.bytes_written == 6
    assert host.memory.idle


@cocotb.test()
async def reads_do_not_wait_for_writes(top):
    host = Host(top)
    await host.begin()
    taker = cocotb.start_soon(host.beats(4))
    writer = cocotb.start_soon(host.write_request.put(request(0x204, 2)))
    (asked,) = await host.read((0x80, 4))
    await writer
    _, cycles = await taker
    assert cycles == [asked + LATENCY + i for i in range(4)]
    assert not host.memory.idle  # the beats of the write are missing


async def reads_bad(top, address, beats, message):
    host = Host(top)
    await host.begin()
    await host.read((address, beats))
    await host.fails(message)


@cocotb.test()
async def a_read_below_the_regions_is_an_error(top):
    await reads_bad(top, 0x0C, 1, "read of 1 beats at 0x0000000c is not within x 0x00000010..0x0000004f or w")


@cocotb.test()
async def a_read_past_the_end_of_a_region_is_an_error(top):
    await reads_bad(top, 0x4C, 2, "read of 2 beats at 0x0000004c is not within")


@cocotb.test()
async def a_read_of_the_results_is_an_error(top):
    await reads_bad(top, 0x200, 1, "read of 1 beats at 0x00000200 is not within")


@cocotb.test()
async def a_read_that_is_not_aligned_is_an_error(top):
    await reads_bad(top, 0x82, 1, "read at 0x00000082 is not aligned to a beat of 4 bytes")


async def writes_bad(top, payloads, message):
    host = Host(top)
    await host.begin()
    address, beats, *strobes = payloads
    asker = cocotb.start_soon(host.write_request.put(request(address, beats)))
    for strobe in strobes:
        await host.write_data.put(strobe << 32)
    await asker
    await host.fails(message)


@cocotb.test()
async def a_write_outside_the_results_is_an_error(top):
    await writes_bad(top, (0x23C, 2), "write of 2 beats at 0x0000023c is not within y 0x00000200..0x0000023f")


@cocotb.test()
async def a_write_that_is_not_aligned_is_an_error(top):
    await writes_bad(top, (0x201, 1), "write at 0x00000201 is not aligned")


@cocotb.test()
async def a_strobe_on_a_gap_is_an_error(top):
    await writes_bad(top, (0x20C, 2, 0b1111, 0b0001), "byte 0x00000210 is written, but is no result's")


@cocotb.test()
async def more_beats_than_asked_for_are_an_error(top):
    await writes_bad(top, (0x200, 1, 0b1111, 0b1111), "a write beat is offered before its request")


@cocotb.test()
async def a_write_beat_before_its_request_is_an_error(top):
    host = Host(top)
    await host.begin()
    await host.write_data.put(0)
    await host.fails("a write beat is offered before its request")


async def until_stalled(host, name):
    """Offer on a stream until the memory does not take it in some cycle. Returns with the offer standing."""
    valid = getattr(host.top, f"host__{name}__valid")
    ready = getattr(host.top, f"host__{name}__ready")
    valid.value = 1
    await RisingEdge(host.top.clk)
    while ready.value:
        await RisingEdge(host.top.clk)


@cocotb.test()
async def an_offer_that_changes_while_it_waits_is_an_error(top):
    host = Host(top, seed=1)
    await host.begin()
    top.host__read_request__payload.value = request(0x80, 1)
    await until_stalled(host, "read_request")
    top.host__read_request__payload.value = request(0x84, 1)
    await host.fails("memory__read_request: the payload changed")


@cocotb.test()
async def an_offer_that_is_withdrawn_is_an_error(top):
    host = Host(top, seed=2)
    await host.begin()
    top.host__read_request__payload.value = request(0x80, 1)
    await until_stalled(host, "read_request")
    top.host__read_request__valid.value = 0
    await host.fails("memory__read_request: valid fell")


@cocotb.test()
async def nothing_is_lost_under_back_pressure(top):
    for seed in range(4):
        rng = random.Random(seed)
        host = Host(top, seed=seed)
        await host.begin()
        begin = host.cycle()
        bursts = [(0x80 + BEAT * rng.randrange(48), rng.randint(1, 16)) for _ in range(60)]
        want = [value for address, beats in bursts for value in host.stored(address, beats)]
        reader = cocotb.start_soon(host.read(*bursts))
        taker = cocotb.start_soon(host.beats(len(want)))
        writes = [(RESULTS.address + BEAT * i, 1) for i in rng.sample(range(4), 4)]
        expected = bytearray(host.content)

        async def write(writes=writes, host=host, rng=rng, expected=expected):
            for address, beats in writes:
                asker = cocotb.start_soon(host.write_request.put(request(address, beats)))
                data, strobe = rng.getrandbits(32), rng.getrandbits(4)
                for i in range(BEAT):
                    if strobe >> i & 1:
                        expected[address + i] = data >> (8 * i) & 0xFF
                await asker
                await host.write_data.put(strobe << 32 | data)

        writer = cocotb.start_soon(write())
        values, cycles = await taker
        asked = await reader
        await writer
        await ClockCycles(top.clk, 2)
        host.memory.check()
        assert values == want
        assert host.content == expected
        assert host.memory.idle
        # It did hold back, and no beat came before its time.
        assert cycles[-1] - begin > 1.3 * len(want)
        first = 0
        for cycle, (_, beats) in zip(asked, bursts, strict=True):
            assert cycles[first] >= cycle + LATENCY
            first += beats
        host.end()


@cocotb.test()
async def the_same_seed_gives_the_same_cycles(top):
    seen = []
    for _ in range(2):
        host = Host(top, seed=5)
        await host.begin()
        begin = host.cycle()
        taker = cocotb.start_soon(host.beats(40))
        await host.read(*[(0x80, 8)] * 5)
        seen.append([cycle - begin for cycle in (await taker)[1]])
        host.end()
    assert seen[0] == seen[1]


@cocotb.test()
async def an_expected_payload_passes_and_another_fails(top):
    host = Host(top)
    await host.begin()
    await host.read((0x80, 2))
    first, second = host.stored(0x80, 2)
    await host.read_data.expect(first)
    with pytest.raises(AssertionError, match=f"host__read_data: got {second:#x}, want {first:#x}"):
        await host.read_data.expect(first)


async def unknown_offer(top, name, payload):
    """Offer a payload with unknown bits, for which the simulator must know such."""
    host = Host(top)
    await host.begin()
    getattr(top, f"host__{name}__payload").value = LogicArray(payload)
    getattr(top, f"host__{name}__valid").value = 1
    return host


@cocotb.test(skip=VERILATOR)
async def a_valid_that_is_unknown_is_an_error(top):
    host = Host(top)
    await host.begin()
    top.host__write_request__valid.value = Logic("X")
    await host.fails("memory__write_request__valid is x, neither 0 nor 1")


@cocotb.test(skip=VERILATOR)
async def a_ready_that_is_unknown_is_an_error(top):
    host = Host(top)
    await host.begin()
    await host.read((0x80, 1))
    top.host__read_data__ready.value = Logic("X")
    await ClockCycles(top.clk, LATENCY)
    await host.fails("memory__read_data__ready is x, neither 0 nor 1")


@cocotb.test(skip=VERILATOR)
async def requests_with_unknown_bits_are_errors(top):
    for name in ("read_request", "write_request"):
        host = await unknown_offer(top, name, "0" * 32 + "X" + "0" * 7)
        await host.fails(f"memory__{name}__payload is unknown: ")
        host.end()


@cocotb.test(skip=VERILATOR)
async def bytes_and_strobes_with_unknown_bits_are_errors(top):
    for strobe, data, message in (
        ("00X0", "0" * 32, "the strobe of the byte at 0x00000201 is unknown"),
        ("0010", "0" * 18 + "X" + "0" * 13, "the byte written at 0x00000201 is unknown: 00x00000"),
    ):
        host = await unknown_offer(top, "write_data", strobe + data)
        cocotb.start_soon(host.write_request.put(request(0x200, 1)))
        await host.fails(message)
        host.end()
    host = await unknown_offer(top, "write_data", "0010" + "X" * 16 + "0" * 16)
    cocotb.start_soon(host.write_request.put(request(0x200, 1)))
    await RisingEdge(top.clk)
    top.host__write_data__valid.value = 0
    await ClockCycles(top.clk, 3)
    host.memory.check()
    assert host.memory.bytes_written == 1


@cocotb.test()
async def more_bursts_than_it_can_hold_are_an_error(top):
    host = Host(top)
    await host.begin()
    await host.read(*[(0x80, 1)] * 1025)
    await host.fails("1024 read bursts are outstanding")


@cocotb.test()
async def an_error_is_told_once_and_a_new_memory_begins_anew(top):
    host = Host(top)
    await host.begin()
    await host.read((0x82, 1))
    await host.fails("read at 0x00000082 is not aligned")
    host.end()
    host = Host(top)
    await host.begin()
    taker = cocotb.start_soon(host.beats(2))
    await host.read((0x80, 2))
    assert (await taker)[0] == host.stored(0x80, 2)
    host.memory.check()
    await Timer(1, "ns")
    assert host.memory.bytes_read == 2 * BEAT


@cocotb.test()
async def nothing_may_be_read_before_a_memory_is_there(top):
    host = Host(top)
    host.memory.load(0, [], Region("y", 0, 0))
    await host.begin()
    await host.read((0x80, 1))
    await host.fails("read of 1 beats at 0x00000080 is not within")
