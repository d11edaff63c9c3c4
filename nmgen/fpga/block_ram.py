"""How many block RAMs of an ECP5 a design's memories take, as yosys maps them: known without synthesis."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from amaranth.hdl import Fragment, MemoryInstance, Shape
from amaranth.lib import wiring

from rtl.params import ceil_div, round_up

BLOCK_BITS = 1 << 14  # of a block RAM, but for the ninth of each byte
# Bits of a word: of a block RAM whose two ports both read and write, and of one with a port for each, which writes 36.
BOTH, APART = (1, 2, 4, 9, 18), (9, 18, 36)
BYTE_BITS = 9  # that a bit of the write enable stands for
LUT_WORDS, LUT_BITS = 16, 4
# yosys': of a block RAM, of 16 × 4 bits in LUTs, of a choice between two bits.
COST, LUT_COST, MUX_COST = 128, 4, 0.5


@dataclass(frozen=True)
class MemoryShape:
    """Bits and words of a memory with clocked reads; granularity: bits that a bit of its write enable stands for."""

    width: int
    depth: int
    granularity: int

    @property
    def block_rams(self) -> int:
        """That it takes; 0 of what is cheaper in LUTs. As yosys' memory_libmap chooses, of a memory with the attribute
        no_rw_check, as all that are emitted have it."""
        cost, number, _ = self._cheapest()
        return number if cost < int(self._in_luts()) else 0

    @property
    def stacked(self) -> int:
        """Block RAMs of which each has some of the words; 1 of LUTs, whose words are chosen before a register."""
        return self._cheapest()[2] if self.block_rams else 1

    def _cheapest(self) -> tuple[float, int, int]:
        """(cost, block RAMs, those that share the words)"""
        return min((self._fewest(widths) for widths in (BOTH, APART)), key=itemgetter(0))

    def _fewest(self, widths: tuple[int, ...]) -> tuple[float, int, int]:
        """The same, of the width of their words that costs least; the least so far is an integer to yosys."""
        found: tuple[float, int, int] | None = None
        for width in widths:
            parts = ceil_div(self.depth, BLOCK_BITS // 2 ** (width.bit_length() - 1))
            number = ceil_div(parts * self._held(min(width, BYTE_BITS)), width)
            cost = number * COST + self._choices(parts)
            if found is None or cost < int(found[0]):
                found = cost, number, parts
        assert found is not None
        return found

    def _in_luts(self) -> float:
        parts = ceil_div(self.depth, LUT_WORDS)
        return parts * self._held(LUT_BITS) // LUT_BITS * LUT_COST + self._choices(parts)

    def _held(self, byte: int) -> int:
        """Bits of a word where each bit of the write enable stands for whole bytes of so many bits."""
        return self._enables * round_up(self.granularity, byte)

    def _choices(self, parts: int) -> float:
        """Cost of choosing one of the parts, for reading and for writing."""
        return MUX_COST * ((parts - 1) * self.width + (parts * self._enables if parts > 1 else 0))

    @property
    def _enables(self) -> int:
        return ceil_div(self.width, self.granularity)


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
