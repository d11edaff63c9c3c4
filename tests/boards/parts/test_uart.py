"""The transmitter: frames decoded from the pin in the middle of each bit, back to back and with gaps."""

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.uart import Transmitter, baud_divisor
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
