"""Masks that are learnt by gradient, as MaskLLM does (arXiv 2409.17481): each group has a logit for every choice of n
of its m weights. Training draws a choice by them, and its gradient moves them; in the end the likeliest choice stays.

Ours differs in that the weights are trained, too, as IDP trains them: with the full gradient, masked or not. The logits
begin with what magnitude would choose, and the draw has less chance in it after every step.
"""

from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor, nn

from pruning.masks.masked import Masked, StraightThrough
from pruning.masks.patterns import from_rows, rows
from rtl.params import InputError

CHOICES_MAX = 1000  # of a group: 3:16 has 560, 4:16 1,820
SHARPNESS = 100.0  # what logits are multiplied with: so much faster they are learnt than weights
PRIOR = 3.0  # standard deviations of a group's logits in the beginning
COOLING = 0.97  # of the chance in a draw, a step


def check_learnable(layer: str, inputs: int, n: int, m: int) -> None:
    """InputError where the mask of a layer cannot be learnt: a last group is short, or groups have too many choices."""
    if inputs % m:
        raise InputError(f"layer {layer}: learnt masks are of whole groups, {inputs} inputs are no multiple of {m}")
    if comb(m, n) > CHOICES_MAX:
        raise InputError(
            f"layer {layer}: a group of {n}:{m} has {comb(m, n):,} choices, learnt masks are of at most {CHOICES_MAX:,}"
        )


class LearntMask(Masked):
    """weight → n of every m, drawn in training, else the likeliest.

    logits : float32 [groups, choices]
    chance : of the Gumbel noise in a draw, 1 at first
    """

    logits: nn.Parameter
    chance: Tensor

    def __init__(self, weight: Tensor, n: int, m: int) -> None:
        super().__init__(weight, n, m)
        self.register_buffer("chance", torch.ones(()))

    def become(self, n: int, m: int, **others: Any) -> None:
        """As Masked; the pattern is one that `check_learnable` passes."""
        super().become(n, m, **others)
        self.logits = nn.Parameter(self.bits.new_zeros(self.bits.numel() // m, comb(m, n), dtype=torch.float32))

    @torch.no_grad()
    def choose(self, weight: Tensor) -> None:
        """Begins to learn, from the largest |weight| · importance of each group."""
        scores = rows(self._scores(weight)).reshape(-1, self.m).float() @ self._table.T
        spread = scores - scores.mean(dim=1, keepdim=True)
        scale = spread.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
        self.logits.copy_(PRIOR / SHARPNESS * spread / scale)
        self.chance.fill_(1.0)
        self._settle(weight)

    @property
    def _table(self) -> Tensor:
        """float32 [choices, m]: 1 where a weight stays."""
        return _choices(self.n, self.m).to(self.bits.device)

    def after_step(self, weight: Tensor) -> None:
        """The likeliest choice is the mask, and the next draw has less chance in it."""
        self._settle(weight)
        self.chance.mul_(COOLING)

    @torch.no_grad()
    def _settle(self, weight: Tensor) -> None:
        self.mask = self._spread(self._table[self.logits.argmax(dim=1)], weight) != 0

    def _spread(self, groups: Tensor, weight: Tensor) -> Tensor:
        """[groups, m] as a mask of the weight's shape."""
        return from_rows(groups.reshape(-1, weight.shape[1]), weight.shape)

    def forward(self, weight: Tensor) -> Tensor:
        if not self.training:
            return super().forward(weight)
        uniform = torch.rand_like(self.logits).clamp(1e-20, 1 - 1e-7)
        drawn = SHARPNESS * self.logits - self.chance * (-uniform.log()).log()
        soft = self._spread(drawn.softmax(dim=1) @ self._table, weight)
        hard = self._spread(self._table[drawn.argmax(dim=1)], weight)
        kept: Tensor = StraightThrough.apply(weight, -hard.to(torch.int32), 0.0)
        return kept + (soft - soft.detach()) * weight.detach()


@lru_cache
def _choices(n: int, m: int) -> Tensor:
    found = torch.zeros(comb(m, n), m)
    for number, places in enumerate(combinations(range(m), n)):
        found[number, list(places)] = 1.0
    return found
