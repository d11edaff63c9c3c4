"""Which weights stay: masks of pattern N:M, chosen by any score.

A layer's weight is looked at as rows of K numbers along its input dimension (`rows`), each cut into groups of M.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from rtl.format import check_pattern


def rows(weight: Tensor) -> Tensor:
    """Linear [out, in] → the same; Conv2d [out, in, height, width] → [out · height · width, in]: the groups lie along
    the input channels, for each output channel and kernel position."""
    return weight.movedim(1, -1).reshape(-1, weight.shape[1])


def from_rows(flat: Tensor, shape: torch.Size) -> Tensor:
    """The inverse: [rows, in] → a tensor of the weight's shape."""
    out, k, *kernel = shape
    return flat.reshape(out, *kernel, k).movedim(-1, 1)


def keep_largest(scores: Tensor, n: int, m: int) -> Tensor:
    """The n largest scores of every m consecutive ones along the last dimension; of equal scores the lower position.

    scores [rows, k], at least 0 → bool [rows, k]. k is padded to whole groups with what is less than any score, so
    every group keeps exactly n, or all where it has no more.
    """
    return (bits_of_largest(scores, n, m) != 0).contiguous()


def bits_of_largest(scores: Tensor, n: int, m: int) -> Tensor:
    """keep_largest as int32: all ones where a score stays, else 0.

    Training asks in every step. What stays is no less than the n-th largest of its group, which a sorting network finds
    for all groups at once. Where scores are equal that may be more than n: those groups are compared again, and so are
    those where it is infinite, from which nothing can be subtracted.
    """
    check_pattern(n, m)
    k = scores.shape[1]
    precise = scores if scores.dtype == torch.float64 else scores.float()
    whole = pad(precise, (0, -k % m), value=-1.0) if k % m else precise
    groups = whole.reshape(-1, m)
    # The sign of the difference, in all bits: several times as fast as a comparison, which gives bool.
    least = _nth_largest(groups, n)
    above = (groups - least).view(torch.int64 if precise.dtype == torch.float64 else torch.int32)
    bits = above.bitwise_right_shift_(8 * above.itemsize - 1).bitwise_not_().to(torch.int32)
    if int(bits.sum(dtype=torch.int32)) != -n * len(groups) or bool(least.isinf().any()):
        uneven = bits.sum(dim=1, dtype=torch.int32) != -n
        bits[uneven] = _by_pairs(groups[uneven], n)
    return bits.view(whole.shape)[:, :k]


def _nth_largest(groups: Tensor, n: int) -> Tensor:
    """[groups, m] → [groups, 1]."""
    lines = list(groups.unbind(dim=1))
    for high, low, wants_high, wants_low in _network(n, groups.shape[1]):
        one, other = lines[high], lines[low]
        if wants_high:
            lines[high] = torch.maximum(one, other)
        if wants_low:
            lines[low] = torch.minimum(one, other)
    return lines[n - 1][:, None]


@lru_cache
def _network(n: int, m: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Batcher's merge exchange (Knuth, The Art of Computer Programming, 5.2.2, algorithm M) of m lines, a power of 2,
    without what the n-th largest does not depend on: lines that get the larger and the smaller of two, and which of
    these anything comes of."""
    pairs = []
    part = m // 2
    while part:
        reach, rest, distance = m // 2, 0, part
        while True:
            pairs += [(i, i + distance) for i in range(m - distance) if i & part == rest]
            if reach == part:
                break
            distance, reach, rest = reach - part, reach // 2, part
        part //= 2
    wanted, found = {n - 1}, []
    for high, low in reversed(pairs):
        if {high, low} & wanted:
            found.append((high, low, high in wanted, low in wanted))
            wanted |= {high, low}
    return tuple(reversed(found))


def _by_pairs(groups: Tensor, n: int) -> Tensor:
    """[groups, m] → int32 of the same shape: a score stays when fewer than n others of its group beat it."""
    m = groups.shape[1]
    beaten = torch.zeros(groups.shape, dtype=torch.int32, device=groups.device)  # by how many others
    for distance in range(1, m):
        lower_wins = groups[:, :-distance] >= groups[:, distance:]
        beaten[:, distance:] += lower_wins
        beaten[:, :-distance] += ~lower_wins
    return -(beaten < n).to(torch.int32)


def magnitude_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """Keep the n largest magnitudes of every m consecutive weights along the input dimension.

    weight [out, in], any float type → bool [out, in].
    """
    return keep_largest(weight.detach().abs(), n, m)


METHODS = {"magnitude": magnitude_mask}
