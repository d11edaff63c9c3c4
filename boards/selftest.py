"""The self-test image: the accelerator, a layer built into block RAM, and a report of how it runs.

No pins and no clocks here: `boards.board` puts those around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from boards.parts.heartbeat import heartbeat
from boards.parts.printer import VALUE_BITS, Printer
from boards.parts.uart import Transmitter, baud_divisor
from rtl.engine.accelerator import Accelerator
from rtl.engine.register_table import REGISTERS, register_values
from rtl.lib.port import register_layout
from rtl.lib.ram import OnChipRam
from rtl.lib.register_map import ADDRESSES, REGISTER_BITS
from rtl.lib.timing import registered
from rtl.params import VERSION, Config, ceil_div, power_of_two_at_least
from rtl.product import Product

OUT_BYTES = 2  # of a result: 16 bits, so that a change of a weight is not rounded away
PAUSE_SECONDS = 2
HANG_CYCLES = 1 << 20  # a product that takes longer hangs
VALUES = ("cycles", "token", "channel", "got", "want")  # numbers of the report


@dataclass(frozen=True, kw_only=True)
class Run:
    """One product of the self-test.

    Attributes
    ----------
    name : how the report calls it
    product : 16-bit results, one requantisation an output channel
    w_address : of its packed weights, in bytes, beat-aligned
    golden_address : of its right results, in bytes, beat-aligned: [tokens, channels] of 16 bits, little-endian, no gaps
    """

    name: str
    product: Product
    w_address: int
    golden_address: int


@dataclass(frozen=True, kw_only=True)
class Image:
    """The memory's first contents, and what lies where.

    Attributes
    ----------
    contents : constants, then zeros for the results. The last beat of the constants makes the exclusive or of all
        their beats zero.
    runs : products in the order they run; all of the same activations, tokens, channels
    x_address, y_address : of the activations and of the results; the constants end at y_address
    """

    contents: bytes
    runs: Sequence[Run]
    x_address: int
    y_address: int


class SelfTest(wiring.Component):
    """Runs each product, compares its results in memory with the right ones, reports, waits, and begins again.

    The report, one line a product, and `PASS` after the last::

        nmgen 0.1.0: 4x4 PEs, N = 2, M = 4, 50 MHz
        1:4 cycles 0000224 ok
        2:4 cycles 0000227 ok
        dense cycles 0000392 ok
        PASS

    It ends at the first thing that is wrong: `FAIL 2:4 token 3 channel 5 got -7 want 12`, `FAIL 2:4 does not end`, or
    `FAIL memory` where all results are right but the constants' exclusive or is not zero (a flipped bit that no result
    depends on).

    The report comes again after a pause of two seconds, so a terminal opened late shows it too.

    Members
    -------
    tx : UART, out
    again : begin at once rather than after the pause, in
    heartbeat : changes twice a second, out
    running : a test is under way, out
    passed : the last one passed, out
    failed : one has failed since the reset, out
    """

    def __init__(
        self, config: Config, image: Image, *, clock_hz: float, baud: int, pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._config = config
        self._image = image
        self._clock_hz = clock_hz
        self._divisor = baud_divisor(clock_hz, baud)
        self._pause = max(1, round(pause_seconds * clock_hz))
        members = {name: Out(1) for name in ("heartbeat", "running", "passed", "failed")}
        super().__init__({"tx": Out(1, init=1), "again": In(1), **members})

    @property
    def depth(self) -> int:
        """Beats of the on-chip RAM."""
        return power_of_two_at_least(ceil_div(len(self._image.contents), self._config.port_bytes))

    def _lines(self) -> dict[str, str]:
        """What the report can say."""
        c = self._config
        shape = f"{c.rows}x{c.cols} PEs, N = {c.n}, M = {c.m}"
        lines = {"begin": f"nmgen {VERSION}: {shape}, {self._clock_hz / 1e6:g} MHz"}
        for run in self._image.runs:
            lines[f"{run.name} ok"] = f"{run.name} cycles {{cycles:7}} ok"
            where = f"{run.name} token {{token}} channel {{channel}}"
            lines[f"{run.name} wrong"] = f"FAIL {where} got {{got}} want {{want}}"
            lines[f"{run.name} hangs"] = f"FAIL {run.name} does not end"
        lines["memory"] = "FAIL memory"
        lines["pass"] = "PASS"
        return {name: f"{text}\r\n" for name, text in lines.items()}

    def _script(self) -> list[dict[str, int]]:
        """Register writes of each run one after another, its start the last."""
        writes = []
        control = REGISTERS["control"]
        for run in self._image.runs:
            values = register_values(
                run.product, x_address=self._image.x_address, w_address=run.w_address, y_address=self._image.y_address
            )
            writes += [{"address": REGISTERS[name].offset, "data": value, "last": 0} for name, value in values.items()]
            writes.append({"address": control.offset, "data": control.value(start=1), "last": 1})
        return writes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.accelerator = accelerator = Accelerator(self._config)
        m.submodules.ram = ram = OnChipRam(self._config.port_bytes, self.depth, self._image.contents)
        m.submodules.printer = printer = Printer(self._lines(), VALUES)
        m.submodules.uart = uart = Transmitter(self._divisor)
        connect(m, accelerator.memory, ram.port)
        connect(m, printer.characters, uart.characters)
        m.d.comb += self.tx.eq(uart.tx)

        write = data.StructLayout({"address": range(ADDRESSES), "data": REGISTER_BITS, "last": 1})
        script = self._script()
        m.submodules.script = rom = memory.Memory(shape=write, depth=len(script), init=script)
        timer = Signal(range(max(self._pause, HANG_CYCLES) + 1))
        states = _States(m, self._config, self._image, accelerator.control, ram.peek, printer, timer)
        m.d.comb += self.running.eq(1)
        m.d.sync += timer.eq(timer + 1)
        with m.FSM():
            states.configure(rom.read_port(), len(script))
            states.wait_for_the_end()
            states.compare()
            states.next_run()
            states.fold()
            states.verdict(self.passed, self.failed)
            with m.State("pause"):
                m.d.comb += self.running.eq(0)
                with m.If((timer >= self._pause) | self.again):
                    m.next = "begin"
        m.d.comb += self.heartbeat.eq(heartbeat(m, self._clock_hz))
        return m


class _States:
    """The states of the self-test: each method adds those of one section. Here are the registers that they share.

    Parameters
    ----------
    m : with an FSM, in which the methods are called
    control, peek : the accelerator's registers, and the memory's port for others
    timer : counts cycles
    """

    def __init__(
        self,
        m: Module,
        config: Config,
        image: Image,
        control: Any,
        peek: Any,
        printer: Printer,
        timer: Signal,
    ) -> None:
        self._m, self._config, self._image, self._runs = m, config, image, image.runs
        self._control, self._peek, self._printer, self._timer = control, peek, printer, timer
        self._product = product = image.runs[0].product

        # The report of a run.
        self._run = Signal(range(len(image.runs) + 1), name="run")
        self._cycles = Signal(VALUE_BITS - 1, name="cycles")
        self._token = Signal(range(product.tokens), name="token")
        self._channel = Signal(range(product.channels), name="channel")
        self._got, self._want = (Signal(signed(8 * OUT_BYTES), name=name) for name in ("got", "want"))
        values = (self._cycles, self._token, self._channel, self._got, self._want)
        m.d.comb += [value.eq(number) for value, number in zip(printer.values, values, strict=True)]

        # Where the comparison stands: byte addresses of a result, and its position.
        address = range(len(image.contents) + 1)
        self._y_at, self._row_at, self._golden_at = (
            Signal(address, name=name) for name in ("y_at", "row_at", "golden_at")
        )
        self._column = Signal(range(config.cols), name="column")
        self._byte = Signal(range(OUT_BYTES), name="byte")
        self._within = ceil_log2(config.port_bytes)  # bits of an address that name a byte of its beat
        # The block RAM's output is slow: what is done with it begins at a register.
        self._beat = registered(m, peek.data, name="beat", reset=True)
        self._folded = Signal(8 * config.port_bytes, name="folded")  # exclusive or of the constants so far

    # --- what states do ------------------------------------------------------------------------
    def _say(self, name: str, then: str) -> None:
        """Start a line once the printer is free, then go on."""
        line = self._printer.line
        self._m.d.comb += [line.payload.eq(self._printer.number[name]), line.valid.eq(1)]
        with self._m.If(line.ready):
            self._m.next = then

    def _say_of_run(self, what: str, then: str) -> None:
        with self._m.Switch(self._run):
            for i, run in enumerate(self._runs):
                with self._m.Case(i):
                    self._say(f"{run.name} {what}", then)

    def _show(self, address: Signal) -> None:
        """Ask for the beat that holds a byte: it is in `beat` two cycles later."""
        self._m.d.comb += [self._peek.enable.eq(1), self._peek.beat.eq(address[self._within :])]

    def _byte_of_beat(self, address: Signal) -> Value:
        return self._beat.word_select(address[: self._within], 8)

    # --- the states ----------------------------------------------------------------------------
    def configure(self, script: memory.ReadPort, writes: int) -> None:
        """The first line; a run's register writes, of which the last starts it."""
        m, control = self._m, self._control
        writes_done = Signal(range(writes + 1), name="writes_done")
        m.d.comb += script.addr.eq(writes_done)
        with m.State("begin"):
            m.d.sync += [self._run.eq(0), writes_done.eq(0)]
            self._say("begin", "configure")
        with m.State("configure"):  # the script's ROM reads
            m.d.sync += writes_done.eq(writes_done + 1)
            m.next = "write"
        with m.State("write"):
            m.d.comb += [
                control.address.eq(script.data.address),
                control.write_data.eq(script.data.data),
                control.write.eq(1),
            ]
            m.d.sync += self._timer.eq(0)
            m.next = "configure"
            with m.If(script.data.last):
                m.next = "poll"

    def wait_for_the_end(self) -> None:
        """Status after status, then the cycles."""
        m, control, image = self._m, self._control, self._image
        status = REGISTERS["status"]
        with m.State("poll"):
            m.d.comb += control.address.eq(status.offset)
            m.next = "status"
        with m.State("status"):
            m.d.comb += control.address.eq(REGISTERS["cycles"].offset)
            with m.If(data.View(register_layout(status), control.read_data[: status.bits]).done):
                m.next = "cycles"
            with m.Elif(self._timer >= HANG_CYCLES):
                m.next = "hangs"
            with m.Else():
                m.next = "poll"
        with m.State("cycles"):
            m.d.sync += [
                self._cycles.eq(control.read_data),
                *(counter.eq(0) for counter in (self._token, self._channel, self._column, self._byte)),
                self._y_at.eq(image.y_address),
                self._row_at.eq(image.y_address + self._product.y_stride),
            ]
            with m.Switch(self._run):
                for i, run in enumerate(self._runs):
                    with m.Case(i):
                        m.d.sync += self._golden_at.eq(run.golden_address)
            m.next = "result"

    def compare(self) -> None:
        """Byte after byte of a result and of what it has to be, result after result."""
        m, y_at, golden_at, byte = self._m, self._y_at, self._golden_at, self._byte
        with m.State("result"):
            self._show(y_at)
            m.next = "golden"
        with m.State("golden"):
            self._show(golden_at)
            m.next = "take result"
        with m.State("take result"):
            m.d.sync += self._got.word_select(byte, 8).eq(self._byte_of_beat(y_at))
            m.next = "take golden"
        with m.State("take golden"):
            m.d.sync += [
                self._want.word_select(byte, 8).eq(self._byte_of_beat(golden_at)),
                *(at.eq(at + 1) for at in (y_at, golden_at)),
                byte.eq(byte + 1),
            ]
            m.next = "result"
            with m.If(byte == OUT_BYTES - 1):
                m.next = "compare"
        with m.State("compare"):
            m.next = "result"
            with m.If(self._got != self._want):
                m.next = "wrong"
            with m.Else():
                self._next_result()

    def _next_result(self) -> None:
        """Column tiles have gaps between them, and so have tokens."""
        m, product, cols = self._m, self._product, self._config.cols
        token, channel, column, y_at, row_at = self._token, self._channel, self._column, self._y_at, self._row_at
        gap = product.config.pitch(OUT_BYTES) - cols * OUT_BYTES
        with m.If(channel != product.channels - 1):
            m.d.sync += [channel.eq(channel + 1), column.eq(column + 1)]
            with m.If(column == cols - 1):
                m.d.sync += [column.eq(0), y_at.eq(y_at + gap)]
        with m.Else():
            m.d.sync += [token.eq(token + 1), channel.eq(0), column.eq(0)]
            m.d.sync += [y_at.eq(row_at), row_at.eq(row_at + product.y_stride)]
            with m.If(token == product.tokens - 1):
                m.next = "ok"

    def next_run(self) -> None:
        m = self._m
        with m.State("ok"):
            self._say_of_run("ok", "next run")
        with m.State("next run"):  # once the line is out: the printer still reads the cycles
            with m.If(self._printer.line.ready):
                m.d.sync += [self._run.eq(self._run + 1), self._y_at.eq(0), self._folded.eq(0)]
                m.next = "configure"
                with m.If(self._run == len(self._runs) - 1):
                    m.next = "fold"

    def fold(self) -> None:
        """The exclusive or of all constants, beat after beat."""
        m, y_at, size = self._m, self._y_at, self._config.port_bytes
        with m.State("fold"):
            self._show(y_at)
            m.next = "fetch beat"
        with m.State("fetch beat"):
            m.next = "fold beat"
        with m.State("fold beat"):
            m.d.sync += [self._folded.eq(self._folded ^ self._beat), y_at.eq(y_at + size)]
            m.next = "fold"
            with m.If(y_at[self._within :] == self._image.y_address // size - 1):
                m.next = "verdict"

    def verdict(self, passed: Signal, failed: Signal) -> None:
        """The last line, and the LEDs."""
        m = self._m
        with m.State("verdict"):
            m.next = "memory"
            with m.If(self._folded == 0):
                m.next = "pass"
        with m.State("pass"):
            m.d.sync += passed.eq(1)
            self._say("pass", "rest")
        for what, say in (("wrong", self._say_of_run), ("hangs", self._say_of_run), ("memory", self._say)):
            with m.State(what):
                m.d.sync += [passed.eq(0), failed.eq(1)]
                say(what, "rest")
        with m.State("rest"):  # until the last line is out
            m.d.sync += self._timer.eq(0)
            with m.If(self._printer.line.ready):
                m.next = "pause"
