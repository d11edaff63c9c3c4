"""The array's harness: its memories, and that synthesis leaves all of it there, with no register for two of them."""

import json
import random
import subprocess
from pathlib import Path

from amaranth.sim import Simulator

from nmgen.fpga.array_harness import ADDRESS_BITS, ArrayHarness, OperandMemory
from nmgen.fpga.tools import find_tool
from nmgen.verilog.writer import emit_modules
from rtl.params import Config

TINY = Config(n=1, m=2, rows=2, cols=2, max_k=32)
PERIOD = 1 << ADDRESS_BITS


def test_a_memory_reads_what_was_written_and_passes_on() -> None:
    width, place, word = 12, 77, 0b1011_0010_1101
    memory = OperandMemory(width, "other")

    async def bench(ctx):
        for bit in reversed(range(width)):
            ctx.set(memory.serial, word >> bit & 1)
            ctx.set(memory.address, place)
            ctx.set(memory.write, bit == 0)
            await ctx.tick()
        ctx.set(memory.write, 0)
        assert ctx.get(memory.serial_out) == word >> width - 1
        assert ctx.get(memory.write_out) == 1
        assert ctx.get(memory.address_out) == place
        for address, held in ((place + 1, 0), (place, word), (place - 1, 0)):
            ctx.set(memory.address, address)
            await ctx.tick()
            ctx.set(memory.address, 3)
            await ctx.tick().repeat(OperandMemory.LATENCY - 1)
            assert ctx.get(memory.data) == held

    simulator = Simulator(memory)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_operands_come_from_the_memories_and_results_reach_the_checksum() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    harness = ArrayHarness(TINY, "other")
    operands = [*harness.array.rows, *harness.array.columns]
    seen: list[list[int]] = [[] for _ in operands]
    checksums = []

    async def bench(ctx):
        ctx.set(harness.write, 1)
        for _ in range(2 * PERIOD):
            ctx.set(harness.serial, rng.randrange(2))
            await ctx.tick()
        ctx.set(harness.write, 0)
        for _ in range(PERIOD):  # what was written last leaves the array
            await ctx.tick()
        for _ in range(2 * PERIOD):
            await ctx.tick()
            for values, operand in zip(seen, operands, strict=True):
                values.append(ctx.get(operand.as_value()))
            checksums.append(ctx.get(harness.checksum))

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for values in (*seen, checksums):
        assert values[:PERIOD] == values[PERIOD:]
    assert all(len(set(values)) > PERIOD // 4 for values in seen)
    assert PERIOD // 4 < sum(checksums[:PERIOD]) < PERIOD * 3 // 4


def test_synthesis_keeps_everything_apart(tmp_path: Path) -> None:
    """All multipliers and memories stay; every memory has address registers of its own, whose values no other reads."""
    modules = emit_modules(ArrayHarness(TINY, "ecp5"), name="array_harness")
    (tmp_path / "design.v").write_text("\n".join(modules.values()))
    script = f"read_verilog design.v; synth_ecp5 -top {next(iter(modules))}; write_json net.json"
    subprocess.run([find_tool("yosys"), "-q", "-p", script], cwd=tmp_path, check=True)
    (netlist,) = (
        module
        for module in json.loads((tmp_path / "net.json").read_text())["modules"].values()
        if module["attributes"].get("top")
    )
    cells = netlist["cells"]
    kinds = [cell["type"] for cell in cells.values()]
    assert kinds.count("MULT18X18D") == TINY.rows * TINY.cols * TINY.n
    assert kinds.count("DP16KD") == 2 * 2 + 2 * 1  # 21 bits a row, 9 a column

    addresses: dict[str, set[int]] = {}
    for name, cell in cells.items():
        if cell["type"] == "DP16KD":
            ports = [f"AD{port}{4 + bit}" for port in "AB" for bit in range(ADDRESS_BITS)]
            memory = name.partition(".")[0]
            addresses.setdefault(memory, set()).update(cell["connections"][port][0] for port in ports)
    assert sorted(addresses) == ["column_memory_0", "column_memory_1", "row_memory_0", "row_memory_1"]
    assert all(len(own) == ADDRESS_BITS for own in addresses.values())
    assert len(set().union(*addresses.values())) == ADDRESS_BITS * len(addresses)
    local = set().union(*addresses.values())
    others = [
        name
        for name, cell in cells.items()
        if cell["type"] != "DP16KD"
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "input" and local & set(bits)
    ]
    assert not others, "an address register of a memory feeds something else, too"
