"""A whole accelerator between shift registers, to be placed and routed: it has more ports than any chip has pins."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.engine.accelerator import Accelerator
from rtl.lib.timing import relay
from rtl.params import Config
from rtl.sta.params import StaConfig
from rtl.sta.top import Sta


class CoreHarness(wiring.Component):
    """The core, or the engine, between shift registers: few pins, and every path between registers. Before each input
    there is another register, as there is behind any bus: the shift registers go from pin to pin, all over the chip.

    Parameters
    ----------
    config : an StaConfig is the core's, any other the engine's

    Members
    -------
    shift_in : goes through all inputs
    capture : take all outputs, else shift them out
    shift_out : their last bit
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({"shift_in": In(1), "capture": In(1), "shift_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        c = self._config
        m.submodules.core = core = Sta(c) if isinstance(c, StaConfig) else Accelerator(c)
        bit, outputs = self.shift_in, []
        for path, member, value in core.signature.flatten(core):
            if member.flow == In:
                register = Signal(len(value.as_value() if hasattr(value, "as_value") else value), name="_".join(path))
                m.d.sync += register.eq((register << 1) | bit)
                m.d.comb += value.eq(relay(m, register, name=register.name))
                bit = register[-1]
            else:
                outputs.append(value)
        for i, value in enumerate(outputs):
            captured = Signal(len(value.as_value() if hasattr(value, "as_value") else value), name=f"captured_{i}")
            m.d.sync += captured.eq(Mux(self.capture, value, (captured << 1) | bit))
            bit = captured[-1]
        m.d.comb += self.shift_out.eq(bit)
        return m
