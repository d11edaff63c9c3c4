"""Lines and numbers as the printer writes them, equal to Python's own formatting."""

import pytest
from amaranth.sim import Simulator, SimulatorContext

from boards.parts.printer import Printer
from sim.bench.amaranth_stream import stream_get, stream_put
from sim.bench.gaps import Gaps

LINES = {
    "plain": "PASS\r\n",
    "padded": "cycles {cycles:7} ok\n",
    "signed": "got {got} want {want}.",
    "alone": "{got}",
}


def printed(name: str, values: dict[str, int], seed: str | None = None) -> str:
    printer = Printer(LINES, ("cycles", "got", "want"))
    want = LINES[name].replace(":7}", ":07}").format(**values)
    text = []

    async def ask(ctx: SimulatorContext) -> None:
        for i, field in enumerate(("cycles", "got", "want")):
            ctx.set(printer.values[i], values[field])
        await stream_put(ctx, printer.line, printer.number[name])
        await ctx.tick().until(printer.line.ready)

    async def take(ctx: SimulatorContext) -> None:
        gaps = Gaps(seed)
        for _ in want:
            text.append(chr(await stream_get(ctx, printer.characters, gaps=gaps)))

    simulator = Simulator(printer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(ask)
    simulator.add_testbench(take)
    simulator.run()
    assert "".join(text) == want
    return want


@pytest.mark.parametrize("value", [0, 7, 10, 99, 100, 32767, -1, -10, -32768, 65535, 9999999])
def test_numbers(value: int) -> None:
    assert printed("signed", {"cycles": 0, "got": value, "want": -value}) == f"got {value} want {-value}."
    assert printed("alone", {"cycles": 0, "got": value, "want": 1}) == str(value)


@pytest.mark.parametrize("value", [0, 285, 1234567])
def test_padded(value: int) -> None:
    assert printed("padded", {"cycles": value, "got": 0, "want": 0}, "gaps") == f"cycles {value:07} ok\n"


def test_plain_text_waits_for_its_taker() -> None:
    assert printed("plain", {"cycles": 0, "got": 0, "want": 0}, "slow") == "PASS\r\n"
