"""One model at several densities: every matrix is shared, biases, norms and gains of channels are each density's own.

A mask of a sparser density lies within that of a denser one, since both rank the same weights: of each group the denser
keeps what the sparser does, and more. So one store can hold all, rank after rank (docs/format.md, version 3). ELSA
(Huang et al., arXiv 2312.06872) trains sparse networks within a dense one likewise.

A density moves weights that it does not keep, too, as in IDP: any may come back. Where the densest keeps them that is
a nuisance to it, and towards the end, when masks hardly change, of no more use (`Fading`).
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pruning.masks.masked import Faded, Masked, channel_norms, masked_layers
from pruning.masks.methods import METHODS, Method
from pruning.masks.plan import Plan
from pruning.masks.sparsify import finalize, sparsify
from rtl.params import InputError


class Sharing(Method):
    """A method for densities that share weights."""

    def before_step(self, model: nn.Module, passed: float) -> None:
        for module in model.modules():
            if isinstance(module, Fading):
                module.share = (1 + math.cos(math.pi * passed)) / 2


def shared(method: Method) -> Sharing:
    """The method, idp or idp-weighed, for densities that share weights: norms are kept by the gains."""
    own = replace(method, name="elastic", inherits=False, rescales=False)
    return Sharing(**{each.name: getattr(own, each.name) for each in fields(own)})


METHOD = shared(METHODS["idp"])


class Gain(nn.Module):
    """weight → the same times a number for each output channel. In integers it is part of mult and shift."""

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.gain = nn.Parameter(gain)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.gain.reshape(-1, *[1] * (weight.ndim - 1))


class Fading(nn.Module):
    """weight → itself; where the densest density keeps it and a sparser one does not, the gradient of this one fades.

    share : that is left of it; half a cosine from 1 to 0 over the steps
    """

    share = 1.0

    def __init__(self, own: Masked, densest: Masked) -> None:
        super().__init__()
        self._masks = own, densest  # in a tuple: their tensors are none of this module's

    def forward(self, weight: Tensor) -> Tensor:
        own, densest = self._masks
        return cast(Tensor, Faded.apply(weight, densest.bits & ~own.bits, self.share))


class Elastic(nn.Module):
    """Copies of a dense model, one for each density, that share their matrices.

    A parameter of two dimensions or more is one object in all of them; the others are copies. A masked layer has a
    `Gain` behind its mask, at first what keeps the norms of its output channels, as `masked.keep_norms` does; one of a
    sparser density is `Fading`.

    Parameters
    ----------
    model : dense; it stays as it is
    plans : checked for the model, of the same layers, from dense to sparse
    method : of `shared`

    Raises
    ------
    InputError : fewer than two plans, or plans that do not step down in the same groups of every layer.
    """

    def __init__(self, model: nn.Module, plans: Sequence[Plan], method: Sharing = METHOD) -> None:
        super().__init__()
        check_densities(plans)
        self.plans = tuple(plans)
        densest = _masked(model, plans[0], method)
        self.models = nn.ModuleList([densest, *(_masked(model, plan, method, densest) for plan in plans[1:])])
        first = dict(self.models[0].named_parameters())
        for other in self.models[1:]:
            for name, parameter in list(other.named_parameters()):
                if parameter.ndim > 1:
                    module, _, own = name.rpartition(".")
                    setattr(other.get_submodule(module), own, first[name])

    def plain(self) -> list[nn.Module]:
        """A model for each density, with plain layers and exact zeros; nothing is shared any more."""
        models = [deepcopy(model) for model in self.models]
        for model in models:
            finalize(model)
        return models

    def masks(self, density: int) -> dict[str, Tensor]:
        """Of a density's layers by name, bool of the weight's shape."""
        return {name: masked.mask for name, (_, masked) in masked_layers(self.models[density]).items()}

    def gains(self, density: int) -> dict[str, Tensor]:
        """Of a density's layers by name: [output channels]."""
        found = {}
        for name, (layer, _) in masked_layers(self.models[density]).items():
            (gain,) = (part.gain for part in layer.parametrizations["weight"] if isinstance(part, Gain))  # type: ignore[index]
            found[name] = gain.detach()
        return found


def check_densities(plans: Sequence[Plan]) -> None:
    """InputError as `Elastic` raises it."""
    if len(plans) < 2:
        raise InputError("an elastic model has one density, must have at least 2: 4:8,2:8,1:8")
    for before, after in pairwise(plans):
        for name, (n, m) in before.layers.items():
            fewer, of = after.layers.get(name, (0, 0))
            if m != of or fewer >= n:
                raise InputError(
                    f"densities of layer {name} step from {n}:{m} to {fewer}:{of}, must step down in groups of {m}"
                )


@torch.no_grad()
def _masked(model: nn.Module, plan: Plan, method: Method, densest: nn.Module | None = None) -> nn.Module:
    copy = deepcopy(model)
    before = {name: cast(Tensor, layer.weight).detach() for name, layer in model.named_modules() if name in plan.layers}
    sparsify(copy, plan, method=method)
    layers = masked_layers(densest) if densest else {}
    for name, (layer, masked) in masked_layers(copy).items():
        if name in layers:
            parametrize.register_parametrization(layer, "weight", Fading(masked, layers[name][1]))
        old, new = (channel_norms(one, masked.importance) for one in (before[name], cast(Tensor, layer.weight)))
        parametrize.register_parametrization(layer, "weight", Gain(torch.where(new > 0, old / new, 1.0)))
    return copy
