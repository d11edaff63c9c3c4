"""Registers by name: when they have what, and that synthesis leaves the copies and gates that it is to leave."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.timing import (
    align,
    cleared,
    gated,
    hard_register,
    lookahead,
    preload,
    registered,
    relay,
    replicate,
    tally,
)
from tests.nmgen.equivalence import yosys
from tests.rtl.simulate import seeded, trace

Make = Callable[[Module, Signal, Signal], Any]


class Made(wiring.Component):
    """What a function makes of a byte and a bit."""

    def __init__(self, make: Make) -> None:
        self._make = make
        super().__init__({"value": In(8), "bit": In(1), "out": Out(16)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.out.eq(self._make(m, self.value, self.bit))
        return m


@pytest.mark.parametrize(
    ("make", "cycles"),
    [
        (lambda m, value, _: align(m, value, 1, name="x"), 1),
        (lambda m, value, _: align(m, value, 5, name="x", reset=True), 5),
        (lambda m, value, _: relay(m, value, name="x"), 1),
        (lambda m, value, _: relay(m, value, cycles=3, name="x"), 3),
        (lambda m, value, _: registered(m, value, name="x"), 1),
        (lambda m, value, _: hard_register(m, value, cycles=2, name="x"), 2),
        (lambda m, value, _: replicate(m, value, name="x", distinct_init=0xFF), 1),
    ],
)
def test_a_value_comes_so_many_cycles_later(make: Make, cycles: int) -> None:
    rng = seeded(cycles)
    values = [rng.getrandbits(8) for _ in range(20)]
    dut = Made(make)
    record = trace(dut, [{"value": value} for value in values], dut.out)
    assert [out for (out,) in record[cycles : len(values)]] == values[: len(values) - cycles]


def test_a_copy_with_an_enable_keeps_what_it_had() -> None:
    rng = seeded(1)
    given = [(rng.getrandbits(8), rng.getrandbits(1)) for _ in range(50)]
    dut = Made(lambda m, value, bit: replicate(m, value, name="x", enable=bit))
    record = trace(dut, [{"value": value, "bit": bit} for value, bit in given], dut.out)
    kept = 0
    for (value, bit), (out,) in zip(given, record, strict=False):
        assert out == kept
        kept = value if bit else kept


def test_gates() -> None:
    dut = Made(lambda _, value, bit: Cat(gated(value, bit), cleared(value, bit)))
    record = trace(dut, [{"value": 0xA5, "bit": bit} for bit in (0, 1)], dut.out)
    assert [out for (out,) in record[:2]] == [0xA500, 0x00A5]


def test_flags_and_preloads_are_registers() -> None:
    def make(m: Module, value: Signal, bit: Signal) -> Signal:
        flag, loaded = Signal(), Signal(8)
        lookahead(m, flag, bit)
        with preload(m, ~bit):
            m.d.sync += loaded.eq(value)
        return Cat(flag, loaded)

    dut = Made(make)
    given = [(3, 0), (5, 1), (7, 1), (9, 0), (0, 0)]
    record = trace(dut, [{"value": value, "bit": bit} for value, bit in given], dut.out)
    assert [(out & 1, out >> 1) for (out,) in record[1:5]] == [(0, 3), (1, 3), (1, 3), (0, 9)]


class Counted(wiring.Component):
    def __init__(self, most: int) -> None:
        self._most = most
        flags = {name: Out(1) for name in ("none", "full", "next_none")}
        super().__init__({"more": In(1), "less": In(1), "count": Out(range(most + 1)), **flags})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        made = tally(m, self._most, self.more, self.less, name="x")
        m.d.comb += [getattr(self, name).eq(value) for name, value in made._asdict().items()]
        return m


@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_tally(most: int) -> None:
    rng = seeded(most)
    count, given, expected = 0, [], []
    for i in range(400):
        rises = (0.9, 0.5, 0.1)[i // 40 % 3]
        less = count > 0 and rng.random() > rises
        more = (count < most or less) and rng.random() < rises
        after = count + more - less
        given.append({"more": int(more), "less": int(less)})
        expected.append((count, count == 0, count == most, after == 0))
        count = after
    dut = Counted(most)
    record = trace(dut, given, dut.count, dut.none, dut.full, dut.next_none)
    assert record[: len(expected)] == expected


def synthesised(make: Make, folder: Path) -> dict[str, int]:
    """How many flip-flops of each kind yosys makes."""
    (folder / "dut.il").write_text(rtlil.convert(Made(make), name="dut", emit_src=False))
    said = yosys("read_rtlil dut.il\nsynth -flatten -noabc -top dut\nstat", folder)
    cells = said[said.rindex("=== dut ===") :]
    lines = (re.search(r"(\d+)\s+(\$_S?DFF\w*)|(\$_S?DFF\w*)\s+(\d+)", line) for line in cells.splitlines())
    return {found[2] or found[3]: int(found[1] or found[4]) for found in lines if found}


@pytest.mark.parametrize(
    ("make", "copies"),
    [
        (lambda m, v, _: Cat(relay(m, v, name="a"), relay(m, v, name="b")), 1),
        (lambda m, v, _: Cat(replicate(m, v, name="a"), replicate(m, v, name="b", distinct_init=0xFF)), 2),
        (lambda m, v, bit: Cat(replicate(m, v, name="a"), replicate(m, v, name="b", enable=bit)), 2),
        (lambda m, v, _: Cat(replicate(m, v, name="a"), ~replicate(m, ~v, name="b")), 2),
        (lambda m, v, _: Cat(a := replicate(m, v, name="a"), replicate(m, a, name="b")), 2),
    ],
)
def test_synthesis_merges_registers_but_not_replicas(make: Make, copies: int, tmp_path: Path) -> None:
    assert sum(synthesised(make, tmp_path).values()) == 8 * copies


def test_gates_are_no_reset(tmp_path: Path) -> None:
    chosen = synthesised(lambda m, value, bit: registered(m, Mux(bit, value, 0), name="x"), tmp_path)
    assert all("SDFF" in kind for kind in chosen)
    assert sum(chosen.values()) == 8
    by_gates = synthesised(lambda m, value, bit: registered(m, gated(value, bit), name="x"), tmp_path)
    assert by_gates
    assert all("SDFF" not in kind for kind in by_gates)
