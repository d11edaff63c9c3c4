"""One-shot pruning that makes up for what it drops: SparseGPT (Frantar and Alistarh, arXiv 2301.00774) for N:M.

Of a layer with weights w [rows, k] and inputs x the squared error of the outputs is (ŵ − w) H (ŵ − w)ᵀ of each row,
with H = x xᵀ summed over calibration data. Input channels are gone through in order. At the begin of each group of M
the N weights stay whose loss would cost most, w² / [H⁻¹]ᵢᵢ with H⁻¹ of the channels from here on. What a dropped weight
did the channels behind it take over, by the row of the Cholesky factor of H⁻¹ that belongs to it.
"""

import torch
from torch import Tensor

from pruning.masks.patterns import keep_largest

DAMPING = 0.01  # of the mean of H's diagonal, added to it: as SparseGPT's
BLOCK = 128  # channels, whole groups of each M: those behind a block are changed once for all of it


def prune_and_update(weight: Tensor, products: Tensor, n: int, m: int) -> tuple[Tensor, Tensor]:
    """(mask, weights that are 0 where masked) of a layer.

    Parameters
    ----------
    weight : [rows, k]
    products : H, float64 [k, k]; a channel that is always 0 loses its weights
    """
    result = weight.detach().to(torch.float64).clone()
    rows, k = result.shape
    mask = torch.zeros((rows, k), dtype=torch.bool, device=result.device)
    factor = _factor_of_inverse(products)
    result[:, products.diagonal() == 0] = 0.0
    diagonal = factor.diagonal()
    for first in range(0, k, BLOCK):
        last = min(first + BLOCK, k)
        lost = torch.zeros((rows, last - first), dtype=torch.float64, device=result.device)
        for i in range(first, last):
            if i % m == 0:
                group = slice(i, min(i + m, k))
                mask[:, group] = keep_largest((result[:, group] / diagonal[group]).abs(), n, m)
            error = torch.where(mask[:, i], 0.0, result[:, i]) / diagonal[i]
            result[:, i:last] -= error[:, None] * factor[i, i:last]
            lost[:, i - first] = error
        result[:, last:] -= lost @ factor[first:last, last:]
    return mask, torch.where(mask, result, 0.0).to(weight.dtype)


def _factor_of_inverse(products: Tensor) -> Tensor:
    """Upper triangular u with uᵀ u = H⁻¹: row i has what channels from i on take over, and u[i, i]² is [H⁻¹]ᵢᵢ of
    these alone."""
    damped = products.clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += DAMPING * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True)
