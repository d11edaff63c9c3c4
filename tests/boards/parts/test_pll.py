# amaranth: UnusedElaboratable=no
"""The PLL's dividers: exact frequencies within its bounds, and what it cannot make."""

import pytest

from boards.parts.pll import PHASE_DETECTOR_MHZ, VCO_MHZ, Dividers, Pll, dividers
from rtl.params import InputError


@pytest.mark.parametrize(
    "clocks", [(25.0,), (37.5,), (50.0,), (400.0,), (100, 125, 125), (112.5, 112.5, 112.5), (75, 100), (100, 100)]
)
@pytest.mark.parametrize("oscillator", [25.0, 12.0, 100.0])
def test_exact(oscillator: float, clocks: tuple[float, ...]) -> None:
    try:
        d = dividers(oscillator, *clocks)
    except InputError:
        assert oscillator == 12
        return
    detector = oscillator / d.input_divider
    vco = detector * d.feedback_divider * d.outputs[0]
    assert PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]
    assert VCO_MHZ[0] <= vco <= VCO_MHZ[1]
    assert [vco / out for out in d.outputs] == pytest.approx(clocks)


def test_the_nearest_is_named() -> None:
    assert dividers(25, 100, 133.33) == dividers(25, 100, 400 / 3)  # as a message would name it
    with pytest.raises(InputError, match=r"^mhz is 80, the nearest that the PLL makes of 25 MHz is 75$"):
        dividers(25, 80)
    with pytest.raises(
        InputError, match=r"^a clock is 130 MHz, the nearest that the PLL makes beside 100 MHz is 133\.33$"
    ):
        dividers(25, 100, 130, 130)


@pytest.mark.parametrize("mhz", [3.0, 425.0, 500.0, 800.0])
def test_what_no_output_makes(mhz: float) -> None:
    """Though the VCO runs at it, or divides down to it."""
    for clocks in ((mhz,), (100, mhz)):
        with pytest.raises(InputError, match=rf"^a clock is {mhz:g} MHz, must be 3\.125 to 400$"):
            dividers(25, *clocks)


def test_the_slowest_and_the_fastest_output() -> None:
    assert dividers(25, 400).outputs == (1,)
    assert dividers(25, 25, 3.125).outputs == (16, 128)


@pytest.mark.parametrize("stepped", [-1, 0, 3])
def test_an_output_that_cannot_be_stepped(stepped: int) -> None:
    """The first one is fed back: all would move against the oscillator."""
    with pytest.raises(InputError, match=f"^the output that is stepped is {stepped}, must be 1 to 2$"):
        Pll(Dividers(1, 4, (5, 4, 4)), stepped=stepped)
    assert Pll(Dividers(1, 4, (5, 4, 4)), stepped=2)
