"""No Switch on a signal of no bits: yosys drops its statements without a message."""

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.engine.accelerator import Accelerator
from rtl.lib.cases import cases
from rtl.params import Config


class Chooser(wiring.Component):
    """Out is the selector's value plus one, in `count` cases."""

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__({"selector": In(range(count)), "chosen": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = Signal(8)
        for value in cases(m, self.selector, self._count):
            m.d.sync += register.eq(value + 1)
        m.d.comb += self.chosen.eq(register)
        return m


@pytest.mark.parametrize("count", [1, 2, 5])
def test_cases_switch_on_something(count: int) -> None:
    text = rtlil.convert(Chooser(count))
    assert "switch {  }" not in text
    assert text.count("case 3'" if count == 5 else "case 1'") >= (count if count > 1 else 0)


@pytest.mark.parametrize(
    "config",
    [
        Config(n=1, m=2, rows=1, cols=1, port_bytes=1, max_tokens=1, max_k=2),
        Config(n=4, m=4, rows=2, cols=4, port_bytes=4, max_tokens=8, max_k=16),
        Config(n=3, m=16, rows=3, cols=5, max_tokens=8, max_k=32),
    ],
    ids=["1x1", "N=M", "3x5"],
)
def test_the_accelerator_has_no_empty_switch(config: Config) -> None:
    assert "switch {  }" not in rtlil.convert(Accelerator(config), emit_src=False)
