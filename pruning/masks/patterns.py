"""Which weights stay: masks of pattern N:M, chosen by any score.

A layer's weight is looked at as rows of K numbers along its input dimension (`rows`), each cut into groups of M.
"""

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
    return flat.reshape(out, *kernel, k).movedim(-1, 1).contiguous()


def keep_largest(scores: Tensor, n: int, m: int) -> Tensor:
    """The n largest scores of every m consecutive ones along the last dimension; of equal scores the lower position.

    scores [rows, k], at least 0 → bool [rows, k]. k is padded to whole groups with what is less than any score, so
    every group keeps exactly n, or all where it has no more.

    A score stays when fewer than n others of its group beat it. Comparing each pair of positions once is 3 to 7 times
    as fast as sorting such small groups, and training asks in every step.
    """
    check_pattern(n, m)
    count, k = scores.shape
    groups = pad(scores, (0, -k % m), value=-1.0).reshape(-1, m).T.contiguous()  # [m, groups]
    beaten = torch.zeros(groups.shape, dtype=torch.int8, device=scores.device)  # by how many others
    for distance in range(1, m):
        lower_wins = groups[:-distance] >= groups[distance:]
        beaten[distance:] += lower_wins
        beaten[:-distance] += ~lower_wins
    return (beaten < n).T.reshape(count, -1)[:, :k]


def magnitude_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """Keep the n largest magnitudes of every m consecutive weights along the input dimension.

    weight [out, in], any float type → bool [out, in].
    """
    return keep_largest(weight.detach().abs(), n, m)


METHODS = {"magnitude": magnitude_mask}
