"""The parametrization that masks a layer's weight (torch.nn.utils.parametrize).

The layer keeps its live weights in `parametrizations.weight.original`; what it computes with, `layer.weight`, is the
live weight where the mask stays and exactly zero elsewhere. The mask is a buffer, so it is in the state_dict.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pruning.masks.patterns import from_rows, keep_largest, rows


class StraightThrough(torch.autograd.Function):
    """Forward: weight where mask, else 0. Backward: the gradient g passes the mask as if it were not there, and a
    masked weight w also gets decay · w, which pulls it towards zero (SR-STE, arXiv 2102.04010, equation 10):

        gradient = g + decay · (1 − mask) · w
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weight, mask)
        ctx.decay = decay
        return torch.where(mask, weight, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if not ctx.decay:
            return gradient, None, None
        weight, mask = ctx.saved_tensors
        return gradient + ctx.decay * torch.where(mask, 0.0, weight), None, None


class Masked(nn.Module):
    """weight → its n of every m that the mask keeps.

    Parameters
    ----------
    weight : of a Linear [out, in] or Conv2d [out, in, height, width]; gives shape and device
    straight_through : masked weights get gradients and so stay alive; else theirs is zero
    decay : of masked weights, see StraightThrough
    within : bool, of the weight's shape: the mask may only choose among these (nested masks); None: among all
    """

    mask: Tensor  # bool, of the weight's shape
    within: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        n: int,
        m: int,
        *,
        straight_through: bool = False,
        decay: float = 0.0,
        within: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("within", None)
        self.become(n, m, straight_through=straight_through, decay=decay, within=within)

    def become(self, n: int, m: int, *, straight_through: bool, decay: float, within: Tensor | None) -> None:
        """Another pattern or method for the same weight; `choose` then gives the mask."""
        self.n, self.m = n, m
        self.straight_through, self.decay = straight_through, decay
        self.within = within

    def forward(self, weight: Tensor) -> Tensor:
        if self.straight_through:
            return StraightThrough.apply(weight, self.mask, self.decay)
        return torch.where(self.mask, weight, 0.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What assigning to `layer.weight` stores: the live weights, as they are."""
        return weight

    @torch.no_grad()
    def choose(self, weight: Tensor, importance: Tensor | None = None) -> None:
        """Sets the mask to the largest |weight| · importance of each group; importance broadcasts to the weight."""
        scores = weight.abs() if importance is None else weight.abs() * importance
        if self.within is not None:
            scores = torch.where(self.within, scores, -0.5)  # below any score, above padding
        self.mask.copy_(from_rows(keep_largest(rows(scores), self.n, self.m), weight.shape))

    def extra_repr(self) -> str:
        return f"{self.n}:{self.m}"


@torch.no_grad()
def keep_norms(layer: nn.Module, before: Tensor) -> None:
    """Scales the live weights of each output channel so that what the mask keeps has the norm of before's channel.

    before : what the layer computed with until now, of the weight's shape. Where inputs are uncorrelated the deviation
    of the channel's output stays; the order of the weights, and so the mask, stays in any case.
    """
    every = tuple(range(1, before.ndim))
    after = cast(Tensor, layer.weight)
    old, new = (weight.square().sum(dim=every, keepdim=True) for weight in (before, after))
    live_weight(layer).mul_(torch.where(new > 0, (old / new).sqrt(), 1.0))


def masked_layers(model: nn.Module) -> dict[str, tuple[nn.Module, Masked]]:
    """The masked layers of a model by name, each with its parametrization."""
    found = {}
    for name, layer in model.named_modules():
        for part in _parametrizations(layer) or ():
            if isinstance(part, Masked):
                found[name] = layer, part
    return found


def live_weight(layer: nn.Module) -> nn.Parameter:
    """The weights behind a masked layer, or those of a plain one."""
    chain = _parametrizations(layer)
    return cast(nn.Parameter, layer.weight if chain is None else chain.original)


def _parametrizations(layer: nn.Module) -> parametrize.ParametrizationList | None:
    """What stands between a layer's live weights and its weight, in order."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    return cast(nn.ModuleDict, layer.parametrizations)["weight"]  # type: ignore[return-value]
