"""Models of what stands beside an FPGA on a board."""

from pathlib import Path

SDRAM_CHIP = Path(__file__).with_name("sdram_chip.v")
