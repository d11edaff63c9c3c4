"""Requantisation parameters per row: one entry a token, read from memory at the start of a product."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from rtl.array.requantise import Parameters
from rtl.engine.product_registers import descriptor
from rtl.lib.gearbox import Gearbox
from rtl.lib.timing import hard_register
from rtl.params import PARAMETER_BYTES, Config


class RowParameters(wiring.Component):
    """The requantisation parameters that P·V needs, where a row's scale is its own (softmax's sum).

    Members
    -------
    start, product : in
    beats : stream in
    address : token, in
    parameters : of the token, PARAMETER_CYCLES after address, out
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "product": In(descriptor(config)),
                "beats": In(stream.Signature(8 * config.port_bytes)),
                "address": In(range(config.max_tokens)),
                "parameters": Out(Parameters),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.gearbox = gearbox = Gearbox(8 * c.port_bytes, [8 * PARAMETER_BYTES])
        m.submodules.memory = memory = Memory(shape=Parameters, depth=c.max_tokens, init=[])
        wiring.connect(m, wiring.flipped(self.beats), gearbox.beats)
        write, read = memory.write_port(), memory.read_port()
        token = Signal(range(c.max_tokens + 1))
        unit = gearbox.units
        m.d.comb += [
            unit.ready.eq(1),
            write.addr.eq(token),
            write.data.as_value().eq(unit.payload),
            write.en.eq(unit.valid & (token != self.product.tokens)),
            read.addr.eq(self.address),
            self.parameters.eq(hard_register(m, read.data, name="parameters")),
        ]
        with m.If(write.en):
            m.d.sync += token.eq(token + 1)
        # The last beat may hold more units than there are tokens: they have gone by the time of a start.
        with m.If(self.start):
            m.d.sync += token.eq(0)
        return m
