"""Prints a digest of the Verilog of some small accelerators, which a mutant has to change: for `scripts.mutants`.

Together they have every part: several lanes and one, every coding of the selection, units smaller and larger than a
beat, words of several beats, drains of one row in one cycle and in several.
"""

from hashlib import sha256

from amaranth.back import verilog

from rtl.params import Config
from rtl.ram import OnChipRam
from rtl.top import Accelerator

CONFIGURATIONS = (
    Config(n=2, m=4, rows=2, cols=3, drain=2, port_bytes=4, max_tokens=8, max_k=32),
    Config(n=3, m=8, rows=2, cols=2, drain=1, port_bytes=16, max_tokens=8, max_k=32),
    Config(n=1, m=8, rows=1, cols=4, drain=4, port_bytes=2, max_tokens=8, max_k=32),
)


def main() -> None:
    for config in CONFIGURATIONS:
        # No source positions: a line that only moves changes nothing.
        text = verilog.convert(Accelerator(config), emit_src=False)
        print(config, sha256(text.encode()).hexdigest())
    text = verilog.convert(OnChipRam(4, 16), emit_src=False)
    print("ram", sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main()
