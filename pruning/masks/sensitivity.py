"""Layer-wise N': the pattern of each linear layer, chosen so that all of them together keep to a budget of cycles.

Two steps, both our choice; the paper gives one pattern to the whole model.

1. `sensitivities`: how much the loss rises when one layer alone is pruned, by magnitude and without training;
   `pruning.training.sensitivity` has the same after a few steps.
2. `choose`: of all plans within the budget the one whose rises add up to the least.

What a layer costs at each N' is `nmgen/training/budget.py`'s to say, of a configuration of the hardware.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from pruning.masks.patterns import magnitude_mask
from rtl.params import InputError

Table = Mapping[str, Mapping[int, float]]  # layer → N' → value
Cycles = Mapping[str, Mapping[int, int]]


@torch.no_grad()
def sensitivities(
    model: nn.Module, names: Sequence[str], options: Sequence[int], m: int, loss: Callable[[nn.Module], float]
) -> Table:
    """The rise of the loss with each layer alone at n:m; 0 where n = m. The model stays as it is."""
    model = deepcopy(model)
    layers = dict(model.named_modules())
    base = loss(model)
    table: dict[str, dict[int, float]] = {}
    for name in names:
        weight = layers[name].weight
        dense = weight.clone()
        table[name] = {}
        for n in options:
            weight.copy_(torch.where(magnitude_mask(dense, n, m), dense, 0.0))
            table[name][n] = loss(model) - base if n < m else 0.0
        weight.copy_(dense)
    return table


def choose(sensitivity: Table, cycles: Cycles, budget: int) -> dict[str, int]:
    """N' of each layer: the least sum of sensitivities with a sum of cycles of at most the budget. Exact.

    Layer by layer it keeps the partial plans that no other beats in both sums, and of these the ones that the
    remaining layers can still bring in under the budget.

    Raises
    ------
    InputError : a budget below what the sparsest plan takes.
    """
    least = {name: min(options.values()) for name, options in cycles.items()}
    remaining = sum(least.values())
    if budget < remaining:
        raise InputError(f"budget is {budget} cycles, must be at least {remaining}: so many take the sparsest patterns")
    # (cycles, harm, choices so far as nested pairs), cycles rising and harm falling
    front: list[tuple[int, float, tuple[Any, ...]]] = [(0, 0.0, ())]
    for name, options in cycles.items():
        remaining -= least[name]
        longer = sorted(
            (total + options[n], harm + sensitivity[name][n], -n, (n, chosen))
            for total, harm, chosen in front
            for n in options
            if total + options[n] + remaining <= budget
        )
        front = []
        for total, harm, _, chosen in longer:
            if not front or harm < front[-1][1]:
                front.append((total, harm, chosen))
    chain = front[-1][2]
    result = []
    while chain:
        n, chain = chain
        result.append(n)
    return dict(zip(cycles, reversed(result), strict=True))
