"""Testbenches in plain Verilog: an external memory, products or a program with their results, and the verdict.

The texts are in nmgen/verilog/testbenches: memory.v with port.v or axi.v is what engine.v and program.v stand on.

Operands come from Python's own generator with a fixed seed, so that the same configuration gives the same bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from nmgen.compiler.random_instructions import random_instructions
from nmgen.estimate.cycles import Constants, estimate, total
from rtl.engine.cycles import product_cycles
from rtl.engine.register_table import REGISTERS
from rtl.format import selection_coding
from rtl.lib.register_map import Register
from rtl.params import BIAS_BITS, MULT_BITS, SHIFT_MAX, Config, round_up
from rtl.product import Product
from rtl.sta.isa import BYTES
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS as STA_REGISTERS
from sim.golden import layer as golden
from sim.golden.checked import with_dumps
from sim.golden.machine import Machine
from sim.image import product as image

LATENCY = 30
TEXTS = Path(__file__).resolve().parent / "testbenches"
KINDS = ("product", "attention", "load", "norm", "product", "pool", "gather", "table", "attention", "product", "norm")
UNTOUCHED = 0x5A  # every byte that nothing was put into


@dataclass(frozen=True)
class Case:
    """A product to run, with random or extreme operands, and with a memory that stalls at random or never."""

    product: Product
    extreme: bool
    stalls: bool


def cases(config: Config) -> list[Case]:
    """Small products that reach each coding of the selection, both widths, per channel and per row, and all edges."""
    m = config.m
    bitmap = [n for n in range(1, m) if selection_coding(n, m) == "bitmap"]
    patterns = sorted({1, config.n, *bitmap[:1], m})
    shapes = []
    for i, n in enumerate(patterns):
        tokens = min(config.max_tokens, config.rows + 1 + i % 2)
        shapes.append((tokens, min(config.max_k, 2 * m + 1 + i), config.cols + 1 + i % 3, n, (8, 16)[i % 2], False))
    shapes.append((1, min(config.max_k, 2 * m), 1, config.n, 16, False))
    shapes.append((min(config.max_tokens, 2 * config.rows + 1), m, 1, m, 8, True))
    return [
        Case(
            Product(config=config, tokens=tokens, k=k, channels=channels, pattern_n=n, out_bits=bits, per_row=per_row),
            extreme=i % 3 == 1,
            stalls=i % 2 == 1,
        )
        for i, (tokens, k, channels, n, bits, per_row) in enumerate(shapes)
    ]


def operands(case: Case, random: Random) -> tuple[NDArray[np.int8], NDArray[np.int8], list[NDArray[np.int64]]]:
    """x, w, and bias, mult and shift: full range, or everything at an end of its range."""
    product = case.product
    m = product.config.m

    def pick(low: int, high: int, count: int) -> list[int]:
        ends = (low, high)
        return [random.choice(ends) if case.extreme else random.randint(low, high) for _ in range(count)]

    x = np.array(pick(-128, 127, product.tokens * product.k), np.int8).reshape(product.tokens, product.k)
    w = np.array(pick(-127, 127, product.channels * product.k), np.int8).reshape(product.channels, product.k)
    for channel in range(product.channels):
        for start in range(0, product.k, m):
            group = range(start, min(start + m, product.k))
            keep = random.sample(group, min(product.pattern_n, len(group)))
            w[channel, [position for position in group if position not in keep]] = 0
    count = product.tokens if product.per_row else product.channels
    half = 1 << (BIAS_BITS - 1)
    if case.extreme:
        bias, mult, shift = (
            pick(-half, half - 1, count),
            pick(0, (1 << MULT_BITS) - 1, count),
            pick(1, SHIFT_MAX, count),
        )
    else:
        # Results of about the size of the output, some of them beyond its ends.
        bits = (product.k * product.pattern_n // m).bit_length() // 2 + 13 + 15 - product.out_bits
        bias, mult = pick(-(1 << 14), 1 << 14, count), pick(1 << 12, (1 << MULT_BITS) - 1, count)
        shift = pick(bits, bits + 2, count)
    return x, w, [np.array(values, np.int64) for values in (bias, mult, shift)]


def engine(config: Config, prefix: str, command: str) -> dict[str, str]:
    """The engine's testbench, under its name; command is how to run it."""
    random = Random(1)
    everything = cases(config)
    layouts = [image.layout(case.product) for case in everything]
    words = max(layout.size for layout in layouts) // config.port_bytes
    loads, runs = [], []
    for i, (case, layout) in enumerate(zip(everything, layouts, strict=True)):
        product = case.product
        x, w, (bias, mult, shift) = operands(case, random)
        memory = image.build(product, x, w, bias, mult, shift)
        y = golden.linear(x, w, bias, mult, shift, out_bits=product.out_bits, per_row=product.per_row)
        results = np.full(product.tokens * product.y_stride, UNTOUCHED, np.uint8)
        for byte in range(product.out_bits // 8):
            results[image.result_offsets(product) + byte] = (y.astype(np.int64) >> 8 * byte).astype(np.uint8)
        loads += [f"  task load_{i};", "    begin"]
        for region in (layout.x, layout.w, layout.r):
            loads += _words("memory", config, region.address, memory[region.address : region.end])
        loads.append("      remember;")
        loads += [*_words("expected", config, layout.y.address, results), "    end", "  endtask", ""]
        runs += _run(i, case, layout)
    count = sum(case.product.tokens * case.product.channels for case in everything)
    verdict = f'    $display("PASS {count} results");'
    values = {
        "command": command,
        "words": words,
        "cols": config.cols,
        "untouched": f"{UNTOUCHED:02x}",
        "others": "",
        "products": "\n".join([*loads, "  initial begin", "    reset;", *runs, verdict]),
    }
    return {f"{prefix}_tb.v": _filled("engine", config, prefix, REGISTERS, "port", values)}


def sta(config: StaConfig, prefix: str, command: str, bus: str = "port") -> dict[str, str]:
    """STA's testbench and the memory that it reads; bus is what is around it: port or axi.

    The program is of the sizes of a small configuration, so that it is short on a large one. Where the store has not
    even three words a token, or a word is longer than any token, there is none.
    """
    tokens = min(config.max_tokens, config.rows + (1 if config.store_words >= 6 else 0))
    small = replace(
        config,
        max_tokens=tokens,
        max_k=min(config.max_k, max(2 * config.m + 1, config.store_word_bytes)),
        hidden=min(config.hidden, config.cols + 1),
        store_words=min(config.store_words, 12),
    )
    if small.store_words < 3 or small.max_groups * small.m < small.store_word_bytes:
        return {}
    program, memory = random_instructions(Random(1), small, each=KINDS)
    end = len(memory)
    code, dumps, after = with_dumps(small, program.instructions, end)
    address = round_up(after, max(BYTES, config.port_bytes))
    before = np.full(round_up(address + len(code), config.port_bytes), UNTOUCHED, np.uint8)
    before[:end] = memory
    before[address : address + len(code)] = np.frombuffer(code, np.uint8)
    machine = Machine(config, before, address=address)
    machine.finish()
    cycles = total(program, estimate(program, Constants(memory=LATENCY)))["cycles"]
    first = end // config.port_bytes
    images = {f"{prefix}_memory.hex": _hex(config, before)}
    images[f"{prefix}_results.hex"] = f"@{first:x}\n{_hex(config, machine.memory[first * config.port_bytes : address])}"
    ports = "    .fault(1'b0),\n    .fault_address(32'd0),\n    .execute(),\n    .finished(),\n    .irq(),\n"
    values = {
        "command": command,
        "words": len(before) // config.port_bytes,
        "limit": 4 * cycles + 1000 * len(dumps) + 10000,
        "program": address,
        "image": f"testbench/{prefix}_memory.hex",
        "results": f"testbench/{prefix}_results.hex",
        "others": ports,
        "places": "\n".join(f"  //   {dump.address}: {program.names[dump.number]}, {dump.where}" for dump in dumps),
        "count": sum(dump.tokens * dump.size // (2 if dump.where == "residual" else 1) for dump in dumps),
    }
    return {f"{prefix}_tb.v": _filled("program", config, prefix, STA_REGISTERS, bus, values), **images}


def axi_sta(config: StaConfig, prefix: str, command: str) -> dict[str, str]:
    return sta(config, prefix, command, "axi")


def _filled(
    name: str,
    config: Config,
    prefix: str,
    registers: Mapping[str, Register],
    bus: str,
    values: Mapping[str, object],
) -> str:
    """A text of nmgen/verilog/testbenches with its <<names>> filled in."""
    known: dict[str, object] = {}
    for register in registers.values():
        known[f"at_{register.name}"] = f"8'h{register.offset:02x}"
        known |= {f"{register.name}_{field.name}": f"32'd{field.mask}" for field in register.fields}
    known |= {"prefix": prefix, "latency": LATENCY, "bytes": config.port_bytes}
    known |= {"identification": f"{config.identification:08x}", **values}

    def fill(which: str) -> str:
        text = (TEXTS / f"{which}.v").read_text(encoding="ascii")
        return re.sub(r"<<(\w+)>>\n?", lambda match: str(known[match[1]]) + match[0][len(match[1]) + 4 :], text)

    known |= {"memory": fill("memory"), "bus": fill(bus)}
    return fill(name)


def _hex(config: Config, content: NDArray[np.uint8]) -> str:
    """For $readmemh: a beat on each line, its last byte first."""
    beat = config.port_bytes
    return "".join(f"{content[i : i + beat].tobytes()[::-1].hex()}\n" for i in range(0, len(content), beat))


def _words(array: str, config: Config, address: int, content: NDArray[np.uint8]) -> list[str]:
    beat = config.port_bytes
    return [
        f"      {array}[{(address + i) // beat}] = {8 * beat}'h{content[i : i + beat].tobytes()[::-1].hex()};"
        for i in range(0, len(content), beat)
    ]


def _run(number: int, case: Case, layout: image.Layout) -> list[str]:
    """Load, describe to the accelerator, start, wait and compare one product."""
    product = case.product
    c = product.config
    what = f"{product.tokens} tokens, K {product.k}, {product.channels} channels, {product.pattern_n}:{c.m}"
    how = f"{product.out_bits} bits, per {'row' if product.per_row else 'channel'}"
    kind = f"{'extreme' if case.extreme else 'random'} operands, memory {'stalls' if case.stalls else 'never stalls'}"
    cycles = 0
    if not case.stalls:
        cycles = product_cycles(
            c,
            product.tokens,
            product.k,
            product.channels,
            product.pattern_n,
            LATENCY,
            out_bits=product.out_bits,
            per_row=product.per_row,
        )
    writes = [
        f"    write_register(8'h{REGISTERS[name].offset:02x}, 32'h{value:08x});  // {name}"
        for name, value in layout.registers(product).items()
    ]
    out_bytes = product.out_bits // 8
    limit = 20 * product_cycles(c, product.tokens, product.k, product.channels, product.pattern_n, LATENCY) + 10000
    return [
        "",
        f"    // {what}, {how}; {kind}",
        f"    clear({number}, 1'b{int(case.stalls)});",
        f"    load_{number};",
        *writes,
        f"    run({limit}, {cycles});",
        f"    compare({layout.y.address}, {product.y_stride}, {c.pitch(out_bytes)}, {out_bytes});",
    ]
