"""One verb for any model: `sparsify` puts masks on its layers, `finalize` bakes them in, `verify` counts.

plan = sparsify(model, "2:8", method="idp", filter_fn=lambda layer, name: name.startswith("encoder."))
train(model, task, method=method_of("idp"), …)
verify(model, plan)
masks = finalize(model)  # plain layers again, with exact zeros
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pruning.masks.learnt import LearntMask
from pruning.masks.masked import Masked, keep_norms, live_weight, masked_layers
from pruning.masks.methods import Method, method_of
from pruning.masks.patterns import from_rows, rows
from pruning.masks.plan import Filter, Plan, prunable
from pruning.masks.second_order import prune_and_update
from rtl.params import InputError


def sparsify(
    model: nn.Module,
    pattern: str | Plan,
    *,
    method: str | Method = "magnitude",
    filter_fn: Filter | None = None,
    ragged: str = "error",
) -> Plan:
    """Masks a model's layers in place and returns what became of it, layer by layer.

    A layer that is masked already goes over to the new pattern and method with its live weights, or with what it
    computes with where the method updates: that is how a candidate inherits from the denser one. Parameters stay the
    same objects, so an optimiser may exist already.

    Parameters
    ----------
    pattern : such as '2:8' for all layers, or a plan
    method : its name or, with options, from `method_of`
    filter_fn : of (layer, name): which Linear and Conv2d layers a pattern is for; None: all. A plan says it itself
    ragged : 'error', 'skip' or 'pad' where a layer's input is no multiple of M, see `Plan.checked`

    Raises
    ------
    InputError : unknown pattern or method; a layer that is ragged or not in the model; nested masks without a denser
        candidate before them, or a group that has no room in them.
    """
    method = method_of(method) if isinstance(method, str) else method
    if isinstance(pattern, Plan):
        if filter_fn is not None:
            raise InputError("a plan names its layers itself, so it takes no filter")
        plan = pattern.checked(model, ragged)
    else:
        plan = Plan.uniform(model, pattern, filter_fn, ragged)
    if not method.prunes:
        return Plan({})
    layers = prunable(model)
    method.check_calibrated(plan.layers)  # before any change
    method.check_patterns(layers, plan.layers)
    importance = {name: method.importance(name, layers[name]) for name in plan.layers}
    within = {name: _within(name, layers[name], method, *plan.layers[name]) for name in plan.layers}
    for name, (n, m) in plan.layers.items():
        layer = layers[name]
        before = cast(Tensor, layer.weight).detach().clone()
        masked = _masked(layer, n, m, LearntMask if method.learns else Masked)
        masked.become(
            n,
            m,
            straight_through=method.straight_through,
            decay=method.decay,
            within=within[name],
            importance=importance[name],
        )
        if method.updates:
            _update(layer, masked, before, method.products[name])
        else:
            masked.choose(live_weight(layer))
        if method.rescales:
            keep_norms(layer, before, importance[name])
    return plan


def finalize(model: nn.Module) -> dict[str, Tensor]:
    """Makes masked layers plain ones again, with what they computed with: exactly zero where masked.

    Returns the masks by layer name, bool of the weight's shape.
    """
    masks = {}
    for name, (layer, masked) in masked_layers(model).items():
        masks[name] = masked.mask
        _give_own_class(layer)
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return masks


def verify(model: nn.Module, plan: Plan) -> None:
    """Counts, in every group of every layer of the plan.

    A masked layer: the mask keeps exactly N (all, where a last group has fewer), and what is masked is zero. A plain
    one, after `finalize`: at most N are other than zero.

    Raises
    ------
    InputError : names the layer, the group and the count.
    """
    layers, masked = prunable(model), masked_layers(model)
    for name, (n, m) in plan.layers.items():
        if name not in layers:
            raise InputError(f"layer {name} of the plan is not in the model")
        weight = rows(layers[name].weight.detach())  # type: ignore[operator]
        if name in masked:
            mask = rows(masked[name][1].mask)
            check_counts(name, mask, n, m, exactly=True)
            if (weight[~mask] != 0).any():
                raise InputError(f"layer {name} has a masked weight that is not zero")
        check_counts(name, weight != 0, n, m, exactly=False)


def check_counts(name: str, kept: Tensor, n: int, m: int, *, exactly: bool) -> None:
    """InputError unless each group of kept (bool [rows, k]) has n true, or at most n; a shorter last one min(n, its
    size)."""
    k = kept.shape[1]
    for start in range(0, k, m):
        counts = kept[:, start : start + m].sum(dim=1)
        wanted = min(n, k - start, m)
        wrong = ((counts != wanted) if exactly else (counts > wanted)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise InputError(
                f"layer {name}, row {row}, inputs {start} to {min(start + m, k) - 1}: {int(counts[row])} weights are "
                f"kept, must be {'' if exactly else 'at most '}{wanted} for {n}:{m}"
            )


def nested(inner: Mapping[str, Tensor], outer: Mapping[str, Tensor]) -> bool:
    """Whether each inner mask keeps only what the outer one of the same layer keeps."""
    return all(bool((outer[name] | ~mask).all()) for name, mask in inner.items())


def _masked(layer: nn.Module, n: int, m: int, kind: type[Masked]) -> Masked:
    """The layer's parametrization, put there if it has none."""
    for _, masked in masked_layers(layer).values():
        return masked
    masked = kind(live_weight(layer), n, m)
    masked.train(layer.training)
    parametrize.register_parametrization(layer, "weight", masked)
    return masked


@torch.no_grad()
def _update(layer: nn.Module, masked: Masked, before: Tensor, products: Tensor) -> None:
    """Mask and live weights by second order, from what the layer computed with before. Of a Conv2d each kernel position
    on its own, with the same inputs; output channels see the inputs of their own group."""
    weight = live_weight(layer)
    weight.copy_(before)
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    masks = torch.empty_like(weight, dtype=torch.bool)
    for group in range(groups):
        mine, seen = (slice(group * size, (group + 1) * size) for size in (outputs, inputs))
        part = weight[mine]
        mask, updated = prune_and_update(rows(part), products[seen, seen], masked.n, masked.m)
        masks[mine] = from_rows(mask, part.shape)
        part.copy_(from_rows(updated, part.shape))
    masked.mask = masks


def _give_own_class(layer: nn.Module) -> None:
    """A parametrized module has a class made for it, where its weight is a property, and a deepcopy has the same one:
    torch takes the property out of it when the mask goes, and the other copy would be without a weight."""
    own = type(layer)
    layer.__class__ = type(own.__name__, own.__bases__, dict(own.__dict__))


def _within(name: str, layer: nn.Module, method: Method, n: int, m: int) -> Tensor | None:
    """The mask that a nested one has to stay within: none for the first candidate of a series."""
    if not method.nested:
        return None
    for _, masked in masked_layers(layer).values():
        if masked.m != m or masked.n < n:
            raise InputError(f"layer {name}: {n}:{m} cannot be nested in {masked.n}:{masked.m}")
        return masked.mask
    return None
