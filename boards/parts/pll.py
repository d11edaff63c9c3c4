"""The PLL of an ECP5, from a board's oscillator to the clocks of the design."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.params import InputError

# Bounds of the LFE5U in MHz (data sheet FPGA-DS-02012, sysCLOCK PLL timing).
VCO_MHZ = (400, 800)
PHASE_DETECTOR_MHZ = (10, 400)
OUTPUT_MHZ = (3.125, 400)
DIVIDER_MAX = 128
VCO_PHASES = 8  # steps of an output in a period of the VCO

# Names of the outputs, and how PHASESEL calls them (FPGA-TN-02200, dynamic phase adjustment).
OUTPUTS = ("CLKOP", "CLKOS", "CLKOS2", "CLKOS3")
SELECT = {"CLKOS": 0b00, "CLKOS2": 0b01, "CLKOS3": 0b10}


@dataclass(frozen=True)
class Dividers:
    """The VCO runs at input / input_divider · feedback_divider · outputs[0], an output at that / outputs[i]."""

    input_divider: int
    feedback_divider: int
    outputs: tuple[int, ...]


def dividers(input_mhz: float, *outputs_mhz: float) -> Dividers:
    """Dividers that make these frequencies, all but the first to two digits behind the point.

    Of several, those whose VCO is nearest to the middle of its range.

    Raises
    ------
    InputError : the PLL cannot make the first one, or the others beside it; the nearest that it can make is named.
    """
    slowest, fastest = OUTPUT_MHZ
    for mhz in outputs_mhz:
        if not slowest <= mhz <= fastest:
            raise InputError(f"a clock is {mhz:g} MHz, must be {slowest:g} to {fastest:g}")
    low, high = VCO_MHZ
    firsts: dict[float, tuple[int, int]] = {}
    for down in range(1, DIVIDER_MAX + 1):
        detector = input_mhz / down
        if PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]:
            for up in range(1, min(DIVIDER_MAX, int(fastest / detector)) + 1):
                if any(low <= detector * up * out <= high for out in range(1, DIVIDER_MAX + 1)):
                    firsts.setdefault(detector * up, (down, up))
    first_mhz, *others = outputs_mhz
    nearest = min(firsts, key=lambda mhz: abs(mhz - first_mhz))
    if abs(nearest - first_mhz) > 1e-6:
        raise InputError(f"mhz is {first_mhz:g}, the nearest that the PLL makes of {input_mhz:g} MHz is {nearest:g}")
    down, up = firsts[nearest]
    vcos = [nearest * out for out in range(1, DIVIDER_MAX + 1) if low <= nearest * out <= high]
    for mhz in others:
        made = {(vco / out, vco) for vco in vcos for out in range(1, DIVIDER_MAX + 1)}
        best = min((output for output, _ in made if output <= fastest), key=lambda output: abs(output - mhz))
        if abs(best - mhz) > 5e-3:  # 133.33 is 133.333…
            beside = f"the nearest that the PLL makes beside {first_mhz:g} MHz is {best:.2f}"
            raise InputError(f"a clock is {mhz:g} MHz, {beside}")
        vcos = [vco for output, vco in made if output == best]
    vco = min(vcos, key=lambda vco: abs(vco - (low + high) / 2))
    return Dividers(down, up, tuple(round(vco / mhz) for mhz in outputs_mhz))


class Pll(wiring.Component):
    """The ECP5's EHXPLLL.

    Parameters
    ----------
    dividers : of the outputs; the first one is fed back
    stepped : number of the output that `step` moves, if one is to be moved; not the first one

    Members
    -------
    oscillator : the board's clock, in
    clocks : as there are outputs, out
    locked : the clocks are as asked for, out, asynchronous
    step : a falling edge delays the output `stepped` by an eighth of the VCO's period, in

    Raises
    ------
    InputError : there is no output `stepped` that can be moved.
    """

    def __init__(self, dividers: Dividers, *, stepped: int | None = None) -> None:
        last = len(dividers.outputs) - 1
        if stepped is not None and not 1 <= stepped <= last:
            raise InputError(f"the output that is stepped is {stepped}, must be 1 to {last}")
        self._dividers = dividers
        self._stepped = stepped
        super().__init__(
            {
                "oscillator": In(1),
                "clocks": Out(1).array(len(dividers.outputs)),
                "locked": Out(1),
                "step": In(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        d = self._dividers
        low, high = Const(0, 1), Const(1, 1)
        select = 0 if self._stepped is None else SELECT[OUTPUTS[self._stepped]]
        ports: dict[str, Value | str | int] = {}
        for name, divider, clock in zip(OUTPUTS, d.outputs, self.clocks, strict=False):
            ports |= {
                f"p_{name}_DIV": divider,
                f"p_{name}_ENABLE": "ENABLED",
                f"p_{name}_CPHASE": divider - 1,
                f"p_{name}_FPHASE": 0,
                f"i_EN{name}": low,
                f"o_{name}": clock,
            }
        if self._stepped is not None:
            ports["p_DPHASE_SOURCE"] = "ENABLED"
        m.submodules.pll = Instance(
            "EHXPLLL",
            # The loop filter as Lattice's own tool sets it for these frequencies.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_CLKI_DIV=d.input_divider,
            p_CLKFB_DIV=d.feedback_divider,
            p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA",
            i_CLKI=self.oscillator,
            i_CLKFB=self.clocks[0],
            i_RST=low,
            i_STDBY=low,
            i_PHASESEL0=Const(select & 1, 1),
            i_PHASESEL1=Const(select >> 1, 1),
            i_PHASEDIR=low,
            i_PHASESTEP=self.step,
            i_PHASELOADREG=high,
            i_PLLWAKESYNC=low,
            o_LOCK=self.locked,
            **ports,
        )
        return m
