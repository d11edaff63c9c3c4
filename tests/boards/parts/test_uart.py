"""The transmitter: frames decoded from the pin in the middle of each bit. The receiver: clocks that are off."""

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.uart import DIVISOR_MIN, Receiver, Transmitter, baud_divisor
from rtl.params import InputError
from sim.bench.amaranth_stream import stream_put
from sim.bench.gaps import Gaps

TEXT = bytes([0x00, 0xFF, 0x55, 0xAA, ord("P"), ord("A"), 0x01, 0x80])


def sent(divisor: int, text: bytes, seed: str | None, cycles: int) -> list[int]:
    """The pin in each cycle while the text is sent."""
    uart = Transmitter(divisor)
    levels: list[int] = []

    async def put(ctx: SimulatorContext) -> None:
        gaps = Gaps(seed)
        for character in text:
            await stream_put(ctx, uart.characters, character, gaps=gaps)

    async def watch(ctx: SimulatorContext) -> None:
        for _ in range(cycles):
            _, _, level = await ctx.tick().sample(uart.tx)
            levels.append(level)

    simulator = Simulator(uart)
    simulator.add_clock(1e-6)
    simulator.add_testbench(put)
    simulator.add_testbench(watch)
    simulator.run()
    return levels


def decoded(levels: list[int], divisor: int) -> bytes:
    """The characters, each bit taken in its middle."""
    text = bytearray()
    at = 0
    while at < len(levels):
        if levels[at]:
            at += 1
            continue
        bits = [levels[at + bit * divisor + divisor // 2] for bit in range(10)]
        assert (bits[0], bits[9]) == (0, 1), f"frame at cycle {at} is {bits}"
        text.append(sum(bit << i for i, bit in enumerate(bits[1:9])))
        at += 9 * divisor + divisor // 2
    return bytes(text)


@pytest.mark.parametrize("divisor", [1, 2, 7, 16])
@pytest.mark.parametrize("seed", [None, "gaps"])
def test_frames(divisor: int, seed: str | None) -> None:
    levels = sent(divisor, TEXT, seed, (10 * divisor + 80) * len(TEXT))
    assert decoded(levels, divisor) == TEXT


def test_back_to_back_frames_have_no_gap_and_exact_bits() -> None:
    levels = sent(3, b"\x55\x0f", None, 80)
    first = levels.index(0)
    frames = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, *(0, 1, 1, 1, 1, 0, 0, 0, 0, 1)]
    assert levels[:first] == [1] * first
    assert levels[first : first + 60] == [level for level in frames for _ in range(3)]
    assert levels[first + 60 :] == [1] * (20 - first)
    assert first == 1


def test_divisor() -> None:
    assert baud_divisor(50e6, 115200) == 434
    assert baud_divisor(115200, 115200) == 1
    with pytest.raises(InputError, match=r"baud rate is 115200, must divide 0\.2 MHz to within 2 %"):
        baud_divisor(200e3, 115200)
    with pytest.raises(InputError, match=r"^baud rate is 20000000, must be at most 12500000 at 50 MHz$"):
        baud_divisor(50e6, 20_000_000, least=DIVISOR_MIN)


def received(levels: list[int], divisor: int) -> bytes:
    """The characters that come in by these levels of the pin, one a cycle."""
    uart = Receiver(divisor)
    text = bytearray()

    async def drive(ctx: SimulatorContext) -> None:
        for level in [1] * 5 + levels + [1] * (2 * divisor + 5):
            ctx.set(uart.rx, level)
            _, _, valid, byte = await ctx.tick().sample(uart.valid, uart.byte)
            if valid:
                text.append(byte)

    simulator = Simulator(uart)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return bytes(text)


def levels_of(text: bytes, bit_cycles: float, begin: float) -> list[int]:
    """Characters without gaps, by a sender whose bits take that many of our cycles."""
    bits = [bit for byte in text for bit in (0, *(byte >> i & 1 for i in range(8)), 1)]
    return [bits[int((cycle - begin) / bit_cycles)] for cycle in range(1, int(len(bits) * bit_cycles + begin))]


@pytest.mark.parametrize("divisor", [DIVISOR_MIN, 17, 64])
@pytest.mark.parametrize("error", [-0.02, 0, 0.02])
@pytest.mark.parametrize("begin", [0.0, 0.5, 0.99])
def test_characters_of_a_clock_that_is_off(divisor: int, error: float, begin: float) -> None:
    assert received(levels_of(TEXT, divisor * (1 + error), begin), divisor) == TEXT


def test_a_character_without_a_stop_bit_is_dropped() -> None:
    broken = [0] * 9 * 8 + [0] * 30 + [1] * 20
    assert received([*broken, *levels_of(b"U", 8, 0)], 8) == b"U"
