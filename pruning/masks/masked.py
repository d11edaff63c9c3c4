"""The parametrization that masks a layer's weight (torch.nn.utils.parametrize).

The layer keeps its live weights in `parametrizations.weight.original`; what it computes with, `layer.weight`, is the
live weight where the mask stays and exactly zero elsewhere. The mask is a buffer, so it is in the state_dict: int32,
all ones or 0. Ands of it and a float32's bits are several times as fast as choices by a bool.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pruning.masks.patterns import bits_of_largest, from_rows, rows

LEAST_NORM = 0.1  # of the mean of a layer's inputs: what a smaller one counts as where it scales a step


def kept(values: Tensor, bits: Tensor) -> Tensor:
    """values where bits are all ones, exactly 0 where they are 0. bits : int32 of the same shape"""
    if values.dtype != torch.float32:
        return torch.where(bits != 0, values, 0.0)
    return (values.view(torch.int32) & bits).view(torch.float32)


class Kept(torch.autograd.Function):
    """Forward: weight where the mask stays, else 0. Backward: so is the gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: Tensor) -> Tensor:
        ctx.save_for_backward(bits)
        return kept(weight, bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (bits,) = gradients, ctx.saved_tensors
        return kept(gradient, bits), None


class StraightThrough(torch.autograd.Function):
    """Forward: weight where the mask stays, else 0. Backward: the gradient g passes the mask as if it were not there,
    and a masked weight w also gets decay · w, which pulls it towards zero (SR-STE, arXiv 2102.04010, equation 10):

        gradient = g + decay · (1 − mask) · w
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(weight, bits)
        ctx.decay = decay
        return kept(weight, bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if not ctx.decay:
            return gradient, None, None
        weight, bits = ctx.saved_tensors
        return gradient + ctx.decay * kept(weight, ~bits), None, None


class Faded(torch.autograd.Function):
    """Forward: weight. Backward: where bits are all ones, a share of the gradient; elsewhere all of it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits: Tensor, share: float) -> Tensor:
        ctx.save_for_backward(bits)
        ctx.share = share
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (bits,) = gradients, ctx.saved_tensors
        return gradient - (1 - ctx.share) * kept(gradient, bits), None, None


class Masked(nn.Module):
    """weight → its n of every m that the mask keeps.

    Parameters
    ----------
    weight : of a Linear [out, in] or Conv2d [out, in, height, width]; gives shape and device
    straight_through : masked weights get gradients and so stay alive; else theirs is zero
    decay : of masked weights, see StraightThrough
    within : bool, of the weight's shape: the mask may only choose among these (nested masks); None: among all
    importance : what magnitudes are multiplied with before they are compared; broadcasts to the weight; None: 1
    """

    bits: Tensor  # int32, of the weight's shape: all ones where the mask stays, else 0
    within: Tensor | None
    importance: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        n: int,
        m: int,
        *,
        straight_through: bool = False,
        decay: float = 0.0,
        within: Tensor | None = None,
        importance: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("bits", torch.full_like(weight, -1, dtype=torch.int32))
        self.register_buffer("within", None)
        self.register_buffer("importance", None)
        self.become(n, m, straight_through=straight_through, decay=decay, within=within, importance=importance)

    def become(
        self,
        n: int,
        m: int,
        *,
        straight_through: bool,
        decay: float,
        within: Tensor | None,
        importance: Tensor | None,
    ) -> None:
        """Another pattern or method for the same weight; `choose` then gives the mask."""
        self.n, self.m = n, m
        self.straight_through, self.decay = straight_through, decay
        self.within, self.importance = within, importance

    @property
    def mask(self) -> Tensor:
        """bool, of the weight's shape: which weights stay."""
        return self.bits != 0

    @mask.setter
    def mask(self, mask: Tensor) -> None:
        self.bits.copy_(-mask.to(torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        if self.straight_through:
            return StraightThrough.apply(weight, self.bits, self.decay)
        return Kept.apply(weight, self.bits)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What assigning to `layer.weight` stores: the live weights, as they are."""
        return weight

    @torch.no_grad()
    def choose(self, weight: Tensor) -> None:
        """Sets the mask to the largest |weight| · importance of each group."""
        scores = self._scores(weight)
        if self.within is not None:
            scores = torch.where(self.within, scores, -0.5)  # below any score, above padding
        self.bits.copy_(from_rows(bits_of_largest(rows(scores), self.n, self.m), weight.shape))

    def _scores(self, weight: Tensor) -> Tensor:
        return weight.abs() if self.importance is None else weight.abs() * self.importance

    @torch.no_grad()
    def begin_step(self, weight: Tensor) -> None:
        """Notes the weight before the optimiser changes it."""
        self._before = weight.clone()

    @torch.no_grad()
    def scale_step(self, weight: Tensor) -> None:
        """What has changed since begin_step is divided by √(importance / its mean in the layer).

        Where n is m it stays, so that the layer trains as a dense one does.
        """
        if self.n == self.m:
            return
        assert self.importance is not None  # sparsify asks for it
        mean = self.importance.mean()
        relative = (self.importance / mean).clamp(min=LEAST_NORM) if mean > 0 else torch.ones_like(self.importance)
        weight.copy_(self._before + (weight - self._before) * relative.rsqrt())

    @torch.no_grad()
    def shrink(self, weight: Tensor, share: float) -> None:
        """Takes a share of each masked weight."""
        weight.sub_(kept(weight, ~self.bits), alpha=share)

    def extra_repr(self) -> str:
        return f"{self.n}:{self.m}"


@torch.no_grad()
def keep_norms(layer: nn.Module, before: Tensor, importance: Tensor | None = None) -> None:
    """Scales the live weights of each output channel so that what the mask keeps has the norm of before's channel.

    before : what the layer computed with until now, of the weight's shape
    importance : of the weights, as Masked has it; norms are of their products

    Where inputs are uncorrelated, and alike but for their importance, the deviation of the channel's output stays; the
    order of the weights, and so the mask, stays in any case.
    """
    after = cast(Tensor, layer.weight)
    old, new = channel_norms(before, importance), channel_norms(after, importance)
    scale = torch.where(new > 0, old / new, 1.0)
    live_weight(layer).mul_(scale.reshape(-1, *[1] * (after.ndim - 1)))


def channel_norms(weight: Tensor, importance: Tensor | None) -> Tensor:
    """Of the weights of each output channel, each weight times its importance: [output channels]."""
    return (weight if importance is None else weight * importance).flatten(1).norm(dim=1)


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
