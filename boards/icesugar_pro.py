"""Muse Lab iCESugar-Pro."""

from amaranth.build import Attrs
from amaranth_boards.icesugar_pro import ICESugarProPlatform
from amaranth_boards.resources import RGBLEDResource

from boards.board import Board, Pin


class Platform(ICESugarProPlatform):
    """amaranth-boards 0.0.21 has the colours of the LED in another order, and lit when high."""

    resources = [
        *(resource for resource in ICESugarProPlatform.resources if resource.name != "rgb_led"),
        RGBLEDResource(0, r="B11", g="A11", b="A12", invert=True, attrs=Attrs(IO_TYPE="LVCMOS33")),
    ]


ICESUGAR_PRO = Board(
    name="icesugar-pro",
    title="Muse Lab iCESugar-Pro, LFE5U-25F",
    platform=Platform,
    rx=Pin("uart", 0, "rx"),
    tx=Pin("uart", 0, "tx"),
    leds={
        "heartbeat": Pin("rgb_led", 0, "b"),
        "passed": Pin("rgb_led", 0, "g"),
        "failed": Pin("rgb_led", 0, "r"),
    },
    meaning="blue heartbeat, green passed, red failed",
    program="icesprog {bit}",
    usb=(0x1D50, 0x602B),  # iCELink
    block_rams=56,
    multipliers=28,
    memories=("IS42S16160G-7",),
)
