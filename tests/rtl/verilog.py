"""Runs the emitted Verilog of a Component in Icarus and records its ports in every cycle: `simulate.trace` of Verilog.

For what Amaranth's own simulator cannot run: Components with primitives of an FPGA in them.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from amaranth.hdl import Const, Shape
from amaranth.lib import wiring

from nmgen.verilog.writer import emit
from rtl.params import ceil_div
from sim.ecp5 import CELLS

BENCH = """\
module bench;
    reg clk = 0, rst = 1;
    reg [{inputs}:0] cycles [0:{last}];
    reg [{inputs}:0] in;
    wire [{outputs}:0] out;
    integer i;
    {top} dut (.clk(clk), .rst(rst){ports});
    initial begin
        $readmemh("inputs.hex", cycles);
        in = cycles[0];
        #1 clk = 1; #1 clk = 0; rst = 0;
        for (i = 0; i <= {last}; i = i + 1) begin
            in = cycles[i];
            #1 $display("%b", out);
            clk = 1; #1 clk = 0;
        end
        $finish;
    end
endmodule
"""
LONGEST = 600  # seconds of a simulation


def trace(dut: wiring.Component, cycles: Sequence[Mapping[str, Any]], *watch: Any) -> list[tuple[Any, ...]]:
    """Drives cycle i with the ports that cycles[i] names, the others stay; returns the watched ports' record.

    A reset of one cycle comes before. What is unknown in a cycle is None in the record; whatever else a design prints,
    a warning of the simulator's or the end of it, is an AssertionError.
    """
    with TemporaryDirectory() as name:
        return trace_text(emit(dut), "nmgen_top", dut, cycles, *watch, folder=Path(name))


def trace_text(
    text: str, top: str, dut: wiring.Component, cycles: Sequence[Mapping[str, Any]], *watch: Any, folder: Path
) -> list[tuple[Any, ...]]:
    """The same of any Verilog with the ports of dut."""
    ports = {"__".join(map(str, path)): (member, value) for path, member, value in dut.signature.flatten(dut)}
    bits = {name: Shape.cast(member.shape).width for name, (member, _) in ports.items()}
    inputs = [name for name, (member, _) in ports.items() if member.flow is wiring.In]
    outputs = [name for name in ports if name not in inputs]

    values = dict.fromkeys(inputs, 0)
    lines = []
    for cycle in cycles:
        for name, value in cycle.items():
            for port, one in _spread(name.replace(".", "__"), value):
                member, _ = ports[port]
                const = member.shape.const(one) if hasattr(member.shape, "const") else Const(one, member.shape)
                values[port] = getattr(const, "as_value", lambda const=const: const)().value & ((1 << bits[port]) - 1)
        word = 0
        for name in reversed(inputs):
            word = word << bits[name] | values[name]
        lines.append(word)

    connections, widths = [], []
    for vector, names in (("in", inputs), ("out", outputs)):
        low = 0
        for name in names:
            connections.append(f",\n        .{name}({vector}[{low} +: {bits[name]}])")
            low += bits[name]
        widths.append(low)
    digits = ceil_div(widths[0], 4)
    (folder / "inputs.hex").write_text("".join(f"{word:0{digits}x}\n" for word in lines))
    (folder / "bench.v").write_text(
        BENCH.format(
            inputs=widths[0] - 1, outputs=widths[1] - 1, last=len(lines) - 1, top=top, ports="".join(connections)
        )
    )
    (folder / "top.v").write_text(text)
    files = [folder / "bench.v", folder / "top.v", CELLS]
    _run(["iverilog", "-g2012", "-s", "bench", "-o", folder / "bench.vvp", *files], folder)
    said = _run(["vvp", "-n", "bench.vvp"], folder).splitlines()
    said = [line for line in said if "$finish called" not in line]
    assert len(said) == len(lines), "\n".join(said[-3:])
    unpacked = [list(_unpack(line, [bits[name] for name in outputs])) for line in said]

    def of(signal: Any) -> tuple[str, bool]:
        name = next(name for name, (_, value) in ports.items() if value is signal)
        return name, Shape.cast(ports[name][0].shape).signed

    columns = []
    for signal in watch:
        name, signed = of(signal)
        if name in inputs:
            low = sum(bits[before] for before in inputs[: inputs.index(name)])
            column = [word >> low & ((1 << bits[name]) - 1) for word in lines]
        else:
            column = [row[outputs.index(name)] for row in unpacked]
        if signed:
            half = 1 << (bits[name] - 1)
            column = [None if value is None else (value ^ half) - half for value in column]
        columns.append(column)
    return list(zip(*columns, strict=True))


def _spread(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The ports of an array of ports, or the one port."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _spread(f"{name}__{number}", one)
    else:
        yield name, value


def _unpack(line: str, widths: Sequence[int]) -> Iterator[int | None]:
    """Fields of a number in binary, the lowest first; None where a bit of it is unknown."""
    end = len(line)
    for width in widths:
        field = line[end - width : end]
        end -= width
        yield int(field, 2) if set(field) <= set("01") else None


def _run(command: Sequence[Any], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout
