"""The pruning methods, as a table: what tells them apart is a handful of answers.

| method | trains | mask | a masked weight | a candidate starts from |
|---|---|---|---|---|
| dense | yes | none | – | the dense model |
| magnitude | no | by abs(w), once | is dropped | the dense model |
| wanda | no | by abs(w) · norm of its input, once | is dropped | the dense model |
| sparsegpt | no | by what its loss costs, once | is dropped, and others make up for it | the dense model |
| asp | yes | by abs(w), once | gets no gradient | the dense model |
| sr-ste | yes | by abs(w), every step | gets the gradient, and decay | the dense model |
| idp | yes | by abs(w), every step | gets the gradient | the denser candidate before it |
| idp-update | yes | as idp, but at first as sparsegpt | gets the gradient | the same, and others make up for it |
| idp-weighed | yes | by abs(w) · norm of its input, every step | gets the gradient | as idp |
| idp-scaled | yes | as idp-weighed, with steps by the norm of its input | gets the gradient | as idp |
| idp-decay | yes | as idp | gets the gradient, then shrinks by 1 % | as idp |
| idp-learnt | yes | by gradient (pruning/masks/learnt.py) | gets the gradient | as idp |

Sources: Wanda arXiv 2306.11695; SparseGPT arXiv 2301.00774; ASP arXiv 2104.08378; SR-STE arXiv 2102.04010; IDP arXiv
2208.06118; decay of what the mask drops as in AST, arXiv 2407.20584, ours past Adam; learnt masks as in MaskLLM, arXiv
2409.17481.

Of IDP the paper says that each candidate inherits from the denser one before it, and that masks, by group-wise
magnitude, stay dynamic. Our choices: the mask is chosen after every step; masked weights live on with the full
gradient, and are inherited as they are; at a step down each output channel keeps its norm (`masked.keep_norms`), which
`make bench-pruning` measures with and without; nested masks are an option.

idp-update begins each candidate as SparseGPT would prune what the denser one computes with, by the inputs of the dense
model; the weights that it drops begin at zero, and from the first step on it is IDP.

idp-weighed is IDP with the mask of Wanda: inputs are those of the dense model, and a step down keeps the norms of the
output channels' weights times these.

idp-scaled is idp-weighed with smaller steps where the input is large: what the optimiser changes in a weight is divided
by √(norm of its input / mean norm of the layer's inputs), see `Masked.scale_step`. Adam's steps are alike for all
weights of a layer, so without this a step changes most what inputs with large norms contribute.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pruning.masks.learnt import LearntMask, check_learnable
from pruning.masks.masked import live_weight, masked_layers
from rtl.params import InputError


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table.

    Parameters
    ----------
    trains : weights change after pruning; else it is one-shot
    prunes : false for the dense control alone
    dynamic : the mask is chosen anew after every step
    straight_through, decay : what a masked weight gets, see pruning/masks/masked.py
    inherits : a candidate starts from the denser one before it: from its live weights, unless the method updates
    rescales : a layer that gets a sparser mask keeps the norms of its output channels (`masked.keep_norms`)
    nested : a candidate's mask stays within the mask that the one before it ended with
    weighs, norms : magnitudes are weighed with the norms of each layer's input by its name [in], as Wanda does
    scales : what a step changes in a weight is scaled by the norm of its input; needs `weighs`
    shrink : share of a masked weight that is lost after every step, whatever its gradient
    learns : the mask is learnt by gradient
    updates, products : when a layer gets a pattern, weights that stay make up for the others, by the products of each
        layer's inputs by its name [in, in], as `second_order` does; `calibrated` gives a method both
    """

    name: str
    trains: bool = True
    prunes: bool = True
    dynamic: bool = False
    straight_through: bool = False
    decay: float = 0.0
    inherits: bool = False
    rescales: bool = False
    nested: bool = False
    scales: bool = False
    shrink: float = 0.0
    learns: bool = False
    weighs: bool = False
    norms: Mapping[str, Tensor] = field(default_factory=dict)
    updates: bool = False
    products: Mapping[str, Tensor] = field(default_factory=dict)

    def check_calibrated(self, names: Iterable[str]) -> None:
        """InputError where what is known of the inputs of a layer is missing."""
        for name in names:
            for needs, what, known in ((self.weighs, "norms", self.norms), (self.updates, "products", self.products)):
                if needs and name not in known:
                    raise InputError(f"{self.name} has no {what} of the input of layer {name}: calibrate it first")

    def check_patterns(self, layers: Mapping[str, nn.Module], patterns: Mapping[str, tuple[int, int]]) -> None:
        """InputError where a layer cannot have its pattern (n, m) by this method."""
        for name, (n, m) in patterns.items() if self.learns else ():
            check_learnable(name, live_weight(layers[name]).shape[1], n, m)

    @property
    def input_norms(self) -> Mapping[str, Tensor]:
        """Of the inputs of each layer that is known, float64 [in]."""
        return {**self.norms, **{name: product.diagonal().sqrt() for name, product in self.products.items()}}

    def reordered(self, orders: Mapping[str, Tensor]) -> "Method":
        """With the inputs of layers in another order, as `permutation.permute` gives it."""
        norms = {name: norm[orders[name]] if name in orders else norm for name, norm in self.norms.items()}
        products = {
            name: product[orders[name]][:, orders[name]] if name in orders else product
            for name, product in self.products.items()
        }
        return replace(self, norms=norms, products=products)

    def importance(self, name: str, layer: nn.Module) -> Tensor | None:
        """What a layer's magnitudes are multiplied with before they are compared; broadcasts to its weight."""
        if not self.weighs:
            return None
        return _by_output(layer, self.norms[name]).to(live_weight(layer))

    def before_step(self, model: nn.Module, passed: float) -> None:
        """Weights whose step is to be scaled are noted; passed, the share of the steps done, changes nothing."""
        if self.scales:
            for layer, masked in masked_layers(model).values():
                masked.begin_step(live_weight(layer))

    def after_step(self, model: nn.Module) -> None:
        """Steps are scaled; dynamic masks follow the weights, learnt ones their logits; masked weights shrink."""
        for layer, masked in masked_layers(model).values():
            weight = live_weight(layer)
            if self.scales:
                masked.scale_step(weight)
            if isinstance(masked, LearntMask):
                masked.after_step(weight)
            elif self.dynamic:
                masked.choose(weight)
            if self.shrink:
                masked.shrink(weight, self.shrink)


# SR-STE's decay is its paper's; 10⁻² instead moved a trial with AdamW by 0.04 points.
METHODS = {
    method.name: method
    for method in (
        Method(name="dense", prunes=False),
        Method(name="magnitude", trains=False),
        Method(name="wanda", trains=False, weighs=True),
        Method(name="sparsegpt", trains=False, updates=True),
        Method(name="asp"),
        Method(name="sr-ste", dynamic=True, straight_through=True, decay=2e-4),
        Method(name="idp", dynamic=True, straight_through=True, inherits=True, rescales=True),
        Method(name="idp-update", dynamic=True, straight_through=True, inherits=True, updates=True),
        Method(name="idp-weighed", dynamic=True, straight_through=True, inherits=True, rescales=True, weighs=True),
        Method(
            name="idp-scaled",
            dynamic=True,
            straight_through=True,
            inherits=True,
            rescales=True,
            weighs=True,
            scales=True,
        ),
        Method(name="idp-decay", dynamic=True, straight_through=True, inherits=True, rescales=True, shrink=0.01),
        Method(name="idp-learnt", straight_through=True, inherits=True, rescales=True, learns=True),
    )
}


def method_of(name: str, *, nested: bool = False) -> Method:
    """A method by its name, with its options."""
    if name not in METHODS:
        raise InputError(f"method is {name!r}, must be one of {', '.join(METHODS)}")
    if nested and not METHODS[name].inherits:
        raise InputError(f"method {name} inherits nothing, so its masks cannot be nested")
    if nested and METHODS[name].learns:
        raise InputError(f"method {name} learns its masks, so they cannot be nested")
    if nested and METHODS[name].updates:
        raise InputError(f"method {name} chooses among all weights at a step down, so its masks cannot be nested")
    return replace(METHODS[name], nested=nested)


def calibrated(method: Method, model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> Method:
    """The method with what it has to know of the inputs of the named layers, over all that run() sends through the
    model."""
    if method.weighs:
        return replace(method, norms=input_norms(model, names, run))
    if method.updates:
        return replace(method, products=input_products(model, names, run))
    return method


def input_norms(model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> dict[str, Tensor]:
    """The Euclidean norm of each input channel of the named layers over all that run() sends through the model.

    float64 [in] of each. A Conv2d's are over images and places alike, the same for each kernel position (our choice).
    """
    sums = _input_sums(model, names, run, lambda inputs: inputs.square().sum(dim=0))
    return {name: total.sqrt() for name, total in sums.items()}


def input_products(model: nn.Module, names: Sequence[str], run: Callable[[], object]) -> dict[str, Tensor]:
    """The same of the products of each two input channels, summed: float64 [in, in]."""
    return _input_sums(model, names, run, lambda inputs: inputs.T @ inputs)


@torch.no_grad()
def _input_sums(
    model: nn.Module, names: Sequence[str], run: Callable[[], object], of: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Sums of what `of` makes of each layer's inputs, float64 [samples, in]."""
    sums: dict[str, Tensor] = {}

    def hook_of(name: str, channel: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            inputs = args[0].detach().to(torch.float64).movedim(channel, -1)
            found = of(inputs.reshape(-1, inputs.shape[-1]))
            sums[name] = sums[name] + found if name in sums else found

        return note

    layers = dict(model.named_modules())
    hooks = [
        layers[name].register_forward_pre_hook(hook_of(name, -3 if isinstance(layers[name], nn.Conv2d) else -1))
        for name in names
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return sums


def _by_output(layer: nn.Module, norms: Tensor) -> Tensor:
    """The norms [in] as they lie in the weight: Linear [1, in]; Conv2d [out, in / groups, 1, 1], whose output channels
    see the inputs of their own group."""
    if not isinstance(layer, nn.Conv2d):
        return norms[None, :]
    per_group = norms.reshape(layer.groups, -1)
    return per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)[:, :, None, None]
