"""docs/engine.md: its registers are the hardware's, its example the memory image and what the golden layer gives."""

import re

import numpy as np

from nmgen.compiler.isa_page import DOCS, register_tables
from rtl.engine.register_table import REGISTERS
from rtl.params import BURST_BEATS, FIFO_BEATS, Config
from rtl.product import Product
from sim.golden import layer as golden
from sim.image import product as image

PAGE = (DOCS / "engine.md").read_text(encoding="utf-8")
PRODUCT = Product(
    config=Config(n=2, m=8, rows=2, cols=2, drain=2, port_bytes=8), tokens=2, k=10, channels=2, pattern_n=2
)


def test_registers() -> None:
    assert "\n".join(register_tables(REGISTERS)) in PAGE, "its tables are those of nmgen.compiler.isa_page"
    assert f"at most {BURST_BEATS} beats; reads of up to {FIFO_BEATS} beats" in PAGE


def test_example() -> None:
    """Its bytes, its registers, its results."""
    x = np.array([range(10, 101, 10), range(-1, -11, -1)], np.int8)
    w = np.array([[0, 5, 0, 0, -3, 0, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, -127, 1, 2]], np.int8)
    bias, mult, shift = np.array([100, -7]), np.array([40000, 32768]), np.array([20, 16])
    memory, regions = image.build(PRODUCT, x, w, bias, mult, shift), image.layout(PRODUCT)
    dumps = [bytes.fromhex(one[0]) for one in re.findall(r"```\n(((?:[0-9a-f]{2}\s)+))```", PAGE)]
    assert dumps == [memory[one.address : one.end].tobytes() for one in (regions.x, regions.w)]
    assert f"Activations at {regions.x.address}, weights at {regions.w.address}:" in PAGE
    table = re.findall(r"^\| `(\w+)` \| (0x\w+|\d+) \|", PAGE.partition("## An example")[2], re.MULTILINE)
    assert {name: int(value, 0) for name, value in table} == regions.registers(PRODUCT)
    y = golden.linear(x, w, bias, mult, shift, out_bits=8, per_row=False)
    said = re.search(r"results are (\S+) and (\S+) at (\d+) and (\d+), (\S+) and (\S+) at (\d+) and (\d+)\.", PAGE)
    assert said
    values, places = said.group(1, 2, 5, 6), said.group(3, 4, 7, 8)
    assert [int(value.replace("−", "-")) for value in values] == y.ravel().tolist()
    assert [int(place) for place in places] == (regions.y.address + image.result_offsets(PRODUCT)).ravel().tolist()
