"""Input channels in an order by which groups of M lose less (Channel Permutations for N:M Sparsity, Pool and Yu, 2021).

The order of a layer's inputs decides which weights share a group. Where another layer puts these inputs out, both may
take any order: the model computes the same, so it costs nothing at run time. A better order is found in rounds. Each
takes one channel out of every group and puts them back where they are worth most: with the others of a group in place,
what it gains by a channel depends on that channel alone, so the best is a linear assignment.
"""

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from pruning.encoder.exchanges import Exchange
from pruning.masks.patterns import rows
from pruning.masks.plan import Plan

ROUNDS = 100  # 300 more add a thirtieth to what these gain
SEED = 0  # which channels a round takes


@torch.no_grad()
def permute(
    model: nn.Module, exchanges: Iterable[Exchange], plan: Plan, norms: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Reorders channels in place for the patterns of a plan.

    norms : of the inputs of layers by name [in], with which magnitudes are weighed; a layer that is not in it: alone

    Returns the order of each consumer's inputs, int64 [in]: what is now channel i was channel order[i]. Where a part is
    not whole groups its channels stay.
    """
    layers, orders = dict(model.named_modules()), {}
    for one in exchanges:
        n, m = plan.layers.get(one.consumer, (1, 1))
        if n == m or one.part % m:
            continue
        producer, consumer = (cast(nn.Linear, layers[name]) for name in (one.producer, one.consumer))
        scores = rows(consumer.weight.abs())
        if one.consumer in norms:
            scores = scores * norms[one.consumer]
        order = better_order(scores.square(), n, m, one.part)
        consumer.weight.copy_(consumer.weight[:, order])
        producer.weight.copy_(producer.weight[order])
        if producer.bias is not None:
            producer.bias.copy_(producer.bias[order])
        orders[one.consumer] = order
    return orders


def better_order(scores: Tensor, n: int, m: int, part: int) -> Tensor:
    """An order of the columns by which the n largest scores of each group add up to more; never to less.

    Parameters
    ----------
    scores : [rows, k], at least 0
    part : columns that may change places, whole groups of m; k is whole parts

    Returns
    -------
    int64 [k]
    """
    scores = (scores / scores.mean().clamp(min=1e-30)).to(torch.float32)
    draw = torch.Generator().manual_seed(SEED)
    parts = [first + _better(scores[:, first : first + part], n, m, draw) for first in range(0, scores.shape[1], part)]
    return torch.cat(parts)


def _better(scores: Tensor, n: int, m: int, draw: torch.Generator) -> Tensor:
    """Of one part."""
    from scipy.optimize import linear_sum_assignment

    columns = scores.T.contiguous()  # [k, rows]
    groups = torch.arange(len(columns)).reshape(-1, m)
    every = torch.arange(len(groups))
    for _ in range(ROUNDS if len(groups) > 1 else 0):
        taken = torch.randint(m, (len(groups),), generator=draw)
        others = torch.ones_like(groups, dtype=torch.bool)
        others[every, taken] = False
        rest = columns[groups[others].reshape(len(groups), m - 1)]  # [groups, m − 1, rows]
        least = rest.topk(n, dim=1).values[:, -1]  # which a channel has to beat to be kept: [groups, rows]
        channels = groups[every, taken]
        worth = torch.stack([(columns[channels] - one).relu_().sum(dim=1) for one in least])  # [groups, channels]
        _, best = linear_sum_assignment(worth.numpy(), maximize=True)
        groups[every, taken] = channels[torch.from_numpy(best)]
    return groups.flatten()
