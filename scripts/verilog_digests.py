"""Prints a digest of the Verilog of some small accelerators, which a mutant has to change: for `scripts.mutants`.

Together they have every part: several lanes and one, every coding of the selection, units smaller and larger than a
beat, words of several beats, drains of one row in one cycle and in several, elements of each back end; rows that are no
power of two, keys that are no whole groups. Arguments are files that were changed: then only designs that these go into
are looked at.
"""

import sys
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from amaranth.back import verilog
from amaranth.lib import wiring

from boards.encoder import EncoderConfig
from boards.encoder_image import EncoderImage
from boards.parts.sdram.chips import CHIPS
from boards.ulx3s import ULX3S_85F
from rtl.array.grid import Array
from rtl.array.row_reader import SlotReader
from rtl.array.step_unpacker import StepUnpacker
from rtl.array.walk import TileWalk
from rtl.engine.accelerator import Accelerator
from rtl.lib.deep_memory import DeepMemory
from rtl.lib.ram import OnChipRam
from rtl.params import Config
from rtl.sta.axi_top import AxiSta
from rtl.sta.operands.columns import ColumnBuffer
from rtl.sta.operands.store import StoreBank
from rtl.sta.params import StaConfig
from rtl.sta.results.residual import Residual
from rtl.sta.top import Sta

CONFIGURATIONS = (
    Config(n=2, m=4, rows=2, cols=3, drain=2, port_bytes=4, max_tokens=8, max_k=32),
    Config(n=3, m=8, rows=2, cols=2, drain=1, port_bytes=16, max_tokens=8, max_k=32),
    Config(n=1, m=8, rows=1, cols=4, drain=4, port_bytes=2, max_tokens=8, max_k=32),
    Config(n=1, m=8, rows=1, cols=1, drain=1, port_bytes=4, max_tokens=8, max_k=32, pe="ecp5"),
    Config(
        n=3,
        m=32,
        rows=3,
        cols=1,
        drain=1,
        port_bytes=4,
        max_tokens=8,
        max_k=32,
        pe="ecp5",
        soft_rows=1,
        device="LFE5U-25F",
    ),
)
STA = StaConfig(n=2, m=4, rows=3, cols=4, drain=2, port_bytes=8, max_tokens=9, max_k=16, hidden=6, store_words=40)

# Groups of rows, no power of two of them, two banks copied at a time.
GROUPS = StaConfig(
    n=2, m=4, rows=12, cols=2, drain=2, port_bytes=4, max_tokens=30, max_k=16, hidden=6, store_words=40, groups=6
)

# Columns abreast, which an engine has not.
ABREAST = StaConfig(
    n=1, m=16, rows=1, cols=4, drain=1, port_bytes=4, max_tokens=4, max_k=32, hidden=4, store_words=16, pe="ecp5"
)
RESIDUAL = StaConfig(max_tokens=32, hidden=640)  # of several memories
BANK = StaConfig(n=1, m=4, rows=1, cols=1, port_bytes=4, max_tokens=4, max_k=16, store_words=768)  # in parts
# That no other design has parts of.
STA_ALONE = ("rtl/lib/axi.py", "rtl/lib/compare.py", "rtl/lib/lut_ram.py", "rtl/lib/states.py")
# That it has more of than the others.
STA_TOO = ("rtl/lib/timing.py", "rtl/array/selection.py", "rtl/array/step_unpacker.py")


def show(name: object, design: wiring.Component, **options: Any) -> None:
    # No source positions: a line that only moves changes nothing.
    text = verilog.convert(design, emit_src=False, **options)
    print(name, sha256(text.encode()).hexdigest())


def main(files: Sequence[str]) -> None:
    boards = [file for file in files if file.startswith("boards/")]
    sta = [file for file in files if file.startswith("rtl/sta/") or file in STA_ALONE]
    if not files or len(sta) + len(boards) < len(files):
        for config in CONFIGURATIONS:
            show(config, Accelerator(config))
        show("abreast", Array(ABREAST))
        show("reader", SlotReader(ABREAST))
        show("walk", TileWalk(STA, max_more_heads=5))
        show("ram", OnChipRam(4, 16))
        show("deep", DeepMemory(16, 768, granularity=8))
    if not files or sta or any(file in STA_TOO for file in files):
        show(STA, AxiSta(STA))
        show(GROUPS, Sta(GROUPS))
        show("residual", Residual(RESIDUAL))
        show("bank", StoreBank(BANK))
        show("columns", ColumnBuffer(ABREAST))
        show("unpacker", StepUnpacker(Config(n=1, m=32, cols=1), pipelined=True))
    if not files or boards:
        chip = CHIPS["AS4C32M16SB-7"]
        image = EncoderConfig(
            sta=STA, chip=chip, oscillator_mhz=25, core_mhz=100, memory_mhz=125, baud=1_000_000, flash_offset=0
        )
        show("board", EncoderImage(ULX3S_85F, image), platform=ULX3S_85F.platform(), ports=())


if __name__ == "__main__":
    main(sys.argv[1:])
