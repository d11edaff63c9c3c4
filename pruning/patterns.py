"""Which weights stay: masks of pattern N:M on any linear layer's weight."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rtl.format import check_pattern


def magnitude_mask(weight: Tensor, n: int, m: int) -> Tensor:
    """Keep the n largest magnitudes of every m consecutive weights along the input dimension.

    weight [out, in], any float type → bool [out, in]. The input dimension is padded with zeros to whole groups; of
    equal magnitudes the lower position stays. A group therefore keeps exactly n, or all where it has no more.
    """
    check_pattern(n, m)
    channels, k = weight.shape
    groups = pad(weight.detach().abs(), (0, -k % m)).reshape(channels, -1, m)
    largest = groups.argsort(dim=2, descending=True, stable=True)[:, :, :n]
    mask = torch.zeros(groups.shape, dtype=torch.bool).scatter_(2, largest, True)
    return mask.reshape(channels, -1)[:, :k]


METHODS = {"magnitude": magnitude_mask}
