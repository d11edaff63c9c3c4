"""Processing elements of carry chains: each product there is, and the sums, cycle by cycle those of the DSP slices."""

import re
import subprocess
from itertools import product
from pathlib import Path

import pytest

from nmgen.verilog.writer import emit
from rtl.array.ecp5.adder import SUM, SUM_OF_INVERTED
from rtl.array.ecp5.pe import SliceProcessingElement
from rtl.array.ecp5.soft import SoftProcessingElement
from rtl.array.grid import Array
from rtl.params import Config
from sim.ecp5 import CELLS
from tests.rtl.simulate import seeded
from tests.rtl.steps import Step, idle, make_sum, results_of
from tests.rtl.verilog import trace, trace_text

TERMS = 64  # of the longest sum
CONFIGURATIONS = [
    Config(n=n, m=m, rows=1, cols=1, max_tokens=4, max_k=TERMS, pe="ecp5", soft_rows=1)
    for n, m in ((1, 2), (2, 8), (3, 4), (5, 16))
]
EVERY = pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda c: f"{c.n}:{c.m}")

ALL_PRODUCTS = """\
module bench;
    reg clk = 0;
    reg signed [9:0] a;
    reg signed [8:0] w;
    wire signed [{bits}:0] result;
    reg signed [{bits}:0] want [1:{latency}];
    integer number = 0, i;
    wire [19:0] row = {{3'b111, a > 127, 8'd0, a[7:0]}};
    wire [8:0] column = {{1'b0, w[7:0]}};
    nmgen_top dut (.clk(clk), .rst(1'b0), .row_in(row), .column_in(column), .result(result));
    initial begin
        for (a = -128; a < 256; a = a + 1)
            for (w = -128; w < 128; w = w + 1) begin
                #1 if (number >= {latency} && result !== want[{latency}])
                    $fatal(1, "%0d instead of %0d", result, want[{latency}]);
                for (i = {latency}; i > 1; i = i - 1) want[i] = want[i - 1];
                want[1] = a * w;
                number = number + 1;
                clk = 1; #1 clk = 0;
            end
        $display("%0d products", number);
        $finish;
    end
endmodule
"""


def chain(init: int, bits: list[tuple[int, int, int, int]], carry: int) -> int:
    """The sum of a carry chain with inputs A, B, C, D of each bit: Lattice's cell, a half after the other."""
    total = 0
    for i, (a, b, c, d) in enumerate(bits):
        propagate = init >> (8 * d + 4 * c + 2 * b + a) & 1
        total |= (propagate ^ carry) << i
        carry = carry if propagate else init >> (2 * b + a) & 1
    return total


@pytest.mark.parametrize("inverted", [False, True])
def test_functions_of_the_cells(inverted: bool) -> None:
    """For all numbers of three bits, gates and carries."""
    init = (SUM_OF_INVERTED if inverted else SUM).value
    for first, second, first_gate, second_gate, carry in product(range(8), range(8), range(2), range(2), range(2)):
        bits = [(first >> i & 1, first_gate, second >> i & 1, second_gate) for i in range(3)]
        want = ((~first if inverted else first) * first_gate + second * second_gate + carry) % 8
        assert chain(init, bits, carry) == want, (first, first_gate, second, second_gate, carry)


def test_all_products(tmp_path: Path) -> None:
    """-128 to 255 times 256 weights, one a cycle: sums of one step each."""
    config = CONFIGURATIONS[0]
    (tmp_path / "top.v").write_text(emit(SoftProcessingElement(config)))
    (tmp_path / "bench.v").write_text(ALL_PRODUCTS.format(bits=config.accumulator_bits - 1, latency=config.pe_latency))
    for command in (
        ["iverilog", "-g2012", "-s", "bench", "-o", "bench.vvp", "bench.v", "top.v", str(CELLS)],
        ["vvp", "-n", "bench.vvp"],
    ):
        done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
    assert f"{384 * 256} products" in done.stdout


@EVERY
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_sums(config: Config, share: float) -> None:
    """Of one step and of several, the longest too, back to back and with idle cycles; beside an element of slices."""
    rng = seeded(config.n, config.m, share)
    steps: list[Step] = []
    for _ in range(30):
        steps += make_sum(config, rng, rng.choice(["random", "ends"]), config.n * rng.choice([1, 1, 2, 3, 7]), share)
    for kind in ("highest", "lowest"):
        steps += make_sum(config, rng, kind, TERMS, share)
    steps += idle(config, rng, config.pe_latency + 2)

    inputs = [{"row_in": step.row(0), "column_in": step.columns[0]} for step in steps]
    pe, of_slices = SoftProcessingElement(config), SliceProcessingElement(config)
    record = trace(pe, inputs, pe.result, pe.row_out, pe.column_out, pe.row_in, pe.column_in)
    same = trace(of_slices, inputs, of_slices.result)
    want = results_of(steps, 0, 0, config.pe_latency, len(steps))
    for cycle, ((result, row_out, column_out, _, _), (beside,)) in enumerate(zip(record, same, strict=True)):
        if want[cycle] is not None:
            assert result == beside == want[cycle], f"cycle {cycle}"
        if cycle:
            assert row_out == record[cycle - 1][3], f"cycle {cycle}: what goes on to the right"
            assert column_out == record[cycle - 1][4], f"cycle {cycle}: what goes on downwards"
    assert {TERMS * 255 * 127, -TERMS * 255 * 128} <= {row[0] for row in record}


def test_rows_of_either_kind(tmp_path: Path) -> None:
    """The last rows are of LUTs, and get from the rows above what those get."""
    rows, cols = 3, 2
    config = Config(n=2, m=4, rows=rows, cols=cols, max_tokens=rows, max_k=TERMS, pe="ecp5", soft_rows=2)
    array = Array(config)
    text = emit(array)
    module = {name: module for module, name in re.findall(r"^  (\w+) (?:#\(.*?\) )?(pe_\d_\d) \(", text, re.M | re.S)}
    assert len(module) == rows * cols
    assert module["pe_0_0"] == module["pe_0_1"]
    assert {module[f"pe_{r}_{c}"] for r in (1, 2) for c in range(cols)} == {module["pe_1_0"]}
    of_luts = re.search(rf"^module {module['pe_1_0']} .*?^endmodule", text, re.M | re.S)
    assert of_luts is not None
    assert " accumulate (" in of_luts[0], "an adder of its own"

    rng = seeded("mixed")
    steps: list[Step] = idle(config, rng, rows + cols)
    for _ in range(20):
        steps += make_sum(config, rng, rng.choice(["random", "ends"]), config.n * rng.choice([1, 1, 2, 5]), 0.3)
    steps += idle(config, rng, config.pe_latency + rows + cols)
    inputs = [
        {
            "rows": [steps[max(cycle - r, 0)].row(r) for r in range(rows)],
            "columns": [steps[max(cycle - c, 0)].columns[c] for c in range(cols)],
        }
        for cycle in range(len(steps))
    ]
    watch = [array.results[r][c] for r in range(rows) for c in range(cols)]
    record = trace_text(text, "nmgen_top", array, inputs, *watch, folder=tmp_path)
    for r, c in product(range(rows), range(cols)):
        want = results_of(steps, r, c, config.pe_latency + r + c, len(steps))
        for cycle, results in enumerate(record):
            if want[cycle] is not None:
                assert results[r * cols + c] == want[cycle], f"element ({r}, {c}) in cycle {cycle}"
