"""What a packed group is, to the bit: the definition that every faster packer is tested against.

Standard library only. ``docs/format.md`` says the same in words.

A group is M consecutive weights of one output channel. Under a pattern N:M it is stored as exactly N pairs
(value, position), positions strictly ascending: all its non-zero weights and, where those are fewer than N, also the
lowest positions whose weight is zero. The values are N bytes; the positions are one code, an unsigned number:

'index'    N fields of log2(M) bits each, the first pair's position in the lowest bits
'bitmap'   M bits, bit p set where position p is a pair's; exactly N bits are set
'counted'  dense, N = M: the positions are 0 … M − 1 and nothing is stored
"""

from collections.abc import Sequence

from rtl.params import InputError

GROUP_SIZES = (2, 4, 8, 16, 32)


def check_pattern(n: int, m: int) -> None:
    """InputError unless n:m is a pattern of the format."""
    if m not in GROUP_SIZES:
        raise InputError(f"pattern {n}:{m} has groups of {m}, must be 2, 4, 8, 16 or 32")
    if not 1 <= n <= m:
        raise InputError(f"pattern {n}:{m} keeps {n} of {m}, must be 1 to {m}")


def parse_pattern(text: str) -> tuple[int, int]:
    """(n, m) of a text such as 2:8."""
    n, colon, m = text.partition(":")
    if not (colon and n.isascii() and n.isdigit() and m.isascii() and m.isdigit()):
        raise InputError(f"pattern is {text!r}, must be N:M such as 2:8")
    check_pattern(int(n), int(m))
    return int(n), int(m)


def selection_coding(n: int, m: int) -> str:
    """The coding of n of m positions: whichever takes fewer bits, index at a tie; none where dense."""
    if n == m:
        return "counted"
    return "index" if n * (m.bit_length() - 1) <= m else "bitmap"


def index_bits(m: int) -> int:
    """Bits that name one of m positions."""
    return m.bit_length() - 1


def bits_per_group(n: int, m: int) -> int:
    """Bits of the code of one group's positions, 0 where dense."""
    return {"index": n * index_bits(m), "bitmap": m, "counted": 0}[selection_coding(n, m)]


def pack_group(weights: Sequence[int], n: int) -> tuple[list[int], list[int]]:
    """(values, positions) of one group of M weights, n of each, positions ascending."""
    nonzero = [p for p, weight in enumerate(weights) if weight]
    if len(nonzero) > n:
        raise InputError(f"group has {len(nonzero)} non-zero weights, must be at most {n} for {n}:{len(weights)}")
    zero = [p for p, weight in enumerate(weights) if not weight]
    positions = sorted(nonzero + zero[: n - len(nonzero)])
    return [weights[p] for p in positions], positions


def unpack_group(values: Sequence[int], positions: Sequence[int], m: int) -> list[int]:
    """The m weights of a group."""
    weights = [0] * m
    for value, position in zip(values, positions, strict=True):
        weights[position] = value
    return weights


def encode(positions: Sequence[int], n: int, m: int) -> int:
    """The code of n ascending positions, in bits_per_group(n, m) bits."""
    if len(positions) != n or list(positions) != sorted({*positions} & {*range(m)}):
        raise InputError(f"positions are {list(positions)}, must be {n} ascending ones from 0 to {m - 1}")
    coding = selection_coding(n, m)
    if coding == "index":
        return sum(position << (i * index_bits(m)) for i, position in enumerate(positions))
    return sum(1 << position for position in positions) if coding == "bitmap" else 0


def decode(code: int, n: int, m: int) -> list[int]:
    """The n positions that a code stands for; InputError where it is not the code of any."""
    coding = selection_coding(n, m)
    if coding == "counted":
        return list(range(m))
    if coding == "bitmap":
        positions = [p for p in range(m) if code >> p & 1]
        if len(positions) != n:
            raise InputError(f"bitmap {code:#x} has {len(positions)} bits set, must have {n}")
        return positions
    positions = [code >> (i * index_bits(m)) & (m - 1) for i in range(n)]
    if positions != sorted(set(positions)):
        raise InputError(f"indices are {positions}, must be ascending")
    return positions
