"""What changes in a program's instructions from one input to the next, as few requests of the link.

An input of another length changes the same fields of many instructions, those of all attention, to the same values.
Where these instructions lie is regular: those of a layer are a few instructions apart, the layers some more. Each value
is one request then, instead of a write to each instruction.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nmgen.driver.host import Fill
from rtl.sta.isa import BYTES

VALUE_BYTES = 2
PLACES_MAX = 256  # of a fill: the board writes them in less time than the next request takes on the wire
STEP_MAX = (1 << 16) - 1  # beats
Run = tuple[int, int, int]  # first, count, step


def fills(wanted: NDArray[np.uint8], before: NDArray[np.uint8], address: int, beat: int) -> list[Fill]:
    """Fills that make of instructions `before`, in memory from `address` on, those that are wanted.

    beat : bytes of a beat of the memory port
    """
    halves, known = wanted.view("<u2"), before.view("<u2")
    places: dict[tuple[int, int], list[int]] = defaultdict(list)  # half word of its instruction, value → instructions
    of_instruction = BYTES // VALUE_BYTES
    for at in map(int, np.flatnonzero(halves != known)):
        places[at % of_instruction, int(halves[at])].append(at // of_instruction)
    beats = BYTES // beat
    return [
        Fill(address + first * BYTES + half * VALUE_BYTES, count, step * beats, rows, pitch * beats, value)
        for (half, value), instructions in places.items()
        for first, count, step, rows, pitch in grids(instructions, STEP_MAX // beats)
    ]


def grids(numbers: Sequence[int], farthest: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Ascending numbers as grids: first, count, step, rows, pitch. farthest : the greatest step and pitch"""
    shapes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for first, count, step in runs(numbers, PLACES_MAX, farthest):
        shapes[count, step].append(first)
    for (count, step), firsts in shapes.items():
        for first, rows, pitch in runs(firsts, PLACES_MAX // count, farthest):
            yield first, count, step, rows, pitch


def runs(numbers: Sequence[int], most: int, farthest: int) -> Iterator[Run]:
    """Ascending numbers as runs with one step each, of `most` numbers and a step of `farthest` at most."""
    first, count, step = numbers[0], 1, 0
    for one, following in pairwise(numbers):
        apart = following - one
        if count < most and (apart <= farthest if count == 1 else apart == step):
            count, step = count + 1, apart
        else:
            yield first, count, step
            first, count, step = following, 1, 0
    yield first, count, step
