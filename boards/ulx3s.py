"""Radiona ULX3S."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from boards.board import Board, Flash, Pin

ULX3S_85F = Board(
    name="ulx3s-85f",
    title="Radiona ULX3S, LFE5U-85F",
    platform=ULX3S_85F_Platform,
    rx=Pin("uart", 0, "rx"),
    tx=Pin("uart", 0, "tx"),
    leds={
        "heartbeat": Pin("led", 0),
        "running": Pin("led", 1),
        "passed": Pin("led", 2),
        "failed": Pin("led", 3),
    },
    meaning="LED 0 heartbeat, LED 1 running, LED 2 passed, LED 3 failed; button F1 runs the test again",
    button=Pin("button_fire", 0),
    program="openFPGALoader --board ulx3s {bit}",
    usb=(0x0403, 0x6015),  # FT231X
    pe="ecp5",
    block_rams=208,
    multipliers=156,
    # 16 MB; a compressed bitstream has at most 2.
    flash=Flash(
        pin=Pin("spi_flash"),
        bytes=1 << 24,
        offset=1 << 21,
        program="openFPGALoader --board ulx3s --write-flash --file-type raw --offset {offset:#x} {file}",
    ),
    memories=("IS42S16160G-7", "MT48LC16M16A2-6A", "M12L2561616A-6T", "AS4C32M16SB-7"),
)
