"""Memories that are too small, or have too many ports, to be worth a block RAM."""

LUT_RAM = {"ram_style": "distributed"}
"""Attribute that makes synthesis tools build a memory from LUTs."""
