"""Models of what stands beside an FPGA on a board, and the program that runs a board in simulation."""

from pathlib import Path

_HERE = Path(__file__).parent
SDRAM_CHIP = _HERE / "sdram_chip.v"
BOARD = _HERE / "board.v"
PADS = _HERE / "pads.v"
FLASH = _HERE / "flash.v"
HARNESS = _HERE / "board.cpp"
