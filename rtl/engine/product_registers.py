"""The control registers, the cycle counter, and what the engines read from them."""

from collections.abc import Mapping

from amaranth.hdl import Module, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from rtl.engine.register_table import REGISTERS
from rtl.lib.port import ControlPort, register_layout, written
from rtl.params import ADDRESS_BITS, CHANNELS_MAX, Config, ceil_div
from rtl.product import Pattern

BEATS_BITS = 32


def descriptor(config: Config) -> data.StructLayout:
    """A product as the engines see it: registers of the same names, and what the pattern implies.

    steps : steps a group takes, less one
    lanes : lanes that a step fills
    bitmap, counted : the selection's coding; index where neither
    wide : 16-bit results
    per_row : requantise per row, else per channel
    """
    return data.StructLayout(
        {
            "tokens": range(config.max_tokens + 1),
            "groups": range(config.max_groups + 1),
            "channels": range(CHANNELS_MAX + 1),
            "steps": range(ceil_div(config.m, config.n)),
            "lanes": range(config.n + 1),
            "bitmap": 1,
            "counted": 1,
            "wide": 1,
            "per_row": 1,
            "x_address": ADDRESS_BITS,
            "x_beats": BEATS_BITS,
            "w_address": ADDRESS_BITS,
            "w_tile_beats": BEATS_BITS,
            "w_beats": BEATS_BITS,
            "r_address": ADDRESS_BITS,
            "r_beats": BEATS_BITS,
            "y_address": ADDRESS_BITS,
            "y_stride": ADDRESS_BITS,
        }
    )


class Registers(wiring.Component):
    """`register_table.REGISTERS` in hardware. Writes while a product runs change nothing.

    Members
    -------
    control : the control port
    start : a product starts, in the cycle of the start write, out
    finished : its last write beat is accepted in this cycle, in
    busy : from the cycle after the start to the last write beat, out
    product : `descriptor`, steady while busy, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "control": Out(ControlPort()),
                "start": Out(1),
                "finished": In(1),
                "busy": Out(1),
                "product": Out(descriptor(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        status = Signal(register_layout(REGISTERS["status"]))
        kept = self._kept(m, status.busy)
        cycles = self._run(m, status)
        self._describe(m, kept)
        self._read(m, {**kept, "id": self._config.identification, "status": status.as_value(), "cycles": cycles})
        return m

    def _kept(self, m: Module, busy: Value) -> dict[str, Signal]:
        """The registers that keep what is written to them, by name; the start."""
        control, product = self.control, self.product
        mode = REGISTERS["mode"]
        kept = {name: Signal.like(product[name], name=name) for name in REGISTERS if name in product.shape().members}
        kept[mode.name] = Signal(mode.bits, init=mode.reset, name=mode.name)
        write = Signal()
        command = written(control, REGISTERS["control"])
        m.d.comb += [
            write.eq(control.write & ~busy),
            self.start.eq(write & (control.address == REGISTERS["control"].offset) & command.start),
        ]
        with m.If(write):
            with m.Switch(control.address):
                for name, register in kept.items():
                    with m.Case(REGISTERS[name].offset):
                        m.d.sync += register.eq(control.write_data)
        return kept

    def _run(self, m: Module, status: data.View) -> Signal:
        """Busy from the start to the last write beat; the cycles of it."""
        cycles = Signal(REGISTERS["cycles"].bits)
        busy = Signal()
        done = Signal()
        m.d.comb += [status.busy.eq(busy), status.done.eq(done), self.busy.eq(busy)]
        with m.If(self.start):
            m.d.sync += [busy.eq(1), done.eq(0), cycles.eq(1)]
        with m.Elif(busy):
            m.d.sync += cycles.eq(cycles + 1)
            with m.If(self.finished):
                m.d.sync += [busy.eq(0), done.eq(1)]
        return cycles

    def _describe(self, m: Module, kept: Mapping[str, Signal]) -> None:
        """What the registers say, and what follows from the pattern."""
        product = self.product
        mode = data.View(register_layout(REGISTERS["mode"]), kept["mode"])
        m.d.comb += [product[name].eq(register) for name, register in kept.items() if name != "mode"]
        m.d.comb += [product.wide.eq(mode.wide), product.per_row.eq(mode.per_row)]
        with m.Switch(mode.pattern_n):
            for n in range(1, self._config.m + 1):
                pattern = Pattern(config=self._config, n=n)
                with m.Case(n):
                    m.d.comb += [
                        product.steps.eq(pattern.steps - 1),
                        product.lanes.eq(pattern.lanes),
                        product.bitmap.eq(pattern.coding == "bitmap"),
                        product.counted.eq(pattern.coding == "counted"),
                    ]

    def _read(self, m: Module, values: Mapping[str, ValueLike]) -> None:
        control = self.control
        m.d.sync += control.read_data.eq(0)
        with m.Switch(control.address):
            for name, value in values.items():
                with m.Case(REGISTERS[name].offset):
                    m.d.sync += control.read_data.eq(value)
