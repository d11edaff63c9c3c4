"""How many block RAMs of an ECP5 a design's memories take, as yosys maps them: known without synthesis."""

from collections.abc import Iterator
from dataclasses import dataclass

from amaranth.hdl import Fragment, MemoryInstance, Shape
from amaranth.lib import wiring

from rtl.params import ceil_div

MODES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))  # bits of a word, words
WIDEST = 36  # bits of a word of a block RAM
BYTE_BITS = 9  # that a write enable of a block RAM stands for, where its words are that wide
COST, LUT_COST, MUX_COST = 128, 4, 0.5  # yosys': of a block RAM, of 16 × 4 bits in LUTs, of a choice between two bits
LUT_WORDS, LUT_BITS = 16, 4


@dataclass(frozen=True)
class MemoryShape:
    """Bits and words of a memory with clocked reads; granularity: bits that a bit of its write enable stands for."""

    width: int
    depth: int
    granularity: int

    @property
    def block_rams(self) -> int:
        """That it takes; 0 of what is cheaper in LUTs."""
        blocks = self._blocks
        parts = ceil_div(self.depth, LUT_WORDS)
        luts = parts * ceil_div(self.granularity, LUT_BITS) * self._enables
        return blocks if blocks * COST < luts * LUT_COST + (parts - 1) * self.width * MUX_COST else 0

    @property
    def _enables(self) -> int:
        return ceil_div(self.width, self.granularity)

    @property
    def _blocks(self) -> int:
        """The fewest, of several modes side by side."""
        whole = self._enables == 1
        units = self.width if whole else self._enables * self._parts
        fewest = [0]
        for number in range(1, units + 1):
            options = []
            for bits, words in MODES:
                held = bits if whole else self._enables_of(bits)
                if held:
                    options.append(fewest[max(0, number - held)] + ceil_div(self.depth, words))
            fewest.append(min(options))
        return fewest[units]

    @property
    def _parts(self) -> int:
        """Of what a bit of the write enable stands for, where that is more than a word: any of them lie together."""
        return ceil_div(self.granularity, BYTE_BITS) if self.granularity > WIDEST else 1

    def _enables_of(self, bits: int) -> int:
        """Parts with a write enable of their own that a block RAM of words of so many bits holds."""
        if bits < BYTE_BITS:
            return int(self.granularity <= bits)
        return bits // BYTE_BITS // (ceil_div(self.granularity, BYTE_BITS) if self._parts == 1 else 1)


def memories(design: wiring.Component, platform: object) -> Iterator[MemoryShape]:
    """Of a design, those with clocked reads alone: others are made of LUTs."""
    yield from _memories(Fragment.get(design, platform))


def _memories(fragment: Fragment) -> Iterator[MemoryShape]:
    if isinstance(fragment, MemoryInstance):
        # Amaranth has no public name for what a memory of a design is made of.
        memory, reads, writes = fragment._data, fragment._read_ports, fragment._write_ports
        if (
            fragment._attrs.get("ram_style") != "distributed"
            and reads
            and all(port._domain != "comb" for port in reads)
        ):
            width = Shape.cast(memory.shape).width
            enables = max((len(port._en) for port in writes), default=1)
            yield MemoryShape(width, memory.depth, width // enables)
    for subfragment, *_ in fragment.subfragments:
        yield from _memories(subfragment)
