"""The PLL of an ECP5, from a board's oscillator to the clock of the design."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.params import InputError

# Bounds of the LFE5U in MHz (data sheet FPGA-DS-02012, sysCLOCK PLL timing).
VCO_MHZ = (400, 800)
PHASE_DETECTOR_MHZ = (10, 400)
DIVIDER_MAX = 128


@dataclass(frozen=True)
class Dividers:
    """Output: input / input_divider · feedback_divider. The oscillator inside runs output_divider times faster."""

    input_divider: int
    feedback_divider: int
    output_divider: int


def dividers(input_mhz: float, output_mhz: float) -> Dividers:
    """Dividers that make exactly the output frequency, the oscillator inside nearest to the middle of its range.

    Raises
    ------
    InputError : the PLL cannot make that frequency; the nearest that it can make is named.
    """
    low, high = VCO_MHZ
    made: dict[float, Dividers] = {}
    for down in range(1, DIVIDER_MAX + 1):
        detector = input_mhz / down
        if not PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]:
            continue
        for up in range(1, DIVIDER_MAX + 1):
            output = detector * up
            out = min(DIVIDER_MAX, round((low + high) / 2 / output))
            if low <= output * max(1, out) <= high:
                made.setdefault(output, Dividers(down, up, max(1, out)))
    nearest = min(made, key=lambda output: abs(output - output_mhz))
    if abs(nearest - output_mhz) > 1e-6:
        raise InputError(f"mhz is {output_mhz:g}, the nearest that the PLL makes of {input_mhz:g} MHz is {nearest:g}")
    return made[nearest]


class Pll(wiring.Component):
    """The ECP5's EHXPLLL.

    Members
    -------
    oscillator : the board's clock, in
    clock : out
    locked : the clock is as asked for, out, asynchronous
    """

    def __init__(self, input_mhz: float, output_mhz: float) -> None:
        self._dividers = dividers(input_mhz, output_mhz)
        super().__init__({"oscillator": In(1), "clock": Out(1), "locked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        d = self._dividers
        low, high = Const(0, 1), Const(1, 1)
        m.submodules.pll = Instance(
            "EHXPLLL",
            # The loop filter as Lattice's own tool sets it for these frequencies.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=d.input_divider,
            p_CLKFB_DIV=d.feedback_divider,
            p_CLKOP_DIV=d.output_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=d.output_divider - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            i_CLKI=self.oscillator,
            i_CLKFB=self.clock,
            i_RST=low,
            i_STDBY=low,
            i_PHASESEL0=low,
            i_PHASESEL1=low,
            i_PHASEDIR=high,
            i_PHASESTEP=high,
            i_PHASELOADREG=high,
            i_PLLWAKESYNC=low,
            i_ENCLKOP=low,
            o_CLKOP=self.clock,
            o_LOCK=self.locked,
        )
        return m
