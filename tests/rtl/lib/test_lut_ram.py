"""LUT RAM: what was written comes out, and no block RAM comes of it, even where its registers would invite one."""

from pathlib import Path

import pytest
from amaranth.sim import SimulatorContext

from nmgen.verilog.writer import emit_modules
from rtl.lib.lut_ram import DelayLine, LutMemory
from tests.nmgen.verilog.test_bundle import yosys
from tests.rtl.simulate import drive, run, seeded, trace


@pytest.mark.parametrize("component", [LutMemory(width=36, depth=256, part=256), DelayLine(width=36, cycles=100)])
def test_no_block_ram(component: LutMemory | DelayLine, tmp_path: Path) -> None:
    for name, text in emit_modules(component, name="lut_memory", prefix="t").items():
        (tmp_path / f"{name}.v").write_text(text)
    script = "read_verilog *.v\nsynth_ecp5 -noabc9 -run begin:map_gates -top t_lut_memory\n"
    yosys(script + "select -assert-none t:DP16KD t:PDPW16KD\nselect -assert-min 1 t:TRELLIS_DPR16X4", tmp_path)


@pytest.mark.parametrize(("depth", "part"), [(1, 32), (2, 32), (31, 32), (32, 32), (33, 32), (64, 16), (100, 4)])
def test_words_come_out_as_they_went_in(depth: int, part: int) -> None:
    """Two cycles after their address, of a word that was written in the cycle before it or earlier."""
    rng = seeded(depth, part)
    dut = LutMemory(width=9, depth=depth, part=part)
    kept = [0] * depth  # as it begins
    read = [0] * LutMemory.LATENCY  # the oldest first

    async def testbench(ctx: SimulatorContext) -> None:
        for cycle in range(600):
            write = {"enable": rng.random() < 0.5, "address": rng.randrange(depth), "data": rng.getrandbits(9)}
            address = rng.choice([rng.randrange(depth), write["address"]])
            drive(ctx, dut, {"write": write, "read_address": address})
            _, _, out = await ctx.tick().sample(dut.read_data)
            assert cycle < LutMemory.LATENCY or out == read[0]
            read[:] = [*read[1:], kept[address]]
            if write["enable"]:
                kept[write["address"]] = write["data"]

    run(dut, testbench, limit=600)


@pytest.mark.parametrize("cycles", [2, 3, 6, 8, 9, 17])
def test_delay_line(cycles: int) -> None:
    rng = seeded(cycles)
    values = [rng.getrandbits(13) for _ in range(200)]
    dut = DelayLine(13, cycles)
    record = trace(dut, [{"input": value} for value in values], dut.output)
    assert [output for (output,) in record[cycles:]] == values[: len(values) - cycles]
