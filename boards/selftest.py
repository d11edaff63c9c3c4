"""The self-test image: the accelerator, a layer built into block RAM, and a report of how it runs.

No pins and no clocks here: `boards.board` puts those around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2

from boards.parts.printer import VALUE_BITS, Printer
from boards.parts.uart import Transmitter, baud_divisor
from rtl.engine.accelerator import Accelerator
from rtl.lib.port import register_layout
from rtl.lib.ram import OnChipRam
from rtl.params import REGISTERS, VERSION, Config, Product, ceil_div, power_of_two_at_least

OUT_BYTES = 2  # of a result: 16 bits, so that a change of a weight is not rounded away
PAUSE_SECONDS = 2
HANG_CYCLES = 1 << 20  # a product that takes longer hangs


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
        1:4 cycles 0000221 ok
        2:4 cycles 0000224 ok
        dense cycles 0000389 ok
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
            values = run.product.registers(
                x_address=self._image.x_address, w_address=run.w_address, y_address=self._image.y_address
            )
            writes += [{"address": REGISTERS[name].offset, "data": value, "last": 0} for name, value in values.items()]
            writes.append({"address": control.offset, "data": control.value(start=1), "last": 1})
        return writes

    def elaborate(self, platform: object) -> Module:
        m = Module()
        image, runs, size = self._image, self._image.runs, self._config.port_bytes
        product = runs[0].product

        m.submodules.accelerator = accelerator = Accelerator(self._config)
        m.submodules.ram = ram = OnChipRam(size, self.depth, image.contents)
        m.submodules.printer = printer = Printer(self._lines(), ("cycles", "token", "channel", "got", "want"))
        m.submodules.uart = uart = Transmitter(self._divisor)
        connect(m, accelerator.memory, ram.port)
        connect(m, printer.characters, uart.characters)
        m.d.comb += self.tx.eq(uart.tx)
        control, peek, line = accelerator.control, ram.peek, printer.line
        status = REGISTERS["status"]

        write = data.StructLayout({"address": 8, "data": 32, "last": 1})
        script = self._script()
        m.submodules.script = rom = memory.Memory(shape=write, depth=len(script), init=script)
        scripted = rom.read_port()
        writes_done = Signal(range(len(script) + 1))
        m.d.comb += scripted.addr.eq(writes_done)

        # The report of a run.
        run = Signal(range(len(runs) + 1))
        cycles = Signal(VALUE_BITS - 1)
        token = Signal(range(product.tokens))
        channel = Signal(range(product.channels))
        got, want = Signal(signed(8 * OUT_BYTES)), Signal(signed(8 * OUT_BYTES))
        for value, number in zip(printer.values, (cycles, token, channel, got, want), strict=True):
            m.d.comb += value.eq(number)

        # Where the comparison stands: byte addresses of a result, and its place.
        address = range(len(image.contents) + 1)
        y_at, row_at, golden_at = Signal(address), Signal(address), Signal(address)
        column = Signal(range(self._config.cols))
        byte = Signal(range(OUT_BYTES))
        beat = Signal(8 * size)  # the block RAM's output is slow: what is done with it begins at a register
        m.d.sync += beat.eq(peek.data)
        folded = Signal(8 * size)  # exclusive or of the constants so far
        within = ceil_log2(size)  # bits of an address that name a byte of its beat
        gap = product.config.pitch(OUT_BYTES) - self._config.cols * OUT_BYTES
        last_beat = image.y_address // size - 1
        timer = Signal(range(max(self._pause, HANG_CYCLES) + 1))

        def say(name: str, then: str) -> None:
            """Start a line once the printer is free, then go on."""
            m.d.comb += [line.payload.eq(printer.number[name]), line.valid.eq(1)]
            with m.If(line.ready):
                m.next = then

        def say_of_run(what: str, then: str) -> None:
            with m.Switch(run):
                for i, one in enumerate(runs):
                    with m.Case(i):
                        say(f"{one.name} {what}", then)

        def show(address: Signal) -> None:
            """Ask for the beat that holds a byte: it is in `beat` two cycles later."""
            m.d.comb += [peek.enable.eq(1), peek.beat.eq(address[within:])]

        def byte_of_beat(address: Signal) -> Value:
            return beat.word_select(address[:within], 8)

        def judge(passed: bool) -> None:
            m.d.sync += [self.passed.eq(passed), self.failed.eq(self.failed | (not passed))]

        m.d.comb += self.running.eq(1)
        m.d.sync += timer.eq(timer + 1)
        with m.FSM():
            with m.State("begin"):
                m.d.sync += [run.eq(0), writes_done.eq(0)]
                say("begin", "configure")

            with m.State("configure"):  # the script's ROM reads
                m.d.sync += writes_done.eq(writes_done + 1)
                m.next = "write"
            with m.State("write"):
                m.d.comb += [
                    control.address.eq(scripted.data.address),
                    control.write_data.eq(scripted.data.data),
                    control.write.eq(1),
                ]
                m.d.sync += timer.eq(0)
                m.next = "configure"
                with m.If(scripted.data.last):
                    m.next = "poll"

            with m.State("poll"):
                m.d.comb += control.address.eq(status.offset)
                m.next = "status"
            with m.State("status"):
                m.d.comb += control.address.eq(REGISTERS["cycles"].offset)
                with m.If(data.View(register_layout(status), control.read_data[: status.bits]).done):
                    m.next = "cycles"
                with m.Elif(timer >= HANG_CYCLES):
                    m.next = "hangs"
                with m.Else():
                    m.next = "poll"
            with m.State("cycles"):
                m.d.sync += [
                    cycles.eq(control.read_data),
                    *(counter.eq(0) for counter in (token, channel, column, byte)),
                    y_at.eq(image.y_address),
                    row_at.eq(image.y_address + product.y_stride),
                ]
                with m.Switch(run):
                    for i, one in enumerate(runs):
                        with m.Case(i):
                            m.d.sync += golden_at.eq(one.golden_address)
                m.next = "result"

            with m.State("result"):
                show(y_at)
                m.next = "golden"
            with m.State("golden"):
                show(golden_at)
                m.next = "take result"
            with m.State("take result"):
                m.d.sync += got.word_select(byte, 8).eq(byte_of_beat(y_at))
                m.next = "take golden"
            with m.State("take golden"):
                m.d.sync += [
                    want.word_select(byte, 8).eq(byte_of_beat(golden_at)),
                    *(at.eq(at + 1) for at in (y_at, golden_at)),
                    byte.eq(byte + 1),
                ]
                m.next = "result"
                with m.If(byte == OUT_BYTES - 1):
                    m.next = "compare"
            with m.State("compare"):
                m.next = "result"
                with m.If(got != want):
                    m.next = "wrong"
                with m.Elif(channel != product.channels - 1):
                    m.d.sync += [channel.eq(channel + 1), column.eq(column + 1)]
                    with m.If(column == self._config.cols - 1):
                        m.d.sync += [column.eq(0), y_at.eq(y_at + gap)]
                with m.Else():
                    m.d.sync += [token.eq(token + 1), channel.eq(0), column.eq(0)]
                    m.d.sync += [y_at.eq(row_at), row_at.eq(row_at + product.y_stride)]
                    with m.If(token == product.tokens - 1):
                        m.next = "ok"

            with m.State("ok"):
                say_of_run("ok", "next run")
            with m.State("next run"):  # once the line is out: the printer still reads the cycles
                with m.If(line.ready):
                    m.d.sync += [run.eq(run + 1), y_at.eq(0), folded.eq(0)]
                    m.next = "configure"
                    with m.If(run == len(runs) - 1):
                        m.next = "fold"
            with m.State("fold"):
                show(y_at)
                m.next = "fetch beat"
            with m.State("fetch beat"):
                m.next = "fold beat"
            with m.State("fold beat"):
                m.d.sync += [folded.eq(folded ^ beat), y_at.eq(y_at + size)]
                m.next = "fold"
                with m.If(y_at[within:] == last_beat):
                    m.next = "verdict"
            with m.State("verdict"):
                m.next = "memory"
                with m.If(folded == 0):
                    m.next = "pass"

            with m.State("pass"):
                judge(True)
                say("pass", "rest")
            with m.State("wrong"):
                judge(False)
                say_of_run("wrong", "rest")
            with m.State("hangs"):
                judge(False)
                say_of_run("hangs", "rest")
            with m.State("memory"):
                judge(False)
                say("memory", "rest")
            with m.State("rest"):  # until the last line is out
                m.d.sync += timer.eq(0)
                with m.If(line.ready):
                    m.next = "pause"
            with m.State("pause"):
                m.d.comb += self.running.eq(0)
                with m.If((timer >= self._pause) | self.again):
                    m.next = "begin"

        half_second = round(self._clock_hz / 2)
        beats_in = Signal(range(half_second))
        m.d.sync += beats_in.eq(beats_in - 1)
        with m.If(beats_in == 0):
            m.d.sync += [beats_in.eq(half_second - 1), self.heartbeat.eq(~self.heartbeat)]
        return m
