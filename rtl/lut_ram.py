"""Memories that are too small, or have too many ports, to be worth a block RAM."""

from typing import cast

from amaranth.hdl import Module
from amaranth.lib.fifo import SyncFIFO

LUT_RAM = {"ram_style": "distributed"}
"""Attribute that makes synthesis tools build a memory from LUTs."""


class LutFifo(SyncFIFO):
    """A SyncFIFO in LUT RAM, also where a register behind it would make a block RAM of the two."""

    def elaborate(self, platform: object) -> Module:
        m = cast(Module, super().elaborate(platform))
        m.submodules.storage.attrs.update(LUT_RAM)
        return m
